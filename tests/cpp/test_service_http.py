"""examples/cpp_service: what is a request, where it ends, and how its body is encoded."""

from __future__ import annotations

import ctypes
import gzip
import json
import subprocess
import time

import pytest
from cpp_service import POST, post, read

ITEM = b'{"id": 1, "text": "a film"}'
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ITEM), ITEM)
CLOSE = b"Connection: close"
#: What a body must never be taken for.
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def numbered(count: int) -> list[bytes]:
    """Requests with ids, of which the last one says that it is."""
    bodies = [json.dumps({"id": number, "text": f"a film and {number}"}).encode() for number in range(count)]
    return [*map(post, bodies[:-1]), post(bodies[-1], CLOSE)]


@pytest.mark.parametrize("pieces", ["all at once", "one by one", "halves", "bytes"])
def test_requests_that_do_not_wait_for_answers_are_all_answered_in_order(service, pieces):
    requests = numbered(5)
    whole = b"".join(requests)
    middle = len(whole) // 2
    given = service.exchange(
        *{
            "all at once": [whole],
            "one by one": requests,
            "halves": [whole[:middle], whole[middle:]],
            "bytes": [whole[place : place + 1] for place in range(len(whole))],
        }[pieces]
    )
    assert [one.status for one in given] == [200] * 5
    assert [json.loads(one.body)["id"] for one in given] == [0, 1, 2, 3, 4]
    assert [one.headers["connection"] for one in given] == ["keep-alive"] * 4 + ["close"]


def test_pipelined_requests_of_every_kind_are_answered(service):
    requests = [
        SMUGGLED,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        post(b"{"),
        post(gzip.compress(ITEM), b"Content-Encoding: gzip"),
        b"PUT /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED.replace(b"0\r\n\r\n", b"0\r\nTrailer: a\r\n\r\n"),
        post(ITEM, CLOSE),
    ]
    given = service.exchange(b"".join(requests))
    assert [one.status for one in given] == [200, 200, 400, 200, 404, 200, 200]


def test_a_hundred_pipelined_requests_are_answered(service):
    given = service.exchange(b"".join(numbered(100)))
    assert [json.loads(one.body)["id"] for one in given] == list(range(100))


def test_what_follows_a_request_that_is_none_is_not_read(service):
    start = time.monotonic()
    given = service.exchange(post(ITEM) + b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n" + post(ITEM))
    assert [one.status for one in given] == [200, 400]
    assert given[-1].headers["connection"] == "close"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Content-Length: 6", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 6"], 400),
        ([b"Transfer-Encoding: identity", b"Content-Length: 6"], 400),
        ([b"Content-Length: 6", b"Content-Length: 7"], 400),
        ([b"Content-Length: 6, 7"], 400),
        ([b"Content-Length: +6"], 400),
        ([b"Content-Length: -6"], 400),
        ([b"Content-Length: 0x6"], 400),
        ([b"Content-Length: 6 6"], 400),
        ([b"Content-Length: 18446744073709551622"], 400),
        ([b"Content-Length : 6"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding : chunked"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 501),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: xchunked"], 501),
        ([b"Transfer-Encoding: identity"], 501),
        ([], 411),
    ],
)
def test_a_body_without_one_certain_end_is_refused(service, headers, status):
    for body in (b"0\r\n\r\n", b"6\r\n", b""):
        given = service.exchange(POST + b"\r\n".join([*headers, b"", body]) + SMUGGLED)
        assert [one.status for one in given] == [status]
        assert given[0].headers["connection"] == "close"


def test_chunks_are_refused_in_http_1_0(service):
    given = service.exchange(b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED)
    assert [one.status for one in given] == [400]


@pytest.mark.parametrize(
    "line",
    [b"x", b"-1", b"", b"FFFFFFFFFFFFFFFFF", b"1 1", b"1\n", b"1;" + b"a" * 40_000],
    ids=["letter", "negative", "empty", "too large", "two", "bare line feed", "long extension"],
)
def test_chunks_without_a_certain_length_are_refused(service, line):
    given = service.exchange(POST + b"Transfer-Encoding: chunked\r\n\r\n" + line + b"\r\n{\r\n0\r\n\r\n" + SMUGGLED)
    assert [one.status for one in given] == [400]


def test_ranges_are_not_served(service):
    plain = service.exchange(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[0]
    ranges = ",".join(f"0-{end}" for end in range(2000, 2400)).encode()
    ranged = service.exchange(
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes=%s\r\n\r\n" % ranges
    )[0]
    assert (plain.status, ranged.status) == (200, 200)
    assert ranged.body.splitlines()[0] == plain.body.splitlines()[0]
    assert len(ranged.body) < len(plain.body) + 1000


def brotli(raw: bytes) -> bytes:
    """Compressed by the library whose decoder the service uses."""
    library = ctypes.CDLL("libbrotlienc.so.1")
    compressed, size = ctypes.create_string_buffer(len(raw) + 1000), ctypes.c_size_t(len(raw) + 1000)
    assert library.BrotliEncoderCompress(11, 22, 0, ctypes.c_size_t(len(raw)), raw, ctypes.byref(size), compressed)
    return compressed.raw[: size.value]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(ITEM)),
        (b"GZip", gzip.compress(ITEM)),
        (b"x-gzip", gzip.compress(ITEM)),
        (b"gzip", gzip.compress(ITEM[:9]) + gzip.compress(b"") + gzip.compress(ITEM[9:])),
        (b"br", brotli(ITEM)),
        (b"identity", ITEM),
    ],
    ids=["gzip", "capitals", "x-gzip", "two gzip files", "brotli", "none"],
)
def test_bodies_are_decompressed(service, coding, body):
    pieces = [body[place : place + 1] for place in range(len(body))]
    head = post(body, b"Content-Encoding: " + coding, CLOSE)[: -len(body)]
    given = service.exchange(head + body) + service.exchange(head, *pieces)
    assert [one.status for one in given] == [200, 200]
    assert given[0].body == given[1].body
    assert json.loads(given[0].body)["id"] == 1


@pytest.mark.parametrize("coding", [b"zstd", b"deflate", b"compress", b"gzip, gzip", b"br, gzip", b"none", b"*"])
def test_unknown_content_encodings_are_refused(service, coding):
    first, second = service.exchange(post(ITEM, b"Content-Encoding: " + coding) + post(ITEM, CLOSE))
    assert (first.status, second.status) == (415, 200)
    assert first.headers["accept-encoding"] == "gzip, br"
    assert "Content-Encoding" in first.error


def test_two_content_encodings_are_refused(service):
    twice = (b"Content-Encoding: gzip", b"Content-Encoding: gzip", CLOSE)
    assert [one.status for one in service.exchange(post(gzip.compress(ITEM), *twice))] == [415]


@pytest.mark.parametrize("coding", [b"gzip", b"br"])
@pytest.mark.parametrize(
    "spoil",
    [lambda raw: raw[:-1], lambda raw: raw + b"a", lambda raw: b"a" + raw, lambda raw: b""],
    ids=["cut", "longer", "shifted", "empty"],
)
def test_what_is_not_encoded_as_said_is_refused(service, coding, spoil):
    body = spoil({b"gzip": gzip.compress, b"br": brotli}[coding](ITEM))
    first, second = service.exchange(post(body, b"Content-Encoding: " + coding) + post(ITEM, CLOSE))
    assert (first.status, second.status) == (400, 200)
    assert "not encoded" in first.error


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/nowhere", b"Content-Length: 9", 404),
        ("/predict", b"Content-Length: 999999999", 413),
        ("/predict", b"Content-Encoding: zstd\r\nContent-Length: 9", 415),
    ],
)
def test_who_asks_before_the_body_is_told_before_it(service, path, headers, status):
    request = b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n%s\r\n\r\n" % (path.encode(), headers)
    assert [one.status for one in service.exchange(request)] == [status]


def test_head_is_get_without_the_body(service):
    with service.connect() as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, body = read(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 34" in head
    assert body == b""


def test_http_1_0_is_answered_and_closed_unless_asked(service):
    old = b"GET /healthz HTTP/1.0\r\n"
    given = service.exchange(old + b"Connection: keep-alive\r\n\r\n" + old + b"\r\n" + old + b"\r\n")
    assert [one.headers["connection"] for one in given] == ["keep-alive", "close"]


def test_curl_gets_what_it_asks_for(service, tmp_path):
    (tmp_path / "item").write_bytes(ITEM)
    (tmp_path / "item.gz").write_bytes(gzip.compress(ITEM))

    def curl(*words: str) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", "60", *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=tmp_path).stdout

    plain = curl("--data-binary", "@item", f"{service.url}/predict")
    assert json.loads(plain)["id"] == 1
    assert curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@item", f"{service.url}/predict") == plain
    assert curl("-H", "Content-Encoding: gzip", "--data-binary", "@item.gz", f"{service.url}/predict") == plain
    two = curl("--data-binary", "@item", f"{service.url}/predict", "--next", "--silent", f"{service.url}/healthz")
    assert two.startswith(plain)
    assert '"status":"ok"' in two
