"""What TensorRT says while it builds, for people: warnings, errors, and that it is alive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What says nothing: int64 inputs are bound as such, of `keep` only the shape is read, and the last stage ignores some.
_EXPECTED = ("Int64 binding", "Unused Input", "is unused or used only at compile-time")

#: A long build says every so many seconds that it is alive.
_HEARTBEAT = 10.0

Say = Callable[[str], None]


@dataclass
class Messages:
    """TensorRT's messages: warnings reach the user once, errors are kept for the exception too."""

    say: Say
    errors: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    @property
    def last(self) -> str:
        """The last error."""
        return self.errors[-1] if self.errors else "it gives no reason"

    def logger(self, trt: Any) -> Any:
        """An `ILogger` that takes them."""
        take = self._take

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    take(message, True)
                elif severity == trt.ILogger.Severity.WARNING:
                    take(message, False)

        return Logger()

    def _take(self, message: str, is_error: bool) -> None:
        if message in self._seen or any(expected in message for expected in _EXPECTED):
            return
        self._seen.add(message)
        if is_error:
            self.errors.append(message)
        self.say(f"TensorRT {'error' if is_error else 'warning'}: {message}")


def heartbeat(trt: Any, graph: str, start: float, say: Say) -> Any:
    """An `IProgressMonitor` that says now and then how long a build has been going on.

    Args:
        trt: TensorRT's module.
        graph: what is built.
        start: when that began, by `time.perf_counter`.
        say: is given the lines.
    """
    last = start

    class Heartbeat(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            nonlocal last
            now = time.perf_counter()
            if now - last >= _HEARTBEAT:
                last = now
                say(f"{graph}: building for {now - start:.0f} s ({phase})")
            return True

        def phase_finish(self, phase: str) -> None:
            pass

    return Heartbeat()
