"""Configuration of a TR-BERT model: a transformers backbone, where it reduces, and how it selects by default."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.core.selection import Selection

BACKBONES = ("bert", "distilbert")


def default_reduction_layers(num_layers: int) -> list[int]:
    """Upstream's places: before layer 1 and before layer L // 2, which coincide for L = 2 and 3.

    Source: `BertEncoder.forward` (``i in [1, mid]``) in upstream's modeling_autobert.py.
    """
    return sorted({layer for layer in (1, num_layers // 2) if layer < num_layers})


@strict
class TRBertConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Configuration of the ``TRBertFor...`` classes.

    Attributes:
        backbone: a `BertConfig` or `DistilBertConfig`, or its dict.
        reduction_layers: layers before which tokens are dropped, ascending; empty for a dense model.
        selector_size: width of a selector's hidden layer (upstream: 32).
        keep: budget fractions this model selects with by default; None for policy mode.
    """

    model_type = "trbert"
    sub_configs = {"backbone": AutoConfig}  # noqa: RUF012 (transformers' own declaration)

    backbone: Any = None
    reduction_layers: list[int] | None = None
    selector_size: int = 32
    keep: list[float] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the backbone's configuration and fill in upstream's reduction layers."""
        backbone = self.backbone
        if backbone is None:
            backbone = {"model_type": "bert"}
        if isinstance(backbone, dict):
            model_type = backbone.get("model_type", "bert")
            if model_type not in BACKBONES:
                raise CheckpointError(f"backbone {model_type!r} is not one of {', '.join(BACKBONES)}")
            backbone = AutoConfig.for_model(**{**backbone, "model_type": model_type})
        self.backbone = backbone
        if self.reduction_layers is None:
            self.reduction_layers = default_reduction_layers(backbone.num_hidden_layers)
        _check_reduction_layers(self.reduction_layers, backbone.num_hidden_layers)
        super().__post_init__(**kwargs)

    @property
    def label_names(self) -> list[str]:
        """The classes' names, in order."""
        return [str(self.id2label[number]) for number in range(self.num_labels)]

    @property
    def intermediate_size(self) -> int:
        """Width of the backbone's feed-forward layers, which BERT and DistilBERT name differently."""
        backbone = self.backbone
        return int(backbone.intermediate_size if backbone.model_type == "bert" else backbone.hidden_dim)

    @property
    def selection(self) -> Selection:
        """The default selection, checked against the number of reductions."""
        return Selection.of(self.keep, len(self.reduction_layers or ()))


def _check_reduction_layers(layers: list[int], num_layers: int) -> None:
    if layers != sorted(set(layers)) or any(not 0 <= layer < num_layers for layer in layers):
        raise CheckpointError(
            f"reduction_layers {layers} must be ascending layer numbers between 0 and {num_layers - 1}"
        )
