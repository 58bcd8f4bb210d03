"""A bare encoder as the start of a classifier: its own weights, and a head that is yet to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trbert_deploy.checkpoint.foreign import encoder_class, foreign_weights
from trbert_deploy.checkpoint.load import Checkpoint, architecture_of, empty_model, folder_of, read_config
from trbert_deploy.checkpoint.weights import load_weights, read_weights
from trbert_deploy.core.errors import CheckpointError


def is_encoder(source: str | Path) -> bool:
    """Whether a checkpoint is an encoder without a task head.

    Raises:
        CheckpointError: it is no checkpoint at all.
    """
    return encoder_class(architecture_of(read_config(folder_of(source)))) is not None


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
    foreign = encoder_class(name)
    if foreign is None:
        raise CheckpointError(f"{folder} is no bare encoder: its config.json names {name or 'no class'}")
    prefix = f"{foreign.backbone.model_type}."
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    model = empty_model(raw | named, foreign, folder)
    weights = {
        key if key.startswith(prefix) else f"{prefix}{key}": tensor
        for key, tensor in read_weights(folder).items()
        if not key.startswith(foreign.backbone.unused_keys)
    }
    own = model.state_dict()
    fresh = {key: tensor for key, tensor in own.items() if key.startswith("head.")}
    load_weights(model, fresh | foreign_weights(weights, foreign, own.keys()), str(folder))
    return Checkpoint(model.eval(), folder, name)
