"""States to resume a phase from: its weights, optimizer and random generators, after some of its steps."""

from __future__ import annotations

import shutil
from pathlib import Path

from accelerate import Accelerator

from trbert_deploy.bundle.folder import room_for
from trbert_deploy.core.errors import TRBertError, first_line


def save_state(accelerator: Accelerator, folder: Path, done: int) -> None:
    """Write a state beside the last one, then let it take its place.

    Raises:
        TRBertError: it cannot be written.
    """
    partial, latest = folder / "partial", folder / f"step-{done}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        with room_for(folder):
            accelerator.save_state(str(partial))
    except RuntimeError as error:  # from torch.save, which hides what the system said
        raise TRBertError(
            f"the state after step {done} cannot be written to {folder}: {first_line(error)}",
            "free some space; the same command goes on with the last state",
        ) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(latest)
        for old in folder.glob("step-*"):
            if old != latest:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, folder: Path) -> int:
    """Load the latest state, where there is one; how many steps it had done."""
    done = steps_done(folder)
    if done:
        accelerator.load_state(str(folder / f"step-{done}"))
    return done


def steps_done(folder: Path) -> int:
    """The steps of the latest state in a folder; 0 where there is none."""
    return max((int(state.name.removeprefix("step-")) for state in folder.glob("step-*")), default=0)
