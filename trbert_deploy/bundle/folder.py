"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from trbert_deploy.core.errors import TRBertError

_SYSTEM_ERROR = re.compile(r"\(os error ([0-9]{1,4})\)")  # as Rust says it
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HIDDEN = re.compile(r"\.(?P<target>.+)\.(?:writing|partial|retired)-(?P<token>[0-9a-f]{12})")

#: Seconds that a writer waits for its turn. A turn is a few renames and, after a kill, the removal of what was left.
PATIENCE = 60.0


@contextlib.contextmanager
def whole_folder(out: Path, *, force: bool, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a temporary folder to write into; when the block ends well, it becomes `out`.

    If the block fails, or the process is killed, `out` is as it was. What a killed process left behind are hidden
    folders beside `out`; the next writer clears them up, and puts an old `out` back that was just being replaced.
    Several writers may be at work at once: the last to end well is the one whose folder stays.

    Args:
        out: the folder to make.
        force: whether an existing one may be replaced.
        replaceable: says of an existing folder that it is one of ours; anything else is never replaced.

    Raises:
        TRBertError: `out` exists and may not be replaced, or cannot be written.
    """
    out = out.resolve()

    def check() -> None:
        _check_target(out, force, replaceable)

    with _clear_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _attempt(out, check) as attempt:
            attempt.partial.mkdir()
            yield attempt.partial
            for path in attempt.partial.rglob("*"):
                if path.is_file():
                    _sync(path)
            with _turn(out):
                check()
                attempt.replace_folder()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file to write; when the block ends well, it becomes `path`, whatever stood there.

    If the block fails, `path` is as it was. A killed process leaves hidden files beside it, which the next writer of
    `path` clears up.

    Raises:
        OSError: it cannot be written.
        TRBertError: another writer does not give way.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}")
    with _attempt(path) as attempt:
        yield attempt.partial
        _sync(attempt.partial)
        attempt.partial.replace(path)


def clear_abandoned(folder: Path) -> None:
    """Clear up what killed writers left of any target in a folder; those that are alive are left alone.

    Raises:
        OSError: the folder cannot be read or written.
        TRBertError: another writer does not give way.
    """
    for name in {found["target"] for path in folder.iterdir() if (found := _HIDDEN.fullmatch(path.name))}:
        with _turn(folder / name):
            _clear_abandoned(folder / name)


class _Attempt:
    """One attempt at a folder or file: its hidden names beside it, and the lock that says its writer is alive."""

    def __init__(self, target: Path, token: str) -> None:
        self.target = target
        self.partial = target.parent / f".{target.name}.partial-{token}"
        self.retired = target.parent / f".{target.name}.retired-{token}"
        self.lock_file = target.parent / f".{target.name}.writing-{token}"
        self.lock = FileLock(self.lock_file, timeout=0)

    def replace_folder(self) -> None:
        """Put the new folder in the old one's place, or leave the old one; `clear` removes what was replaced."""
        if not self.target.exists():
            self.partial.rename(self.target)
            return
        self.target.rename(self.retired)
        try:
            self.partial.rename(self.target)
        except OSError:
            self.retired.rename(self.target)
            raise

    def clear(self) -> None:
        """Undo what was not finished; the lock is held."""
        if self.retired.exists() and not self.target.exists():
            self.retired.rename(self.target)
        for path in (self.partial, self.retired):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a system that removes no file which is open
            self.lock_file.unlink()


@contextlib.contextmanager
def _attempt(target: Path, check: Callable[[], None] = lambda: None) -> Iterator[_Attempt]:
    """A new attempt, after those that nobody goes on with are cleared up and `check` has passed; ended either way."""
    attempt = _Attempt(target, uuid.uuid4().hex[:12])
    with _turn(target):  # so that nobody takes the lock for an abandoned one before it is held
        _clear_abandoned(target)
        check()
        attempt.lock.acquire()
    try:
        yield attempt
    finally:
        with contextlib.suppress(OSError):
            attempt.clear()
        attempt.lock.release()


@contextlib.contextmanager
def _turn(target: Path) -> Iterator[None]:
    """Nobody else starts or ends an attempt at `target` meanwhile.

    Raises:
        TRBertError: others do not give way.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(target.parent / f".{target.name}.turn", patience=PATIENCE))
        except Timeout:
            raise TRBertError(
                f"another process is putting {target} in its place, for more than {PATIENCE:g} seconds now",
                "wait for it to end, or write to another place",
            ) from None
        yield


@contextlib.contextmanager
def held(file: Path, *, patience: float = -1) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards.

    Args:
        file: of that name.
        patience: seconds to wait for another that holds it; -1 waits until it is free.

    Raises:
        filelock.Timeout: it is still held.
        OSError: it cannot be made.
    """
    lock = FileLock(file, timeout=patience)
    lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # while it is held: who waits for a lock without a name tries again by the name
        lock.release()


def _clear_abandoned(target: Path) -> None:
    found = [_HIDDEN.fullmatch(path.name) for path in target.parent.iterdir()]
    for token in {one["token"] for one in found if one and one["target"] == target.name}:
        abandoned = _Attempt(target, token)
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
def room_for(out: Path) -> Iterator[None]:
    """Say of a full disk that it is full, whichever library found out.

    Raises:
        TRBertError: it is.
    """
    try:
        yield
    except TRBertError:
        raise
    except Exception as error:  # libraries written in Rust have exceptions of their own, tokenizers the bare one
        said = _SYSTEM_ERROR.search(str(error))
        number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
        if number not in _FULL:
            raise
        raise TRBertError(
            f"there is no room to write {out}: {os.strerror(number)}", "free some space, or write to another disk"
        ) from error


@contextlib.contextmanager
def _clear_errors(out: Path) -> Iterator[None]:
    try:
        with room_for(out):
            yield
    except OSError as error:
        raise TRBertError(
            f"{out} cannot be written: {error.strerror or error}", "check the folder, or give another folder"
        ) from error


def _sync(path: Path) -> None:
    """Have a file on the disk before a rename makes it visible."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
