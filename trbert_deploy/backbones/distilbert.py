"""DistilBERT: BERT without token types, and half as deep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import DistilBertModel

from trbert_deploy.backbones.attention import attend
from trbert_deploy.backbones.base import Backbone, Positions
from trbert_deploy.core.costs import LayerCost
from trbert_deploy.tasks import Limits
from trbert_deploy.tasks.heads import HeadSettings


class DistilBert(Backbone):
    """transformers' DistilBERT."""

    model_type = "distilbert"
    class_prefix = "DistilBert"
    stack = "transformer"
    state_dropouts = ("dropout", "seq_classif_dropout", "qa_dropout")
    attention_dropout = "attention_dropout"
    keys = {
        r"^pre_classifier\.": "head.dense.",
        r"^distilbert\.(embeddings|transformer)\.": r"backbone.\1.",
    }
    unused_keys = ("vocab_transform.", "vocab_layer_norm.", "vocab_projector.")
    unused_buffers = ("embeddings.position_ids",)

    def build(self, config: Any) -> nn.Module:
        """See `Backbone.build`."""
        module: nn.Module = DistilBertModel(config)
        return module

    def limits(self, config: Any) -> Limits:
        """See `Backbone.limits`."""
        return Limits(config.max_position_embeddings, config.vocab_size, 0)

    def embed(self, module: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """See `Backbone.embed`."""
        states: Tensor = module.embeddings(input_ids=inputs["input_ids"])
        return states

    def layers(self, module: Any) -> nn.ModuleList:
        """See `Backbone.layers`."""
        layers: nn.ModuleList = module.transformer.layer
        return layers

    def layer(self, layer: Any, queries: Tensor, keys: Tensor, mask: Tensor, positions: Positions) -> Tensor:
        """See `Backbone.layer`."""
        attention = layer.attention
        context = attend(
            attention.q_lin(queries),
            attention.k_lin(keys),
            attention.v_lin(keys),
            mask,
            positions,
            attention.n_heads,
            attention.dropout,
        )
        states = layer.sa_layer_norm(attention.out_lin(context) + queries)
        states = layer.output_layer_norm(layer.ffn(states) + states)
        return states  # type: ignore[no-any-return]

    def layer_cost(self, config: Any) -> LayerCost:
        """See `Backbone.layer_cost`."""
        hidden = config.dim
        return LayerCost(
            query=2 * hidden * hidden + 2 * hidden * config.hidden_dim, key=2 * hidden * hidden, pair=2 * hidden
        )

    def attention_dropouts(self, module: Any) -> list[nn.Module]:
        """See `Backbone.attention_dropouts`."""
        layers: list[Any] = list(self.layers(module))
        return [layer.attention.dropout for layer in layers]

    def head_settings(self, config: Any, num_labels: int) -> HeadSettings:
        """See `Backbone.head_settings`."""
        return HeadSettings(
            config.dim,
            num_labels,
            activation=nn.ReLU,
            classifier_dropout=config.seq_classif_dropout,
            span_dropout=config.qa_dropout,
            token_dropout=config.dropout,
        )

    def intermediate_size(self, config: Any) -> int:
        """See `Backbone.intermediate_size`."""
        return int(config.hidden_dim)


BACKBONE = DistilBert()
