"""examples/cpp_service: TLS and API keys."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cpp_service import POST, answers, post, read

ITEM = b'{"id": 1, "text": "a film"}'
KEYS = ("first-key-0123456789", "second-key-0123456789")
CLOSE = b"Connection: close"
LOAD = Path(__file__).parents[2] / "examples" / "cpp_service" / "load.py"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A certificate for localhost with its key, another key, and a file of API keys."""
    folder = tmp_path_factory.mktemp("service-access")
    new = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    new += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    for name in ("service", "other"):
        names = ["-out", f"{name}.pem", "-keyout", f"{name}.key"]
        subprocess.run([*new, *names], check=True, cwd=folder, capture_output=True)
    (folder / "keys").write_text("\n".join(["", *KEYS, ""]))
    return folder


@pytest.fixture(scope="module")
def tls(files) -> tuple[str | Path, ...]:
    """The options of TLS."""
    return ("--tls-certificate", files / "service.pem", "--tls-key", files / "service.key")


@pytest.fixture(scope="module")
def service_options(tls):
    return (*tls, "--header-seconds", "2", "--body-seconds", "3")


@pytest.fixture
def encrypted(service, files):
    """Connects with TLS and looks at the certificate."""
    context = ssl.create_default_context(cafile=str(files / "service.pem"))

    def connect() -> ssl.SSLSocket:
        return context.wrap_socket(service.connect(), server_hostname="localhost")

    return connect


def test_tls_is_spoken_and_the_certificate_is_the_one_given(service, encrypted):
    assert service.url.startswith("https://127.0.0.1:")
    with encrypted() as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        connection.sendall(b"".join([post(ITEM)] * 4 + [post(ITEM, CLOSE)]))
        given = answers(read(connection))
    assert [one.status for one in given] == [200] * 5
    assert json.loads(given[0].body)["id"] == 1


def test_curl_asks_over_tls(service, files):
    def curl(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["curl", "--silent", "--show-error", "--max-time", "60", *words, f"{service.url}/predict"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ask = ("--data-binary", ITEM.decode())
    fine = curl("--cacert", str(files / "service.pem"), *ask)
    assert json.loads(fine.stdout)["id"] == 1
    assert curl("--cacert", str(files / "other.pem"), *ask).returncode != 0


def test_a_large_body_and_one_that_is_too_large(encrypted):
    text = json.dumps({"text": "a film of " * 6000}).encode()
    for body, status in ((text, 200), (b" " * (1 << 21), 413)):
        with encrypted() as connection:
            connection.sendall(post(body, CLOSE))
            assert [one.status for one in answers(read(connection))] == [status]


def test_a_body_that_dribbles_is_refused_over_tls(encrypted):
    with encrypted() as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        assert [one.status for one in answers(read(connection))] == [408]


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
def test_what_is_no_tls_is_closed_without_an_answer(service, encrypted, said):
    start = time.monotonic()
    with service.connect() as connection:
        connection.sendall(said)
        assert b"HTTP" not in read(connection)
    assert time.monotonic() - start < 20
    with encrypted() as connection:
        connection.sendall(HEALTH)
        assert [one.status for one in answers(read(connection))] == [200]


def test_load_over_tls_with_a_key(running, bundle, tls, files):
    certificate = ("--certificate", files / "service.pem")
    environment = {"TRBERT_API_KEY": KEYS[0]}
    with running(bundle, *tls, **environment) as service:
        words = [sys.executable, LOAD, bundle, "--url", service.url, *certificate, "--items", "20", "--seconds", "2"]
        result = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, env=os.environ | environment
        )
    assert result.returncode == 0, result.stderr
    assert "0 complaints" in result.stdout


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused_even_where_the_system_allows_it(running, bundle, tls, tmp_path):
    lines = ["openssl_conf = all", "[all]", "ssl_conf = ssl", "[ssl]", "system_default = old", "[old]"]
    lines += ["MinProtocol = TLSv1", "CipherString = ALL:@SECLEVEL=0", ""]
    (tmp_path / "openssl.cnf").write_text("\n".join(lines))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    lax = running(bundle, *tls, OPENSSL_CONF=str(tmp_path / "openssl.cnf"))
    with lax as service, pytest.raises(ssl.SSLError), service.connect() as connection:
        context.wrap_socket(connection)


def test_sigterm_lets_tls_end_properly(running, bundle, tls, files):
    context = ssl.create_default_context(cafile=str(files / "service.pem"))
    with (
        running(bundle, *tls, "--drain-seconds", "0") as service,
        service.connect() as plain,
        service.connect() as mute,
    ):
        connection = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(ITEM))
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(ITEM)
        (answer,) = answers(read(connection))  # which ends with TLS's own end, or it raises
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert read(mute) == b""
        assert service.process.wait(timeout=60) == 0


def test_what_is_no_certificate_is_said(service_program, bundle, files):
    def stderr(code: int, *words: object) -> str:
        command = [str(word) for word in (service_program, bundle, "--port", "0", *words)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == code
        return result.stderr

    certificate, key = files / "service.pem", files / "service.key"
    assert "go together" in stderr(2, "--tls-certificate", certificate)
    assert "go together" in stderr(2, "--tls-key", key)
    missing = stderr(1, "--tls-certificate", files / "missing", "--tls-key", key)
    assert f"no certificate can be read from {files / 'missing'}" in missing
    other = stderr(1, "--tls-certificate", certificate, "--tls-key", files / "other.key")
    assert f"no key of that certificate can be read from {files / 'other.key'}" in other


def predict(service, *headers: bytes) -> list[int]:
    return [one.status for one in service.exchange(post(ITEM, *headers, CLOSE))]


def bearer(key: str) -> bytes:
    return b"Authorization: Bearer " + key.encode()


@pytest.fixture(scope="module")
def guarded(running, bundle, files):
    with running(bundle, "--api-key-file", files / "keys") as started:
        yield started


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_the_file_opens(guarded, key):
    assert predict(guarded, bearer(key)) == [200]
    assert predict(guarded, bearer(key).replace(b"Bearer ", b"bearer  ")) == [200]
    assert guarded.ask("GET", "/metrics", Authorization=f"Bearer {key}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b"Authorization:"],
        [b"Authorization: Bearer"],
        [b"Authorization: Bearer "],
        [bearer(KEYS[0][:-1])],
        [bearer(KEYS[0] + "0")],
        [bearer(KEYS[0].upper())],
        [bearer(" ".join(KEYS))],
        [bearer(KEYS[0]), bearer(KEYS[0])],
        [b"Authorization: Basic " + KEYS[0].encode()],
        [b"Authorization: " + KEYS[0].encode()],
        [b"X-API-Key: " + KEYS[0].encode()],
    ],
)
def test_nothing_else_opens(guarded, headers):
    (answer,) = guarded.exchange(post(ITEM, *headers, CLOSE))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in answer.error
    get = b"\r\n".join([b"GET /metrics HTTP/1.1", *headers, CLOSE, b"", b""])
    assert [one.status for one in guarded.exchange(get)] == [401]


def test_healthz_needs_no_key(guarded):
    assert guarded.ask("GET", "/healthz")[0] == 200


def test_of_a_body_without_a_key_nothing_is_kept(guarded):
    before = guarded.memory("VmHWM")
    connections = [guarded.connect() for _ in range(100)]
    for connection in connections:
        connection.sendall(POST + b"Content-Length: 1000001\r\n\r\n" + b" " * 1_000_000)
    for connection in connections:
        assert [one.status for one in answers(read(connection))] == [401]
        connection.close()
    assert guarded.memory("VmHWM") < before + 20


def test_the_key_may_stand_in_the_environment(running, bundle):
    with running(bundle, TRBERT_API_KEY=KEYS[0]) as service:
        assert predict(service) == [401]
        assert predict(service, bearer(KEYS[1])) == [401]
        assert predict(service, bearer(KEYS[0])) == [200]


def test_what_is_no_key_is_said_and_no_key_is_shown(service_program, bundle, tmp_path):
    def stderr(code: int, *words: object, **environment: str) -> str:
        command = [str(word) for word in (service_program, bundle, "--port", "0", *words)]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment
        )
        assert result.returncode == code
        assert "secret" not in result.stderr
        return result.stderr

    file = tmp_path / "keys"
    assert f"no API key can be read from {file}" in stderr(1, "--api-key-file", file)
    file.write_text("\n \n")
    assert f"no API key can be read from {file}" in stderr(1, "--api-key-file", file)
    for text in ("secret", "a secret of several words", "secret-\u00e9-0123456789"):
        file.write_text(f"{KEYS[0]}\n{text}\n")
        assert f"in {file} is none: it needs 16 or more characters" in stderr(1, "--api-key-file", file)
        assert "TRBERT_API_KEY is none" in stderr(1, TRBERT_API_KEY=text)
    assert "TRBERT_API_KEY is none" in stderr(1, TRBERT_API_KEY="")
    assert "unknown option --api-key\n" in stderr(2, "--api-key", "secret")
