"""Reviews to predict, and when two lists of answers are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

REVIEWS = list(read_json_lines(evaluation_file()))[:30]


def close(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether answers are the same but for rounding."""
    return (
        len(found) == len(wanted)
        and all(
            one["scores"] == pytest.approx(other["scores"], abs=1e-4) for one, other in zip(found, wanted, strict=True)
        )
        and [dict(one, score=0, scores=0) for one in found] == [dict(one, score=0, scores=0) for one in wanted]
    )
