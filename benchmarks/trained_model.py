r"""What a trained model is worth: accuracy, FLOPs and wall clock beside its teacher and beside rivals of equal cost.

TEACHER and MODEL are checkpoints that a training left behind, DATA is labelled rows that it has not seen. Run it on an
idle machine:

    python benchmarks/trained_model.py --teacher RUN/teacher --model RUN/alpha-1/model --data DATA.jsonl.xz \
        --threads 2 --json trained_model.json --markdown trained_model.md

The rivals cost about what the model costs in policy mode. What each of them shows:

- The teacher on texts cut to the length at which its FLOPs are the model's: whether the model beats simply reading
  less of the text.
- The model's own weights under a budget of the mean fractions that its policy keeps, tokens ranked by the attention
  they receive (PoWER-BERT's score: the sum over heads and queries in the layer just before the reduction) or by chance:
  what the learned selectors are worth, everything else being equal. Their own ranking under that budget stands among
  the budgets.
- The same rankings on the teacher's weights: what can be had without training a model to lose tokens.

Accuracies are the PyTorch reference's, float32. The standard error of a difference is that of the paired rows' own
differences; a difference of less than two of them may be chance.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import hashlib
import json
import sys
import tempfile
import textwrap
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, data_workload
from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.bundle.manifest import SelectionFacts
from trbert_deploy.checkpoint import Checkpoint, load_checkpoint, load_tokenizer
from trbert_deploy.engine import Engine, load
from trbert_deploy.environment import environment
from trbert_deploy.errors import CheckpointError
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.flops import ModelShape, RowTokens, exact_flops
from trbert_deploy.model import TRBertForSequenceClassification, TRBertPreTrainedModel
from trbert_deploy.runtimes.onnxrt import share_threads
from trbert_deploy.selection import Selection
from trbert_deploy.tables import markdown_table
from trbert_deploy.training.data import TokenizedExamples, read_examples
from trbert_deploy.training.evaluation import Evaluation, evaluate, shape_of

BUDGETS = ((0.5, 0.25), (0.4, 0.15), (0.3, 0.1), (0.2, 0.07))
SAMPLE = 256  # rows that are timed
PASSES = {1: 1, 32: 3}  # batch size: how often the sample is gone through
TEACHER, POLICY = "dense teacher", "TR-BERT, policy"
_OWN = "policy's means"
_WARMUP = 3
_SEED = 2021
_RANDOM_SEEDS = (0, 1, 2)
_SHORTEST_CUT = 3  # [CLS], a piece, [SEP]


# -- rankings that were not learned -------------------------------------------------------------------------------


def attention_received(layer: nn.Module, states: Tensor, mask: Tensor) -> Tensor:
    """PoWER-BERT's significance score (Goyal et al., ICML 2020, section 3.2).

    Args:
        layer: a `BertLayer` or DistilBERT's `TransformerBlock`.
        states: what the layer reads, [B, M, H].
        mask: bool [B, M], real tokens.

    Returns:
        float32 [B, M]: the attention probabilities a token receives, summed over heads and over the real queries.
    """
    attention: Any = layer.attention
    if isinstance(layer, BertLayer):
        attention = attention.self
        query, key, heads = attention.query, attention.key, attention.num_attention_heads
    else:
        query, key, heads = attention.q_lin, attention.k_lin, attention.n_heads
    asked, offered = (
        projection(states).unflatten(-1, (heads, -1)).transpose(1, 2) for projection in (query, key)
    )
    scores = asked @ offered.transpose(2, 3) * asked.shape[-1] ** -0.5
    probabilities = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
    received: Tensor = (probabilities * mask[:, None, :, None]).sum((1, 2))
    return received


class AttentionScores(nn.Module):
    """In a selector's place: gives out the scores that `AttentionRanked` left here."""

    received: Tensor

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float32 [B, M]."""
        return self.received


class RandomScores(nn.Module):
    """In a selector's place: a number for every token, drawn anew at each call."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float32 [B, M]."""
        return torch.rand(hidden_states.shape[:-1], generator=self._generator)


class AttentionRanked(TRBertForSequenceClassification):
    """A classifier whose one selector, shared by its reductions, is `AttentionScores`."""

    def run_layers(self, first: int, end: int, states: Tensor, mask: Tensor) -> Tensor:
        """As ever; but where a reduction follows, the last layer's attention is kept for it."""
        if end < len(self.encoder_layers):
            states = super().run_layers(first, end - 1, states, mask)
            self.selectors[0].received = attention_received(self.encoder_layers[end - 1], states, mask)
            first = end - 1
        return super().run_layers(first, end, states, mask)


def by_attention(weights: TRBertPreTrainedModel, layers: Sequence[int]) -> TRBertPreTrainedModel:
    """A model that shares these weights and keeps, before these layers, what receives the most attention."""
    return _ranked(AttentionRanked, weights, layers, AttentionScores())


def at_random(weights: TRBertPreTrainedModel, layers: Sequence[int], seed: int) -> TRBertPreTrainedModel:
    """A model that shares these weights and keeps, before these layers, tokens drawn at random."""
    return _ranked(TRBertForSequenceClassification, weights, layers, RandomScores(seed))


def _ranked(
    model_class: type[TRBertForSequenceClassification],
    weights: TRBertPreTrainedModel,
    layers: Sequence[int],
    scores: nn.Module,
) -> TRBertPreTrainedModel:
    config = copy.copy(weights.config)
    config.reduction_layers, config.keep = list(layers), None
    with torch.device("meta"):  # its own weights are never used
        model = model_class(config)
    model.backbone, model.head = weights.backbone, weights.head
    model.selectors = nn.ModuleList([scores] * len(layers))
    model.config.selector_size = 0  # nothing is multiplied for these scores, so no FLOPs are charged
    model.eval()
    return model


def equal_cost_length(shape: ModelShape, lengths: npt.NDArray[np.int64], flops: float) -> int:
    """The smallest length to cut rows to at which a dense model spends, on average, no fewer FLOPs than given.

    Args:
        shape: of the dense model.
        lengths: int64 [rows], tokens of the rows as they are.
        flops: exact, of a row on average. Where whole rows cost less, nothing is cut.
    """

    def cost(length: int) -> float:
        values, counts = np.unique(np.minimum(lengths, length), return_counts=True)
        return float(np.average([exact_flops(shape, RowTokens(int(value))) for value in values], weights=counts))

    longest = int(lengths.max())
    return bisect_left(range(longest), flops, lo=min(_SHORTEST_CUT, longest), key=cost)


# -- accuracy and FLOPs -------------------------------------------------------------------------------------------


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
        name: what answered.
        evaluations: its answers to all rows; of a random ranking one for each seed.
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
        right = [evaluation.logits.argmax(-1) == evaluation.labels for evaluation in self.evaluations]
        mean: npt.NDArray[np.float64] = np.mean(right, axis=0)
        return mean


@dataclass(frozen=True)
class Answers:
    """Answers rows, or reads what a run before this one answered.

    Attributes:
        folder: where answers are kept; None keeps none.
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
                np.savez(stream, logits=evaluation.logits, kept=evaluation.kept)
        with np.load(file) as arrays:
            return Evaluation(arrays["logits"], arrays["kept"], rows.labels, rows.lengths, shape_of(model))


def _fingerprint(
    name: str, model: TRBertPreTrainedModel, rows: TokenizedExamples, keep: Sequence[float]
) -> str:
    """Of everything that the answers depend on."""
    digest = hashlib.sha256(json.dumps([name, list(keep), len(rows), model.config.reduction_layers]).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for batch in rows.in_order(len(rows)):
        digest.update(batch.input_ids.numpy().tobytes())
    return digest.hexdigest()[:16]


def answer(
    answers: Answers,
    name: str,
    models: Sequence[TRBertPreTrainedModel],
    rows: TokenizedExamples,
    keep: Sequence[float] = (),
    kept: list[float] | None = None,
) -> Line:
    """Run all rows through a model, or through several that one line is the mean of.

    Args:
        answers: where they come from.
        name: of the line.
        models: most often one.
        rows: labelled.
        keep: budget fractions, none for policy mode.
        kept: the line's; by default what the reductions kept.
    """
    start = time.perf_counter()
    _progress(f"{name}: answering {len(rows)} rows")
    evaluations = [
        answers.evaluate(f"{name}, {number}", model, rows, list(keep)) for number, model in enumerate(models)
    ]
    if kept is None:
        kept = [float(mean) for mean in np.mean([evaluation.kept_fractions for evaluation in evaluations], axis=0)]
    line = Line(name, evaluations, kept)
    _progress(f"{name}: {np.mean(line.accuracies):.2f} %, {time.perf_counter() - start:.0f} s")
    return line


def model_lines(
    answers: Answers, teacher: TRBertPreTrainedModel, model: TRBertPreTrainedModel, rows: TokenizedExamples
) -> tuple[list[Line], dict[str, Sequence[float]]]:
    """The teacher, the model in policy mode and in budget mode.

    Returns:
        The lines in this order, and the budgets by their lines' names; the last one is the policy's own.
    """
    lines = [answer(answers, TEACHER, [teacher], rows), answer(answers, POLICY, [model], rows)]
    budgets: dict[str, Sequence[float]] = {f"TR-BERT, budget {_listed(keep, 'g')}": keep for keep in BUDGETS}
    own = lines[-1].kept
    budgets[f"TR-BERT, budget {_listed(own, '.3f')} ({_OWN})"] = own
    return lines + [answer(answers, name, [model], rows, keep) for name, keep in budgets.items()], budgets


def rival_lines(
    answers: Answers,
    teacher: TRBertPreTrainedModel,
    model: TRBertPreTrainedModel,
    rows: TokenizedExamples,
    keep: Sequence[float],
) -> list[Line]:
    """Rankings that were not learned, on the weights of model and teacher, at the model's budget."""
    layers = model.config.reduction_layers
    lines = []
    for owner, weights in (("TR-BERT", model), ("teacher", teacher)):
        name = f"{owner}'s weights, {_OWN}, ranked by"
        lines.append(answer(answers, f"{name} attention", [by_attention(weights, layers)], rows, keep))
        draws = [at_random(weights, layers, seed) for seed in _RANDOM_SEEDS]
        lines.append(answer(answers, f"{name} chance", draws, rows, keep))
    return lines


def cut_line(
    answers: Answers, teacher: TRBertPreTrainedModel, length: int, cut: TokenizedExamples, rows: TokenizedExamples
) -> Line:
    """The teacher on rows cut to `length` tokens."""
    read = float(np.mean(cut.lengths / rows.lengths))
    return answer(answers, f"dense teacher, texts cut to {length} tokens", [teacher], cut, kept=[read])


# -- wall clock ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """What is timed: an engine, on its form of the sampled rows."""

    engine: Engine
    sample: Dataset


@dataclass(frozen=True)
class Timing:
    """One batch size.

    Attributes:
        batch_size: rows of a batch.
        rows: of all rounds together.
        tokens: of these rows, uncut.
        samples_ms: by line, one a round.
    """

    batch_size: int
    rows: int
    tokens: int
    samples_ms: dict[str, list[float]]

    def ratio(self, name: str) -> float | None:
        """The teacher's median over a line's; None where the line was not timed."""
        if name not in self.samples_ms:
            return None
        return speed_up(TEACHER, self.samples_ms[TEACHER], self.samples_ms[name]).of_medians

    def as_json(self, name: str) -> dict[str, Any] | None:
        """Everything about a line; None where it was not timed."""
        if name not in self.samples_ms:
            return None
        samples = self.samples_ms[name]
        return {
            "batch_size": self.batch_size,
            "speed_up": dataclasses.asdict(speed_up(TEACHER, self.samples_ms[TEACHER], samples)),
            "latency": dataclasses.asdict(latency(samples, self.rows, self.tokens)),
        }


def with_budget(bundle: Bundle, keep: Sequence[float]) -> Bundle:
    """The same bundle under another budget: its stages are told how many tokens to keep, so they are the same graphs.

    Its fused graph is not: it has the fractions inside.
    """
    kept = list(Selection.of(keep, len(bundle.manifest.reduction_layers)).keep)
    selection = SelectionFacts(mode="budget", keep=kept)
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"selection": selection}))


def measure_wall_clock(
    teacher: Checkpoint,
    model: Checkpoint,
    budgets: Mapping[str, Sequence[float]],
    cut_name: str,
    rows: TokenizedExamples,
    cut: TokenizedExamples,
    threads: int,
) -> list[Timing]:
    """Export, and time every line that is a bundle, for each batch size of `PASSES`."""
    drawn = np.random.default_rng(_SEED).permutation(len(rows))[:SAMPLE]
    sample, cut_sample = _dataset(rows, drawn), _dataset(cut, drawn)
    own = list(budgets.values())[-1]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:

        def engine(bundle: Bundle) -> Engine:
            return stack.enter_context(load(bundle, threads=threads))

        def export(checkpoint: Checkpoint, folder: str, keep: Sequence[float]) -> Bundle:
            report = functools.partial(_report_export, folder)
            return export_bundle(
                checkpoint, Path(temporary) / folder, keep=keep, with_reference=False, progress=report
            )

        by_budget = export(model, "budget", own)
        teacher_engine = engine(export(teacher, "teacher", []))
        arms = {TEACHER: Arm(teacher_engine, sample), POLICY: Arm(engine(export(model, "policy", [])), sample)}
        arms |= {name: Arm(engine(with_budget(by_budget, keep)), sample) for name, keep in budgets.items()}
        arms[cut_name] = Arm(teacher_engine, cut_sample)
        return [time_arms(arms, batch_size, passes) for batch_size, passes in PASSES.items()]


def time_arms(arms: Mapping[str, Arm], batch_size: int, passes: int) -> Timing:
    """Go through the sample in batches, all arms interleaved."""
    workload = data_workload(arms[TEACHER].sample, batch_size, SAMPLE, _SEED)
    size = len(workload.batches)
    batches: dict[str, list[dict[str, Any]]] = {
        name: [arm.sample.batch(rows) for rows in workload.batches] for name, arm in arms.items()
    }

    def call(name: str, number: int) -> object:
        return arms[name].engine.run(**batches[name][number % size])

    _progress(f"timing {workload.name}: {passes * size} rounds of {len(arms)} arms")
    samples = interleave(
        {name: functools.partial(call, name) for name in arms}, iterations=passes * size, warmup=_WARMUP
    )
    timed = np.concatenate(workload.batches * passes)
    return Timing(batch_size, len(timed), int(workload.dataset.lengths[timed].sum()), samples)


def _dataset(rows: TokenizedExamples, drawn: npt.NDArray[np.int64]) -> Dataset:
    inputs = {name: tensor.numpy() for name, tensor in rows.batch(drawn).inputs.items()}
    return Dataset(f"{len(drawn)} rows drawn at random", inputs)


# -- the table ----------------------------------------------------------------------------------------------------


def table(lines: Sequence[Line], timings: Sequence[Timing]) -> list[list[str]]:
    """Header and rows, as text; the first line is the teacher, the second the model in policy mode."""
    teacher, policy = lines[:2]
    header = ["", "accuracy, %", "to the teacher, points", "to the policy, points", "FLOPs saved, x (exact)"]
    header += ["tokens kept, %", *(f"wall clock, batch {timing.batch_size}, x" for timing in timings)]
    body = []
    for line in lines:
        ratios = [timing.ratio(line.name) for timing in timings]
        body.append(
            [
                line.name,
                _accuracy(line.accuracies),
                "" if line is teacher else str(line.minus(teacher)),
                "" if line in (teacher, policy) else str(line.minus(policy)),
                f"{teacher.flops / line.flops:.2f}",
                _listed([100 * fraction for fraction in line.kept], ".1f"),
                *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            ]
        )
    return [header, *body]


def markdown(lines: Sequence[Line], timings: Sequence[Timing], threads: int) -> str:
    """The table and how it was made."""
    header, *body = table(lines, timings)
    rows, facts = len(lines[0].evaluations[0].labels), environment()
    rounds = ", ".join(f"{len(timing.samples_ms[TEACHER])} of batch {timing.batch_size}" for timing in timings)
    method = f"""\
Method: accuracy of {rows} rows under the PyTorch reference, float32; differences with their standard error, rows
paired; for chance the mean of {len(_RANDOM_SEEDS)} seeds, the lowest and the highest in brackets.
{_OWN.capitalize()}: a budget of the mean fractions that the policy keeps. FLOPs of all matrix products over the rows'
real lengths, the teacher's over the line's. Wall clock under ONNX Runtime {facts["onnxruntime"]}, threads: {threads},
{facts["cpu"]}: the teacher's median over the line's, on rows drawn at random, which every arm groups by length; arms
interleaved in one process, tokenization not counted; rounds: {rounds}. Attention and chance have no graphs of their own
to time: with as many tokens kept the same reducing graphs would run, only the scores would come from elsewhere."""
    return f"{markdown_table(header, body)}\n\n{textwrap.fill(' '.join(method.split()), 120)}\n"


def as_json(lines: Sequence[Line], timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Everything about every line."""
    teacher, policy = lines[:2]
    return [
        {
            "name": line.name,
            "accuracy": float(np.mean(line.accuracies)),
            "accuracies": line.accuracies,
            "to_teacher": dataclasses.asdict(line.minus(teacher)),
            "to_policy": dataclasses.asdict(line.minus(policy)),
            "kept_fractions": line.kept,
            "flops": line.flops,
            "flops_ratio": teacher.flops / line.flops,
            "wall_clock": [timed for timing in timings if (timed := timing.as_json(line.name))],
        }
        for line in lines
    ]


def _accuracy(accuracies: Sequence[float]) -> str:
    mean = f"{np.mean(accuracies):.2f}"
    return mean if len(accuracies) == 1 else f"{mean} ({min(accuracies):.2f} to {max(accuracies):.2f})"


def _listed(numbers: Sequence[float], form: str) -> str:
    return ", ".join(format(number, form) for number in numbers)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report_export(name: str, line: str) -> None:
    _progress(f"exporting {name}: {line}")


# -- the command --------------------------------------------------------------------------------------------------


def load_models(teacher: Path, model: Path) -> tuple[Checkpoint, Checkpoint]:
    """Both checkpoints.

    Raises:
        CheckpointError: the teacher reduces tokens, or the model does so before it has attended.
        InputError: the model has another number of reductions than `BUDGETS` are for.
    """
    dense, reducing = load_checkpoint(teacher), load_checkpoint(model)
    if dense.has_selectors:
        raise CheckpointError(f"{teacher} is no teacher: it drops tokens")
    layers = reducing.model.config.reduction_layers
    for keep in BUDGETS:
        Selection.of(keep, len(layers))
    if layers[0] == 0:
        raise CheckpointError(f"{model} drops tokens before its first layer, where no attention could rank them")
    return dense, reducing


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the dense checkpoint")
    parser.add_argument("--model", type=Path, required=True, help="folder of the TR-BERT checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="labelled rows: JSON lines, CSV or parquet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="so many rows at most, to try it out")
    parser.add_argument("--answers", type=Path, help="folder to keep answers in: a run that is repeated goes on there")
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    options = parser.parse_args()

    share_threads(options.threads)  # before the export's own checks size the pool
    torch.set_num_threads(options.threads)
    teacher, model = load_models(options.teacher, options.model)
    config = model.model.config
    examples = read_examples(options.data, config.label_names)
    examples = examples.take(np.arange(len(examples))[: options.limit])
    tokenize: Callable[[int], TokenizedExamples] = functools.partial(
        TokenizedExamples, examples, load_tokenizer(model.folder)
    )
    rows = tokenize(config.backbone.max_position_embeddings)

    answers = Answers(options.answers)
    lines, budgets = model_lines(answers, teacher.model, model.model, rows)
    policy = lines[1]
    length = equal_cost_length(lines[0].evaluations[0].shape, rows.lengths, policy.flops)
    cut = tokenize(length)
    lines.append(cut_line(answers, teacher.model, length, cut, rows))
    cut_name = lines[-1].name
    lines += rival_lines(answers, teacher.model, model.model, rows, policy.kept)
    timings = measure_wall_clock(teacher, model, budgets, cut_name, rows, cut, options.threads)

    text = markdown(lines, timings, options.threads)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        document = {
            "benchmark": "trained_model",
            "config": {name: getattr(value, "name", value) for name, value in vars(options).items()}
            | {"rows": len(rows), "sample": min(SAMPLE, len(rows)), "warmup": _WARMUP, "seed": _SEED},
            "environment": environment(),
            "results": as_json(lines, timings),
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
