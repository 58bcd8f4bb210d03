"""The service of examples/cpp_service as its clients see it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a request to /predict begins with.
POST = b"POST /predict HTTP/1.1\r\nHost: a\r\n"


@dataclass(frozen=True)
class Answer:
    """One answer. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """What a refusal says."""
        return str(json.loads(self.body)["error"])


def post(body: bytes, *headers: bytes) -> bytes:
    """A request to /predict, raw."""
    lines = [*headers, b"Content-Length: %d" % len(body), b"", body]
    return POST + b"\r\n".join(lines)


def read(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def answers(received: bytes) -> list[Answer]:
    """The answers that stand one behind the other; nothing else may."""
    found = []
    while received:
        head, gap, received = received.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        assert line.startswith("HTTP/1.1 "), head
        assert gap
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
        length = int(headers["content-length"])
        assert len(received) >= length
        found.append(Answer(int(line.split()[1]), headers, received[:length]))
        received = received[length:]
    return found


@dataclass(frozen=True)
class Service:
    """The service, which runs."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    def connect(self) -> socket.socket:
        """A connection on which nothing has been said."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def exchange(self, *pieces: bytes) -> list[Answer]:
        """Send these, and take every answer until it closes the connection."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):  # it may have closed before it got all
                for piece in pieces:
                    connection.sendall(piece)
            return answers(read(connection))

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> tuple[int, str]:
        """Status and body of one request on a connection of its own; an iterable of bytes is sent chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": kind, "Connection": "close", **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def predict(self, *items: Any) -> list[dict[str, Any]]:
        """Answers to items, sent as JSON lines."""
        lines = "\n".join(json.dumps(item) for item in items).encode()
        status, text = self.ask("POST", "/predict", lines, "application/x-ndjson")
        assert status == 200, text
        return [json.loads(line) for line in text.splitlines()]

    def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels; the text follows Prometheus's format."""
        status, text = self.ask("GET", "/metrics")
        assert status == 200
        samples, typed = {}, set()
        for line in text.splitlines():
            if line.startswith("#"):
                assert re.fullmatch(r"# HELP \w+ \S.*|# TYPE \w+ (counter|gauge|histogram)", line)
                typed.add(line.split()[2])
                continue
            found = re.fullmatch(r'(\w+?)(_bucket|_sum|_count)?(\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? (\S+)', line)
            assert found, line
            assert found[1] in typed
            samples[line.rpartition(" ")[0]] = float(found[4])
        return samples

    def memory(self, kind: str = "VmRSS") -> float:
        """Resident, in MiB; with VmHWM the most that it ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(rf"{kind}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


@contextlib.contextmanager
def started(command: Sequence[object], environment: dict[str, str]) -> Iterator[Service]:
    """Start it, and wait until it listens; kill it in the end, where it still runs."""
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on (https?://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        yield Service(process, found[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
