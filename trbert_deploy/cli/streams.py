"""The standard streams of a command: UTF-8, and no traceback where nobody reads them or a disk is full."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

from trbert_deploy.core.errors import TRBertError

#: The exit code that a shell gives a program whose pipe was closed.
CLOSED_PIPE = 141


class _Stream(io.TextIOWrapper):
    """A standard stream. After a failure it writes to nowhere, so that nothing complains of it once more at the end.

    Args:
        stream: that it takes the place of, and that has to be kept: it closes the file when it goes.
        is_result: whether a failure ends the program, as it does on stdout; stderr is what one can do without.
    """

    def __init__(self, stream: io.TextIOWrapper, *, is_result: bool) -> None:
        lines = stream.line_buffering
        super().__init__(stream.buffer, encoding="utf-8", errors=stream.errors, line_buffering=lines)  # as JSON is
        self._is_result = is_result

    def write(self, text: str, /) -> int:
        """As ever.

        Raises:
            SystemExit: nobody reads the result any more.
            TRBertError: it cannot be written.
        """
        try:
            return super().write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """See `write`."""
        try:
            super().flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if not self._is_result:
            return
        if error.errno == errno.EPIPE:
            sys.exit(CLOSED_PIPE)
        raise TRBertError(
            f"the standard output cannot be written: {error.strerror}", "write it elsewhere, or make room"
        ) from error


def take_streams() -> None:
    """Put the process's own stdout and stderr under these rules; what a caller in this process has put there stays."""
    sys.stdout = _taken(sys.stdout, sys.__stdout__, is_result=True)
    sys.stderr = _taken(sys.stderr, sys.__stderr__, is_result=False)


def _taken(stream: TextIO | None, own: TextIO | None, *, is_result: bool) -> TextIO:
    if stream is None:  # it was closed before the start
        return open(os.devnull, "w", encoding="utf-8")
    if stream is own and isinstance(stream, io.TextIOWrapper):
        return _Stream(stream, is_result=is_result)
    return stream
