"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from trbert_deploy.core.errors import TRBertError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_folder(out: Path, *, force: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a temporary folder to write into; when the block ends well, it becomes `out`.

    If the block fails, or the process is killed, `out` is as it was. What a killed process left behind are hidden
    folders beside `out`; the next writer clears them up, and puts an old `out` back that was just being replaced.

    Args:
        out: the folder to make.
        force: whether an existing one may be replaced.
        replaceable: says of an existing folder that it is one of ours; anything else is never replaced.

    Raises:
        TRBertError: `out` exists and may not be replaced, or cannot be written.
    """
    out = out.resolve()
    with _clear_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(out)
        _check_target(out, force, replaceable)
    writer = _Writer(out, uuid.uuid4().hex[:12])
    with _clear_errors(out), writer.lock:
        try:
            writer.partial.mkdir()
            yield writer.partial
            _sync(writer.partial)
            _check_target(out, force, replaceable)
            writer.finish()
        finally:
            shutil.rmtree(writer.partial, ignore_errors=True)
            writer.lock_file.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file to write; when the block ends well, it becomes `path`, whatever stood there.

    If the block fails, `path` is as it was. A killed process leaves a hidden file beside it.
    """
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex[:12]}")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


class _Writer:
    """One attempt at a folder: its hidden names beside it, and the lock that says it is alive."""

    def __init__(self, out: Path, token: str) -> None:
        self.out = out
        self.partial = out.parent / f".{out.name}.partial-{token}"
        self.retired = out.parent / f".{out.name}.retired-{token}"
        self.lock_file = out.parent / f".{out.name}.writing-{token}"
        self.lock = FileLock(self.lock_file, timeout=0)

    def finish(self) -> None:
        """Put the new folder in the old one's place, or leave the old one."""
        if not self.out.exists():
            self.partial.rename(self.out)
            return
        self.out.rename(self.retired)
        try:
            self.partial.rename(self.out)
        except OSError:
            self.retired.rename(self.out)
            raise
        shutil.rmtree(self.retired, ignore_errors=True)

    def clear(self) -> None:
        """Undo what a dead writer left."""
        if self.retired.exists() and not self.out.exists():
            self.retired.rename(self.out)
        for folder in (self.partial, self.retired):
            shutil.rmtree(folder, ignore_errors=True)
        self.lock_file.unlink(missing_ok=True)


def _clear_abandoned(out: Path) -> None:
    for lock_file in out.parent.glob(f".{glob.escape(out.name)}.writing-*"):
        abandoned = _Writer(out, lock_file.name.rpartition("-")[2])
        with contextlib.suppress(Timeout), abandoned.lock:
            abandoned.clear()


def _check_target(out: Path, force: bool, replaceable: Callable[[Path], bool]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise TRBertError(f"{out} exists and is no folder", "give another folder")
    if out == Path.cwd():
        raise TRBertError(f"{out} is the current folder, which cannot be replaced", "give a folder in it")
    if not any(out.iterdir()):
        return
    if not replaceable(out):
        raise TRBertError(f"{out} exists and is not one that was written here", "give another folder")
    if not force:
        raise TRBertError(f"{out} exists", "give another folder, or --force to replace it")


@contextlib.contextmanager
def _clear_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise TRBertError(
                f"there is no room to write {out}: {reason}", "free some space, or write to another disk"
            ) from error
        raise TRBertError(f"{out} cannot be written: {reason}", "check the folder, or give another folder") from error


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename makes them visible."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
