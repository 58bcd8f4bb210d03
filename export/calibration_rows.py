"""Rows to calibrate int8 with: the user's, or the reviews that ship with the package."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trbert_deploy.calib_data import calibration_file
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.items import takes_one_text
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.rows import collate

if TYPE_CHECKING:
    from trbert_deploy.text.tokenizer import BundleTokenizer  # of a library that options do without

#: So many rows set the ranges, and so many others tell which layers suffer.
CALIBRATION_ROWS = 64
SENSITIVITY_ROWS = 16


def require_rows(task: TaskSpec, has_tokenizer: bool, data: Path | None) -> None:
    """Say at once that there is nothing to calibrate with; see `read_requests`.

    Raises:
        InputError: the file cannot be found.
        TRBertError: no data was given, and the reviews do not fit.
    """
    if data is not None:
        read_json_lines(data)
    elif not has_tokenizer or not takes_one_text(task):
        why = f"task {task.name} takes no plain text" if has_tokenizer else "there is no tokenizer"
        raise TRBertError(
            f"int8 needs rows to calibrate with, and the reviews that ship with the package do not fit: {why}",
            "give some: --calibration-data FILE.jsonl, about 100 lines such as the model will see",
        )


def read_requests(tokenizer: BundleTokenizer, task: TaskSpec, data: Path | None) -> tuple[str, list[Request]]:
    """Rows to calibrate with.

    Args:
        tokenizer: of the bundle.
        task: of the model.
        data: JSON lines as `trbert_deploy.text.items` takes them; None for the reviews that ship with the package,
            where `require_rows` lets them pass.

    Returns:
        The data's name, and single rows: at most `CALIBRATION_ROWS` + `SENSITIVITY_ROWS`.

    Raises:
        InputError: a line cannot be used, or there is none.
    """
    data = data or calibration_file()
    lines = list(islice(read_json_lines(data), CALIBRATION_ROWS + SENSITIVITY_ROWS))
    if not lines:
        raise InputError(f"{data} has no lines", "give about 100 lines such as the model will see")
    return data.name, [check_request(task, collate([row], task)) for row in tokenizer.encode(lines)]
