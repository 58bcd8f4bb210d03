"""A bare encoder as the start of a classifier: its own weights, and a head that is yet to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trbert_deploy.checkpoint.foreign import ENCODER_CLASSES, PLAIN_CLASSES, foreign_weights
from trbert_deploy.checkpoint.load import Checkpoint, architecture_of, empty_model, folder_of, read_config
from trbert_deploy.checkpoint.weights import load_weights, read_weights
from trbert_deploy.core.errors import CheckpointError

#: Heads of pretraining, which a classifier has no use for.
_PRETRAINING_HEADS = ("cls.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.")


def is_encoder(source: str | Path) -> bool:
    """Whether a checkpoint is a BERT or DistilBERT without a task head.

    Raises:
        CheckpointError: it is no checkpoint at all.
    """
    return architecture_of(read_config(folder_of(source))) in ENCODER_CLASSES


def load_encoder(source: str | Path, labels: Sequence[str]) -> Checkpoint:
    """A dense sequence classifier on a pretrained encoder; BERT's pooler is taken over where there is one.

    What is new is drawn from torch's random generator.

    Args:
        source: a folder or Hub id of a transformers encoder.
        labels: names of the classes to come.

    Raises:
        CheckpointError: it is no encoder; weights are missing, unexpected or misshapen.
    """
    folder = folder_of(source)
    raw = read_config(folder)
    name = architecture_of(raw)
    if name not in ENCODER_CLASSES:
        raise CheckpointError(f"{folder} is no bare encoder: its config.json names {name or 'no class'}")
    classifier = ENCODER_CLASSES[name]
    foreign = PLAIN_CLASSES[classifier]
    prefix = f"{foreign.backbone}."
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    model = empty_model(raw | named, classifier, folder)
    weights = {
        key if key.startswith(prefix) else f"{prefix}{key}": tensor
        for key, tensor in read_weights(folder).items()
        if not key.startswith(_PRETRAINING_HEADS)
    }
    fresh = {key: tensor for key, tensor in model.state_dict().items() if key.startswith("head.")}
    load_weights(model, fresh | foreign_weights(weights, foreign, 0), str(folder))
    return Checkpoint(model.eval(), folder, name)
