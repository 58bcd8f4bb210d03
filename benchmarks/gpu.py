"""Everything that needs a GPU, in one go: the tests marked `gpu`, the engines, the latency table. One results file.

    python benchmarks/gpu.py --out gpu

It writes gpu.json (raw samples, environment, commands, the tests' outcomes) and gpu.md. The models are the one that
ships with the project and one of BERT-base's shape with random weights, budget 0.4 and 0.15; each in float32, float16
and int8, at batch 1, 8 and 64 and lengths 128 and 512, on every runtime that is installed, against dense graphs under
the same runtime and against PyTorch on the same GPU. Every step is a command of its own, so that one which crashes
leaves the others' results, and can be run again by hand. The exit code is 0 where nothing was missing or failed: a test
that was skipped counts as missing. ONNX Runtime's TensorRT providers take 32 rows at most here: they run a batch of 64
in two halves.

    python benchmarks/gpu.py --out gpu --dry-run

goes the same way on the CPU with tiny models and shapes: it shows that the script works, and measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu_report import Measured, Step, markdown, missing_from

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.core.selection import budget
from trbert_deploy.runtimes.environment import TF32_SWITCH, environment
from trbert_deploy.runtimes.tensorrt.gpu import find_gpu

ROOT = Path(__file__).parents[1]
PRECISIONS = ("fp32", "fp16", "int8")
KEEP = (0.4, 0.15)
#: What is measured beside ONNX Runtime on the device asked for; see `bench --beside`.
BESIDE = ("ort-cuda", "ort-tensorrt", "ort-rtx", "trt")


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    Attributes:
        device: of the bundle's own backend and of PyTorch.
        models: name, what to export and further options of `export`.
        lengths: tokens of a row.
        batch_sizes: rows of a batch.
        iterations: rounds that count.
        warmup: rounds before them.
        limit: rows of the data that outputs are compared on.
        tests: where pytest looks for them.
    """

    device: str
    models: list[tuple[str, str, list[str]]]
    lengths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    iterations: int
    warmup: int
    limit: int
    tests: list[str]


def run(words: Sequence[object], folder: Path, **variables: str) -> Step:
    """Run Python in the repository's root.

    Args:
        words: what comes behind ``python -m``.
        folder: that what is made lies in; the command is noted down as from there.
        **variables: of the environment.
    """
    texts = [str(word) for word in words]
    command = shlex.join(["python", "-m", *texts]).replace(f"{folder}/", "")
    print("$", command, file=sys.stderr, flush=True)
    start = time.monotonic()
    typed = [sys.executable, "-m", *texts]
    ran = subprocess.run(typed, capture_output=True, text=True, cwd=ROOT, env=os.environ | variables, check=False)
    print(ran.stderr, file=sys.stderr, flush=True)
    try:
        printed = json.loads(ran.stdout)
    except ValueError:  # not every command prints JSON
        printed = None
    said = "" if ran.returncode == 0 else (ran.stdout + ran.stderr)[-2000:]
    return Step(command, ran.returncode, round(time.monotonic() - start, 1), printed, said)


# -- the tests ----------------------------------------------------------------------------------------------------


def run_tests(paths: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run the tests marked `gpu`; a test that is skipped has not passed.

    Args:
        paths: where to look for them.
        folder: for pytest's report.

    Returns:
        The command, and each test with its outcome: ``"passed"``, ``"failed"`` or ``"skipped"``, and why.
    """
    report = folder / "tests.xml"
    step = run(["pytest", *paths, "-m", "gpu", "-q", f"--junitxml={report}"], folder)
    tests = []
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        outcome, why = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if child.tag == "skipped" else "failed"
                why = child.get("message", "")
        tests.append({"name": f"{case.get('classname')}.{case.get('name')}", "outcome": outcome, "why": why})
    return {"command": step.command, "exit_code": step.exit_code, "tests": tests}


# -- the models ---------------------------------------------------------------------------------------------------


def random_model(folder: Path, **shape: int) -> list[str]:
    """Save a random BERT and rows to calibrate int8 with.

    Args:
        folder: made; the checkpoint and ``rows.jsonl``.
        **shape: changes to BERT-base's configuration.

    Returns:
        Options of `export`.
    """
    import torch

    from trbert_deploy.model import TRBertConfig, model_class
    from trbert_deploy.tasks import TASKS

    config = TRBertConfig(backbone={"model_type": "bert", **shape}, num_labels=2)
    model = model_class(TASKS.get("sequence-classification"))(config)
    with torch.no_grad():  # as they are made, all logits are nearly the same, and any rounding moves a kept set
        for selector in model.selectors:
            for parameter in (selector.dense.weight, selector.score.weight):
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    rng = np.random.default_rng(2021)
    backbone = config.backbone
    rows = [
        {"input_ids": rng.integers(0, backbone.vocab_size, length).tolist()}
        for length in rng.integers(8, backbone.max_position_embeddings + 1, 80)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ["--keep", ",".join(map(str, KEEP)), "--calibration-data", str(folder / "rows.jsonl")]


def full_measurement(folder: Path) -> Measurement:
    """What is to be measured on a GPU."""
    base = random_model(folder / "bert-base-random")
    models = [
        ("trbert-minilm-imdb", "trbert-minilm-imdb", []),
        ("bert-base-random", str(folder / "bert-base-random"), base),
    ]
    return Measurement("cuda", models, (128, 512), (1, 8, 64), iterations=50, warmup=10, limit=400, tests=["tests"])


def dry_measurement(folder: Path) -> Measurement:
    """The same way, with what a CPU does in no time."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4}
    options = random_model(folder / "tiny", vocab_size=120, max_position_embeddings=64, **shape)
    models = [("tiny", str(folder / "tiny"), options)]
    return Measurement("cpu", models, (16, 64), (1, 2), iterations=2, warmup=1, limit=8, tests=["tests/runtimes"])


def measure(wanted: Measurement, model: tuple[str, str, list[str]], precision: str, folder: Path) -> Measured:
    """Export, build and bench one model in one precision."""
    name, source, options = model
    bundle = folder / f"{name}-{precision}"
    if precision == "int8":
        options = [*options, "--precision", "int8", "--int8-form", "tensorrt"]
    else:
        options = [word for word in options if "rows.jsonl" not in word and word != "--calibration-data"]
        options += ["--precision", precision]
    by_budget = "--keep" in options
    found = Measured(name, precision)
    lengths, largest = list(wanted.lengths), max(wanted.batch_sizes)
    tokens = [lengths, *([int(budget(np.array([n]), r)[0]) for n in lengths] for r in KEEP)]
    buckets = "/".join(",".join(map(str, one)) for one in tokens)
    bench = [
        "bench",
        bundle,
        "--device",
        wanted.device,
        "--beside",
        ",".join(BESIDE),
        "--iterations",
        wanted.iterations,
    ]
    for verb in (
        ["export", source, "--out", bundle, "--with-dense", "--force", *options],
        ["build", bundle, "--max-batch", largest, "--json", *(["--buckets", buckets] if by_budget else [])],
        [
            *bench,
            *("--iterations", wanted.iterations, "--warmup", wanted.warmup, "--limit", wanted.limit, "--json"),
            *("--length", ",".join(map(str, wanted.lengths))),
            *("--batch-size", ",".join(map(str, wanted.batch_sizes))),
            *(["--replay-selection"] if precision != "fp32" else []),
        ],
    ):
        # fp32 means fp32: ONNX Runtime's TensorRT providers have no other switch.
        found.steps.append(run(["trbert_deploy", *verb], folder, **{TF32_SWITCH: "0"}))
        if found.steps[-1].exit_code and verb[0] == "export":
            break
    return found


# -- everything in one go -----------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run everything, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without .json and .md")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny models and shapes")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--work", type=Path, help="folder to keep bundles and engines in")
    options = parser.parse_args(arguments)

    out = options.out.resolve()
    here = environment()
    if find_gpu() is None and not options.dry_run:
        parser.error("there is no GPU here, or no NVIDIA driver; --dry-run goes the same way on the CPU")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wanted = (dry_measurement if options.dry_run else full_measurement)(folder)
        tests = run_tests(wanted.tests, folder)
        measured = [
            measure(wanted, model, precision, folder) for model in wanted.models for precision in options.precisions
        ]
    document = {
        "schema_version": "2.0",
        "benchmark": "gpu",
        "dry_run": options.dry_run,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": here,
        "wanted": dataclasses.asdict(wanted),
        "missing": missing_from(measured, tests, here),
        "tests": tests,
        "results": [dataclasses.asdict(one) for one in measured],
    }
    contents = {".json": json.dumps(document, indent=2) + "\n", ".md": markdown(document, measured)}
    for suffix, content in contents.items():
        with whole_file(out.with_name(out.name + suffix)) as partial:
            partial.write_text(content, encoding="utf-8")
    for line in document["missing"]:
        print(f"missing: {line}", file=sys.stderr)
    print(f"{out}.json and {out}.md", file=sys.stderr)
    failed = any(step.exit_code for one in measured for step in one.steps)
    return 1 if failed or (document["missing"] and not options.dry_run) else 0


if __name__ == "__main__":
    sys.exit(main())
