"""Accuracy over FLOPs: models that save more or less, one of them under budgets, and the teacher on shorter texts.

TEACHER and the models are checkpoints that a training left behind, DATA is labelled rows that they have not seen:

    python benchmarks/trade_off.py --teacher RUN/teacher --models RUN/alpha-0.5/model RUN/alpha-1/model \
        --data DATA.jsonl.xz --plot trade_off.png --json trade_off.json --markdown trade_off.md

The first model is run under benchmarks/trained_model.py's budgets too. For each model the teacher reads the texts cut
to the length at which its FLOPs are that model's. With `--evaluations DIR` an interrupted run goes on, and what
trained_model.py has evaluated is not evaluated again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from evaluations import (
    POLICY,
    TEACHER,
    Evaluations,
    Line,
    add_options,
    budget_name,
    cut_line,
    line_of,
    listed,
    read_labelled,
    write_results,
)
from matplotlib.figure import Figure
from rivals import equal_cost_length
from trained_model import BUDGETS

from trbert_deploy.checkpoint import Checkpoint, load_checkpoint, load_tokenizer
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples


@dataclass(frozen=True)
class Series:
    """Points that are joined in the picture, each with what tells it from the others."""

    name: str
    points: list[tuple[str, Line]]


def measure(
    teacher: Checkpoint, models: dict[str, Checkpoint], examples: Examples, evaluations: Evaluations
) -> tuple[Line, list[Series]]:
    """The teacher's line, and the series beside it.

    Args:
        teacher: dense.
        models: reducing, by name; their tokenizer and length limit are one and the same.
        examples: labelled rows.
        evaluations: where lines come from.
    """
    first, *_ = models.values()
    tokenizer = load_tokenizer(first.folder)
    rows = TokenizedExamples(examples, tokenizer, first.model.config.backbone.max_position_embeddings)
    dense = line_of(evaluations, TEACHER, [teacher.model], rows)
    policy = [(name, line_of(evaluations, POLICY, [checkpoint.model], rows)) for name, checkpoint in models.items()]
    budget = [
        (listed(keep, "g"), line_of(evaluations, budget_name(keep), [first.model], rows, keep)) for keep in BUDGETS
    ]
    cut = []
    costs = dense.evaluations[0].costs
    for length in sorted({equal_cost_length(costs, rows.lengths, line.flops) for _, line in policy}):
        shorter = TokenizedExamples(examples, tokenizer, length)
        cut.append((f"{length} tokens", cut_line(evaluations, teacher.model, length, shorter, rows)))
    return dense, [
        Series("TR-BERT, policy", policy),
        Series(f"{next(iter(models))} under a budget", budget),
        Series("dense teacher on cut texts", cut),
    ]


def table(dense: Line, series: list[Series]) -> list[list[str]]:
    """Header and rows, as text; each series from the smallest saving to the largest."""
    lines = [["series", "point", "accuracy, %", "to the teacher, points", "FLOPs saved, x (exact)", "tokens kept, %"]]
    lines.append([TEACHER, "", f"{np.mean(dense.accuracies):.2f}", "", "1.00", ""])
    for one in series:
        for name, line in sorted(one.points, key=lambda point: -point[1].flops):
            kept = listed([100 * fraction for fraction in line.kept], ".1f")
            ratio, accuracy = f"{dense.flops / line.flops:.2f}", f"{np.mean(line.accuracies):.2f}"
            lines.append([one.name, name, accuracy, str(line.minus(dense)), ratio, kept])
    return lines


def plot(dense: Line, series: list[Series], file: Path) -> None:
    """Accuracy over the FLOPs ratio, a line a series."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(np.mean(dense.accuracies), linestyle="--", color="gray", label=TEACHER)
    for one in series:
        points = sorted((dense.flops / line.flops, float(np.mean(line.accuracies))) for _, line in one.points)
        axes.plot(*zip(*points, strict=True), marker="o", label=one.name)
    axes.set_xlabel("FLOPs saved, x (exact count)")
    axes.set_ylabel("accuracy, %")
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--models", nargs="+", required=True, metavar="[NAME=]FOLDER", help="TR-BERT checkpoints")
    parser.add_argument("--plot", type=Path, help="PNG for the picture")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    named = [given.rpartition("=") for given in options.models]
    models = {name or folder: load_checkpoint(Path(folder)) for name, _, folder in named}
    first, *_ = models.values()
    examples = read_labelled(options.data, first.model.config.label_names, options.limit)
    dense, series = measure(load_checkpoint(options.teacher), models, examples, Evaluations(options.evaluations))

    header, *body = table(dense, series)
    text = f"{markdown_table(header, body)}\n\n{len(examples)} rows, PyTorch reference, float32.\n"
    document = {
        "benchmark": "trade_off",
        "config": {"rows": len(examples), "models": list(models), "data": options.data.name},
        "environment": environment(),
        "results": [dict(zip(header, line, strict=True)) for line in body],
    }
    write_results(options, text, document)
    if options.plot:
        plot(dense, series, options.plot)


if __name__ == "__main__":
    main()
