"""What a training begins with: a dense model as it comes, or a bare encoder with a new head; and new selectors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trbert_deploy.checkpoint import folder_of, is_encoder, load_checkpoint, load_encoder, load_tokenizer
from trbert_deploy.core.costs import Costs
from trbert_deploy.core.errors import CheckpointError, InputError
from trbert_deploy.model import TRBertPreTrainedModel, model_class
from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples, read_examples
from trbert_deploy.training.objective import chooses_one_class, objective_of


@dataclass(frozen=True)
class InitialModel:
    """What a training begins with.

    Attributes:
        model: dense.
        tokenizer: a fast Hugging Face tokenizer.
        examples: the labelled data, its labels being the model's.
        bare: whether the head is new and has to be fine-tuned.
    """

    model: TRBertPreTrainedModel
    tokenizer: Any
    examples: Examples
    bare: bool


def load_initial(source: str | Path, data: Path, *, labels: Sequence[str] | None, seed: int) -> InitialModel:
    """Read checkpoint and data, and see that they fit.

    Args:
        source: a dense model of a task that is trained, or a bare encoder: a folder or a Hub id.
        data: see `read_examples`.
        labels: names of a bare encoder's classes to be, in order; by default what the data says.
        seed: of a new head's weights.

    Raises:
        CheckpointError: the checkpoint is of a task that is not trained, has no tokenizer, or cannot be read.
        InputError: the data cannot be read, or has other labels than the model.
    """
    folder = folder_of(source)
    bare = is_encoder(folder)
    if bare:
        examples = read_examples(data, labels)
        torch.manual_seed(seed)
        model = load_encoder(folder, examples.names).model
    else:
        model = load_checkpoint(folder).model
        objective_of(model)
        _check_choice(source, model)
        if labels:
            raise InputError(f"{source} is a classifier and has names for its labels already", "leave --labels out")
        examples = read_examples(data, model.config.label_names)
    if len(set(examples.labels.tolist())) < 2:
        raise InputError(f"{data} holds rows of one class only")
    tokenizer = load_tokenizer(folder)
    if tokenizer is None:
        raise CheckpointError(f"{source} has no tokenizer", "put tokenizer.json or vocab.txt beside the weights")
    return InitialModel(model.without_reduction(), tokenizer, examples, bare)


def _check_choice(source: str | Path, model: TRBertPreTrainedModel) -> None:
    if model.num_stages > 1:
        raise CheckpointError(f"{source} has selectors already", "give the dense model that they are to be learned for")
    if not chooses_one_class(model):
        raise CheckpointError(f"{source} does not choose one of several classes, and only that is trained")


def tokenize(initial: InitialModel, examples: Examples, max_length: int) -> TokenizedExamples:
    """Rows as tokens, each of which the encoder has an embedding for.

    Raises:
        CheckpointError: the tokenizer has more tokens than the encoder, and they occur.
        InputError: there are pairs, and the encoder has one token type.
    """
    tokenized = TokenizedExamples(examples, initial.tokenizer, max_length)
    limits = initial.model.parts.limits(initial.model.config.backbone)
    if tokenized.largest_id >= limits.vocab_size:
        token = initial.tokenizer.convert_ids_to_tokens(tokenized.largest_id)
        raise CheckpointError(
            f"the rows hold token {tokenized.largest_id} ({token!r}), the encoder has 0 to {limits.vocab_size - 1}",
            "save the encoder after resize_token_embeddings(len(tokenizer)), or take the tokenizer it came with",
        )
    if limits.token_types == 1 and tokenized.has_second:
        raise InputError(
            "the rows hold pairs, the encoder has one token type only (type_vocab_size 1)",
            "leave text_pair out, or write both texts into text",
        )
    return tokenized


def with_selectors(dense: TRBertPreTrainedModel, seed: int, reduction: str = "selector") -> TRBertPreTrainedModel:
    """A model with a dense one's weights, copied, and new scores before the reduction's own layers.

    Args:
        dense: of any task.
        seed: of the scores' weights.
        reduction: which of `REDUCTIONS`.

    Raises:
        CheckpointError: see `reduced_costs`.
    """
    torch.manual_seed(seed)
    model = _reducing(dense, reduction)
    model.backbone, model.head = copy.deepcopy(dense.backbone), copy.deepcopy(dense.head)
    model.eval()
    return model


def reduced_costs(dense: TRBertPreTrainedModel, reduction: str) -> Costs:
    """What FLOPs will follow from when `with_selectors` has made its model.

    Raises:
        CheckpointError: the encoder has a single layer, before which nothing can be dropped; there is no such
            reduction; or its scores have no weights to learn.
    """
    with torch.device("meta"):  # no weights are needed
        model = _reducing(dense, reduction)
    if not list(model.selectors.parameters()):
        raise CheckpointError(f"the scores of reduction {reduction} have no weights to learn")
    return model.costs


def _reducing(dense: TRBertPreTrainedModel, reduction: str) -> TRBertPreTrainedModel:
    num_layers = len(dense.encoder_layers)
    if num_layers < 2:
        raise CheckpointError("an encoder of one layer has no place for a reduction", "take a deeper one")
    if reduction not in REDUCTIONS:
        raise CheckpointError(f"reduction {reduction!r} is not one of {', '.join(REDUCTIONS.names())}")
    config = copy.deepcopy(dense.config)
    config.reduction, config.reduction_layers = reduction, REDUCTIONS.get(reduction).default_layers(num_layers)
    return model_class(dense.task)(config)


def set_dropout(model: TRBertPreTrainedModel, rate: float | None, attention_rate: float | None) -> None:
    """Make a model's dropouts these, in its configuration too; None leaves what is there.

    Args:
        model: its dropouts are changed in place.
        rate: of states.
        attention_rate: of attention probabilities.
    """
    parts, backbone = model.parts, model.config.backbone
    attention: list[Any] = [*parts.attention_dropouts(model.backbone)]
    dropouts: list[Any] = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    others = [module for module in dropouts if module not in attention]
    for value, names, modules in (
        (rate, parts.state_dropouts, others),
        (attention_rate, (parts.attention_dropout,), attention),
    ):
        if value is None:
            continue
        for name in names:
            setattr(backbone, name, value)
        for module in modules:
            module.p = value
