"""examples/cpp_service: how large headers may be, and how long what is waited for may take."""

from __future__ import annotations

import socket
import time

import pytest
from cpp_service import POST, answers, read

CLOSE = b"Connection: close"
GET = b"GET /healthz HTTP/1.1\r\n"


@pytest.fixture(scope="module")
def service_options():
    return ("--header-seconds", "2", "--idle-seconds", "3", "--max-header-bytes", "4096")


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"X: " + b"a" * 5000 + b"\r\n\r\n"],
        [GET + b"X: a\r\n" * 1000 + b"\r\n"],
        [GET, *[b"X: a\r\n"] * 1000, b"\r\n"],
        [b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n"],
        [b"A" * 5000],
        [GET, *[b"a"] * 5000],
    ],
    ids=["a line", "lines", "lines one by one", "a target", "a method", "bytes one by one"],
)
def test_headers_are_read_up_to_a_limit(service, pieces):
    before = service.memory("VmHWM")
    given = service.exchange(*pieces)
    assert [one.status for one in given] == [431]
    assert "larger than 4096 bytes" in given[0].error
    assert service.memory("VmHWM") < before + 8


def test_headers_below_the_limit_are_read(service):
    line = b"X: " + b"a" * (4096 - len(GET) - len(CLOSE) - 9) + b"\r\n"
    whole = GET + CLOSE + b"\r\n" + line + b"\r\n"
    assert len(whole) == 4096
    assert [one.status for one in service.exchange(whole)] == [200]
    assert [one.status for one in service.exchange(whole.replace(b"X: ", b"X: a"))] == [431]


def test_headers_that_dribble_are_refused_and_nobody_waits_for_them(running, bundle):
    with running(bundle, "--header-seconds", "2") as service:
        start = time.monotonic()
        slow = [service.connect() for _ in range(300)]
        for connection in slow:
            connection.sendall(GET)
        while time.monotonic() < start + 1.5:
            for connection in slow:
                connection.sendall(b"a")
            assert service.ask("GET", "/healthz")[0] == 200
            time.sleep(0.2)
        for connection in slow:
            (answer,) = answers(read(connection))
            assert answer.status == 408
            assert "2 seconds" in answer.error
            connection.close()
        assert time.monotonic() - start < 20  # a machine under load is slow; each byte once gave the headers 5 more


def test_connections_that_ask_nothing_are_closed_without_an_answer(service):
    with service.connect() as silent, service.connect() as asked:
        asked.sendall(GET + b"\r\n")
        start = time.monotonic()
        assert read(silent) == b""
        assert [one.status for one in answers(read(asked))] == [200]
        assert 1.5 < time.monotonic() - start < 20


def test_what_ends_early_is_refused(service):
    for begun in (GET, POST + b"Content-Length: 99\r\n\r\n{"):
        with service.connect() as connection:
            connection.sendall(begun)
            connection.shutdown(socket.SHUT_WR)
            (answer,) = answers(read(connection))
            assert answer.status == 400
            assert "ends early" in answer.error
