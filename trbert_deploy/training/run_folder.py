"""The folder of a run.

    arguments.json            what was asked for; a run goes on under the same only
    metrics.jsonl, run.png    of the fine-tuning
    teacher/                  the dense model after step (a)
    teacher_outputs.npz       its outputs on the training rows, by name, float32 [rows, ...]
    alpha-1/                  for each alpha:
        selectors/            the model after step (c)
        model/                the model after step (d): what `export` takes
        metrics.jsonl, run.png
    results.json, results.md, trade_off.png

Folders of weights appear whole. A step that is done is not done again; one that was interrupted goes on from its last
state, which lies in a hidden folder beside the result to be.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from filelock import FileLock, Timeout

from trbert_deploy.bundle.folder import whole_file, whole_folder
from trbert_deploy.checkpoint import save_checkpoint
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.arguments import MAY_CHANGE, TrainingArguments

_ARGUMENTS = "arguments.json"


class RunFolder:
    """One run's folder, see the top of this module; every process has one of the same path.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self.path, self._accelerator = path, accelerator

    @property
    def teacher(self) -> Path:
        """Where the dense model is to be."""
        return self.path / "teacher"

    @property
    def teacher_outputs(self) -> Path:
        """Where its outputs are to be."""
        return self.path / "teacher_outputs.npz"

    def selectors(self, alpha: float) -> Path:
        """Where the model after step (c) is to be."""
        return self.path / f"alpha-{alpha:g}" / "selectors"

    def model(self, alpha: float) -> Path:
        """Where the model after step (d) is to be."""
        return self.path / f"alpha-{alpha:g}" / "model"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else trains in this folder meanwhile.

        Raises:
            TRBertError: somebody does, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TRBertError(f"{self.path} cannot be a run folder: {error.strerror}", "give another --out") from error
        lock = FileLock(self.path / f".lock-{self._accelerator.process_index}", timeout=0)
        try:
            held = lock.acquire()
        except Timeout:
            raise TRBertError(
                f"another process is training in {self.path}", "wait for it, or give another --out"
            ) from None
        with held:
            yield

    def claim(self, config: dict[str, Any]) -> None:
        """Write what the run is to be, or see that it is the same run.

        Raises:
            InputError: the folder holds another run, or something else.
        """
        file = self.path / _ARGUMENTS
        if self._accelerator.is_main_process and not file.exists():
            if any(entry.name[0] != "." for entry in self.path.iterdir()):
                raise InputError(f"{self.path} exists and holds no training run", "give another --out")
            with whole_file(file) as partial:
                partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self._accelerator.wait_for_everyone()
        before, wanted = _read(file), json.loads(json.dumps(config))
        before = json.loads(json.dumps(asdict(TrainingArguments()))) | before  # an earlier version knew fewer
        differing = [
            f"{name} was {before.get(name)}, now {wanted.get(name)}"
            for name in dict.fromkeys([*before, *wanted])
            if before.get(name) != wanted.get(name) and name not in MAY_CHANGE
        ]
        if differing:
            raise InputError(
                f"{self.path} holds a run with other arguments ({'; '.join(differing)})",
                "repeat them to go on with it, or give another --out",
            )

    def finished(self, result: Path) -> bool:
        """Whether a step is done: the same for all processes, which then go the same way."""
        exists = result.exists()
        self._accelerator.wait_for_everyone()
        if exists and self._accelerator.is_main_process:
            shutil.rmtree(state_of(result), ignore_errors=True)  # a kill may have left it
        return exists

    def save(self, model: TRBertPreTrainedModel, tokenizer: Any, result: Path) -> None:
        """The model as a checkpoint, whole; then the states that led to it are of no more use."""
        if self._accelerator.is_main_process:
            with whole_folder(result, force=False, replaceable=lambda existing: False) as partial:
                save_checkpoint(model, partial)
                tokenizer.save_pretrained(str(partial))
            shutil.rmtree(state_of(result), ignore_errors=True)
        self._accelerator.wait_for_everyone()


def state_of(result: Path) -> Path:
    """Where the states lie from which a folder of weights is still to come."""
    return result.with_name(f".state-{result.name}")


def _read(file: Path) -> dict[str, Any]:
    """What a run was asked for.

    Raises:
        InputError: the file is damaged.
    """
    try:
        found = strict_json.read(file, most_bytes=2**20)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}", "give another --out") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no arguments of a run", "give another --out")
    return found
