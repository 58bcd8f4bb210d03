"""Where a training starts: a classifier as it comes, or a bare encoder with a new head; and new selectors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trbert_deploy.checkpoint import (
    Checkpoint,
    folder_of,
    is_encoder,
    load_checkpoint,
    load_encoder,
    load_tokenizer,
    read_config,
)
from trbert_deploy.core.errors import CheckpointError, InputError
from trbert_deploy.model import TRBertConfig, TRBertForSequenceClassification, TRBertPreTrainedModel
from trbert_deploy.tasks import SEQUENCE_CLASSIFICATION
from trbert_deploy.training.data import Examples, TokenizedExamples, read_examples

_DROPOUTS = {
    "bert": ("hidden_dropout_prob", "classifier_dropout"),
    "distilbert": ("dropout", "seq_classif_dropout", "qa_dropout"),
}
_ATTENTION_DROPOUTS = {"bert": "attention_probs_dropout_prob", "distilbert": "attention_dropout"}
_OTHER_PROBLEMS = ("regression", "multi_label_classification")  # transformers' names


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        model: a dense classifier.
        tokenizer: a fast Hugging Face tokenizer.
        examples: the labelled data, its labels being the model's.
        bare: whether the head is new and has to be fine-tuned.
    """

    model: TRBertPreTrainedModel
    tokenizer: Any
    examples: Examples
    bare: bool


def load_start(source: str | Path, data: Path, *, labels: Sequence[str] | None, seed: int) -> Start:
    """Read checkpoint and data, and see that they fit.

    Args:
        source: a sequence classifier or bare encoder, BERT or DistilBERT: a folder or a Hub id.
        data: see `read_examples`.
        labels: names of a bare encoder's classes to be, in order; by default what the data says.
        seed: of a new head's weights.

    Raises:
        CheckpointError: the checkpoint is of another task, has no tokenizer, or cannot be read.
        InputError: the data cannot be read, or has other labels than the classifier.
    """
    folder = folder_of(source)
    bare = is_encoder(folder)
    checkpoint: Checkpoint
    if bare:
        examples = read_examples(data, labels)
        torch.manual_seed(seed)
        checkpoint = load_encoder(folder, examples.names)
    else:
        if labels:
            raise InputError(f"{source} is a classifier and has names for its labels already", "leave --labels out")
        checkpoint = load_checkpoint(folder)
        config = checkpoint.model.config
        if checkpoint.model.task is not SEQUENCE_CLASSIFICATION:
            raise CheckpointError(
                f"{source} is a model for {checkpoint.model.task.name}; only sequence classification is trained",
                "give a BertForSequenceClassification, a DistilBertForSequenceClassification or a bare encoder",
            )
        if checkpoint.has_selectors:
            raise CheckpointError(
                f"{source} has selectors already", "give the dense model that they are to be learned for"
            )
        if config.num_labels < 2 or read_config(folder).get("problem_type") in _OTHER_PROBLEMS:
            raise CheckpointError(f"{source} does not choose one of several classes, and only that is trained")
        examples = read_examples(data, config.label_names)
    if len(set(examples.labels.tolist())) < 2:
        raise InputError(f"{data} holds rows of one class only")
    tokenizer = load_tokenizer(folder)
    if tokenizer is None:
        raise CheckpointError(f"{source} has no tokenizer", "put tokenizer.json or vocab.txt beside the weights")
    return Start(checkpoint.model.without_reduction(), tokenizer, examples, bare)


def tokenize(start: Start, examples: Examples, max_length: int) -> TokenizedExamples:
    """Rows as tokens, each of which the encoder has an embedding for.

    Raises:
        CheckpointError: the tokenizer has more tokens than the encoder, and they occur.
        InputError: there are pairs, and the encoder has one token type.
    """
    tokenized = TokenizedExamples(examples, start.tokenizer, max_length)
    backbone = start.model.config.backbone
    if tokenized.largest_id >= backbone.vocab_size:
        token = start.tokenizer.convert_ids_to_tokens(tokenized.largest_id)
        raise CheckpointError(
            f"the rows hold token {tokenized.largest_id} ({token!r}), the encoder has 0 to {backbone.vocab_size - 1}",
            "save the encoder after resize_token_embeddings(len(tokenizer)), or take the tokenizer it came with",
        )
    if start.model.has_token_types and tokenized.has_second and backbone.type_vocab_size < 2:
        raise InputError(
            "the rows hold pairs, the encoder has one token type only (type_vocab_size 1)",
            "leave text_pair out, or write both texts into text",
        )
    return tokenized


def with_selectors(dense: TRBertPreTrainedModel, seed: int) -> TRBertPreTrainedModel:
    """A TR-BERT with a dense model's weights, copied, and new selectors before upstream's layers.

    Args:
        dense: a sequence classifier.
        seed: of the selectors' weights.

    Raises:
        CheckpointError: the encoder has a single layer, before which nothing can be dropped.
    """
    if dense.config.backbone.num_hidden_layers < 2:
        raise CheckpointError("an encoder of one layer has no place for a reduction", "take a deeper one")
    config = TRBertConfig(
        backbone=dense.config.backbone.to_dict(), id2label=dense.config.id2label, label2id=dense.config.label2id
    )
    torch.manual_seed(seed)
    model = TRBertForSequenceClassification(config)
    model.backbone = copy.deepcopy(dense.backbone)
    model.head = copy.deepcopy(dense.head)
    model.eval()
    return model


def set_dropout(model: TRBertPreTrainedModel, rate: float | None, attention_rate: float | None) -> None:
    """Make a model's dropouts these, in its configuration too; None leaves what is there.

    Args:
        model: its dropouts are changed in place.
        rate: of states.
        attention_rate: of attention probabilities.
    """
    backbone = model.config.backbone
    bert = backbone.model_type == "bert"
    layers: list[Any] = list(model.encoder_layers)
    attention = [layer.attention.self.dropout if bert else layer.attention.dropout for layer in layers]
    others = [module for module in model.modules() if isinstance(module, nn.Dropout) and module not in attention]
    for value, names, modules in (
        (rate, _DROPOUTS[backbone.model_type], others),
        (attention_rate, (_ATTENTION_DROPOUTS[backbone.model_type],), attention),
    ):
        if value is None:
            continue
        for name in names:
            setattr(backbone, name, value)
        for module in modules:
            module.p = value
