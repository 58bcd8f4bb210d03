"""benchmarks/cpp_overhead.py on a small model: it must build, agree with itself and say what it measured."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.bundle import open_bundle

ROOT = Path(__file__).parents[2]


def test_overhead(cpp, cmake_build, text_bundle):
    spec = importlib.util.spec_from_file_location("cpp_overhead", ROOT / "benchmarks" / "cpp_overhead.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules["cpp_overhead"] = script  # its dataclass looks it up
    spec.loader.exec_module(script)
    options = [f"-DCMAKE_PREFIX_PATH={cpp.installed}", "-DCMAKE_CXX_FLAGS=-Werror", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
    build = cmake_build("overhead", ROOT / "benchmarks" / "cpp_overhead", *options)
    bundle = open_bundle(text_bundle("sequence-classification"))
    rows = script.rows_of_length(bundle, 48, 3)
    assert {row["input_ids"].shape for row in rows} == {(1, 48)}
    with pytest.raises(SystemExit, match=r"no review has 65 tokens .*\n.*--length 64"):
        script.rows_of_length(bundle, 65, 3)
    with (
        script.started(build / "trbert-overhead", bundle.folder, 1) as program,
        trbert_deploy.load(bundle.folder) as engine,
    ):
        samples = script.measure(program, engine, rows, iterations=3, warmup=1)
    assert {name: len(values) for name, values in samples.items()} == dict.fromkeys(script.PROGRAMS, 3)
    result = script.summarise(48, samples)
    assert result.overhead == pytest.approx(np.median(samples["library"]) / np.median(samples["bare"]) - 1)
    assert result.overhead_quartiles[0] <= result.overhead_quartiles[1]
    assert result.over_python == pytest.approx(np.median(samples["library"]) / np.median(samples["python"]))
