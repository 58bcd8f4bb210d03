"""What an engine answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.selection import Kept


class EngineOutput(dict[str, npt.NDArray[np.float32]]):
    """Output arrays by name.

    Attributes:
        selection: where it was asked for, for each reduction and row the kept positions of the original row,
            int64, ascending.
    """

    def __init__(self, outputs: dict[str, npt.NDArray[np.float32]], selection: Kept | None) -> None:
        super().__init__(outputs)
        self.selection = selection
