"""Time several backends in one process, interleaved, so that what disturbs one disturbs all."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

_LOOK_SECONDS = 0.01
_QUIET_LOOKS = 2
_LONGEST_REST_SECONDS = 1.0


def interleave(
    calls: Mapping[str, Callable[[int], object]],
    *,
    iterations: int,
    warmup: int,
    rest: Callable[[], object] | None = None,
    on_round: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Time every backend once a round.

    The order is rotated by one from round to round, and turned around after each full turn, so that no backend
    always runs first, or always behind the same other one. Garbage collection is off while rounds run.

    Args:
        calls: for each backend what to time; it is given the number of the round and must have finished its work,
            copies to the host included, when it returns.
        iterations: rounds that count.
        warmup: rounds before them that do not count, with the numbers of the first rounds that do.
        rest: called before every sample, not counted; by default `rest_until_idle`.
        on_round: called after every round that counts, with how many there have been.

    Returns:
        Milliseconds by backend, one sample a round, in the order of rounds.
    """
    names = list(calls)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _no_garbage_collection():
        for number in (*range(warmup), *range(iterations)):
            for name in order_of_round(names, number):
                (rest or rest_until_idle)()
                start = time.perf_counter_ns()
                calls[name](number)
                samples[name].append((time.perf_counter_ns() - start) / 1e6)
            rounds = len(samples[names[0]])
            if rounds > warmup:
                on_round(rounds - warmup)
    return {name: values[warmup:] for name, values in samples.items()}


def order_of_round(names: Sequence[str], number: int) -> list[str]:
    """The order in which backends run in a round."""
    turn, shift = divmod(number, len(names))
    order = [*names[shift:], *names[:shift]]
    return order[::-1] if turn % 2 else order


def rest_until_idle() -> float:
    """Sleep until this process burns no more processor time, a second at most.

    After a call the idle threads of ONNX Runtime's pool spin for about 35 ms of processor time before they
    sleep (seen on two cores with ONNX Runtime 1.31), those of PyTorch's OpenMP for some 5 ms. They would take
    the cores from a backend of the other library that runs right after.

    Returns:
        Seconds slept.
    """
    slept, quiet = 0.0, 0
    while quiet < _QUIET_LOOKS and slept < _LONGEST_REST_SECONDS:
        before = time.process_time_ns()
        time.sleep(_LOOK_SECONDS)
        slept += _LOOK_SECONDS
        burnt = (time.process_time_ns() - before) / 1e9
        quiet = quiet + 1 if burnt < 0.1 * _LOOK_SECONDS else 0
    return slept


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
