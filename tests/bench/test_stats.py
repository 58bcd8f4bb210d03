import pytest

from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.core.errors import TRBertError


def test_percentiles_and_throughput():
    samples = [float(ms) for ms in range(1, 102)]  # 1 to 101 ms
    found = latency(samples, rows=202, tokens=2020)
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.mean_ms) == (51, 91, 100, 51)
    assert found.rows_per_second == pytest.approx(202 / 5.151)
    assert found.tokens_per_second == pytest.approx(2020 / 5.151)
    assert found.samples_ms == samples


def test_no_samples_is_an_error():
    with pytest.raises(TRBertError, match="no samples"):
        latency([], 0, 0)


def test_speed_up_pairs_the_rounds():
    # each round the baseline takes twice as long, though rounds differ by far
    found = speed_up("dense", [2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert (found.against, found.of_medians, found.of_rounds) == ("dense", 2, 2)
    assert (found.of_rounds_low, found.of_rounds_high) == (2, 2)


def test_one_disturbed_round_moves_neither_ratio_much():
    found = speed_up("dense", [2.0, 2.0, 2.0, 2.0, 50.0], [1.0, 1.0, 30.0, 1.0, 1.0])
    assert found.of_medians == 2
    assert found.of_rounds == 2
