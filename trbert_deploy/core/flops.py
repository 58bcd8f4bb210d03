"""How many floating-point operations a row costs: by upstream's formula, and exactly.

Both count matrix products only, at two operations a multiply-accumulate. Normalisation, softmax, activations,
biases and the gathering of tokens are not counted; neither are embedding lookups, which multiply nothing.
Padding is not counted: a row costs what it would cost alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from trbert_deploy.bundle.manifest import Manifest
from trbert_deploy.tasks import (
    HOTPOT,
    MULTIPLE_CHOICE,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    WIKIHOP,
    Task,
)

_HOTPOT_ANSWER_TYPES = 3


@dataclass(frozen=True)
class ModelShape:
    """What the cost of a model depends on.

    Attributes:
        task: decides the head.
        num_layers: L.
        hidden_size: H.
        intermediate_size: I, of the feed-forward layers.
        selector_size: S, of a selector's hidden layer.
        num_labels: outputs of the classifier; unused where the task fixes them.
        reduction_layers: layers before which tokens are dropped.
    """

    task: Task
    num_layers: int
    hidden_size: int
    intermediate_size: int
    selector_size: int
    num_labels: int
    reduction_layers: tuple[int, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> ModelShape:
        """The shape of a bundle's model."""
        model = manifest.model
        return cls(
            manifest.task_facts,
            model.num_layers,
            model.hidden_size,
            model.intermediate_size,
            model.selector_size,
            len(model.labels),
            tuple(manifest.reduction_layers),
        )


@dataclass(frozen=True)
class RowTokens:
    """What the cost of a row depends on.

    Attributes:
        length: real tokens.
        kept: tokens after each reduction; empty for the dense model.
        sequences: options in multiple choice, else 1.
        items: sentences (HotpotQA) or candidates (WikiHop) that the head scores.
    """

    length: int
    kept: tuple[int, ...] = ()
    sequences: int = 1
    items: int = 0

    @property
    def dense(self) -> RowTokens:
        """The same row without reduction."""
        return RowTokens(self.length, (), self.sequences, self.items)


def layer_macs(shape: ModelShape, tokens: int) -> int:
    """Multiply-accumulates of one layer: 4 H^2 n + 2 H I n (products with weights) + 2 H n^2 (attention).

    With I = 4 H this is upstream's macs_list.json.
    """
    hidden = shape.hidden_size
    return tokens * (4 * hidden * hidden + 2 * hidden * shape.intermediate_size + 2 * hidden * tokens)


def upstream_flops(shape: ModelShape, row: RowTokens) -> int:
    """FLOPs as upstream counts them.

    Selectors are charged at the length they KEEP, the classifier once a row, the pooler not at all (in
    multiple choice: once an option, as run_mcrace.py does). Where upstream's loop loses a layer (odd L), all
    of them are counted here.

    Source: `evaluate` in upstream's run_classification.py, run_mrqa.py, run_hotpot.py and run_mcrace.py.
    """
    hidden = shape.hidden_size
    macs = sum(layer_macs(shape, tokens) for tokens in _tokens_of_layers(shape, row))
    macs += sum(kept * _selector_macs_a_token(shape) for kept in row.kept)
    if shape.task is MULTIPLE_CHOICE:
        macs += hidden * hidden + hidden
    else:
        macs += hidden * {SEQUENCE_CLASSIFICATION: shape.num_labels, WIKIHOP: 1}.get(shape.task, 2)
    return 2 * row.sequences * macs


def exact_flops(shape: ModelShape, row: RowTokens) -> int:
    """FLOPs of every matrix product that the model runs for the row.

    Selectors are charged at the length they READ, and the whole head is counted.
    """
    macs = sum(layer_macs(shape, tokens) for tokens in _tokens_of_layers(shape, row))
    reads = (row.length, *row.kept)[: len(row.kept)]
    macs += sum(tokens * _selector_macs_a_token(shape) for tokens in reads)
    return 2 * row.sequences * (macs + _head_macs(shape, row))


def _tokens_of_layers(shape: ModelShape, row: RowTokens) -> list[int]:
    """How many tokens each layer sees."""
    tokens = [row.length] * shape.num_layers
    for layer, kept in zip(shape.reduction_layers, row.kept, strict=bool(row.kept)):
        tokens[layer:] = [kept] * (shape.num_layers - layer)
    return tokens


def _selector_macs_a_token(shape: ModelShape) -> int:
    return shape.hidden_size * shape.selector_size + shape.selector_size


def _head_macs(shape: ModelShape, row: RowTokens) -> int:
    """Of one sequence; heads over tokens see all of them, because skipped ones are put back."""
    hidden = shape.hidden_size
    if shape.task is MULTIPLE_CHOICE:
        return hidden * hidden + hidden
    if shape.task is QUESTION_ANSWERING:
        return row.length * hidden * 2
    if shape.task is HOTPOT:
        span = row.length * hidden * 2 + hidden * _HOTPOT_ANSWER_TYPES
        return span + row.items * (2 * hidden * hidden + hidden * 2)
    if shape.task is WIKIHOP:
        return row.items * hidden
    if shape.task is SEQUENCE_CLASSIFICATION:
        return hidden * hidden + hidden * shape.num_labels
    return row.length * hidden * shape.num_labels  # token classification
