"""A fuzz run: nothing that is read makes anything but an error of ours; see `targets.py`.

The default run takes seconds. The slow one is a million inputs each, and prints its figures:
``pytest -m slow tests/fuzz -s``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUPPORT = HERE.parent / "support"
NAMES = ("manifest_2", "manifest_1", "golden", "item", "json_lines")

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: it has no wheel for this system"
)


@pytest.fixture
def targets(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import targets

    return targets


@pytest.mark.parametrize("name", NAMES)
def test_the_valid_inputs_to_start_from_are_let_through(name, targets, tmp_path):
    run = targets.TARGETS[name](tmp_path / "target")
    answered = [run(seed) for seed in targets.seeds(name, tmp_path / "bundles")]
    assert all(answered) or (name == "item" and sum(answered) >= 15)  # not every task takes every item


@pytest.mark.parametrize("runs", [2000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
@needs_atheris
def test_nothing_but_errors_of_ours(name, runs, targets, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    given = targets.seeds(name, tmp_path / "bundles")
    for number, seed in enumerate(given):
        (corpus / str(number)).write_bytes(seed)
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            HERE / "fuzz.py",
            name,
            corpus,
            f"-runs={runs}",
            "-seed=2021",
            "-timeout=60",
            "-rss_limit_mb=4096",
            f"-max_len={4 * max(map(len, given))}",
            f"-artifact_prefix={tmp_path}/",
            "-print_final_stats=1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])},
    )
    printed = done.stdout.decode(errors="replace")
    assert done.returncode == 0, printed[-6000:]
    executed = re.search(r"stat::number_of_executed_units: +(\d+)", printed)
    assert executed is not None, printed[-6000:]
    assert int(executed[1]) >= runs
    covered = re.findall(r"cov: (\d+)", printed)[-1]
    sys.stdout.write(f"{name}: {executed[1]} inputs in {time.perf_counter() - start:.0f} s, {covered} branches\n")
