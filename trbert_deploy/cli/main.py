"""The console script: takes over signals and streams, then imports the verbs, and turns errors into exit codes.

Exit codes: 0 fine, 1 a check failed or the user can mend it, 2 usage; 130 after Ctrl-C, 141 where nobody reads stdout.
Nothing slow is imported up here, so that Ctrl-C is heeded from the first moment.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from trbert_deploy.cli.streams import take_streams
from trbert_deploy.core.errors import TRBertError

_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Entry point of the console script."""
    interrupted = threading.Event()
    _heed_signals(interrupted)
    take_streams()
    debug = "--debug" in sys.argv
    try:
        try:
            from trbert_deploy.cli.app import make_app

            make_app()()
        finally:
            sys.stdout.flush()
    except TRBertError as error:
        _refuse(error, debug)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if interrupted.is_set() and not debug:  # what an interrupted import made of it
            sys.exit(_INTERRUPTED)
        if not isinstance(error, ImportError):
            raise
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


def _heed_signals(interrupted: threading.Event) -> None:
    """Ctrl-C and SIGTERM end the program by exceptions, so that what is half-written is cleared away before.

    Args:
        interrupted: set at Ctrl-C.
    """
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            sys.exit(128 + number)
        interrupted.set()
        raise KeyboardInterrupt

    def end_again(failure: sys.UnraisableHookArgs) -> None:
        """Where the exception came up in a callback of the interpreter's, it has ended nothing."""
        if failure.exc_type in (KeyboardInterrupt, SystemExit) and received:
            threading.Timer(0.01, signal.raise_signal, received[-1:]).start()
        else:
            sys.__unraisablehook__(failure)

    sys.unraisablehook = end_again
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
