"""Evaluations of models on labelled rows, kept from run to run, and what is compared of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples, read_examples
from trbert_deploy.training.evaluation import Evaluation, evaluate

TEACHER, POLICY = "dense teacher", "TR-BERT, policy"


@dataclass(frozen=True)
class Difference:
    """Of two accuracies on the same rows, in points, with its standard error."""

    points: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.points:+.2f} ± {self.standard_error:.2f}"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        name: what was evaluated.
        evaluations: of it on all rows; of a random ranking one for each seed.
        kept: mean fractions of a text's tokens, after each reduction; of a cut text, what was read.
    """

    name: str
    evaluations: list[Evaluation]
    kept: list[float]

    @property
    def accuracies(self) -> list[float]:
        """Percent, one for each evaluation."""
        return [evaluation.accuracy for evaluation in self.evaluations]

    @property
    def flops(self) -> float:
        """Exact FLOPs of a row, on average."""
        return float(np.mean([evaluation.flops for evaluation in self.evaluations]))

    def minus(self, other: Line) -> Difference:
        """How much more accurate it is than another."""
        points = 100 * (self._right() - other._right())
        return Difference(float(points.mean()), float(points.std(ddof=1) / np.sqrt(len(points))))

    def _right(self) -> npt.NDArray[np.float64]:
        """For each row the fraction of evaluations that were right."""
        right = [evaluation.right for evaluation in self.evaluations]
        mean: npt.NDArray[np.float64] = np.mean(right, axis=0)
        return mean


@dataclass(frozen=True)
class Evaluations:
    """Evaluates models, or reads what a run before this one found.

    Attributes:
        folder: where it is kept; None keeps nothing.
    """

    folder: Path | None = None

    def evaluate(
        self, name: str, model: TRBertPreTrainedModel, rows: TokenizedExamples, keep: Sequence[float]
    ) -> Evaluation:
        """See `trbert_deploy.training.evaluation.evaluate`; the name tells apart what has the same weights."""
        if self.folder is None:
            return evaluate(model, rows, keep=keep)
        file = self.folder / f"{_fingerprint(name, model, rows, keep)}.npz"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            evaluation = evaluate(model, rows, keep=keep)
            with whole_file(file) as partial, partial.open("wb") as stream:
                np.savez(stream, predicted=evaluation.predicted, kept=evaluation.kept, **evaluation.outputs)
        with np.load(file) as arrays:
            outputs = {output.name: arrays[output.name] for output in model.spec.outputs}
            return Evaluation(outputs, arrays["predicted"], arrays["kept"], rows.labels, rows.lengths, model.costs)


def _fingerprint(name: str, model: TRBertPreTrainedModel, rows: TokenizedExamples, keep: Sequence[float]) -> str:
    """Of everything that an evaluation depends on."""
    digest = hashlib.sha256(json.dumps([name, list(keep), len(rows), model.config.reduction_layers]).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for batch in rows.in_order(len(rows)):
        digest.update(batch.input_ids.numpy().tobytes())
    return digest.hexdigest()[:16]


def line_of(
    evaluations: Evaluations,
    name: str,
    models: Sequence[TRBertPreTrainedModel],
    rows: TokenizedExamples,
    keep: Sequence[float] = (),
    kept: list[float] | None = None,
) -> Line:
    """Run all rows through a model, or through several that one line is the mean of.

    Args:
        evaluations: where they come from.
        name: of the line.
        models: most often one.
        rows: labelled.
        keep: budget fractions, none for policy mode.
        kept: the line's; by default what the reductions kept.
    """
    start = time.perf_counter()
    progress(f"{name}: {len(rows)} rows")
    found = [evaluations.evaluate(f"{name}, {number}", model, rows, list(keep)) for number, model in enumerate(models)]
    if kept is None:
        kept = [float(mean) for mean in np.mean([evaluation.kept_fractions for evaluation in found], axis=0)]
    line = Line(name, found, kept)
    progress(f"{name}: {np.mean(line.accuracies):.2f} %, {time.perf_counter() - start:.0f} s")
    return line


def cut_line(
    evaluations: Evaluations,
    teacher: TRBertPreTrainedModel,
    length: int,
    cut: TokenizedExamples,
    rows: TokenizedExamples,
) -> Line:
    """The teacher on rows cut to `length` tokens."""
    read = float(np.mean(cut.lengths / rows.lengths))
    return line_of(evaluations, f"dense teacher, texts cut to {length} tokens", [teacher], cut, kept=[read])


def budget_name(keep: Sequence[float]) -> str:
    """The line's of a model under a budget; kept evaluations are found again by it."""
    return f"TR-BERT, budget {listed(keep, 'g')}"


def listed(numbers: Sequence[float], form: str) -> str:
    """Numbers in a row."""
    return ", ".join(format(number, form) for number in numbers)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the scripts that compare with a teacher take alike."""
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the dense checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="labelled rows: JSON lines, CSV or parquet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="so many rows at most, to try it out")
    parser.add_argument("--evaluations", type=Path, help="folder to keep them in: a run that is repeated goes on there")
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    parser.add_argument("--markdown", type=Path, help="file for the table")


def read_labelled(file: Path, names: Sequence[str] | None, limit: int | None) -> Examples:
    """The first rows of a labelled file, `limit` at most; see `trbert_deploy.training.data.read_examples`."""
    examples = read_examples(file, names)
    return examples.take(np.arange(len(examples))[:limit])


def write_results(options: argparse.Namespace, text: str, document: dict[str, Any]) -> None:
    """Print the table, and write what `--markdown` and `--json` of `add_options` ask for."""
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def progress(line: str) -> None:
    """On stderr, at once."""
    print(line, file=sys.stderr, flush=True)
