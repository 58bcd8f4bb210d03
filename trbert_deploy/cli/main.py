"""The console script: takes over signals and streams, then imports the verbs, and turns errors into exit codes.

Exit codes: 0 fine, 1 a check failed or the user can mend it, 2 usage; 130 after Ctrl-C, 141 where nobody reads stdout.
Nothing slow is imported up here, so that Ctrl-C is heeded from the first moment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trbert_deploy.cli.streams import take_streams
from trbert_deploy.core.errors import TRBertError


def main() -> None:
    """Entry point of the console script."""
    received: list[int] = []
    try:
        with heeding_signals(received):
            take_streams()
            _run(debug="--debug" in sys.argv)
    except BaseException:
        if not received or "--debug" in sys.argv:
            raise
        # Whatever the signal's exception has become on its way. What was half-written is cleared away by now; Python's
        # own end would wait for threads, and may be one by the signal, which no shell takes for this exit code.
        os._exit(128 + received[-1])


def _run(*, debug: bool) -> None:
    try:
        try:
            from trbert_deploy.cli.app import make_app

            make_app()()
        finally:
            sys.stdout.flush()
    except TRBertError as error:
        _refuse(error, debug)
    except ImportError as error:
        from trbert_deploy.core.extras import missing_extra
        from trbert_deploy.runtimes.registry import optional_packages

        missing = missing_extra(error, "this command", packages=optional_packages())
        if missing is None:
            raise
        _refuse(missing, debug)


def _refuse(error: TRBertError, debug: bool) -> None:
    """Say what is wrong; with ``--debug`` by the traceback."""
    if debug:
        raise error
    from trbert_deploy.cli.output import report_error

    report_error(error)
    sys.exit(1)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: its C++ may call Python where no exception can pass, and aborts by one."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def heeding_signals(received: list[int]) -> Iterator[None]:
    """While inside, Ctrl-C and SIGTERM are exceptions, so that what is half-written is cleared away before the end.

    They wait until a module that is being imported is there.

    Args:
        received: the signals that came are appended.
    """

    def again(number: int, seconds: float) -> None:
        main_thread = threading.main_thread().ident or 0
        threading.Timer(seconds, signal.pthread_kill, [main_thread, number]).start()

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if _importing(frame):
            again(number, 0.05)
            return
        if number == signal.SIGTERM:
            sys.exit(128 + number)
        raise KeyboardInterrupt

    def end_again(failure: sys.UnraisableHookArgs) -> None:
        """Where the exception came up in a callback of the interpreter's, it has ended nothing."""
        if failure.exc_type in (KeyboardInterrupt, SystemExit) and received:
            again(received[-1], 0.01)
        else:
            sys.__unraisablehook__(failure)

    sys.unraisablehook = end_again
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        # There is nothing to clear away any more; one that waited for an import is no longer needed.
        signal.signal(signal.SIGINT, signal.SIG_IGN if received else signal.SIG_DFL)
