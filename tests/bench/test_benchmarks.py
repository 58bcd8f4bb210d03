"""The scripts in benchmarks/, on small models: they must run and say what they measured."""

import numpy as np
import pytest

from trbert_deploy.bench.workload import random_dataset
from trbert_deploy.bundle import open_bundle
from trbert_deploy.flops import ModelShape, RowTokens, exact_flops


def test_staged_vs_dense(benchmark, tmp_path):
    staged_vs_dense = benchmark("staged_vs_dense")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4}
    bundle = staged_vs_dense.make_bundle(
        tmp_path / "bundle", vocab_size=120, max_position_embeddings=64, **shape
    )
    results = staged_vs_dense.measure(bundle, [32, 64], threads=None, iterations=3, warmup=1)
    assert [result.length for result in results] == [32, 64]
    for result in results:
        assert result.reached == pytest.approx(result.wall_clock_ratio / result.flops_ratio)
        assert result.wall_clock_ratio == pytest.approx(
            np.median(result.dense_samples_ms) / np.median(result.staged_samples_ms)
        )
    row = RowTokens(64, (26, 10))  # ceil(0.4 * 64), ceil(0.15 * 64)
    facts = ModelShape.of(bundle.manifest)
    assert results[1].flops_ratio == exact_flops(facts, row.dense) / exact_flops(facts, row)


def test_regrouping(benchmark, golden_bundle):
    regrouping = benchmark("regrouping")
    bundle = open_bundle(golden_bundle("bert-sequence-classification"))
    rows = random_dataset(bundle, [5, 60, 7, 55, 6, 58, 9, 50], seed=0)
    result = regrouping.measure(bundle, rows, batch_size=4, threads=None, iterations=4, warmup=1)
    assert result.throughput_ratio == pytest.approx(
        result.with_rows_per_second / result.without_rows_per_second
    )
    assert len(result.with_samples_ms) == len(result.without_samples_ms) == 4
    assert 0 < result.kept_fractions[1] <= result.kept_fractions[0] <= 1
