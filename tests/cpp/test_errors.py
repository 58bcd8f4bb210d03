"""What is broken gives an error with the way out, and the process lives on."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest

INPUT, BUNDLE, DEVICE, CONFIGURATION = 1, 2, 3, 4


@pytest.fixture
def broken(text_bundle, tmp_path):
    """A bundle of one's own to break, and its manifest to edit."""
    folder = tmp_path / "bundle"
    shutil.copytree(text_bundle("sequence-classification"), folder)
    return folder


def edit_manifest(folder, edit):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def replace(folder, name, content):
    """Write a file and have the manifest vouch for it."""
    (folder / name).write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: facts}))


def assert_refused(fresh_engine, folder, message, code=BUNDLE, mode="staged", **options):
    with pytest.raises(Exception, match=message) as caught:
        fresh_engine(folder, mode, **options)
    assert caught.value.code == code


EDITS = [
    (lambda manifest: manifest.update(schema_version="2.0"), "schema version 2.0, this library reads 1.x.*upgrade"),
    (lambda manifest: manifest.update(schema_version="0.9"), "schema version 0.9.*export the bundle again"),
    (lambda manifest: manifest.update(schema_version="x"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version=1), "no schema_version"),
    (lambda manifest: manifest.update(task="poetry"), "unknown task"),
    (lambda manifest: manifest["stages"].pop(), "do not fit the reductions"),
    (lambda manifest: manifest["selection"].update(mode="budget"), "keep fractions do not fit"),
    (lambda manifest: manifest["selection"].update(mode="other"), "unknown selection mode"),
    (lambda manifest: manifest["limits"].update(max_length=0), "max_length must be at least 1"),
    (lambda manifest: manifest["limits"].update(vocab_size="many"), "an integer is wanted"),
    (lambda manifest: manifest["limits"].update(vocab_size=1.5), "an integer is wanted"),
    (lambda manifest: manifest["stages"][0]["inputs"].append("secret"), "stage_0.onnx takes secret"),
    (lambda manifest: manifest["stages"][0]["outputs"].remove("keep_count"), "does not give keep_count"),
    (lambda manifest: manifest["stages"][0]["inputs"].remove("input_ids"), "number of inputs"),
    (lambda manifest: manifest["fused"]["outputs"].remove("logits"), "does not give logits"),
    (lambda manifest: manifest["files"].pop("stage_1.onnx"), "not among its files"),
    (lambda manifest: manifest["files"].update({"../out": {"sha256": "", "bytes": 1}}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"/etc/passwd": {"sha256": "", "bytes": 1}}), "outside the bundle"),
]
REQUIRED = [
    "task",
    "model",
    "reduction_layers",
    "selection",
    "limits",
    "stages",
    "fused",
    "dense",
    "tokenizer",
    "golden",
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_manifests_that_are_refused(fresh_engine, broken, edit, message):
    edit_manifest(broken, edit)
    assert_refused(fresh_engine, broken, message)


@pytest.mark.parametrize("name", [*REQUIRED, "files"])
def test_every_required_field(fresh_engine, broken, name):
    edit_manifest(broken, lambda manifest: manifest.pop(name))
    assert_refused(fresh_engine, broken, name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a":1}' * 2])
def test_manifests_that_are_none(fresh_engine, broken, content):
    (broken / "manifest.json").write_bytes(content)
    assert_refused(fresh_engine, broken, "not valid JSON|no schema_version")


def test_no_bundle(fresh_engine, tmp_path):
    assert_refused(fresh_engine, tmp_path / "nothing", "does not exist")
    assert_refused(fresh_engine, tmp_path, "has no manifest.json")


def test_files_that_are_missing_or_cut(fresh_engine, broken):
    graph = broken / "stage_1.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-100])
    assert_refused(fresh_engine, broken, "stage_1.onnx has .* bytes, the manifest says")
    graph.unlink()
    assert_refused(fresh_engine, broken, "stage_1.onnx is missing")


def test_a_changed_byte_is_seen_where_hashes_are_asked_for(fresh_engine, broken):
    path = broken / "manifest.schema.json"
    path.write_bytes(path.read_bytes().replace(b"bundle", b"bundel", 1))
    fresh_engine(broken).close()
    assert_refused(fresh_engine, broken, "sha256 of manifest.schema.json", check_sha256=True)


@pytest.mark.parametrize("mode", ["staged", "fused", "dense"])
def test_graphs_that_are_none(fresh_engine, broken, mode):
    name = {"staged": "stage_0.onnx", "fused": "model.onnx", "dense": "dense.onnx"}[mode]
    whole = (broken / name).read_bytes()
    for content in (b"", b"no graph", whole[: len(whole) // 2], whole[: len(whole) - 7]):
        replace(broken, name, content)
        assert_refused(fresh_engine, broken, "ONNX Runtime does not load", mode=mode)


def test_a_graph_that_is_another(fresh_engine, broken):
    replace(broken, "stage_0.onnx", (broken / "stage_1.onnx").read_bytes())
    assert_refused(fresh_engine, broken, "unlike the manifest says")


def test_no_dense_graph(fresh_engine, broken):
    edit_manifest(broken, lambda manifest: manifest.update(dense=None))
    assert_refused(fresh_engine, broken, "--with-dense", mode="dense")


def test_unknown_modes(fresh_engine, text_bundle):
    assert_refused(fresh_engine, text_bundle("sequence-classification"), "one of: staged", CONFIGURATION, "quick")


def test_golden_vectors_that_differ(fresh_engine, broken):
    golden = json.loads((broken / "golden.json").read_text(encoding="utf-8"))
    golden["batches"][0]["outputs"]["logits"][0][0] += 0.01
    golden["batches"][-1]["kept"][0][0].append(90)
    replace(broken, "golden.json", json.dumps(golden).encode())
    engine = fresh_engine(broken)
    with pytest.raises(Exception, match=r"logits differs by .* \(and 1 more\)") as caught:
        engine.verify()
    assert caught.value.code == 6
    replace(broken, "golden.json", b'{"batches": []}')
    with pytest.raises(Exception, match="holds no golden vectors"):
        engine.verify()
    engine.close()


def test_dense_cannot_be_proved_by_golden_vectors(cpp_engine, text_bundle):
    with pytest.raises(Exception, match="staged or fused"):
        cpp_engine(text_bundle("sequence-classification"), "dense").verify()


def test_a_tokenizer_that_cannot_be_read_leaves_token_ids(fresh_engine, broken):
    replace(broken, "tokenizer/tokenizer.json", b'{"model": {}}')
    engine = fresh_engine(broken)
    with pytest.raises(Exception, match="give token ids"):
        engine.predict('{"text": "a"}')
    assert json.loads(engine.predict('{"input_ids": [2, 5, 3]}'))["token_count"] == 3
    engine.close()


ITEMS = [
    (b"{", "not valid JSON"),
    (b"[1]", "is a JSON array"),
    (b'"text"', "is a JSON string"),
    (b"{}", "the keys \\(none\\)"),
    (b'{"text": 1}', "text must be text"),
    (b'{"text": null}', "the keys"),
    (b'{"text": "\xff"}', "not valid JSON"),
    (b'{"text": "\xed\xa0\x80"}', "not valid JSON"),
    (b'{"text": "\\ud800"}', "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"question": "a", "context": "b"}', "the keys context, question"),
    (b'{"text": "a", "id": 12345678901234567890123}', "id holds a number beyond 64 bits.*give it as text"),
    (b'{"text": "a", "id": {"deep": ["b", -9223372036854775809]}}', "beyond 64 bits"),
    (b'{"input_ids": [2, 5, 3], "id": 18446744073709551616}', "beyond 64 bits"),
    (b'{"input_ids": []}', "batch is empty"),
    (b'{"input_ids": [[1]]}', "must be \\[rows, tokens\\]"),
    (b'{"input_ids": [1, [2]]}', "not a rectangular"),
    (b'{"input_ids": [1.5]}', "an integer is wanted"),
    (b'{"input_ids": [99999999999999999999]}', "an integer is wanted"),
    (b'{"input_ids": [18446744073709551615]}', "too large"),
    (b'{"input_ids": [-1]}', "is -1, but the vocabulary"),
    (b'{"input_ids": [120]}', "is 120, but the vocabulary"),
    (b'{"input_ids": [1, 2], "attention_mask": [1]}', "attention_mask is of shape"),
    (b'{"input_ids": [1, 2], "attention_mask": [0, 1]}', "all padding"),
    (b'{"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}', "has a hole"),
    (b'{"input_ids": [1, 2], "attention_mask": [1, 2]}', "0 and 1 only"),
    (b'{"input_ids": [1, 2], "token_type_ids": [0, 2]}', "token types of this model ends at 1"),
    (b'{"input_ids": [%s 1]}' % (b"1," * 64), "has 65 tokens, the model takes 64"),
]


@pytest.mark.parametrize(("raw", "message"), ITEMS)
def test_items_that_are_refused(cpp_engine, text_bundle, raw, message):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    with pytest.raises(Exception, match=message) as caught:
        engine.predict(raw)
    assert caught.value.code == INPUT
    assert json.loads(engine.predict('{"text": "still alive"}'))["label"]


def test_nothing_is_answered_with_nothing(cpp_engine, text_bundle):
    assert cpp_engine(text_bundle("sequence-classification"), "staged").predict("\n \n") == ""


def test_an_oversize_text_is_truncated_and_says_so(cpp_engine, text_bundle):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    answer = json.loads(engine.predict(json.dumps({"text": "a film " * 200_000})))
    assert answer["truncated"] is True
    assert answer["token_count"] == 64


def tool(cpp, *words, stdin=b""):
    result = subprocess.run([cpp.run, *words], input=stdin, capture_output=True, check=False)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def test_the_tools_exit_codes(cpp, text_bundle, broken):
    bundle = text_bundle("sequence-classification")
    assert tool(cpp, bundle, "--verify")[0] == 0
    assert tool(cpp, "--help")[0] == 0
    for words in (
        [],
        [bundle, "--unknown"],
        [bundle, "--threads", "0"],
        [bundle, "--mode", "quick"],
        [bundle, "--data"],
    ):
        code, stdout, stderr = tool(cpp, *words)
        assert (code, stdout) == (2, "")
        assert "usage: trbert-run" in stderr
    for words in (
        ["/nothing"],
        [bundle, "--device", "cuda"],
        [bundle, "--device", "x"],
        [bundle, "--data", "/nothing"],
    ):
        code, stdout, stderr = tool(cpp, *words)
        assert (code, stdout) == (1, "")
        assert stderr.startswith("error: ")
    assert tool(cpp, bundle, b"\xff")[0] == 1
    golden = json.loads((broken / "golden.json").read_text(encoding="utf-8"))
    golden["batches"][0]["outputs"]["logits"][0][0] += 1
    replace(broken, "golden.json", json.dumps(golden).encode())
    code, stdout, stderr = tool(cpp, broken, "--verify")
    assert code == 1
    assert json.loads(stdout)["passed"] is False
    assert "logits differs" in stderr


def test_the_tool_answers_what_stands_before_a_broken_line(cpp, text_bundle):
    lines = b'\xef\xbb\xbf{"text": "one"}\n\n{"text": "two"}\n{"text": 3}\n{"text": "four"}\n'
    code, stdout, stderr = tool(cpp, text_bundle("sequence-classification"), stdin=lines)
    assert code == 1
    assert len(stdout.splitlines()) == 2
    assert stderr.startswith("error: line 4: text must be text")
    assert tool(cpp, text_bundle("sequence-classification"), stdin=b"{")[2].startswith(
        "error: line 1 is not valid JSON"
    )


def test_the_tool_takes_texts_that_look_like_options(cpp, text_bundle):
    code, stdout, _ = tool(cpp, text_bundle("sequence-classification"), "--threads", "1", "--", "--help", "--", "-5")
    assert code == 0
    assert len(stdout.splitlines()) == 3


@pytest.mark.parametrize("words", [["a film"], ["--verify"], ["a film", "--bench", "1"], ["--version"], ["--help"]])
def test_the_tool_fails_where_its_output_is_lost(cpp, text_bundle, words):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [cpp.run, text_bundle("sequence-classification"), *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the standard output cannot be written")


def test_the_tool_fails_where_its_input_cannot_be_read(cpp, text_bundle, tmp_path):
    bundle = text_bundle("sequence-classification")
    unreadable = "/proc/self/mem"  # opens, and fails to be read
    for suffix, program in ((".gz", "gzip -dc"), (".xz", "xz -dc")):
        (tmp_path / f"lines.jsonl{suffix}").write_bytes(b"")
        code, stdout, stderr = tool(cpp, bundle, "--data", tmp_path / f"lines.jsonl{suffix}")
        assert (code, stdout) == (1, "")
        assert "is compressed" in stderr
        assert program in stderr
    for words in (["--data", unreadable], ["--data", unreadable, "--bench", "1"]):
        code, stdout, stderr = tool(cpp, bundle, *words)
        assert (code, stdout, stderr) == (1, "", f"error: {unreadable} cannot be read beyond line 0\n")
    code, stdout, stderr = tool(cpp, bundle, "--data", tmp_path)
    assert (code, stdout) == (1, "")
    assert "is a folder" in stderr
    with open(unreadable, "rb") as stdin:
        done = subprocess.run([cpp.run, bundle], stdin=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: the standard input cannot be read beyond line 0\n"


def test_the_tool_measures(cpp, text_bundle):
    code, stdout, _ = tool(
        cpp, text_bundle("sequence-classification"), "a text", "another", "--bench", "5", "--threads", "1"
    )
    report = json.loads(stdout)
    assert code == 0
    assert report["rows"] == 2
    assert 0 < report["batch_p50_ms"] <= report["batch_p99_ms"]
    assert report["rows_per_second"] > 0
