"""The one loop over the stages of a model: the reference runs it, and so does training with selections it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trbert_deploy.model.base import StagedModel
from trbert_deploy.model.decisions import Decide
from trbert_deploy.model.stage import StageResult, run_stage


def run_stages(
    model: StagedModel,
    request: Mapping[str, Tensor],
    decide: Decide,
    budgets: Sequence[Tensor] = (),
) -> list[StageResult]:
    """Run a batch through all stages, every row as if it were alone.

    Where `decide` draws K selections for a row at the first reduction, what comes before is computed once, and there
    are K rows one after the other from then on.

    Args:
        model: whose.
        request: the caller's inputs, by name.
        decide: who goes on.
        budgets: for each reduction int64 [B], for `by_budget`.

    Returns:
        One result a stage.
    """
    rows = torch.arange(len(request["input_ids"]), device=request["input_ids"].device)
    source = rows  # of each running row, the row of the stage before that its states are from
    given = dict(request)
    carried: dict[str, Tensor] = {}
    results = []
    for index in range(model.num_stages):
        inputs = {name: given[name] for name in model.request_inputs(index)} | carried
        if index < len(budgets):
            inputs["budget"] = budgets[index]
        results.append(run_stage(model, index, inputs, decide))
        if index == model.num_stages - 1:
            break
        carried = {name: results[-1].tensors[name] for name in model.carried}
        if not model.full_length and results[-1].positions is not None:
            carried["positions"] = results[-1].positions
        running = len(carried["keep_mask"])
        if running != len(rows):  # K selections a row
            source = rows.repeat_interleave(running // len(rows))
            given = {name: tensor.index_select(0, source) for name, tensor in given.items()}
            rows = torch.arange(running, device=rows.device)
        else:
            source = rows
        widest = int(results[-1].tensors["keep_count"].max())
        carried |= {"rows": rows, "source": source, "keep": rows.new_zeros(widest)}
    return results
