"""A reading of training with loops: one row, no padding, float64, every selection enumerated."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

Kept = tuple[tuple[int, ...], ...]  # for each reduction the original positions that go on


def subsets(positions: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All subsets that hold [CLS]."""
    free = [position for position in positions if position]
    for count in range(len(free) + 1):
        for chosen in itertools.combinations(free, count):
            yield (0, *chosen)


class Naive:
    """A model in float64 on transformers' own layers, a row at a time."""

    def __init__(self, model: Any) -> None:
        self.model = copy.deepcopy(model).double().eval().requires_grad_(True)

    def selections(self, length: int) -> list[Kept]:
        """Every way a row can go through all reductions."""
        ways: list[Kept] = [()]
        for _ in self.model.selectors:
            ways = [(*way, kept) for way in ways for kept in subsets(way[-1] if way else range(length))]
        return ways

    def answer(self, row: dict[str, Any], kept: Kept) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Logits under a selection, its log-probability, and what each selector said to the tokens before it."""
        inputs = {"input_ids": torch.as_tensor(row["input_ids"])}
        bert = self.model.config.backbone.model_type == "bert"
        if bert:
            inputs["token_type_ids"] = torch.as_tensor(row["token_type_ids"])
        states = self.model.backbone.embeddings(**inputs)
        alive, log_probability, said = list(range(states.shape[1])), states.new_zeros(()), []
        steps = dict(zip(self.model.config.reduction_layers, zip(self.model.selectors, kept, strict=True), strict=True))
        for number, layer in enumerate(self.model.encoder_layers):
            if number in steps:
                selector, stay = steps[number]
                reached = states[:, alive]
                scores = selector.score(nn.functional.gelu(selector.dense(reached)))[0, :, 0]
                for score, position in zip(scores, alive, strict=True):
                    if position != 0:
                        probability = torch.sigmoid(score) if position in stay else torch.sigmoid(-score)
                        log_probability = log_probability + probability.log()
                said.append(scores)
                alive = list(stay)
            states = self._layer(layer, states, alive)
        head = self.model.head
        pooled = head.dense(states[:, 0])
        return head.classifier(torch.tanh(pooled) if bert else torch.relu(pooled))[0], log_probability, said

    def _layer(self, layer: nn.Module, states: torch.Tensor, alive: list[int]) -> torch.Tensor:
        """States of all tokens behind a layer that some go through; the others stay, seen by these or not."""
        attended = self.model.reduction.fate == "attended"
        after = layer(states if attended else states[:, alive], attention_mask=None)
        after = after[0] if isinstance(after, tuple) else after
        places = torch.tensor(alive)
        return states.index_copy(1, places, after[:, alive] if attended else after)
