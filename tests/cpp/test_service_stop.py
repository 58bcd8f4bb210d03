"""examples/cpp_service: SIGTERM. Who got through is answered, nobody is reset."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from cpp_service import POST, Service, answers, post, read

ITEM = b'{"id": 1, "text": "a film"}'
CLOSE = b"Connection: close"


def terminate(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)


def test_healthz_fails_before_anything_else_does(running, bundle):
    with running(bundle, "--drain-seconds", "3") as service:
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        assert service.ask("GET", "/healthz")[0] == 200
        terminate(service)
        signalled = time.monotonic()
        while service.ask("GET", "/healthz")[0] == 200:
            assert time.monotonic() < signalled + 2
        while time.monotonic() < signalled + 2:
            assert service.ask("POST", "/predict", ITEM)[0] == 200
            kept.request("POST", "/predict", ITEM)
            response = kept.getresponse()
            assert json.loads(response.read())["id"] == 1
            assert not response.will_close
            assert service.ask("GET", "/healthz") == (503, '{"error":"stopping"}\n')
        kept.close()
        assert service.process.wait(timeout=60) == 0
        assert time.monotonic() - signalled >= 3
        with pytest.raises(ConnectionRefusedError):
            service.ask("GET", "/healthz")


def ask_until_refused(service: Service, keep: bool, asked: threading.Semaphore) -> list[str]:
    """Ask, over and over, until nobody listens; what else went wrong than that."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return []
        closes = False
        while not closes:
            try:
                connection.request("POST", "/predict", ITEM, {} if keep else {"Connection": "close"})
                response = connection.getresponse()
                answered = response.status == 429 or json.loads(response.read())["id"] == 1
                closes = response.will_close
            except (OSError, http.client.HTTPException) as problem:
                return [repr(problem)]
            if not answered:
                return [f"status {response.status}"]
            response.read()
            asked.release()
        connection.close()


@pytest.mark.parametrize("drain", [0, 1])
@pytest.mark.parametrize("round_", [0, *(pytest.param(later, marks=pytest.mark.slow) for later in range(1, 5))])
def test_nobody_is_reset_under_load(running, bundle, drain, round_):
    asked = threading.Semaphore(0)
    with running(bundle, "--drain-seconds", drain) as service, ThreadPoolExecutor(24) as pool:
        clients = [pool.submit(ask_until_refused, service, number % 2 == 0, asked) for number in range(24)]
        for _ in range(100 + 20 * round_):
            assert asked.acquire(timeout=60)
        terminate(service)
        assert service.process.wait(timeout=60) == 0
        assert [problem for client in clients for problem in client.result()] == []


def test_who_waits_to_be_accepted_is_answered(running, bundle):
    with running(bundle, "--drain-seconds", "0", "--queue", "1000") as service, ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)  # as if it got no processor for a while
        burst = [stack.enter_context(service.connect()) for _ in range(64)]
        for connection in burst:
            connection.sendall(post(ITEM))
        terminate(service)
        service.process.send_signal(signal.SIGCONT)
        for connection in burst:
            (answer,) = answers(read(connection))
            assert answer.status == 200
        assert service.process.wait(timeout=60) == 0


def test_who_waits_for_another_to_close_is_answered(running, bundle):
    limits = ("--drain-seconds", "0", "--connections", "4", "--idle-seconds", "60")
    with running(bundle, *limits) as service, ExitStack() as stack:
        idle = [stack.enter_context(service.connect()) for _ in range(4)]
        burst = [stack.enter_context(service.connect()) for _ in range(4)]
        for connection in burst:
            connection.sendall(post(ITEM))
        time.sleep(0.2)  # it would have answered by now
        terminate(service)
        for connection in burst:
            assert [one.status for one in answers(read(connection))] == [200]
        for connection in idle:
            assert read(connection) == b""
        assert service.process.wait(timeout=60) == 0


def test_what_was_sent_without_waiting_is_answered(running, bundle):
    with running(bundle, "--drain-seconds", "0") as service, service.connect() as connection:
        service.process.send_signal(signal.SIGSTOP)
        connection.sendall(post(ITEM) * 20)
        terminate(service)
        service.process.send_signal(signal.SIGCONT)
        given = answers(read(connection))
        assert [one.status for one in given] == [200] * 20
        assert service.process.wait(timeout=60) == 0


def test_who_goes_on_sending_does_not_hold_it_up(running, bundle):
    def send() -> None:
        with service.connect() as connection, ExitStack() as stack:
            stack.callback(connection.close)
            try:
                while True:
                    connection.sendall(post(ITEM) * 50)
                    connection.recv(1 << 20)
            except OSError:
                pass

    with running(bundle, "--drain-seconds", "0") as service, ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send) for _ in range(4)]
        time.sleep(0.5)
        terminate(service)
        assert service.process.wait(timeout=30) == 0
        for one in senders:
            one.result()


def test_a_body_that_dribbles_does_not_hold_it_up(running, bundle):
    with running(bundle, "--drain-seconds", "0", "--body-seconds", "600") as service, service.connect() as slow:
        slow.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        while service.ask("GET", "/healthz")[0] != 200:
            pass
        terminate(service)
        (answer,) = answers(read(slow))
        assert (answer.status, answer.error) == (503, "stopping")
        assert service.process.wait(timeout=30) == 0


def test_a_second_signal_ends_it_at_once(running, bundle):
    with running(bundle, "--drain-seconds", "600") as service:
        terminate(service)
        while service.ask("GET", "/healthz")[0] == 200:
            pass
        terminate(service)
        assert service.process.wait(timeout=30) == -signal.SIGTERM
