"""A naive reading of the paper: one row, no padding, Python lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def naive_states(
    model: Any, row: dict[str, np.ndarray], keep: Sequence[float] | None = None
) -> tuple[Tensor, list[list[int]]]:
    """Final states of every original position of a row, and the kept positions, by loops.

    A token that left has the state it had when it left. Layers are transformers' own, nothing is `stage`'s.
    """
    token_ids = torch.from_numpy(row["input_ids"])
    arguments = {"input_ids": token_ids}
    if model.config.backbone.model_type == "bert":
        arguments["token_type_ids"] = torch.from_numpy(row["token_type_ids"])
    states = model.backbone.embeddings(**arguments)
    original = states.shape[1]
    alive, final, kept, reduction = list(range(original)), {}, [], 0
    for number, layer in enumerate(model.encoder_layers):
        if number in model.config.reduction_layers:
            selector = model.selectors[reduction]
            logits = selector.score(nn.functional.gelu(selector.dense(states)))[0, :, 0].tolist()
            if keep is None:
                stay = [place for place, logit in enumerate(logits) if logit >= 0 or alive[place] == 0]
            else:
                count = -(-round(keep[reduction] * 1000) * original // 1000)
                ranked = sorted(range(len(alive)), key=lambda place: (alive[place] != 0, -logits[place], place))
                stay = sorted(ranked[:count])
            for place, position in enumerate(alive):
                final[position] = states[0, place]
            states = states[:, stay]
            alive = [alive[place] for place in stay]
            kept.append(alive)
            reduction += 1
        states = layer(states, attention_mask=None)
        states = states[0] if isinstance(states, tuple) else states
    for place, position in enumerate(alive):
        final[position] = states[0, place]
    return torch.stack([final[position] for position in range(original)]).unsqueeze(0), kept
