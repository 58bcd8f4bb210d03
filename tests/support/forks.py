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
from collections.abc import Callable
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
        stdout: what it printed.
        stderr: what it said beside.
    """

    code: int
    seconds: float
    stdout: str
    stderr: str

    @property
    def printed(self) -> str:
        """Both."""
        return self.stdout + self.stderr


class Forks:
    """Gives orders to such a process; a context manager that ends it.

    Args:
        paths: where Python looks for modules, before anywhere else.
    """

    def __init__(self, *paths: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        known = filter(None, [os.environ.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), *known])
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

    def python(self, code: str, *words: object) -> Ended:
        """Run a program: as ``python -c CODE WORDS``."""
        return self.run("-c", code, *words)

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
        pipes = [os.pipe() for _ in range(2)]
        self._start = time.perf_counter()
        self.pid = os.fork()
        if self.pid == 0:
            for read, _ in pipes:
                os.close(read)
            _run(words, [write for _, write in pipes], most_bytes)
        for _, write in pipes:
            os.close(write)
        self._said = [b"", b""]
        self._readers = [
            threading.Thread(target=self._read, args=(number, read), daemon=True)
            for number, (read, _) in enumerate(pipes)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int, file: int) -> None:
        with os.fdopen(file, "rb") as pipe:
            self._said[number] = pipe.read()

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
        for reader in self._readers:
            reader.join(timeout=5)  # what the run has started may hold the pipe open for longer
        stdout, stderr = (said.decode(errors="replace") for said in self._said)
        return Ended(os.waitstatus_to_exitcode(status), seconds, stdout, stderr)


def _run(words: list[str], outputs: list[int], most_bytes: int | None) -> None:
    """In the child: never returns."""
    code: object = 70
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in enumerate([nothing, *outputs]):
            os.dup2(file, stream)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # the old ones know what their files were
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        from tracing import operators_read_once, traced_once

        program = _program(words)
        try:
            with traced_once(), operators_read_once():
                program()
            code = 0
        except SystemExit as end:
            code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _program(words: list[str]) -> Callable[[], object]:
    if words[0] == "-c":
        code, sys.argv = compile(words[1], "-c", "exec"), ["-c", *words[2:]]
        return lambda: exec(code, {"__name__": "__main__"})
    from trbert_deploy.cli.main import main

    sys.argv = ["trbert-deploy", *words]
    return main


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
