"""examples/cpp_service: answers under load, statuses of what is refused, metrics, overload, the end."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import trbert_deploy
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cpp_service"
REVIEWS = [
    {"id": number, "text": line["text"][: 1 + number * 17 % 400]}
    for number, line in enumerate(itertools.islice(read_json_lines(evaluation_file()), 60))
]
SOAK_SECONDS = float(os.environ.get("TRBERT_SOAK_SECONDS", "600"))


@pytest.fixture(scope="module")
def load():
    spec = importlib.util.spec_from_file_location("load", EXAMPLE / "load.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["load"] = module  # its dataclass looks it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def service_options():
    return ("--max-body-bytes", "20000", "--max-item-bytes", "10000")


@pytest.fixture(scope="module")
def wanted(bundle) -> list[dict]:
    with trbert_deploy.load(bundle) as engine:
        return engine.predict(REVIEWS)


def test_answers_under_load_are_those_of_python(service, load, wanted):
    done = load.run(service.url, REVIEWS, wanted, connections=16, seconds=3)
    assert done.complaints == []
    assert done.statuses.keys() <= {200, 429}
    assert done.statuses[200] >= len(REVIEWS)


def test_json_lines_in_one_request(service, load, wanted):
    answers = service.predict(*REVIEWS)
    assert load.same(answers, wanted)
    assert not load.same(answers, wanted[::-1])


def test_pairs_and_token_ids(service, load, bundle):
    items = [{"text": "a film", "text_pair": "and its pair"}, {"input_ids": [2, 5, 6, 3]}]
    with trbert_deploy.load(bundle) as engine:
        assert load.same(service.predict(*items), engine.predict(items))


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "message"),
    [
        ("POST", "/predict", b"{", "application/json", 400, "is not valid JSON"),
        ("POST", "/predict", b"", "application/json", 400, "is not valid JSON"),
        ("POST", "/predict", b'{"text": "\xff"}', "application/json", 400, "UTF-8"),
        ("POST", "/predict", b'{"text": "\\ud800"}', "application/json", 400, "is not valid JSON"),
        ("POST", "/predict", b"[" * 9000, "application/json", 400, "nested more than 64 deep"),
        ("POST", "/predict", b'{"texts": "a"}', "application/json", 400, "it takes {text, text_pair}"),
        ("POST", "/predict", b'{"input_ids": [1000000]}', "application/json", 400, "input_ids"),
        ("POST", "/predict", b'{"text": "a"}\n{"text": 3}', "application/x-ndjson", 400, "text must be text"),
        ("POST", "/predict", b" \n\n", "application/x-ndjson", 400, "no item"),
        ("POST", "/predict", b'{"text": "' + b"a" * 10000 + b'"}', "application/json", 413, "larger than 10000"),
        ("POST", "/predict", b" " * 20001, "application/json", 413, "larger than 20000 bytes"),
        ("POST", "/predict", b'{"text": "a"}\n' * 65, "application/x-ndjson", 413, "more than 64 items"),
        ("GET", "/predict", None, "", 404, "POST /predict"),
        ("POST", "/other", b"{}", "application/json", 404, "POST /predict"),
        ("PUT", "/predict", b"{}", "application/json", 404, "POST /predict"),
        ("POST", "/predict", b"--x\r\n\r\n", "multipart/form-data; boundary=x", 400, "is a form"),
    ],
)
def test_what_is_refused(service, method, path, body, kind, status, message):
    key = f'trbert_requests_total{{status="{status}"}}'
    before = service.metrics().get(key, 0)
    given, text = service.ask(method, path, body, kind)
    assert given == status
    assert message in json.loads(text)["error"]
    if path == "/predict":
        assert service.metrics()[key] == before + 1
    assert service.predict(REVIEWS[0])[0]["label"]


@pytest.mark.parametrize(
    "raw", [b"\x00\xff\xfe\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: 9999\r\n\r\nshort"]
)
def test_what_is_no_http_leaves_it_alive(service, raw):
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(raw)
    assert service.ask("GET", "/healthz")[0] == 200


def test_metrics_say_what_happened(running, bundle, wanted):
    with running(bundle, "--batch-tokens", "100000") as service:
        assert json.loads(service.ask("GET", "/healthz")[1])["status"] == "ok"
        service.predict(*REVIEWS)
        samples = service.metrics()
    assert samples['trbert_requests_total{status="200"}'] == 1
    assert samples["trbert_batch_items_count"] == 1  # they were queued together
    assert samples["trbert_batch_items_sum"] == len(REVIEWS)
    assert samples["trbert_tokens_total"] == sum(answer["token_count"] for answer in wanted)
    assert samples["trbert_queue_items"] == 0
    assert samples['trbert_request_seconds_bucket{le="+Inf"}'] == samples["trbert_request_seconds_count"] == 1
    for reduction in range(2):
        stage = f'stage="{reduction + 1}"'
        fractions = [answer["kept"][reduction] / answer["token_count"] for answer in wanted]
        assert samples[f"trbert_kept_fraction_sum{{{stage}}}"] == pytest.approx(sum(fractions))
        assert samples[f"trbert_kept_fraction_count{{{stage}}}"] == len(REVIEWS)
        half = sum(fraction <= 0.5 for fraction in fractions)
        assert samples[f'trbert_kept_fraction_bucket{{{stage},le="0.5"}}'] == half


def test_batches_keep_to_their_tokens(running, bundle, load, wanted):
    with running(bundle, "--batch-tokens", "60") as service:
        assert load.same(service.predict(*REVIEWS), wanted)
        samples = service.metrics()
    total = sum(answer["token_count"] for answer in wanted)
    assert samples["trbert_batch_items_count"] >= total / 64  # the longest row alone has 64
    assert samples["trbert_batch_items_count"] < len(REVIEWS)


def test_overload_is_refused_and_lived_through(running, bundle, load, wanted):
    with running(bundle, "--queue", "1") as service:
        done = load.run(service.url, REVIEWS, wanted, connections=12, seconds=3)
        assert done.complaints == []
        assert done.statuses[429] > 0
        assert done.statuses[200] > 0
        assert service.metrics()['trbert_requests_total{status="429"}'] == done.statuses[429]
        assert load.same(service.predict(REVIEWS[0]), wanted[:1])


def test_requests_beyond_the_limit_are_refused_while_others_wait(running, bundle):
    limits = ("--requests", "8", "--queue", "100000", "--batch-tokens", "1")
    with running(bundle, *limits) as service, ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(service.predict, *(REVIEWS * 20)) for _ in range(8)]
        while service.metrics()["trbert_queue_items"] < 5000:
            assert not any(one.done() for one in pending)
        while service.ask("POST", "/predict", b'{"text": "a"}')[0] != 429:
            assert not any(one.done() for one in pending)
        assert service.ask("GET", "/healthz")[0] == 200
        assert [len(one.result()) for one in pending] == [20 * len(REVIEWS)] * 8


def test_a_burst_of_connections_waits_to_be_accepted(running, bundle):
    with running(bundle) as service, ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)  # as if it got no processor for a while
        address = ("127.0.0.1", service.port)
        burst = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(300)]
        service.process.send_signal(signal.SIGCONT)
        for connection in burst:
            connection.settimeout(120)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_connections_beyond_the_limit_wait_for_others_to_close(running, bundle):
    with running(bundle, "--connections", "2", "--idle-seconds", "2") as service, ExitStack() as stack:
        idle = [stack.enter_context(service.connect()) for _ in range(2)]
        with service.connect() as third:
            third.sendall(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert [connection.recv(100) for connection in idle] == [b"", b""]
            assert third.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_sigterm_finishes_what_is_queued(running, bundle, load, wanted):
    with running(bundle, "--queue", "100000", "--batch-tokens", "1") as service, ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(service.predict, *(REVIEWS * 20)) for _ in range(8)]
        while service.metrics()["trbert_queue_items"] < 2000:
            assert not any(one.done() for one in pending)
        service.process.send_signal(signal.SIGTERM)
        for one in pending:
            assert load.same(one.result(), wanted * 20)
        assert service.process.wait(timeout=60) == 0
        with pytest.raises(ConnectionRefusedError):
            service.ask("GET", "/healthz")


def test_what_cannot_be_served_is_said(service_program, bundle, service, tmp_path):
    def stderr(code, *words):
        result = subprocess.run([service_program, *words], capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == code
        return result.stderr

    assert "is not a bundle" in stderr(1, tmp_path)
    assert "Choose another one: --port" in stderr(1, bundle, "--port", str(service.port))
    assert "usage: trbert-service" in stderr(2)
    assert "--queue takes a number from 1, not 0" in stderr(2, bundle, "--queue", "0")


@pytest.mark.slow
def test_one_command_starts_it_and_one_loads_it(cpp, running, bundle):
    environment = {"ONNXRUNTIME_ROOT": str(cpp.onnxruntime)}
    with running(bundle, starter=[EXAMPLE / "start.sh"], **environment) as service:
        words = [sys.executable, EXAMPLE / "load.py", bundle, "--url", service.url, "--seconds", "5"]
        result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "0 complaints" in result.stdout
    assert "latency p50" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing_in_the_service(sanitized, cmake_build, running, bundle, load, wanted, sanitizer):
    """The library and the service; ONNX Runtime, OpenSSL and the decompressors are not instrumented."""
    built = sanitized(sanitizer)
    name = f"service-{sanitizer.partition(',')[0]}"
    build = cmake_build(name, EXAMPLE, *built.options, targets=["trbert-service"])
    starter = [*built.prefix(), build / "trbert-service"]
    with running(bundle, "--queue", "6", starter=starter, **built.environment()) as service:
        done = load.run(service.url, REVIEWS, wanted, connections=8, seconds=20)
        refused = [service.ask("POST", "/predict", body)[0] for body in (b"{", b"\xff", b'{"text": 1}')]
        service.metrics()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=60) == 0
    assert done.complaints == []
    assert done.statuses[200] > len(REVIEWS)
    assert refused == [400, 400, 400]


@pytest.mark.slow
def test_soak(running, bundle, load, wanted):
    """At full load: memory stays where it is once warm, no answer is wrong, no request dropped.

    Takes 10 minutes, or the seconds that the environment variable TRBERT_SOAK_SECONDS says.
    """
    memory, refused = [], []
    too_large = b'{"text": "' + b"a" * 10_000 + b'"}'
    limits = ("--queue", "8", "--max-item-bytes", "10000")
    with running(bundle, *limits) as service, ThreadPoolExecutor(1) as pool:
        soak = pool.submit(load.run, service.url, REVIEWS, wanted, connections=12, seconds=SOAK_SECONDS)
        while not soak.done():
            memory.append(service.memory())
            refused += [service.ask("POST", "/predict", body)[0] for body in (too_large, b"{", b'{"input_ids": [-1]}')]
            time.sleep(SOAK_SECONDS / 200)
        done = soak.result()
        assert load.same(service.predict(REVIEWS[0]), wanted[:1])
    assert done.complaints == []
    assert done.statuses.keys() <= {200, 429}
    assert done.statuses[200] > 20 * SOAK_SECONDS  # it was loaded
    assert refused == [413, 400, 400] * (len(refused) // 3)
    warm = max(memory[: len(memory) // 5])
    assert max(memory[-len(memory) // 5 :]) < warm + 2, memory  # MiB
