"""The encoders, a file each: how one is built, embedded, run layer by layer, and how its checkpoints name things."""

from trbert_deploy.backbones.base import Backbone, Positions
from trbert_deploy.core.registry import Registry

__all__ = ["BACKBONES", "Backbone", "Positions"]

#: By transformers' ``model_type``.
BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    "trbert_deploy.backbones",
    {name: f"trbert_deploy.backbones.{name}:BACKBONE" for name in ("bert", "distilbert")},
    called="model_type",
)
