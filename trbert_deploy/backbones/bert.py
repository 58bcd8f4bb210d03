"""BERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import BertModel

from trbert_deploy.backbones.attention import attend
from trbert_deploy.backbones.base import Backbone, Positions
from trbert_deploy.core.costs import LayerCost
from trbert_deploy.tasks import Limits
from trbert_deploy.tasks.heads import HeadSettings


class Bert(Backbone):
    """transformers' BERT."""

    model_type = "bert"
    class_prefix = "Bert"
    stack = "encoder"
    state_dropouts = ("hidden_dropout_prob", "classifier_dropout")
    attention_dropout = "attention_probs_dropout_prob"
    keys = {
        r"\.gamma$": ".weight",  # the oldest checkpoints
        r"\.beta$": ".bias",
        r"^bert\.pooler\.dense\.": "head.dense.",
        r"^bert\.(embeddings|encoder)\.": r"backbone.\1.",
    }
    unused_keys = ("cls.",)
    unused_buffers = ("embeddings.position_ids", "embeddings.token_type_ids")

    def build(self, config: Any) -> nn.Module:
        """See `Backbone.build`."""
        module: nn.Module = BertModel(config, add_pooling_layer=False)
        return module

    def limits(self, config: Any) -> Limits:
        """See `Backbone.limits`."""
        return Limits(config.max_position_embeddings, config.vocab_size, config.type_vocab_size)

    def embed(self, module: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """See `Backbone.embed`."""
        states: Tensor = module.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        return states

    def layers(self, module: Any) -> nn.ModuleList:
        """See `Backbone.layers`."""
        layers: nn.ModuleList = module.encoder.layer
        return layers

    def layer(self, layer: Any, queries: Tensor, keys: Tensor, mask: Tensor, positions: Positions) -> Tensor:
        """See `Backbone.layer`."""
        attention = layer.attention.self
        context = attend(
            attention.query(queries),
            attention.key(keys),
            attention.value(keys),
            mask,
            positions,
            attention.num_attention_heads,
            attention.dropout,
        )
        states = layer.attention.output(context, queries)
        states = layer.output(layer.intermediate(states), states)
        return states  # type: ignore[no-any-return]

    def layer_cost(self, config: Any) -> LayerCost:
        """See `Backbone.layer_cost`: with I = 4 H in all upstream's macs_list.json."""
        hidden = config.hidden_size
        return LayerCost(
            query=2 * hidden * hidden + 2 * hidden * config.intermediate_size, key=2 * hidden * hidden, pair=2 * hidden
        )

    def attention_dropouts(self, module: Any) -> list[nn.Module]:
        """See `Backbone.attention_dropouts`."""
        layers: list[Any] = list(self.layers(module))
        return [layer.attention.self.dropout for layer in layers]

    def head_settings(self, config: Any, num_labels: int) -> HeadSettings:
        """See `Backbone.head_settings`; a classifier's dropout is its own, or else that of all states."""
        rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        return HeadSettings(
            config.hidden_size, num_labels, activation=nn.Tanh, classifier_dropout=rate, token_dropout=rate
        )

    def intermediate_size(self, config: Any) -> int:
        """See `Backbone.intermediate_size`."""
        return int(config.intermediate_size)


BACKBONE = Bert()
