"""What a manifest says of a model."""

from __future__ import annotations

from trbert_deploy.bundle.manifest import ModelFacts
from trbert_deploy.checkpoint import Checkpoint
from trbert_deploy.core.selection import Selection
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.model import TRBertPreTrainedModel


def model_facts(checkpoint: Checkpoint, source: str | None) -> ModelFacts:
    """Of the model that the graphs are made from; `source` as in `export_bundle`."""
    model = checkpoint.model
    config = model.config
    backbone = config.backbone
    return ModelFacts(
        source=source or checkpoint.folder.resolve().name,
        source_class=checkpoint.source_class,
        model_class=type(model).__name__,
        backbone=backbone.model_type,
        num_layers=backbone.num_hidden_layers,
        hidden_size=backbone.hidden_size,
        num_attention_heads=backbone.num_attention_heads,
        intermediate_size=model.parts.intermediate_size(backbone),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        labels=config.label_names if model.task.labelled else [],
    )


def reduction_spec(model: TRBertPreTrainedModel, selection: Selection) -> ReductionSpec:
    """How it drops tokens."""
    return ReductionSpec(
        kind=model.reduction.name,
        layers=tuple(model.config.reduction_layers),
        fate=model.reduction.fate,
        mode=selection.mode,
        fractions=selection.fractions,
        full_length=model.full_length,
    )
