"""Selection and compaction of tokens, as tensors: which tokens go on, brought together, and put back.

Everything here is made of operators that mean the same on every runtime: no result depends on how a sort or a top-k
breaks ties, because an order is always made of compares or of unique keys. These functions are run eagerly by the
PyTorch reference and traced, unchanged, into the stage graphs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def keep_by_policy(logits: Tensor, candidates: Tensor, protected: Tensor) -> Tensor:
    """Each row keeps its protected tokens and those whose logit is not negative (sigmoid >= 0.5).

    Args:
        logits: float32 [B, M].
        candidates: bool [B, M], real tokens still in the row.
        protected: bool [B, M], tokens kept whatever the selector says.

    Returns:
        bool [B, M].
    """
    return candidates & (protected | (logits >= 0))


def keep_by_budget(logits: Tensor, candidates: Tensor, protected: Tensor, budget: Tensor) -> Tensor:
    """Each row keeps exactly `budget` tokens: protected ones, then the highest logits; of equals the lower position.

    A row with more protected tokens than its budget keeps all of them (multiple choice only).

    Args:
        logits: float32 [B, M].
        candidates: bool [B, M], real tokens still in the row.
        protected: bool [B, M], see `keep_by_policy`.
        budget: int64 [B].

    Returns:
        bool [B, M].
    """
    protected = protected & candidates
    score = torch.where(protected, torch.finfo(torch.float32).max, logits)
    mine, other = score.unsqueeze(2), score.unsqueeze(1)
    position = torch.arange(score.shape[1], device=score.device)
    earlier = position.unsqueeze(0) < position.unsqueeze(1)
    ahead = candidates.unsqueeze(1) & ((other > mine) | ((other == mine) & earlier))
    rank = ahead.to(torch.int32).sum(-1, dtype=torch.int32).long()
    budget = torch.maximum(budget, protected.long().sum(-1))
    return candidates & (rank < budget.unsqueeze(1))


def gather_order(keep_mask: Tensor, rows: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Where the kept tokens of the given rows stand, ascending, padded behind with tokens that are not kept.

    Args:
        keep_mask: int64 [B, M], 1 where a token is kept.
        rows: int64 [b], which rows to gather.
        keep: int64 [K], of which only the shape is read: K is at least the largest count of the rows, at most M.

    Returns:
        order, int64 [b, K], positions in [0, M), all different within a row; and valid, bool [b, K].
    """
    width = keep_mask.shape[1]
    position = torch.arange(width, device=keep_mask.device)
    key = torch.where(keep_mask > 0, width - position, -1 - position)  # unique, so a top-k of it has no ties
    key = key.index_select(0, rows).to(torch.float32)  # exact: far below 2^24
    order = torch.topk(key, keep.shape[0], dim=1, largest=True, sorted=True).indices
    valid = torch.gather(key, 1, order) > 0
    return order, valid


def gather_states(hidden_states: Tensor, rows: Tensor, order: Tensor) -> Tensor:
    """Bring the tokens at `order` of `rows` together.

    Args:
        hidden_states: [B, M, H], or [B, O, M, H] where the options of a row share one selection.
        rows: int64 [b].
        order: int64 [b, K].

    Returns:
        [b, K, H] or [b, O, K, H].
    """
    width, hidden_size = hidden_states.shape[-2:]
    if hidden_states.dim() == 3:
        flat = rows.unsqueeze(1) * width + order
    else:
        options = hidden_states.shape[1]
        option = torch.arange(options, device=order.device)
        flat = (rows.unsqueeze(1) * options + option).unsqueeze(2) * width + order.unsqueeze(1)
    return nn.functional.embedding(flat, hidden_states.reshape(-1, hidden_size))


def put_back(full: Tensor, kept: Tensor, keep_mask: Tensor) -> Tensor:
    """Put the states of kept tokens back to their places among all tokens of the row.

    Args:
        full: [b, N, ...], the states of all tokens as they were before.
        kept: [b, K, ...], new states of the kept tokens, in ascending order of position.
        keep_mask: int64 [b, N], which tokens were kept.

    Returns:
        [b, N, ...]: the new state where a token was kept, the old one elsewhere.
    """
    place = (keep_mask.cumsum(1) - 1).clamp(min=0)  # a gather, not a scatter: every runtime has one
    mask = keep_mask > 0
    if full.dim() == 3:
        place = place.unsqueeze(-1).expand(-1, -1, full.shape[-1])
        mask = mask.unsqueeze(-1)
    return torch.where(mask, torch.gather(kept, 1, place), full)
