"""What benchmarks/gpu.py ran, and what it reports of it: what is missing, and the results for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trbert_deploy.bench.stats import speed_up
from trbert_deploy.core.markdown import markdown_table


@dataclass
class Step:
    """A command that was run.

    Attributes:
        command: as to be typed in the repository's root.
        exit_code: 0 where it did well.
        seconds: that it took.
        printed: the JSON that it printed, if it did.
        errors: the end of what it said where it did not do well.
    """

    command: str
    exit_code: int
    seconds: float
    printed: dict[str, Any] | None
    errors: str


@dataclass
class Measured:
    """A model in a precision.

    Attributes:
        model: its name.
        precision: of its graphs.
        steps: the commands, in order.
    """

    model: str
    precision: str
    steps: list[Step] = field(default_factory=list)

    def printed(self, verb: str) -> dict[str, Any] | None:
        """What a verb printed, if it was run and did well."""
        return next((step.printed for step in self.steps if f"trbert_deploy {verb}" in step.command), None)


def missing_from(measured: Sequence[Measured], tests: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """What was not there, did not run or failed; empty where everything was measured."""
    found = []
    if environment["cuda_device"] == "none":
        found.append("there is no GPU: no NVIDIA driver, or none that it sees")
    if "CUDAExecutionProvider" not in environment["onnxruntime_providers"]:
        found.append("ONNX Runtime has no CUDAExecutionProvider: pip install 'trbert-deploy[gpu]' instead of [cpu]")
    if not tests["tests"]:
        found.append(f"no test marked gpu was run: {tests['command']}")
    for test in tests["tests"]:
        if test["outcome"] != "passed":
            found.append(f"test {test['name']} {test['outcome']}: {test['why'].strip().partition(chr(10))[0]}")
    for one in measured:
        what = f"{one.model}, {one.precision}"
        for step in one.steps:
            if step.exit_code:
                found.append(f"{what}: exit code {step.exit_code} of {step.command}: {step.errors.strip()[-300:]}")
        report = one.printed("bench")
        if report is None:
            found.append(f"{what}: nothing was measured")
            continue
        if "torch" not in report["backends"]:
            found.append(f"{what}: no PyTorch")
        found += [f"{what}: {note}" for note in report["notes"] if note.startswith("no backend")]
    return found


def summary(one: Measured) -> list[list[str]]:
    """A line for each workload and runtime: staged, dense under the same runtime, PyTorch, and what it costs."""
    report = one.printed("bench")
    if report is None:
        return []
    quality = report["quality"]
    percent = (quality["accuracy"] or {"percent": {}})["percent"]
    agreements = {next(iter(report["backends"])): quality["agreement"]} | quality["beside"]
    rows = []
    for workload in report["workloads"]:
        times = {name: latency["samples_ms"] for name, latency in workload["latencies"].items()}
        for backend in [name for name in times if name.endswith(" staged")]:
            own = times[backend]
            against = [times.get(name) for name in (backend.replace(" staged", " dense"), "torch", "torch dense")]
            agreement = agreements.get(backend)
            same = agreement["predictions_percent"] if agreement else None
            flips = [f"{like['flip_percent']:.2f}" for like in agreement["reductions"]] if agreement else []
            rows.append(
                [
                    f"{one.model}, {one.precision}, {workload['name']}",
                    backend.removesuffix(" staged"),
                    *(f"{value:.3f}" for value in np.percentile(own, [50, 99])),
                    *("-" if base is None else f"{speed_up('', base, own).of_medians:.2f}" for base in against),
                    f"{workload['flops']['exact_ratio']:.2f}",
                    f"{percent[backend]:.2f}" if backend in percent else "-",
                    f"{same:.2f}" if same is not None else "-",
                    ", ".join(flips) or "-",
                ]
            )
    return rows


def markdown(document: dict[str, Any], measured: Sequence[Measured]) -> str:
    """The results for people."""
    outcomes = [test["outcome"] for test in document["tests"]["tests"]]
    counted = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
    parts = ["# Measured on a GPU"]
    if document["dry_run"]:
        parts = ["# A dry run: it shows that the script works; no number in it means anything"]
    if document["missing"]:
        parts += ["## Missing or failed", "\n".join(f"- {line}" for line in document["missing"])]
    parts += ["## Tests marked gpu", f"{counted}: `{document['tests']['command']}`"]
    headers = ["model, precision, workload", "runtime", "p50, ms", "p99, ms", "faster than its dense, x"]
    headers += ["than PyTorch fp32, x", "than PyTorch fp32 dense, x", "FLOPs ratio, x", "accuracy, %"]
    headers += ["same predictions as PyTorch, %", "flips, %"]
    rows = [row for one in measured for row in summary(one)]
    reports = [one.printed("bench") for one in measured]
    methods = [report["method"] for report in reports if report]
    if rows:
        parts += ["## Latency", markdown_table(headers, rows)]
        parts.append(". ".join(f"{topic}: {text}" for topic, text in methods[0].items()) + ".")
    engines = [
        [
            f"{one.model}, {one.precision}, {engine['graph']}",
            f"{built['flavor']} {built['tensorrt']}",
            f"{engine['profiles']}",
            f"{engine['bytes'] / 2**20:.1f}",
            f"{engine['seconds']:.1f}",
        ]
        for one in measured
        if (built := one.printed("build"))
        for engine in built["engines"]
    ]
    if engines:
        parts += ["## Engines", markdown_table(["graph", "built by", "profiles", "MiB", "s"], engines)]
    commands = [step.command for one in measured for step in one.steps]
    parts += ["## Commands", "\n".join(f"    {command}" for command in commands)]
    facts = document["environment"].items()
    parts += ["## Environment", "\n".join(f"- {name}: {value}" for name, value in facts)]
    return "\n\n".join(parts) + "\n"
