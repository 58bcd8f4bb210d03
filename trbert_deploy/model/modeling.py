"""TR-BERT on transformers' layers: stages, and one class for each task.

A model with R reductions is R + 1 stages: stage s runs the layers from one reduction to the next and ends with the
selector's decision (or, the last one, with the head). The next stage begins by gathering what was kept. `forward`
chains the stages eagerly and is the reference; the exporter traces the very same `stage`.

Unlike upstream's batched inference, a row's answer never depends on its batch: see `trbert_deploy.model.reduction`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import BertModel, DistilBertModel, PreTrainedModel

from trbert_deploy.core.selection import BUDGET_SCALE, Selection, millionths
from trbert_deploy.model.configuration import TRBertConfig
from trbert_deploy.model.heads import (
    CandidateHead,
    ClassificationHead,
    HotpotHead,
    SpanHead,
    TokenHead,
    bert_classifier_dropout,
)
from trbert_deploy.model.layers import run_layer
from trbert_deploy.model.reduction import (
    Selector,
    gather_order,
    gather_states,
    keep_by_budget,
    keep_by_policy,
    put_back,
)
from trbert_deploy.tasks import (
    HOTPOT,
    MULTIPLE_CHOICE,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    WIKIHOP,
    Task,
)

#: What a stage hands to the next, in the order of the graphs' outputs. Multiple choice adds the last two.
CARRIED = ("hidden_states", "keep_mask")
CARRIED_MULTIPLE_CHOICE = ("option_mask", "protected")


@dataclass(frozen=True)
class Decision:
    """What a selector said at one reduction.

    Attributes:
        logits: float32 [B, M], aligned with the keep mask.
        free: bool [B, M], which tokens were its to keep or drop: real ones still in the row, neither [CLS] nor
            protected. Elsewhere the logits mean nothing.
    """

    logits: Tensor
    free: Tensor


@dataclass
class TRBertOutput:
    """What `forward` returns.

    Attributes:
        outputs: the task's output tensors by name.
        keep_masks: for each reduction int64 [B, M], 1 where a token was kept: over the original positions where the
            task restores tokens, else over the tokens that the reduction before kept.
        decisions: for each reduction what the selector said.
        budgets: for each reduction int64 [B], how many tokens each row was to keep; None in policy mode.
    """

    outputs: dict[str, Tensor]
    keep_masks: list[Tensor] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    budgets: list[Tensor] | None = None


class TRBertPreTrainedModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """A backbone, its selectors, and a head; the base of the ``TRBertFor...`` classes."""

    config_class = TRBertConfig
    base_model_prefix = "backbone"
    task: ClassVar[Task]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: TRBertConfig) -> None:
        super().__init__(config)
        backbone = config.backbone
        if backbone.model_type == "bert":
            self.backbone = BertModel(backbone, add_pooling_layer=False)
        else:
            self.backbone = DistilBertModel(backbone)
        self.selectors = nn.ModuleList(
            Selector(backbone.hidden_size, config.selector_size) for _ in config.reduction_layers or ()
        )
        self.head = self.make_head(config)
        self.post_init()

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """The task's head."""
        raise NotImplementedError

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The task's outputs from final states [B, N, H] ([B, O, N, H] in multiple choice)."""
        raise NotImplementedError

    # -- shape of the model -------------------------------------------------------------------------------------

    @property
    def num_stages(self) -> int:
        """Reductions plus one."""
        return len(self.selectors) + 1

    @property
    def has_token_types(self) -> bool:
        """Whether the backbone takes token_type_ids (BERT does, DistilBERT does not)."""
        return bool(self.config.backbone.model_type == "bert")

    @property
    def encoder_layers(self) -> nn.ModuleList:
        """The transformer layers, in order."""
        bert = isinstance(self.backbone, BertModel)
        layers: nn.ModuleList = self.backbone.encoder.layer if bert else self.backbone.transformer.layer
        return layers

    @property
    def stage_bounds(self) -> tuple[int, ...]:
        """Stage s runs the layers from bound s to just before bound s + 1."""
        return (0, *self.config.reduction_layers, len(self.encoder_layers))

    def carried(self) -> tuple[str, ...]:
        """Names of the tensors that one stage hands to the next."""
        return CARRIED + (CARRIED_MULTIPLE_CHOICE if self.task.multiple_choice else ())

    def request_inputs(self, stage: int) -> tuple[str, ...]:
        """Names of the caller's inputs that a stage reads."""
        names: list[str] = []
        if stage == 0:
            names += ["input_ids", "attention_mask"]
            if self.has_token_types:
                names.append("token_type_ids")
            if self.task.multiple_choice and self.num_stages > 1:
                names.append("question_ends")
        if stage == self.num_stages - 1:
            if self.task in (QUESTION_ANSWERING, HOTPOT, TOKEN_CLASSIFICATION) and stage > 0:
                names.append("attention_mask")
            if not self.task.multiple_choice:
                names += self.task.inputs
        return tuple(names)

    def without_reduction(self) -> Self:
        """The same weights as a dense model: a second model that shares this one's backbone and head."""
        config = copy.copy(self.config)  # shallow: both models share the backbone's configuration too
        config.reduction_layers, config.keep = [], None
        with torch.device("meta"):  # its own weights are never used
            dense = type(self)(config)
        dense.backbone, dense.head = self.backbone, self.head
        dense.train(self.training)
        return dense

    # -- one stage ----------------------------------------------------------------------------------------------

    def stage(
        self, index: int, inputs: Mapping[str, Tensor], *, by_budget: bool, decisions: list[Decision] | None = None
    ) -> dict[str, Tensor]:
        """Run one stage.

        Args:
            index: 0 to `num_stages` - 1.
            inputs: `request_inputs(index)`, for the rows this stage runs; from stage 1 on the `carried` tensors of
                ALL rows of the stage before, with `rows` int64 [b] (which of them to run) and `keep` int64 [K]
                (whose shape says how many tokens to gather); with `by_budget`, before a reduction, `budget`
                int64 [b], how many tokens each row keeps at it.
            by_budget: whether the selector at the end is held to a budget.
            decisions: where given, what the selector said is appended to it.

        Returns:
            Before a reduction the `carried` tensors and `keep_count` int64 [b]; at the end the task's outputs.
        """
        full: Tensor | None = None  # states of all tokens, where they have to come back
        order_mask: Tensor | None = None
        if index == 0:
            states, valid, option_mask, protected = self.embed(inputs)
        else:
            rows, keep_mask = inputs["rows"], inputs["keep_mask"]
            order, valid = gather_order(keep_mask, rows, inputs["keep"])
            states = gather_states(inputs["hidden_states"], rows, order)
            option_mask = protected = None
            if self.task.multiple_choice:
                carried_mask = inputs["option_mask"].index_select(0, rows)
                index_of = order.unsqueeze(1).expand(-1, carried_mask.shape[1], -1)
                option_mask = torch.gather(carried_mask, 2, index_of) * valid.unsqueeze(1)
                protected = torch.gather(inputs["protected"].index_select(0, rows), 1, order) * valid
            elif self.task.restores:
                full = inputs["hidden_states"].index_select(0, rows)
                order_mask = keep_mask.index_select(0, rows)

        bounds = self.stage_bounds
        mask = valid if option_mask is None else option_mask
        states = self.run_layers(bounds[index], bounds[index + 1], states, mask)

        if index == self.num_stages - 1:
            if full is not None and order_mask is not None:
                states = put_back(full, states, order_mask)
            outputs = self.apply_head(states, inputs)
            return {output.name: value for output, value in zip(self.task.outputs, outputs, strict=True)}

        logits = self.selectors[index](states)
        if option_mask is not None:
            logits = logits.mean(dim=1)  # one selection for all options: upstream's modeling_automcbert.py
        shields = torch.arange(valid.shape[1], device=valid.device).unsqueeze(0) == 0  # [CLS]
        if protected is not None:
            shields = shields | (protected > 0)
        shields = shields.expand_as(valid)
        if by_budget:
            kept = keep_by_budget(logits, valid, shields, inputs["budget"])
        else:
            kept = keep_by_policy(logits, valid, shields)
        keep_mask = kept.long()
        keep_count = keep_mask.sum(-1)
        free = (valid & ~shields).long()
        if full is not None and order_mask is not None:
            logits = put_back(torch.zeros_like(order_mask, dtype=logits.dtype), logits, order_mask)
            free = put_back(torch.zeros_like(order_mask), free, order_mask)
            states = put_back(full, states, order_mask)
            keep_mask = put_back(torch.zeros_like(order_mask), keep_mask, order_mask)
        if decisions is not None:
            decisions.append(Decision(logits, free > 0))
        result = {"hidden_states": states, "keep_mask": keep_mask}
        if option_mask is not None and protected is not None:
            result |= {"option_mask": option_mask, "protected": protected}
        return result | {"keep_count": keep_count}

    def embed(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Embeddings; which tokens are real [B, N]; in multiple choice also the masks of options and question."""
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        flat = {"input_ids": input_ids.flatten(0, -2)}
        if self.has_token_types:
            flat["token_type_ids"] = inputs["token_type_ids"].flatten(0, -2)
        states = self.backbone.embeddings(**flat)
        if not self.task.multiple_choice:
            return states, attention_mask > 0, None, None
        states = states.unflatten(0, input_ids.shape[:2])
        valid = attention_mask.amax(dim=1) > 0
        protected: Tensor | None = torch.zeros_like(valid, dtype=torch.int64)
        if self.num_stages > 1:
            position = torch.arange(input_ids.shape[-1], device=input_ids.device)
            protected = (position.unsqueeze(0) >= inputs["question_ends"].unsqueeze(1)).long()
        return states, valid, attention_mask, protected

    def run_layers(self, first: int, end: int, states: Tensor, mask: Tensor) -> Tensor:
        """Layers `first` to `end` - 1 on states [..., M, H] under a mask [..., M]."""
        shape = states.shape
        mask = mask.reshape(-1, shape[-2]) > 0
        additive = torch.where(mask, 0.0, torch.finfo(states.dtype).min).to(states.dtype)[:, None, None, :]
        states = states.reshape(-1, shape[-1])
        for layer in self.encoder_layers[first:end]:
            states = run_layer(layer, states, additive)
        return states.reshape(shape)

    # -- the reference ------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        keep: Sequence[float] | None = None,
        **task_inputs: Tensor,
    ) -> TRBertOutput:
        """Answer a batch; every row as if it were alone.

        Args:
            input_ids: int64 [B, N], in multiple choice [B, options, N].
            attention_mask: int64 of the same shape, real tokens first; all real where not given.
            token_type_ids: int64 of the same shape; zeros where not given.
            keep: budget fractions; by default the configuration's, where it has none policy mode.
            **task_inputs: the task's further inputs, see `trbert_deploy.tasks`.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        selection = self.config.selection if keep is None else Selection.of(keep, len(self.selectors))
        request = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **task_inputs,
        }
        real = attention_mask.amax(dim=1) if self.task.multiple_choice else attention_mask
        lengths = real.sum(-1)
        rows = torch.arange(len(input_ids), device=input_ids.device)
        answer = TRBertOutput({}, budgets=[] if selection.keep else None)
        carried: dict[str, Tensor] = {}
        for index in range(self.num_stages):
            inputs = {name: request[name] for name in self.request_inputs(index)} | carried
            if index < len(selection.keep):
                inputs["budget"] = (lengths * millionths(selection.keep[index]) + (BUDGET_SCALE - 1)) // BUDGET_SCALE
                assert answer.budgets is not None
                answer.budgets.append(inputs["budget"])
            result = self.stage(index, inputs, by_budget=bool(selection.keep), decisions=answer.decisions)
            if index == self.num_stages - 1:
                answer.outputs = result
                break
            answer.keep_masks.append(result["keep_mask"])
            widest = int(result.pop("keep_count").max())
            carried = result | {"rows": rows, "keep": rows.new_zeros(widest)}
        return answer


class TRBertForSequenceClassification(TRBertPreTrainedModel):
    """``logits`` [B, labels]."""

    task = SEQUENCE_CLASSIFICATION

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """Pooler and classifier."""
        return ClassificationHead(config.backbone, config.num_labels)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of each row."""
        return (self.head(states[:, 0]),)


class TRBertForMultipleChoice(TRBertPreTrainedModel):
    """``logits`` [B, options]; the tokens from ``question_ends`` on are always kept."""

    task = MULTIPLE_CHOICE

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """Pooler and one logit an option."""
        return ClassificationHead(config.backbone, 1)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of each option."""
        return (self.head(states[:, :, 0]).squeeze(-1),)


class TRBertForQuestionAnswering(TRBertPreTrainedModel):
    """``start_logits`` and ``end_logits`` [B, N]."""

    task = QUESTION_ANSWERING

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """Start and end of the answer."""
        backbone = config.backbone
        return SpanHead(backbone.hidden_size, 0.0 if backbone.model_type == "bert" else backbone.qa_dropout)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Start and end logits."""
        start_logits, end_logits = self.head(states, inputs["attention_mask"])
        return start_logits, end_logits


class TRBertForHotpot(TRBertPreTrainedModel):
    """HotpotQA: span, ``switch_logits`` [B, 3] (span, yes, no) and ``sent_logits`` [B, S, 2]."""

    task = HOTPOT

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """Span, answer type, supporting sentences."""
        return HotpotHead(config.backbone.hidden_size)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The four outputs."""
        outputs: tuple[Tensor, ...] = self.head(states, inputs["attention_mask"], inputs["sentence_spans"])
        return outputs


class TRBertForWikihop(TRBertPreTrainedModel):
    """WikiHop: ``candidate_logits`` [B, C]."""

    task = WIKIHOP

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """A logit a candidate."""
        return CandidateHead(config.backbone.hidden_size)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of the candidates."""
        return (self.head(states, inputs["candidate_positions"]),)


class TRBertForTokenClassification(TRBertPreTrainedModel):
    """``logits`` [B, N, labels]: the token-level early exit of sequence labelling; a dropped token keeps its state."""

    task = TOKEN_CLASSIFICATION

    def make_head(self, config: TRBertConfig) -> nn.Module:
        """A classifier on every token."""
        backbone = config.backbone
        dropout = bert_classifier_dropout(backbone) if backbone.model_type == "bert" else backbone.dropout
        return TokenHead(backbone.hidden_size, config.num_labels, dropout)

    def apply_head(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of every token."""
        return (self.head(states, inputs["attention_mask"]),)


MODEL_CLASSES: dict[str, type[TRBertPreTrainedModel]] = {
    model.task.name: model
    for model in (
        TRBertForSequenceClassification,
        TRBertForMultipleChoice,
        TRBertForQuestionAnswering,
        TRBertForHotpot,
        TRBertForWikihop,
        TRBertForTokenClassification,
    )
}
