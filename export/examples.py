"""What a stage is traced with: a random batch that the model's specification allows, run by the model up to there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trbert_deploy.core.samples import random_batch
from trbert_deploy.model import Scores, TRBertPreTrainedModel, run_stage

_SEED = 0
_ROWS = 3
_TOKENS = 12  # at least, behind the last reduction; no more than the model takes


def example_inputs(model: TRBertPreTrainedModel, index: int) -> dict[str, Tensor]:
    """Valid inputs of a stage, by name, ``budget`` included.

    No two axes are of one size and none is 1, lest the tracer take one for the other or for fixed; a reduction drops
    the last token of each row. From stage 1 on two of the three rows of the stage before go on.
    """
    tokens = min(model.spec.max_length, _TOKENS + index)
    batch = random_batch(model.spec, [tokens] * (_ROWS if index else _ROWS - 1), np.random.default_rng(_SEED))
    request = {name: torch.from_numpy(array) for name, array in batch.items()}
    inputs = {name: request[name] for name in model.request_inputs(0)}
    rows = torch.arange(len(batch["input_ids"]))
    with torch.no_grad():
        for stage in range(index):
            given = run_stage(model, stage, inputs, _all_but_the_last).tensors
            if stage == index - 1:
                rows = torch.tensor([2, 0])
            carried = {name: given[name] for name in model.carried}
            kept = int(given["keep_count"].max())
            inputs = {name: request[name][rows] for name in model.request_inputs(stage + 1)} | carried
            inputs |= {"rows": rows, "keep": torch.zeros(kept, dtype=torch.int64)}
    return inputs | {"budget": torch.full((len(rows),), 2)}


def _all_but_the_last(reduction: int, scores: Scores, inputs: Mapping[str, Tensor]) -> Tensor:
    """See `trbert_deploy.model.Decide`."""
    width = scores.candidates.shape[1]
    return scores.candidates & (torch.arange(width) < width - 1)
