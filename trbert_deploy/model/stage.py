"""One stage: gather what was kept, run layers, score, decide.

A model with R reductions is R + 1 stages: stage s runs the layers from one reduction to the next and ends with the
decision (or, the last one, with the head). The next stage begins by gathering what was kept. Eagerly one after the
other the stages are the reference; traced one by one they are the graphs; with selections that are drawn they are the
roll-out of training. Between stages nothing is halted that was not gathered: a reduction whose tokens stay attended
keeps the states of all tokens beside those that go through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_deploy.backbones import Positions
from trbert_deploy.model.base import StagedModel
from trbert_deploy.model.compaction import gather_order, gather_states, put_back
from trbert_deploy.model.decisions import Decide, Scores


@dataclass(frozen=True)
class Decision:
    """What was decided at one reduction.

    Attributes:
        scores: float32 [B, M], aligned with the keep mask.
        free: bool [B, M], which tokens were to be decided on: real ones still in the row, not protected. Elsewhere the
            scores mean nothing.
    """

    scores: Tensor
    free: Tensor


@dataclass(frozen=True)
class StageResult:
    """What a stage gives.

    Attributes:
        tensors: before a reduction those of `StagedModel.carried` and ``keep_count`` int64 [b]; at the end
            the task's outputs.
        decision: None at the end.
        positions: int64 [B, M], of the tokens that went through; see `Scores.positions`. None at the end.
    """

    tensors: dict[str, Tensor]
    decision: Decision | None = None
    positions: Tensor | None = None


@dataclass
class Tokens:
    """The tokens that go through a stage.

    Attributes:
        states: [B, M, H], or [B, O, M, H] where the O sequences of a row share one selection.
        valid: bool [B, M], real ones.
        positions: int64 [B, M], in the original row.
        sequence_mask: int64 [B, O, M], real tokens of each sequence; None where a row is one.
        protected_behind: int64 [B, M], 1 where the task protects a token; None where it protects none.
        full: [B, N, H], states of all tokens of the row, where they have to be at hand.
        order_mask: int64 [B, N], which of them go through.
    """

    states: Tensor
    valid: Tensor
    positions: Tensor
    sequence_mask: Tensor | None = None
    protected_behind: Tensor | None = None
    full: Tensor | None = None
    order_mask: Tensor | None = None


def run_stage(model: StagedModel, index: int, inputs: Mapping[str, Tensor], decide: Decide) -> StageResult:
    """Run one stage.

    Args:
        model: whose.
        index: 0 to `num_stages` - 1.
        inputs: `request_inputs(index)`, for the rows this stage runs; from stage 1 on the `carried` tensors of ALL rows
            of the stage before, with ``rows`` int64 [b] (which of them to run) and ``keep`` int64 [K] (whose shape says
            how many tokens to gather); what `decide` reads. Where several selections were drawn for a row, ``source``
            int64 [b]: the rows of the states, which the keep masks then are not aligned with. Where tokens that left
            are gone, ``positions`` int64 [B, M] of the stage before, if they are to be known.
        decide: at the end, who goes on.
    """
    tokens = enter(model, inputs) if index == 0 else gather(model, inputs)
    bounds = model.stage_bounds
    attended = model.reduction.fate == "attended" and tokens.full is not None
    if attended:
        run_attended(model, bounds[index], bounds[index + 1], tokens, inputs["attention_mask"])
    else:
        mask = tokens.valid if tokens.sequence_mask is None else tokens.sequence_mask
        tokens.states = model.run_layers(bounds[index], bounds[index + 1], tokens.states, mask, tokens.positions)
        if tokens.full is not None and tokens.order_mask is not None:
            tokens.full = put_back(tokens.full, tokens.states, tokens.order_mask)
    if index == model.num_stages - 1:
        return StageResult(model.apply_head(tokens.states if tokens.full is None else tokens.full, inputs))
    return leave(model, index, tokens, inputs, decide)


def enter(model: StagedModel, inputs: Mapping[str, Tensor]) -> Tokens:
    """All tokens of rows, embedded."""
    input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
    flat = {name: inputs[name].flatten(0, -2) for name in model.token_inputs if name != "attention_mask"}
    states = model.parts.embed(model.backbone, flat)
    task = model.task
    width = input_ids.shape[-1]
    positions = torch.arange(width, device=input_ids.device).unsqueeze(0)
    if task.sequences_axis is None:
        valid = attention_mask > 0
        return Tokens(states, valid, positions.expand_as(valid))
    states = states.reshape(*input_ids.shape, states.shape[-1])
    valid = attention_mask.amax(dim=1) > 0
    protected: Tensor | None = None
    if task.protected_from is not None:
        protected = torch.zeros_like(valid, dtype=torch.int64)
        if model.num_stages > 1:
            protected = (positions >= inputs[task.protected_from].unsqueeze(1)).long()
    return Tokens(states, valid, positions.expand_as(valid), attention_mask, protected)


def gather(model: StagedModel, inputs: Mapping[str, Tensor]) -> Tokens:
    """What the reduction before kept of the rows to run."""
    rows, keep_mask = inputs["rows"], inputs["keep_mask"]
    source = inputs.get("source", rows)
    order, valid = gather_order(keep_mask, rows, inputs["keep"])
    tokens = Tokens(gather_states(inputs["hidden_states"], source, order), valid, order)
    if "positions" in inputs:
        tokens.positions = torch.gather(inputs["positions"].index_select(0, source), 1, order)
    if "sequence_mask" in inputs:
        carried = inputs["sequence_mask"].index_select(0, source)
        index_of = order.unsqueeze(1).expand(-1, carried.shape[1], -1)
        tokens.sequence_mask = torch.gather(carried, 2, index_of) * valid.unsqueeze(1)
    if "protected" in inputs:
        tokens.protected_behind = torch.gather(inputs["protected"].index_select(0, source), 1, order) * valid
    if model.full_length:
        tokens.full = inputs["hidden_states"].index_select(0, source)
        tokens.order_mask = keep_mask.index_select(0, rows)
    return tokens


def run_attended(model: StagedModel, first: int, end: int, tokens: Tokens, attention_mask: Tensor) -> None:
    """Layers on the tokens that go through, which attend to all tokens of the row; the others stay as they are."""
    full, order_mask = tokens.full, tokens.order_mask
    assert full is not None
    assert order_mask is not None
    everywhere = torch.arange(full.shape[1], device=full.device).unsqueeze(0).expand(full.shape[0], -1)
    positions = Positions(tokens.positions, everywhere)
    mask = model.additive_mask(attention_mask, full.dtype)
    states = tokens.states.reshape(-1, full.shape[-1])
    for layer in model.encoder_layers[first:end]:
        states = model.parts.layer(layer, states, full.reshape(-1, full.shape[-1]), mask, positions)
        full = put_back(full, states.reshape(tokens.states.shape), order_mask)
    tokens.states, tokens.full = states.reshape(tokens.states.shape), full


def leave(model: StagedModel, index: int, tokens: Tokens, inputs: Mapping[str, Tensor], decide: Decide) -> StageResult:
    """Score the tokens and decide who goes on."""
    values = model.selectors[index](tokens.states)
    if tokens.sequence_mask is not None:
        values = values.mean(dim=1)  # one selection for all sequences: upstream's modeling_automcbert.py
    protected = model.reduction.protected(tokens.valid)
    if tokens.protected_behind is not None:
        protected = protected | (tokens.protected_behind > 0)
    protected = protected.expand_as(tokens.valid)
    keep_mask = decide(index, Scores(values, tokens.valid, protected, tokens.positions), inputs).long()
    keep_count = keep_mask.sum(-1)
    free = (tokens.valid & ~protected).long()
    states = tokens.states
    if tokens.full is not None and tokens.order_mask is not None:
        order_mask = tokens.order_mask
        values = put_back(torch.zeros_like(order_mask, dtype=values.dtype), values, order_mask)
        free = put_back(torch.zeros_like(order_mask), free, order_mask)
        keep_mask = put_back(torch.zeros_like(order_mask), keep_mask, order_mask)
        states = tokens.full
    carried = {"hidden_states": states, "keep_mask": keep_mask}
    if tokens.sequence_mask is not None:
        carried["sequence_mask"] = tokens.sequence_mask
    if tokens.protected_behind is not None:
        carried["protected"] = tokens.protected_behind
    if "positions" in model.carried:
        carried["positions"] = tokens.positions
    return StageResult({**carried, "keep_count": keep_count}, Decision(values, free > 0), tokens.positions)
