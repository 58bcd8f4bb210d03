"""libFuzzer on what a stranger can send or change: items, text, manifests, tokenizers. A crash fails with its input.

Needs what `bash runtimes/cpp/scripts/debian_packages.sh --fuzz` installs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.data import read_json_lines

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtimes" / "cpp"
BUILD = ROOT / "build" / "cpp"
SECONDS = 120  # for each target
TEXTS = [line["text"][:200] for line in read_json_lines(evaluation_file())][:8]
NASTY = ["e\u0301 ΣΑΣ [SEP] 日本語 😀\u200b", "\x00\u202e\ufffd", "한국어 [MASK][CLS]", "x" * 120]
ITEMS = [
    {"text": "a film", "text_pair": "é"},
    {"id": {"deep": [1]}, "input_ids": [5, 9, 7], "attention_mask": [1, 1, 0], "token_type_ids": [0, 1, 0]},
    {"context": "a b", "question": "who?", "choices": ["x", "y z"]},
    {"question": "who?", "context": "a film by 日本"},
    {"input_ids": [[5, 6, 7], [5, 8, 9]], "question_end": 2},
    {"input_ids": [5, 6, 7], "context": "añb", "offsets": [None, [0, 1], [1, 3]]},
    {"input_ids": [5, 6, 7], "sentence_spans": [[0, 1], [-1, -1]]},
    {"input_ids": [5, 6, 7], "candidate_positions": [0, -1, 2]},
]


def seeds(part: str, bundle: Path) -> list[bytes]:
    """Valid inputs to start from."""
    if part == "item":  # the first byte is the task
        return [bytes([task]) + json.dumps(item).encode() for task in range(6) for item in ITEMS]
    if part == "text":
        return [text.encode() for text in TEXTS + NASTY]
    path = bundle / ("manifest.json" if part == "manifest" else "tokenizer/tokenizer.json")
    whole = path.read_bytes()
    return [whole, json.dumps(json.loads(whole), separators=(",", ":")).encode()]


@pytest.fixture(scope="module")
def fuzzers(cpp) -> Path:
    """The targets and the library, built with clang and sanitizers."""
    build = BUILD / "fuzz"
    options = ["-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_C_COMPILER=clang", "-DCMAKE_BUILD_TYPE=None"]
    options += ["-DCMAKE_CXX_FLAGS=-O1 -g", "-DTRBERT_SANITIZE=fuzzer-no-link,address,undefined"]
    options += ["-DTRBERT_BUILD_FUZZERS=ON", "-DTRBERT_BUILD_TOOLS=OFF", f"-DONNXRUNTIME_ROOT={cpp.onnxruntime}"]
    with FileLock(BUILD / "lock"):
        for words in (["cmake", "-S", SOURCE, "-B", build, *options], ["cmake", "--build", build]):
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            assert done.returncode == 0, done.stdout
    return build / "fuzz"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["item", "manifest", "text", "tokenizer"])
def test_nothing_crashes(part: str, fuzzers: Path, text_bundle: Callable[..., Path], tmp_path: Path):
    bundle = text_bundle("sequence-classification")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(part, bundle)):
        (corpus / str(number)).write_bytes(seed)
    words = [fuzzers / f"fuzz-{part}", corpus, f"-max_total_time={SECONDS}", "-timeout=20", "-print_final_stats=1"]
    words += ["-max_len=8192", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | {"TRBERT_TEST_BUNDLE": str(bundle)},
    )
    printed = done.stdout.decode(errors="replace")
    assert done.returncode == 0, printed[-6000:]
    executed = int(printed.partition("stat::number_of_executed_units:")[2].split()[0])
    assert executed > 1000
