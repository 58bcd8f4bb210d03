"""The scripts in benchmarks/, on small models: they must run and say what they measured."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trbert_deploy.api import load
from trbert_deploy.bench.outputs import Outputs
from trbert_deploy.bench.workload import random_dataset
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.costs import RowTokens, exact_flops
from trbert_deploy.runtimes.tensorrt.gpu import find_gpu

GOLDEN = Path(__file__).parents[1] / "golden" / "distilbert3-sequence-classification"


@pytest.mark.slow
def test_staged_vs_dense(benchmark, tmp_path):
    staged_vs_dense = benchmark("staged_vs_dense")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4}
    bundle = staged_vs_dense.make_bundle(tmp_path / "bundle", vocab_size=120, max_position_embeddings=64, **shape)
    results = staged_vs_dense.measure(bundle, [32, 64], threads=None, iterations=3, warmup=1)
    assert [result.length for result in results] == [32, 64]
    for result in results:
        assert result.reached == pytest.approx(result.wall_clock_ratio / result.flops_ratio)
        assert result.wall_clock_ratio == pytest.approx(
            np.median(result.dense_samples_ms) / np.median(result.staged_samples_ms)
        )
    row = RowTokens(64, (26, 10))  # ceil(0.4 * 64), ceil(0.15 * 64)
    costs = bundle.manifest.costs
    assert results[1].flops_ratio == exact_flops(costs, row.dense) / exact_flops(costs, row)


def test_regrouping(benchmark, golden_bundle):
    regrouping = benchmark("regrouping")
    bundle = open_bundle(golden_bundle("bert-sequence-classification"))
    rows = random_dataset(bundle, [5, 60, 7, 55, 6, 58, 9, 50], seed=0)
    fractions, results = regrouping.measure(bundle, rows, batch_size=4, threads=None, iterations=4, warmup=1)
    assert 0 < fractions[1] <= fractions[0] <= 1
    assert [result.groups for result in results] == list(regrouping.GROUPS)
    whole, at_input, everywhere = results
    for result in results:
        assert len(result.samples_ms) == 4
        assert result.times_whole == pytest.approx(result.rows_per_second / whole.rows_per_second)
    assert whole.padded_tokens > at_input.padded_tokens >= everywhere.padded_tokens >= 1


@pytest.fixture(scope="module")
def of_a_model(tmp_path_factory, cli, traced_once):
    """One model's bundles in float32 and float16, and labelled rows."""
    folder = tmp_path_factory.mktemp("precisions")
    for name in ("fp32", "fp16"):
        result = cli("export", GOLDEN, "--out", folder / name, "--precision", name, "--no-reference")
        assert result.exit_code == 0, result.output
    rng = np.random.default_rng(7)
    rows = [
        {"input_ids": rng.integers(5, 90, length).tolist(), "label": int(rng.integers(3))}
        for length in rng.integers(3, 60, 12)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_precision(benchmark, of_a_model, monkeypatch):
    precision = benchmark("precision")
    words = [of_a_model / "fp32", of_a_model / "fp16", "--data", of_a_model / "rows.jsonl", "--threads", "1"]
    words += ["--iterations", "2", "--warmup", "0", "--batch-sizes", "3"]
    words += ["--json", of_a_model / "out.json", "--markdown", of_a_model / "out.md"]
    monkeypatch.setattr(sys, "argv", ["precision.py", *map(str, words)])
    monkeypatch.setattr(precision, "share_threads", lambda threads: None)  # this process's pool has its size
    monkeypatch.setattr(precision, "load", lambda bundle, threads: load(bundle))
    precision.main()
    document = json.loads((of_a_model / "out.json").read_text())
    first, second = document["results"]
    assert [first["precision"], second["precision"]] == ["fp32", "fp16"]
    assert first["change"] == first["other_predictions"] == first["max_logit_difference"] == 0
    assert first["flip_percent"] == [0]
    assert 0 < second["max_logit_difference"] < 0.02
    assert second["change"] == second["accuracy"] - first["accuracy"]
    labels = [json.loads(line)["label"] for line in (of_a_model / "rows.jsonl").read_text().splitlines()]
    with load(of_a_model / "fp32") as engine:
        said = [
            int(engine.run(input_ids=[json.loads(line)["input_ids"]])["logits"].argmax())
            for line in (of_a_model / "rows.jsonl").read_text().splitlines()
        ]
    assert first["accuracy"] == pytest.approx(100 * np.mean(np.array(said) == labels))
    (timing,) = second["timings"]
    assert timing["speed_up"]["of_medians"] == pytest.approx(
        np.median(first["timings"][0]["latency"]["samples_ms"]) / np.median(timing["latency"]["samples_ms"])
    )
    lines = (of_a_model / "out.md").read_text().splitlines()
    assert lines[2].startswith("| fp32 | fp32 | ")
    assert not any(str(of_a_model) in line for line in lines)


def test_flips_are_counted_of_the_tokens_that_arrive(benchmark):
    flip_percents = benchmark("precision").flip_percents
    wanted = Outputs([{}], [[np.array([0, 1, 2, 3])], [np.array([0, 3])]])
    given = Outputs([{}], [[np.array([0, 1, 2, 5])], [np.array([0])]])
    assert flip_percents(given, wanted, [8]) == [25, 25]  # 3 and 5 of 8; 3 of 4


@pytest.fixture(params=["short", pytest.param("whole", marks=pytest.mark.slow)])
def gpu(request, benchmark, monkeypatch, cli, traced_once):
    """The script; short means of the tests one file, a model whose graphs were traced before, commands in this process.

    Only pytest runs in a process of its own all the same.
    """
    script = benchmark("gpu")
    if request.param == "whole":
        return script
    run, dry_measurement, random_model = subprocess.run, script.dry_measurement, script.random_model

    def run_here(words, **options):
        if words[2] != "trbert_deploy":
            return run(words, **options)
        result = cli(*words[3:])
        return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)

    def small_measurement(folder):
        return dataclasses.replace(dry_measurement(folder), tests=["tests/runtimes/tensorrt/test_precisions.py"])

    def known_model(folder, **shape):
        options = random_model(folder, **shape)
        shutil.copytree(GOLDEN.with_name("bert-sequence-classification"), folder, dirs_exist_ok=True)
        (folder / "model.safetensors").unlink()
        return options

    monkeypatch.setattr(script.subprocess, "run", run_here)
    monkeypatch.setattr(script, "dry_measurement", small_measurement)
    monkeypatch.setattr(script, "random_model", known_model)
    return script


def test_gpu_goes_its_whole_way_without_one(gpu, tmp_path):
    """A dry run: the tests that need a GPU are skipped, which counts as missing; engines are built; runtimes lack."""
    assert gpu.main(["--out", str(tmp_path / "gpu"), "--dry-run", "--precisions", "int8"]) == 0
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["dry_run"] is True
    assert len(document["tests"]["tests"]) >= 4
    missing = " ".join(document["missing"])
    if find_gpu() is None:
        assert {test["outcome"] for test in document["tests"]["tests"]} == {"skipped"}
        assert "this ONNX Runtime has no CUDAExecutionProvider" in missing
        assert "no backend 'trt': " in missing
    (measured,) = document["results"]
    export, build, bench = measured["steps"]
    assert [step["exit_code"] for step in measured["steps"]] == [0, 0, 0]
    assert "--int8-form tensorrt" in export["command"]
    assert {engine["precision"] for engine in build["printed"]["engines"]} == {"int8"}
    assert build["printed"]["shapes"]["kept"] == [[7, 26], [3, 10]]  # of 16 and 64 tokens
    workloads = bench["printed"]["workloads"]
    assert [workload["batch_size"] for workload in workloads] == [1, 2, 1, 2]
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# A dry run")
    assert text.count("| tiny, int8, batch ") == 4
    assert "stage_2.onnx" in text


def test_gpu_without_one_says_so(benchmark, tmp_path, monkeypatch, capsys):
    gpu = benchmark("gpu")
    monkeypatch.setattr(gpu, "find_gpu", lambda: None)
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path / "gpu")])
    assert "--dry-run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_gpu_leaves_no_skipped_or_failed_test_unsaid(benchmark):
    gpu = benchmark("gpu")
    tests = {
        "command": "pytest",
        "tests": [
            {"name": "a", "outcome": "passed", "why": ""},
            {"name": "b", "outcome": "skipped", "why": "no CUDA"},
            {"name": "c", "outcome": "failed", "why": "AssertionError"},
        ],
    }
    here = {"cuda_device": "a GPU", "onnxruntime_providers": "CUDAExecutionProvider"}
    assert gpu.missing_from([], tests, here) == ["test b skipped: no CUDA", "test c failed: AssertionError"]
    assert "no test marked gpu was run" in gpu.missing_from([], tests | {"tests": []}, here)[0]
    broken = gpu.Measured("m", "fp32", [gpu.Step("python -m trbert_deploy export m", 1, 0.1, None, "error: no")])
    assert gpu.missing_from([broken], {"command": "", "tests": tests["tests"][:1]}, here) == [
        "m, fp32: exit code 1 of python -m trbert_deploy export m: error: no",
        "m, fp32: nothing was measured",
    ]
