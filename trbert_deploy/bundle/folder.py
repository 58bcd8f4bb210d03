"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from trbert_deploy.errors import TRBertError

_PARTIAL = "partial"


@contextlib.contextmanager
def whole_folder(out: Path, *, force: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a temporary folder to write into; when the block ends well, it becomes `out`.

    If the block fails, or the process is killed, `out` is as it was. What a killed process left behind is a hidden
    folder beside `out`, cleared by the next writer.

    Args:
        out: the folder to make.
        force: whether an existing one may be replaced.
        replaceable: says of an existing folder that it is one of ours; anything else is never replaced.

    Raises:
        TRBertError: `out` exists and may not be replaced, cannot be made, or the disk is full.
    """
    _check_target(out, force, replaceable)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(out)
        partial = out.parent / f".{out.name}.{_PARTIAL}-{os.getpid()}"
        partial.mkdir()
    except OSError as error:
        raise TRBertError(f"{out} cannot be made: {error.strerror or error}") from error
    try:
        yield partial
        _sync(partial)
        _check_target(out, force, replaceable)
        _replace(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TRBertError(
                f"there is no room to write {out}: {error.strerror}",
                "free some space, or give --out on another disk",
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_target(out: Path, force: bool, replaceable: Callable[[Path], bool]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise TRBertError(f"{out} exists and is no folder", "give another --out")
    if not any(out.iterdir()):
        return
    if not replaceable(out):
        raise TRBertError(f"{out} exists and is not one that was written here", "give another --out")
    if not force:
        raise TRBertError(f"{out} exists", "give another --out, or --force to replace it")


def _clear_abandoned(out: Path) -> None:
    for folder in out.parent.glob(f".{out.name}.{_PARTIAL}-*"):
        if not _is_running(folder.name.rpartition("-")[2]):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename makes them visible."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    retired = out.parent / f".{out.name}.{_PARTIAL}-{os.getpid()}-old"
    out.rename(retired)
    partial.rename(out)
    shutil.rmtree(retired, ignore_errors=True)
