import gc
import time
from collections import Counter

import pytest

from trbert_deploy.bench import timing
from trbert_deploy.bench.timing import interleave, order_of_round, rest_until_idle


@pytest.mark.parametrize("backends", [1, 2, 3, 4])
def test_every_backend_takes_every_place_equally_often(backends):
    names = [f"backend {number}" for number in range(backends)]
    orders = [order_of_round(names, number) for number in range(2 * backends)]
    assert all(sorted(order) == names for order in orders)
    for place in range(backends):
        assert set(Counter(order[place] for order in orders).values()) == {2}


def test_no_backend_always_follows_the_same_other_one():
    names = ["a", "b", "c"]
    before_b = {
        order[order.index("b") - 1] for number in range(6) if (order := order_of_round(names, number))[0] != "b"
    }
    assert before_b == {"a", "c"}


def test_backends_are_interleaved_and_warm_up_is_left_out():
    seen = []
    rounds = []
    samples = interleave(
        {
            "slow": lambda number: (seen.append(("slow", number)), time.sleep(0.02)),
            "fast": lambda number: seen.append(("fast", number)),
        },
        iterations=3,
        warmup=2,
        rest=lambda: None,
        on_round=rounds.append,
    )
    assert [number for _, number in seen] == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2]
    assert all(len(values) == 3 for values in samples.values())
    assert rounds == [1, 2, 3]
    assert min(samples["slow"]) >= 20
    assert sorted(samples["fast"])[1] < 20  # one of them may be disturbed


def test_rest_is_not_counted():
    samples = interleave({"fast": lambda number: None}, iterations=3, warmup=0, rest=lambda: time.sleep(0.05))
    assert sorted(samples["fast"])[1] < 50


def test_garbage_is_not_collected_while_timing_and_is_again_afterwards():
    collecting = []
    interleave({"backend": lambda number: collecting.append(gc.isenabled())}, iterations=2, warmup=0)
    assert collecting == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        interleave({"backend": lambda number: 1 / 0}, iterations=1, warmup=0)
    assert gc.isenabled()


def test_rest_lasts_until_the_process_is_idle(monkeypatch):
    clock = iter([0, 8_000_000, 0, 8_000_000, 0, 10, 0, 10])  # two looks find 8 ms burnt, then two next to nothing
    monkeypatch.setattr(timing.time, "process_time_ns", lambda: next(clock))
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    assert rest_until_idle() == pytest.approx(0.04)


def test_rest_gives_up_after_a_second(monkeypatch):
    burnt = iter(range(0, 10**12, 10**7))
    monkeypatch.setattr(timing.time, "process_time_ns", lambda: next(burnt))
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    assert rest_until_idle() == pytest.approx(1.0)
