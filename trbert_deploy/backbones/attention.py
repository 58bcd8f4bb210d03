"""Scaled dot-product attention, shared by the encoders that have no other kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trbert_deploy.backbones.base import Positions


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, positions: Positions, heads: int, dropout: nn.Dropout
) -> Tensor:
    """Attention within each row.

    Args:
        query: projected, [B * Q, H].
        key: projected, [B * K, H].
        value: projected, [B * K, H].
        mask: additive, [B, 1, 1, K].
        positions: tell Q and K.
        heads: H is split among.
        dropout: of the probabilities.

    Returns:
        [B * Q, H].
    """
    batch, width = positions.queries.shape
    size = query.shape[-1] // heads
    query = query.reshape(batch, width, heads, size).transpose(1, 2)
    key, value = (one.reshape(batch, positions.keys.shape[1], heads, size).transpose(1, 2) for one in (key, value))
    if torch.compiler.is_exporting():  # plain operators, which every runtime knows and fuses
        scores = torch.matmul(query, key.transpose(2, 3)) * size**-0.5
        context = torch.matmul(torch.softmax(scores + mask, dim=-1), value)
    else:
        context = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout.p if dropout.training else 0.0
        )
    return context.transpose(1, 2).reshape(batch * width, heads * size)
