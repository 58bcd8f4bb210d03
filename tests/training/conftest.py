"""A reading of training with loops: one row, no padding, float64, every selection enumerated."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.reductions.selector import SelectorReduction
from trbert_deploy.training.initial import with_selectors

Kept = tuple[tuple[int, ...], ...]  # for each reduction the original positions that go on

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "good", "bad", "film", "plot", "dull", "great"]


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


class HaltingReduction(SelectorReduction):
    """TR-BERT's selectors, but a token that leaves goes on being attended to."""

    name = "halting"
    fate = "attended"
    foreign_classes: ClassVar[Mapping[str, Any]] = {}  # the selectors' own


@pytest.fixture(scope="session")
def halting() -> Iterator[str]:
    """Name of a reduction whose tokens stay attended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REDUCTIONS._own, "halting", "")
        patch.setitem(REDUCTIONS._loaded, "halting", HaltingReduction())
        yield "halting"


@pytest.fixture(scope="session")
def halting_model(halting: str, tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    """As `tiny_model`, with the same weights, but the reduction is `halting`."""

    def make(**options: Any) -> Any:
        dropping = tiny_model(**options)
        model = with_selectors(dropping.without_reduction(), seed=0, reduction=halting)
        model.selectors.load_state_dict(dropping.selectors.state_dict())
        return model

    return make


@pytest.fixture(scope="session")
def naive() -> Callable[[Any], Naive]:
    """Makes the slow reading of a model; the model itself is left alone."""
    return Naive


@pytest.fixture(scope="session")
def tensors_of() -> Callable[[dict[str, np.ndarray]], dict[str, torch.Tensor]]:
    return lambda arrays: {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small vocab.txt and nothing else."""
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokenizer(vocabulary: Path) -> Any:
    """transformers' own, of `vocabulary`."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast.from_pretrained(str(vocabulary))
