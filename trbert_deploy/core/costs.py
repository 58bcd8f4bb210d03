"""How many floating-point operations a row costs: by upstream's formula, and exactly.

Both count matrix products only, at two operations a multiply-accumulate (MAC). Normalisation, softmax, activations,
biases and the gathering of tokens are not counted; neither are embedding lookups, which multiply nothing. Padding is
not counted: a row costs what it would cost alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat


@dataclass(frozen=True)
class LayerCost:
    """MACs of one layer.

    Attributes:
        query: for each token that goes through the layer.
        key: for each token that is attended to.
        pair: for each pair of the two.
    """

    query: int
    key: int
    pair: int

    def of(self, queries: int, keys: int) -> int:
        """For so many tokens."""
        return self.query * queries + self.key * keys + self.pair * queries * keys


@dataclass(frozen=True)
class HeadCost:
    """MACs of a head on one sequence, whose tokens it all sees: skipped ones are put back before.

    Attributes:
        row: whatever the row.
        token: for each token.
        entry: for each sentence or candidate that it scores.
        upstream: of a row as upstream counts it, without the pooler.
    """

    row: int = 0
    token: int = 0
    entry: int = 0
    upstream: int = 0


@dataclass(frozen=True)
class Costs:
    """What the operations of a model follow from.

    Attributes:
        layers: one for each layer.
        score: MACs of a reduction's score, for each token that it reads.
        head: see `HeadCost`.
        reduction_layers: before which tokens leave.
        attended: whether tokens that have left stay as keys and values.
    """

    layers: tuple[LayerCost, ...]
    score: int
    head: HeadCost
    reduction_layers: tuple[int, ...] = ()
    attended: bool = False


@dataclass(frozen=True)
class RowTokens:
    """What the cost of a row depends on.

    Attributes:
        length: real tokens.
        kept: tokens after each reduction; empty for the dense model.
        sequences: options in multiple choice, else 1.
        entries: sentences (HotpotQA) or candidates (WikiHop) that the head scores.
    """

    length: int
    kept: tuple[int, ...] = ()
    sequences: int = 1
    entries: int = 0

    @property
    def dense(self) -> RowTokens:
        """The same row without reduction."""
        return RowTokens(self.length, (), self.sequences, self.entries)


def upstream_flops(costs: Costs, row: RowTokens) -> int:
    """FLOPs as upstream counts them.

    Selectors are charged at the length they KEEP, the classifier once a row, the pooler not at all (in
    multiple choice: once an option, as run_mcrace.py does). Where upstream's loop loses a layer (odd L), all
    of them are counted here.

    Source: `evaluate` in upstream's run_classification.py, run_mrqa.py, run_hotpot.py and run_mcrace.py.
    """
    macs = _layers(costs, row) + sum(row.kept) * costs.score + costs.head.upstream
    return 2 * row.sequences * macs


def exact_flops(costs: Costs, row: RowTokens) -> int:
    """FLOPs of every matrix product that the model runs for the row.

    Selectors are charged at the length they READ, and the whole head is counted.
    """
    read = sum((row.length, *row.kept)[: len(row.kept)])
    head = costs.head.row + costs.head.token * row.length + costs.head.entry * row.entries
    return 2 * row.sequences * (_layers(costs, row) + read * costs.score + head)


def _layers(costs: Costs, row: RowTokens) -> int:
    """MACs of all layers."""
    tokens = [row.length] * len(costs.layers)
    for layer, kept in zip(costs.reduction_layers, row.kept, strict=bool(row.kept)):
        tokens[layer:] = [kept] * (len(tokens) - layer)
    keys = repeat(row.length) if costs.attended else tokens
    return sum(cost.of(queries, seen) for cost, queries, seen in zip(costs.layers, tokens, keys, strict=False))
