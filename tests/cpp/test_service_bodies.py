"""examples/cpp_service: bodies that are large, compressed, slow or of another content type."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import select
import signal
import socket
import time
from collections import Counter

import pytest
from cpp_service import POST

MIB = 1 << 20
ITEM = json.dumps({"text": "a film of " * 6000}).encode()
SLOW = POST + b"Content-Length: 1000000\r\n\r\n"


def read(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or resets: of what is far too much it does not read all."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def status(answer: bytes) -> int:
    assert answer.count(b"HTTP/1.1 ") == 1, answer  # nothing else of what was sent is taken for a request
    return int(answer.split()[1])


SPACES = b" " * MIB
COMPRESSED = gzip.compress(SPACES * 128)
FLOODS = {
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + SPACES + b"\r\n", 413),
    "to the end": (POST + b"\r\n", SPACES, 411),
    "of a known length": (POST + b"Content-Length: 134217728\r\n\r\n", SPACES, 413),
    "with a range": (POST + b"Range: bytes=9999-\r\nContent-Length: 134217728\r\n\r\n", SPACES, 413),
    "compressed": (POST + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(COMPRESSED), COMPRESSED, 413),
    "nobody wants": (
        b"POST /other HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n" + SPACES + b"\r\n",
        404,
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_no_more_is_read_than_the_limit(service, flood):
    head, piece, wanted = FLOODS[flood]
    before, sent = service.memory("VmHWM"), 0
    with service.connect() as connection:
        connection.sendall(head)
        with contextlib.suppress(OSError):  # it closes the connection
            for _ in range(1 if piece is COMPRESSED else 128):
                connection.sendall(piece)
                sent += len(piece)
        assert status(read(connection)) == wanted
    assert sent < 32 * MIB  # 2 are read, some more stand in the system's buffers
    assert service.memory("VmHWM") < before + 32
    assert service.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("body", "kind", "headers"),
    [
        (ITEM, "application/x-www-form-urlencoded", {}),  # what curl says of its own accord
        ([ITEM[:9], ITEM[9:]], "application/json", {}),
        (gzip.compress(ITEM), "application/json", {"Content-Encoding": "gzip"}),
    ],
)
def test_a_body_is_answered_however_it_is_sent(service, body, kind, headers):
    plain = service.ask("POST", "/predict", ITEM)
    assert plain[0] == 200
    assert service.ask("POST", "/predict", body, kind, **headers) == plain


def test_what_is_not_compressed_as_said_is_refused(service):
    headers = {"Content-Encoding": "gzip"}
    code, text = service.ask("POST", "/predict", b'{"text": "a"}', **headers)
    assert code == 400
    assert "not encoded as its Content-Encoding says" in text


def test_a_connection_goes_on_after_a_body_that_is_a_little_too_large(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    for body, wanted in ((SPACES + b" ", 413), (b'{"text": "a"}', 200)):
        connection.request("POST", "/predict", body)
        response = connection.getresponse()
        response.read()
        assert response.status == wanted
        assert not response.will_close
    connection.close()


@pytest.mark.parametrize(
    "kind",
    ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8", "application/jsonl", "application/jsonlines"],
)
def test_json_lines_by_their_names(service, kind):
    code, text = service.ask("POST", "/predict", b'{"text": "a"}\n{"text": "b"}', kind)
    assert (code, len(text.splitlines())) == (200, 2)


@pytest.mark.parametrize(
    ("body", "wanted", "said"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', 400, True),
        (b'{"text": "a"}\n' * 6000, 413, True),
        (b'{\n "texts": "a"\n}', 400, False),
        (b'{"text": 1}\n', 400, False),
    ],
)
def test_json_lines_by_another_name(service, body, wanted, said):
    code, text = service.ask("POST", "/predict", body, "text/plain")
    assert code == wanted
    assert ("Content-Type: application/x-ndjson" in text) == said


def drip(connections: list[socket.socket]) -> dict[socket.socket, bytes]:
    """Send each a byte, wait a little; the answers of those that closed."""
    for connection in connections:
        with contextlib.suppress(OSError):  # it may have answered and closed
            connection.send(b" ")
    time.sleep(0.1)
    return {connection: read(connection) for connection in select.select(connections, [], [], 0)[0]}


def test_slow_bodies_leave_others_to_ask_and_end(running, bundle):
    with running(bundle, "--requests", "8", "--body-seconds", "4") as service:
        slow = [service.connect() for _ in range(16)]
        for connection in slow:
            connection.sendall(SLOW)
        answers = drip(slow)
        assert service.ask("GET", "/healthz")[0] == 200
        answers |= drip([one for one in slow if one not in answers])
        assert {status(answer) for answer in answers.values()} <= {429}  # so it was asked while the others were slow
        while left := [one for one in slow if one not in answers]:
            answers |= drip(left)
        assert Counter(map(status, answers.values())) == {408: 8, 429: 8}
        assert service.metrics()['trbert_requests_total{status="408"}'] == 8
        for connection in slow:
            connection.close()


def begun(service, length: int) -> socket.socket:
    """A request whose headers have been read."""
    connection = service.connect()
    connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


def test_sigterm_waits_for_a_body_but_not_for_a_slow_one(running, bundle):
    with running(bundle, "--body-seconds", "600", "--drain-seconds", "0") as service:
        with begun(service, 1000) as slow, begun(service, 13) as quick:
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)  # it has stopped to listen by now
            quick.sendall(b'{"text": "a"}')
            assert status(read(quick)) == 200
            while not (answers := drip([slow])):
                pass
            assert status(answers[slow]) == 503
        assert service.process.wait(timeout=60) == 0
