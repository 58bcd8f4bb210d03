"""A backbone of another package: RoFormer, whose attention turns queries and keys by their positions in the row."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import RoFormerModel

from trbert_deploy.backbones import Positions
from trbert_deploy.backbones.attention import attend
from trbert_deploy.backbones.bert import Bert
from trbert_deploy.tasks.heads import HeadSettings


class RoFormer(Bert):
    """transformers' RoFormer: BERT but for its embeddings, its positions and its classifier."""

    model_type = "roformer"
    class_prefix = "RoFormer"
    encoder_classes = ("Model", "ForMaskedLM")
    reads_positions = True
    state_dropouts = ("hidden_dropout_prob",)
    keys = {
        r"^classifier\.dense\.": "head.dense.",
        r"^classifier\.out_proj\.": "head.classifier.",
        r"^roformer\.(embeddings|embeddings_project|encoder)\.": r"backbone.\1.",
    }
    unused_buffers = ("embeddings.position_ids",)

    def build(self, config: Any) -> nn.Module:
        """The encoder."""
        return RoFormerModel(config)

    def embed(self, module: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Embeddings without positions, as wide as the layers."""
        states = super().embed(module, inputs)
        return module.embeddings_project(states) if hasattr(module, "embeddings_project") else states

    def layer(self, layer: Any, queries: Tensor, keys: Tensor, mask: Tensor, positions: Positions) -> Tensor:
        """One layer; dropped tokens leave the others where they were."""
        attention = layer.attention.self
        heads = attention.num_attention_heads
        context = attend(
            turned(attention.query(queries), positions.queries, heads),
            turned(attention.key(keys), positions.keys, heads),
            attention.value(keys),
            mask,
            positions,
            heads,
            attention.dropout,
        )
        states = layer.attention.output(context, queries)
        return layer.output(layer.intermediate(states), states)

    def head_settings(self, config: Any, num_labels: int) -> HeadSettings:
        """RoFormer's classifier has a GELU between its layers."""
        rate = config.hidden_dropout_prob
        return HeadSettings(
            config.hidden_size, num_labels, activation=nn.GELU, classifier_dropout=rate, token_dropout=rate
        )


def turned(projected: Tensor, positions: Tensor, heads: int) -> Tensor:
    """Rotate pairs of features by angles that grow with the position.

    Args:
        projected: [B * M, H].
        positions: int64 [B, M].
        heads: H is split among.
    """
    size = projected.shape[-1] // heads
    steps = torch.arange(0, size, 2, dtype=torch.float32, device=projected.device)
    angles = positions.reshape(-1, 1, 1).float() * (10000.0 ** (-steps / size))
    sine, cosine = angles.sin().to(projected.dtype), angles.cos().to(projected.dtype)
    even, odd = projected.reshape(-1, heads, size // 2, 2).unbind(-1)
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).reshape(projected.shape)


BACKBONE = RoFormer()
