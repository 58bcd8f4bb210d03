"""Step (b): how much each token matters, by the residual strategy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.model.stage import enter
from trbert_deploy.training.objective import objective_of

_SCALE = 2.0**12  # keeps small gradients alive in half precision


def anchor_layer(num_layers: int) -> int:
    """The layer whose input states a token's change is measured against: 9 of 12, 5 of 6.

    Source: `back_r` of `evaluate_grad` in upstream's run_classification.py (8 for BERT and 4 for DistilBERT, counting
    outputs from 0); between and beyond those two depths the rule is ours.
    """
    return num_layers - max(1, num_layers // 4)


def token_importance(model: TRBertPreTrainedModel, inputs: Mapping[str, Tensor], labels: Tensor) -> list[Tensor]:
    """Score tokens for each reduction: ``|dL/dh_a . (h_a - h_s)|``.

    h_s are the states before the reduction, h_a those before `anchor_layer`, both without any reduction, and L the
    task's loss: a first-order estimate of the change of the loss if the token had stayed at h_s. Where a model is so
    shallow that the reduction is not before the anchor, the score is ``|dL/dh_a . h_a|``.

    Args:
        model: of a task that is trained and whose rows are one sequence; of two layers or more.
        inputs: the model's own, by name; over tokens int64 [B, N].
        labels: see `Objective.loss`.

    Returns:
        float32 [B, N] for each reduction, zero at padding. Only the order within a row means anything.

    Source:
        Paper section 3.3 (residual strategy); `evaluate_grad` in upstream's run_classification.py.
    """
    num_layers = len(model.encoder_layers)
    anchor_at = anchor_layer(num_layers)
    with torch.no_grad():
        tokens = enter(model, inputs)
        states, valid, positions = tokens.states, tokens.valid, tokens.positions
        before = []
        for layer in range(anchor_at):
            before.append(states)
            states = model.run_layers(layer, layer + 1, states, valid, positions)
    with torch.enable_grad():
        anchor = states.detach().requires_grad_()
        outputs = model.apply_head(model.run_layers(anchor_at, num_layers, anchor, valid, positions), inputs)
        outputs = {name: output.float() for name, output in outputs.items()}
        # a sum: a row's gradient does not depend on its batch
        loss = objective_of(model).loss(outputs, labels).sum()
        (gradient,) = torch.autograd.grad(loss * _SCALE, [anchor])
    scores = []
    for reduction in model.config.reduction_layers:
        change = anchor.detach()
        if reduction < anchor_at:
            change = change - before[reduction]
        change = change.float()
        score = (gradient.float() * change).sum(-1).abs() / _SCALE
        scores.append(torch.where(valid, score, 0.0))
    return scores
