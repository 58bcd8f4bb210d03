"""What an encoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from trbert_deploy.core.costs import LayerCost
from trbert_deploy.tasks import Limits
from trbert_deploy.tasks.heads import HeadSettings


@dataclass(frozen=True)
class Positions:
    """Where the tokens of a layer's call stand in their original rows.

    Attributes:
        queries: int64 [B, Q].
        keys: int64 [B, K].
    """

    queries: Tensor
    keys: Tensor


class Backbone(ABC):
    """An encoder on transformers' own modules; one object for all models, without a state.

    Attributes:
        model_type: transformers' name of its configurations.
        class_prefix: of its classes in transformers, such as ``"Bert"``.
        encoder_classes: what its classes without a task head end on.
        stack: the attribute that holds its layers, which upstream's selectors are named after.
        reads_positions: whether its layers look at `Positions`. If so the positions of kept tokens are handed from
            stage to stage.
        state_dropouts: configuration fields of dropout rates, but attention's.
        attention_dropout: the field of that of the attention probabilities.
        keys: how keys of its checkpoints are named here, as regular expressions.
        unused_keys: of keys that no class here reads: heads of pretraining.
        unused_buffers: ends of keys that hold no weights.
    """

    model_type: ClassVar[str]
    class_prefix: ClassVar[str]
    stack: ClassVar[str]
    encoder_classes: ClassVar[tuple[str, ...]] = ("Model", "ForMaskedLM", "ForPreTraining")
    reads_positions: ClassVar[bool] = False
    state_dropouts: ClassVar[tuple[str, ...]]
    attention_dropout: ClassVar[str]
    keys: ClassVar[Mapping[str, str]]
    unused_keys: ClassVar[tuple[str, ...]] = ()
    unused_buffers: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, config: Any) -> nn.Module:
        """The encoder with new weights, without a pooler."""

    @abstractmethod
    def limits(self, config: Any) -> Limits:
        """What it can be given."""

    @abstractmethod
    def embed(self, module: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """States before the first layer, [S, N, H], for token ids and, where it has them, types int64 [S, N]."""

    @abstractmethod
    def layers(self, module: Any) -> nn.ModuleList:
        """Its layers, in order."""

    @abstractmethod
    def layer(self, layer: Any, queries: Tensor, keys: Tensor, mask: Tensor, positions: Positions) -> Tensor:
        """Run one layer: new states of the queries.

        States are flat, all tokens of the batch as one matrix: every linear map then is one Gemm with its bias in the
        traced graphs, not a batched MatMul and an Add. Only attention needs to know where a row ends.

        Args:
            layer: one of `layers`.
            queries: states [B * Q, H] of the tokens that go through.
            keys: states [B * K, H] of the tokens that they attend to; the same tensor where these are the same tokens.
            mask: additive, [B, 1, 1, K].
            positions: of both.
        """

    @abstractmethod
    def layer_cost(self, config: Any) -> LayerCost:
        """Matrix products of a layer."""

    @abstractmethod
    def attention_dropouts(self, module: Any) -> list[nn.Module]:
        """The modules with the dropout of the attention probabilities."""

    @abstractmethod
    def head_settings(self, config: Any, num_labels: int) -> HeadSettings:
        """What heads on it are made by."""

    @abstractmethod
    def intermediate_size(self, config: Any) -> int:
        """Width of the feed-forward layers."""
