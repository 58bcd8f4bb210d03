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
import dataclasses
import functools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
from rivals import at_random, by_attention, equal_cost_length
from wall_clock import SAMPLE, SEED, WARMUP, Timing, measure_wall_clock

from trbert_deploy.checkpoint import Checkpoint, load_checkpoint, load_tokenizer
from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.core.selection import Selection
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.runtimes.onnxruntime.pool import share_threads
from trbert_deploy.training.batches import TokenizedExamples

BUDGETS = ((0.5, 0.25), (0.4, 0.15), (0.3, 0.1), (0.2, 0.07))
_OWN = "policy's means"
_RANDOM_SEEDS = (0, 1, 2)


def model_lines(
    evaluations: Evaluations, teacher: TRBertPreTrainedModel, model: TRBertPreTrainedModel, rows: TokenizedExamples
) -> tuple[list[Line], dict[str, Sequence[float]]]:
    """The teacher, the model in policy mode and in budget mode.

    Returns:
        The lines in this order, and the budgets by their lines' names; the last one is the policy's own.
    """
    lines = [line_of(evaluations, TEACHER, [teacher], rows), line_of(evaluations, POLICY, [model], rows)]
    budgets: dict[str, Sequence[float]] = {budget_name(keep): keep for keep in BUDGETS}
    own = lines[-1].kept
    budgets[f"TR-BERT, budget {listed(own, '.3f')} ({_OWN})"] = own
    return lines + [line_of(evaluations, name, [model], rows, keep) for name, keep in budgets.items()], budgets


def rival_lines(
    evaluations: Evaluations,
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
        lines.append(line_of(evaluations, f"{name} attention", [by_attention(weights, layers)], rows, keep))
        draws = [at_random(weights, layers, seed) for seed in _RANDOM_SEEDS]
        lines.append(line_of(evaluations, f"{name} chance", draws, rows, keep))
    return lines


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
                listed([100 * fraction for fraction in line.kept], ".1f"),
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
{facts["cpu"]}: the teacher's median over the line's, on rows drawn at random, which every backend groups by length;
backends interleaved in one process, tokenization not counted; rounds: {rounds}. Attention and chance have no graphs of
their own to time: with as many tokens kept the same reducing graphs would run, only the scores would come from
elsewhere."""
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
    add_options(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of the TR-BERT checkpoint")
    options = parser.parse_args()

    share_threads(options.threads)  # before the export's own checks size the pool
    torch.set_num_threads(options.threads)
    teacher, model = load_models(options.teacher, options.model)
    config = model.model.config
    examples = read_labelled(options.data, config.label_names, options.limit)
    tokenize: Callable[[int], TokenizedExamples] = functools.partial(
        TokenizedExamples, examples, load_tokenizer(model.folder)
    )
    rows = tokenize(config.backbone.max_position_embeddings)

    evaluations = Evaluations(options.evaluations)
    lines, budgets = model_lines(evaluations, teacher.model, model.model, rows)
    policy = lines[1]
    length = equal_cost_length(lines[0].evaluations[0].costs, rows.lengths, policy.flops)
    cut = tokenize(length)
    lines.append(cut_line(evaluations, teacher.model, length, cut, rows))
    cut_name = lines[-1].name
    lines += rival_lines(evaluations, teacher.model, model.model, rows, policy.kept)
    timings = measure_wall_clock(teacher, model, budgets, cut_name, rows, cut, options.threads)

    document = {
        "benchmark": "trained_model",
        "config": {name: getattr(value, "name", value) for name, value in vars(options).items()}
        | {"rows": len(rows), "sample": min(SAMPLE, len(rows)), "warmup": WARMUP, "seed": SEED},
        "environment": environment(),
        "results": as_json(lines, timings),
    }
    write_results(options, markdown(lines, timings, options.threads), document)


if __name__ == "__main__":
    main()
