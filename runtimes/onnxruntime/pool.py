"""The process's pool of threads: one for all sessions, or for each its own.

One session a stage would mean one thread pool a stage, whose idle threads spin and steal the cores from the stage that
runs: 2-3 times slower. All sessions therefore share the process's global pool, which also serves several callers best.
ONNX Runtime then refuses sessions with a pool of their own; where a process holds such sessions, the stages can have
pools of their own too, which stop spinning when a call ends.
"""

from __future__ import annotations

import threading

import onnxruntime
from onnxruntime import SessionOptions

from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.environment import usable_cpus

_pool_lock = threading.Lock()
_pool_threads: int | None = None


def share_threads(threads: int | None) -> int:
    """Size the process's one thread pool; the first engine decides.

    Args:
        threads: how many threads, or None for those of the pool, or for every core where there is none yet.

    Returns:
        The size of the pool.

    Raises:
        TRBertError: the pool is already there with another size, or `threads` is not positive.
    """
    global _pool_threads
    with _pool_lock:
        if _pool_threads is None:
            wanted = _positive(threads) or usable_cpus()
            onnxruntime.set_global_thread_pool_sizes(wanted, 1)
            _pool_threads = wanted
        elif _positive(threads) not in (None, _pool_threads):
            raise TRBertError(
                f"{threads} threads were asked for, but this process's ONNX Runtime pool has {_pool_threads} since "
                "the first engine was loaded",
                "use one number of threads in a process",
            )
        return _pool_threads


def pool_is_shared() -> bool:
    """Whether this process's sessions share one pool already, so that further ones have to."""
    return _pool_threads is not None


def _positive(threads: int | None) -> int | None:
    if threads is not None and threads < 1:
        raise TRBertError(f"threads must be at least 1, not {threads}")
    return threads


def session_options(threads: int | None, share_pool: bool, memory: str = "arena") -> SessionOptions:
    """Options of a session on the process's shared pool, or with a pool of its own; `LoadOptions` says what they mean.

    Raises:
        TRBertError: the pools or `threads` do not go with what the process has already.
    """
    options = SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = memory != "lean"
    if share_pool:
        share_threads(threads)
        options.use_per_session_threads = False
    elif pool_is_shared():
        raise TRBertError(
            "this process's ONNX Runtime sessions already share one pool, so no engine can have its own",
            "load every engine of the process with share_pool=False, the first one too",
        )
    else:
        options.intra_op_num_threads = _positive(threads) or usable_cpus()
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
