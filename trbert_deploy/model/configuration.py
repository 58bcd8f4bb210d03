"""Configuration of a model: a transformers backbone, where and how it reduces, and how it selects by default."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from trbert_deploy.backbones import BACKBONES
from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.core.selection import Selection
from trbert_deploy.reductions import REDUCTIONS


@strict
class TRBertConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Configuration of the ``TRBertFor...`` classes.

    Attributes:
        backbone: the encoder's configuration, such as a `BertConfig`, or its dict.
        reduction: which of `trbert_deploy.reductions`.
        reduction_layers: layers before which tokens leave, ascending; empty for a dense model; by default the
            reduction's own.
        selector_size: width of a selector's hidden layer (upstream: 32).
        keep: budget fractions this model selects with by default; None for policy mode.
    """

    model_type = "trbert"
    sub_configs = {"backbone": AutoConfig}  # noqa: RUF012 (transformers' own declaration)

    backbone: Any = None
    reduction: str = "selector"
    reduction_layers: list[int] | None = None
    selector_size: int = 32
    keep: list[float] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the backbone's configuration and fill in the reduction's layers."""
        backbone = self.backbone
        if backbone is None:
            backbone = {"model_type": "bert"}
        if isinstance(backbone, dict):
            model_type = backbone.get("model_type", "bert")
            if model_type not in BACKBONES:
                raise CheckpointError(f"backbone {model_type!r} is not one of {', '.join(BACKBONES.names())}")
            backbone = AutoConfig.for_model(**{**backbone, "model_type": model_type})
        self.backbone = backbone
        if self.reduction not in REDUCTIONS:
            raise CheckpointError(f"reduction {self.reduction!r} is not one of {', '.join(REDUCTIONS.names())}")
        if self.reduction_layers is None:
            self.reduction_layers = REDUCTIONS.get(self.reduction).default_layers(backbone.num_hidden_layers)
        _check_reduction_layers(self.reduction_layers, backbone.num_hidden_layers)
        super().__post_init__(**kwargs)

    @property
    def label_names(self) -> list[str]:
        """The classes' names, in order."""
        return [str(self.id2label[number]) for number in range(self.num_labels)]

    @property
    def selection(self) -> Selection:
        """The default selection, checked against the number of reductions."""
        return Selection.of(self.keep, len(self.reduction_layers or ()))


def _check_reduction_layers(layers: list[int], num_layers: int) -> None:
    if layers != sorted(set(layers)) or any(not 0 <= layer < num_layers for layer in layers):
        raise CheckpointError(
            f"reduction_layers {layers} must be ascending layer numbers between 0 and {num_layers - 1}"
        )
