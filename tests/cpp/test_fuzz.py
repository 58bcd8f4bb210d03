"""libFuzzer on what a stranger can send or change: requests, bodies, items, text, manifests, tokenizers.

A crash, a sanitizer's finding, an exception other than the library's own or a broken promise (see the targets in
runtimes/cpp/fuzz/ and examples/cpp_service/fuzz_*.cpp) fails, and names the file with the input that did it.
"""

from __future__ import annotations

import gzip
import json
import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import cpp_builds
import pytest

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

ROOT = Path(__file__).parents[2]
TARGETS = ("body", "item", "manifest", "request", "text", "tokenizer")
TEXTS = [line["text"][:200] for line in read_json_lines(evaluation_file())][:8]
NASTY = ["e\u0301 ΣΑΣ [SEP] 日本語 😀\u200b", "\x00\u202e\ufffd", "한국어 [MASK][CLS]", "x" * 120]
OLD_MANIFEST = ROOT / "tests" / "fixtures" / "schema_1" / "question-answering" / "manifest.json"
BODY = b'{"text": "a film"}'
COMPRESSED = gzip.compress(BODY, mtime=0)
REQUESTS = [
    b"GET /healthz?x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    b"POST /predict HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3;a="b"\r\nabc\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n',
    b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(COMPRESSED), COMPRESSED),
    b"POST / HTTP/1.1\r\nContent-Encoding: br\r\nContent-Length: 7\r\n\r\n\x0b\x01\x80abc\x03",
    b"HEAD / HTTP/1.0\r\nX: a\r\n b\r\n\r\n",
]


def seeds(part: str, bundle: Path) -> list[bytes]:
    """Valid inputs to start from."""
    if part == "item":  # the first byte is the task
        vectors = json.loads((ROOT / "spec" / "items.json").read_text(encoding="utf-8"))
        tasks = sorted(vectors["tasks"])
        return [bytes([tasks.index(case["task"])]) + json.dumps(case["item"]).encode() for case in vectors["cases"]]
    if part == "body":  # the first byte says whether it is JSON lines
        lines = [json.dumps({"text": text}).encode() for text in TEXTS + NASTY] + [b"", b" \r"]
        return [b"\x01" + b"\n".join(lines), *[b"\0" + line for line in lines]]
    if part == "request":  # the first byte is the size of the pieces in which they come
        pieces = range(0, 60, 7)
        return [bytes([size]) + request + REQUESTS[0] for size in pieces for request in REQUESTS]
    if part == "text":
        return [text.encode() for text in TEXTS + NASTY]
    path = bundle / ("manifest.json" if part == "manifest" else "tokenizer/tokenizer.json")
    whole = path.read_bytes()
    others = [OLD_MANIFEST.read_bytes()] if part == "manifest" else []
    return [whole, json.dumps(json.loads(whole), separators=(",", ":")).encode(), *others]


@pytest.fixture(scope="module")
def fuzzers(sanitized) -> dict[str, Path]:
    """The targets by name, built with clang, AddressSanitizer and UndefinedBehaviorSanitizer."""
    folders = dict.fromkeys(TARGETS, sanitized("address,undefined").build / "fuzz")
    folders |= dict.fromkeys(("body", "request"), cpp_builds.service_fuzzers())
    return {name: folder / f"fuzz-{name}" for name, folder in folders.items()}


@pytest.mark.parametrize("end", [None, pytest.param("-max_total_time=180", marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", TARGETS)
def test_nothing_crashes(
    part: str, end: str | None, fuzzers, sanitized, text_bundle: Callable[..., Path], tmp_path: Path
):
    bundle = text_bundle("sequence-classification")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    given = seeds(part, bundle)
    for number, seed in enumerate(given):
        (corpus / str(number)).write_bytes(seed)
    # libFuzzer reads ru_maxrss, and a new program inherits that of the process that started it.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # KiB to MiB
    limits = (
        end or f"-runs={max(600, 12 * len(given))}",
        "-timeout=60",
        f"-max_len={2 * max(map(len, given))}",
        f"-rss_limit_mb={inherited + 2048}",
        "-malloc_limit_mb=2048",
    )
    done = subprocess.run(
        [fuzzers[part], corpus, *limits, f"-artifact_prefix={tmp_path}/", "-print_final_stats=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=sanitized("address,undefined").environment() | {"TRBERT_TEST_BUNDLE": str(bundle)},
    )
    printed = done.stdout.decode(errors="replace")
    assert done.returncode == 0, printed[-6000:]
    executed = re.search(r"stat::number_of_executed_units: +(\d+)", printed)
    assert executed is not None, printed[-6000:]
    assert int(executed[1]) > 10 * len(given)
