"""Transformer layers on flat states: transformers' modules, run on all tokens of a batch as one matrix.

Every linear map then is one Gemm with its bias in the traced graphs, not a batched MatMul and an Add. Only attention
needs to know where a row ends.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.distilbert.modeling_distilbert import TransformerBlock


def run_layer(layer: nn.Module, states: Tensor, mask: Tensor) -> Tensor:
    """One layer.

    Args:
        layer: a `BertLayer` or DistilBERT's `TransformerBlock`.
        states: [B * M, H].
        mask: additive, [B, 1, 1, M].

    Returns:
        [B * M, H].
    """
    if isinstance(layer, BertLayer):
        attention, projection = layer.attention.self, layer.attention.output
        context = _attend(
            attention.query(states),
            attention.key(states),
            attention.value(states),
            mask,
            attention.num_attention_heads,
            attention.dropout,
        )
        states = projection(context, states)
        states = layer.output(layer.intermediate(states), states)
        return states
    assert isinstance(layer, TransformerBlock)
    attention = layer.attention
    context = _attend(
        attention.q_lin(states),
        attention.k_lin(states),
        attention.v_lin(states),
        mask,
        attention.n_heads,
        attention.dropout,
    )
    states = layer.sa_layer_norm(attention.out_lin(context) + states)
    states = layer.output_layer_norm(layer.ffn(states) + states)
    return states


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int, dropout: nn.Dropout) -> Tensor:
    """Scaled dot-product attention within each row; all of [B * M, H]."""
    batch, width = mask.shape[0], mask.shape[-1]
    query, key, value = (
        projected.reshape(batch, width, heads, -1).transpose(1, 2) for projected in (query, key, value)
    )
    if torch.compiler.is_exporting():  # plain operators, which every runtime knows and fuses
        scores = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
        context = torch.matmul(torch.softmax(scores + mask, dim=-1), value)
    else:
        context = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout.p if dropout.training else 0.0
        )
    return context.transpose(1, 2).reshape(batch * width, -1)
