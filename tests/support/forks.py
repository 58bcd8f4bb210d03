"""Runs of the command line in children of one process that has imported everything: each takes as long as its work.

``python forks.py`` reads orders, a line of JSON each, and answers each with a line when all of its runs have ended.
What `export` traces it remembers on disk, so that its time goes by with what comes after.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: What the verbs import, which takes longer than their work on small models.
MODULES = (
    "accelerate", "datasets", "matplotlib.pyplot", "onnx", "onnxruntime", "torch._dynamo", "torch.onnx",
    "tracing", "transformers.models.bert.modeling_bert", "trbert_deploy.api", "trbert_deploy.cli.app",
    "trbert_deploy.export.exporter", "trbert_deploy.runtimes.onnxruntime.sessions",
    "trbert_deploy.runtimes.torch.reference", "trbert_deploy.training.run",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: exit code; -9 where it was killed.
        seconds: from the start to the end.
        printed: stdout and stderr.
    """

    code: int
    seconds: float
    printed: str


class Forks:
    """Gives orders to such a process; a context manager that ends it."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, *words: object, kill_after: float | None = None, most_bytes: int | None = None) -> Ended:
        """Run a command.

        Args:
            words: as behind ``trbert-deploy``.
            kill_after: seconds until it is killed by SIGKILL, if it has not ended by then.
            most_bytes: no file may become larger, as on a full disk.
        """
        (ended,) = self.together([words], kill_after=kill_after, most_bytes=most_bytes)
        return ended

    def together(self, commands: list[tuple[object, ...]], **order: Any) -> list[Ended]:
        """Run commands at once; see `run`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order["commands"] = [[str(word) for word in words] for words in commands]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]


class _Child:
    """A run under way."""

    def __init__(self, words: list[str], most_bytes: int | None) -> None:
        self._out, write = os.pipe()
        self._start = time.perf_counter()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._out)
            _run(words, write, most_bytes)
        os.close(write)
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with os.fdopen(self._out, "rb") as pipe:
            self._printed = pipe.read()

    def wait(self, kill_after: float | None) -> Ended:
        """Wait for its end, and see to it."""
        ended = status = 0
        while not ended:
            ended, status = os.waitpid(self.pid, os.WNOHANG if kill_after is not None else 0)
            if not ended and kill_after is not None:
                if time.perf_counter() - self._start >= kill_after:
                    os.kill(self.pid, signal.SIGKILL)  # nobody else waits for it, so the number is still its own
                    kill_after = None
                else:
                    time.sleep(0.002)
        seconds = time.perf_counter() - self._start
        self._reader.join(timeout=5)  # what the run has started may hold the pipe open for longer
        return Ended(os.waitstatus_to_exitcode(status), seconds, self._printed.decode(errors="replace"))


def _run(words: list[str], out: int, most_bytes: int | None) -> None:
    """In the child: never returns."""
    code: object = 70
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in ((0, nothing), (1, out), (2, out)):
            os.dup2(file, stream)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # the old ones know what their files were
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        from tracing import traced_once

        from trbert_deploy.cli.main import main

        sys.argv = ["trbert-deploy", *words]
        try:
            with traced_once():
                main()
            code = 0
        except SystemExit as end:
            code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    """See the top of this file."""
    for module in MODULES:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        children = [_Child(words, order.get("most_bytes")) for words in order["commands"]]
        ended = [asdict(child.wait(order.get("kill_after"))) for child in children]
        answers.write(json.dumps(ended) + "\n")
        answers.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
