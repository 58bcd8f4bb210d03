"""What a model is made of, and what its stages take and give."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trbert_deploy.backbones import BACKBONES, Backbone, Positions
from trbert_deploy.core.costs import Costs
from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.core.specs import TaskSpec, TensorSpec
from trbert_deploy.model.configuration import TRBertConfig
from trbert_deploy.reductions import REDUCTIONS, Reduction
from trbert_deploy.tasks import Task


class StagedModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """A backbone, its scores, and a head; the base of the ``TRBertFor...`` classes."""

    config_class = TRBertConfig
    base_model_prefix = "backbone"
    task: ClassVar[Task]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: TRBertConfig) -> None:
        super().__init__(config)
        if self.task.sequences_axis is not None and self.reduction.fate == "attended":
            raise CheckpointError(
                f"task {self.task.name} has several sequences a row, reduction {self.reduction.name} takes one",
                "take a reduction whose tokens are dropped",
            )
        self.backbone = self.parts.build(config.backbone)
        self.selectors = nn.ModuleList(self.reduction.make_score(config) for _ in config.reduction_layers or ())
        self.head = self.task.head_class()(self.parts.head_settings(config.backbone, config.num_labels))
        self.post_init()

    # -- what it is made of -------------------------------------------------------------------------------------

    @property
    def parts(self) -> Backbone:
        """The part that knows the encoder."""
        return BACKBONES.get(self.config.backbone.model_type)

    @property
    def reduction(self) -> Reduction:
        """The part that knows how tokens are scored, and what becomes of those that leave."""
        return REDUCTIONS.get(self.config.reduction)

    @property
    def num_stages(self) -> int:
        """Reductions plus one."""
        return len(self.selectors) + 1

    @property
    def encoder_layers(self) -> nn.ModuleList:
        """The transformer layers, in order."""
        return self.parts.layers(self.backbone)

    @property
    def stage_bounds(self) -> tuple[int, ...]:
        """Stage s runs the layers from bound s to just before bound s + 1."""
        return (0, *self.config.reduction_layers, len(self.encoder_layers))

    @property
    def full_length(self) -> bool:
        """Whether states and masks between stages are over all tokens of a row."""
        return self.task.restores or self.reduction.fate == "attended"

    @cached_property
    def spec(self) -> TaskSpec:
        """What the model takes and answers."""
        return self.task.spec(self.parts.limits(self.config.backbone), self.task.decoding_of(self.config))

    @property
    def costs(self) -> Costs:
        """What its operations follow from."""
        backbone = self.config.backbone
        return Costs(
            layers=(self.parts.layer_cost(backbone),) * len(self.encoder_layers),
            score=self.reduction.score_cost(self.config),
            head=self.head.cost(),
            reduction_layers=tuple(self.config.reduction_layers),
            attended=self.reduction.fate == "attended",
        )

    # -- what its stages take and give --------------------------------------------------------------------------

    @property
    def token_inputs(self) -> tuple[str, ...]:
        """The caller's inputs over tokens."""
        return tuple(one.name for one in self.spec.inputs if one.per_token)

    def request_inputs(self, stage: int) -> tuple[str, ...]:
        """Names of the caller's inputs that a stage reads."""
        names: list[str] = []
        if stage == 0:
            names += self.token_inputs
            if self.task.protected_from is not None and self.num_stages > 1:
                names.append(self.task.protected_from)
        elif self.reduction.fate == "attended":
            names.append("attention_mask")
        if stage == self.num_stages - 1:
            names += [name for name in self.head.reads if name not in names]
        return tuple(names)

    @property
    def carried(self) -> dict[str, TensorSpec]:
        """The tensors that one stage hands to the next, in the order of the graphs' outputs."""
        axes = self.task.row_axes[1:]
        specs = [
            TensorSpec("hidden_states", ("batch_before", *axes, self.config.backbone.hidden_size), "float32"),
            TensorSpec("keep_mask", ("batch_before", "length"), "int64"),
        ]
        if self.task.sequences_axis is not None:
            specs.append(TensorSpec("sequence_mask", ("batch_before", *axes), "int64"))
        if self.task.protected_from is not None:
            specs.append(TensorSpec("protected", ("batch_before", "length"), "int64"))
        if self.parts.reads_positions and not self.full_length:
            specs.append(TensorSpec("positions", ("batch_before", "length"), "int64"))
        return {spec.name: spec for spec in specs}

    def without_reduction(self) -> Self:
        """The same weights as a dense model: a second model that shares this one's backbone and head."""
        config = copy.copy(self.config)  # shallow: both models share the backbone's configuration too
        config.reduction_layers, config.keep = [], None
        with torch.device("meta"):  # its own weights are never used
            dense = type(self)(config)
        dense.backbone, dense.head = self.backbone, self.head
        dense.train(self.training)
        return dense

    # -- what stages are made of --------------------------------------------------------------------------------

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The task's outputs by name, for final states [B, N, H] (in multiple choice [B, options, N, H])."""
        names = [output.name for output in self.task.outputs]
        return dict(zip(names, self.head(states, inputs), strict=True))

    def additive_mask(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """A mask [..., M] as attention adds it, [B, 1, 1, M]."""
        real = mask.reshape(-1, mask.shape[-1]) > 0
        return torch.where(real, 0.0, torch.finfo(dtype).min).to(dtype)[:, None, None, :]

    def run_layers(self, first: int, end: int, states: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Layers `first` to `end` - 1 on states [..., M, H] under a mask [..., M], of tokens at positions [B, M]."""
        shape = states.shape
        additive = self.additive_mask(mask, states.dtype)
        where = positions
        if len(shape) > 3:  # every sequence of a row has the row's positions
            where = positions.unsqueeze(1).expand(shape[:-1]).flatten(0, 1)
        states = states.reshape(-1, shape[-1])
        for layer in self.encoder_layers[first:end]:
            states = self.parts.layer(layer, states, states, additive, Positions(where, where))
        return states.reshape(shape)
