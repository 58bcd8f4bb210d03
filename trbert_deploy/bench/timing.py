"""Time several arms in one process, interleaved, so that what disturbs one disturbs all."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

#: Before every sample: after a call the idle threads of ONNX Runtime's pool and of OpenMP (PyTorch) spin for some
#: milliseconds before they sleep, and would take the cores from an arm of the other library that runs right after.
SETTLE_SECONDS = 0.01


def interleave(
    calls: Mapping[str, Callable[[int], object]],
    *,
    iterations: int,
    warmup: int,
    settle_seconds: float = SETTLE_SECONDS,
    on_round: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Time every arm once a round.

    The order is rotated by one from round to round, and turned around after each full turn, so that no arm always
    runs first, or always behind the same other one. Garbage collection is off while rounds run.

    Args:
        calls: for each arm what to time; it is given the number of the round and must have finished its work, copies
            to the host included, when it returns.
        iterations: rounds that count.
        warmup: rounds before them that do not count, with the numbers of the first rounds that do.
        settle_seconds: pause before every sample, not counted.
        on_round: called after every round that counts, with how many there have been.

    Returns:
        Milliseconds by arm, one sample a round, in the order of rounds.
    """
    names = list(calls)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _no_garbage_collection():
        for number in (*range(warmup), *range(iterations)):
            for name in order_of_round(names, number):
                time.sleep(settle_seconds)
                start = time.perf_counter_ns()
                calls[name](number)
                samples[name].append((time.perf_counter_ns() - start) / 1e6)
            rounds = len(samples[names[0]])
            if rounds > warmup:
                on_round(rounds - warmup)
    return {name: values[warmup:] for name, values in samples.items()}


def order_of_round(names: Sequence[str], number: int) -> list[str]:
    """The order in which arms run in a round."""
    turn, shift = divmod(number, len(names))
    order = [*names[shift:], *names[:shift]]
    return order[::-1] if turn % 2 else order


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
