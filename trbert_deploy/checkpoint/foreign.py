"""Checkpoints of other origin: classes of the reductions' own code and plain transformers ones, and their keys.

Which there are follows from the registries: a backbone knows its prefix and keys, a task its suffix and the keys of its
head, a reduction the classes and keys of the code that it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from trbert_deploy.backbones import BACKBONES, Backbone
from trbert_deploy.model import TRBertConfig
from trbert_deploy.reductions import REDUCTIONS, Reduction
from trbert_deploy.tasks import TASKS, Task


@dataclass(frozen=True)
class ForeignClass:
    """A class of another code base that a checkpoint may name in `architectures`.

    Attributes:
        name: of the class.
        backbone: its encoder.
        task: its task here.
        reduction: None for a dense model.
    """

    name: str
    backbone: Backbone
    task: Task
    reduction: Reduction | None = None


def foreign_class(name: str) -> ForeignClass | None:
    """The class of that name, or None."""
    for reduction in REDUCTIONS:
        if name in reduction.foreign_classes:
            backbone, task = reduction.foreign_classes[name]
            return ForeignClass(name, BACKBONES.get(backbone), TASKS.get(task), reduction)
    return next((one for one in plain_classes() if one.name == name), None)


def plain_classes() -> Iterator[ForeignClass]:
    """Transformers' classes with a task head."""
    for backbone in BACKBONES:
        for task in TASKS:
            if task.transformers:
                yield ForeignClass(f"{backbone.class_prefix}{task.architecture}", backbone, task)


def encoder_class(name: str) -> ForeignClass | None:
    """The classifier that an encoder without a task head becomes; None where it is no such encoder."""
    classification = TASKS.get("sequence-classification")
    for backbone in BACKBONES:
        if name in {f"{backbone.class_prefix}{ending}" for ending in backbone.encoder_classes}:
            return ForeignClass(name, backbone, classification)
    return None


def foreign_config(raw: Mapping[str, Any], foreign: ForeignClass) -> TRBertConfig:
    """Our configuration for a foreign config.json."""
    known = AutoConfig.for_model(foreign.backbone.model_type).to_dict()
    labels = {"id2label", "label2id", "num_labels", "problem_type"}
    skipped = labels | {"architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"}
    backbone = {key: raw[key] for key in known.keys() & raw.keys() - skipped}
    # old configurations list both num_labels and id2label; the names decide, as in transformers
    ours = {key: raw[key] for key in ("id2label", "label2id", "problem_type") if key in raw}
    if "id2label" not in ours and "num_labels" in raw:
        ours["num_labels"] = raw["num_labels"]
    if foreign.reduction is not None:
        ours["reduction"] = foreign.reduction.name
    return TRBertConfig(
        backbone={**backbone, "model_type": foreign.backbone.model_type},
        reduction_layers=None if foreign.reduction else [],
        **ours,
    )


def foreign_weights(weights: Mapping[str, Tensor], foreign: ForeignClass, wanted: Collection[str]) -> dict[str, Tensor]:
    """Rename a foreign checkpoint's keys to ours.

    Left out, because the class never reads them: the pooler where the task has no use for it, buffers, and the second
    selector where a shallow model has one reduction. Whatever else is unknown keeps its name, so that loading reports
    it.

    Args:
        weights: by their foreign keys.
        foreign: the class that they are of.
        wanted: keys of the model here.
    """
    backbone = foreign.backbone
    renames = {
        **(foreign.reduction.keys(backbone) if foreign.reduction else {}),
        **backbone.keys,
        **foreign.task.head_keys,
    }
    renamed = {}
    for key, tensor in weights.items():
        if key.endswith(backbone.unused_buffers):
            continue
        for pattern, replacement in renames.items():
            key = re.sub(pattern, replacement, key)
        spare = key.startswith("head.dense.") or re.match(r"selectors\.\d+\.", key)
        if key in wanted or not spare:
            renamed[key] = tensor
    return renamed
