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
    (
        lambda manifest: manifest.update(schema_version="3.0"),
        "schema version 3.0, this library reads 1.x to 2.x.*upgrade",
    ),
    (lambda manifest: manifest.update(schema_version="0.9"), "schema version 0.9.*export the bundle again"),
    (lambda manifest: manifest.update(schema_version="2"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.x"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.0\n"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="\u0662.\u0660"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.0000000"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version=2.0), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="1.3"), "does not follow the schema"),
    (lambda manifest: manifest.update(task="sequence-classification"), "task is no object"),
    (lambda manifest: manifest["stages"].pop(), "do not fit the reductions"),
    (lambda manifest: manifest["reduction"].update(mode="budget"), "fractions do not fit"),
    (lambda manifest: manifest["reduction"].update(mode="other"), "unknown mode other"),
    (lambda manifest: manifest["reduction"].update(fate="melted"), "unknown fate melted"),
    (lambda manifest: manifest["reduction"].update(layers=[2, 1]), "must ascend"),
    (lambda manifest: manifest["task"].update(max_length=0), "max_length must lie in 1"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum="many"), "an integer is wanted"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum=1.5), "an integer is wanted"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum=None), "needs a maximum"),
    (lambda manifest: manifest["task"]["decoding"]["parameters"].update(output="x"), "must name an output with axes"),
    (lambda manifest: manifest["stages"][0]["inputs"].append(SECRET), "stage_0.onnx takes secret"),
    (lambda manifest: drop(manifest["stages"][0]["outputs"], "keep_count"), "gives no keep_count"),
    (lambda manifest: drop(manifest["stages"][0]["inputs"], "input_ids"), "number of inputs"),
    (lambda manifest: drop(manifest["fused"]["outputs"], "logits"), "gives no logits"),
    (lambda manifest: manifest["stages"][0]["inputs"][0].update(dtype="int32"), "takes input_ids as int32"),
    (lambda manifest: manifest.update(precision="int8"), "quantization is said of int8"),
    (lambda manifest: manifest.update(precision="int4"), "unknown precision int4"),
    (lambda manifest: manifest["files"].pop("stage_1.onnx"), "not among its files"),
    (lambda manifest: manifest["files"].update({"../out": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"/etc/passwd": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"a\\b": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"none": FACTS}), "none is missing"),
    (lambda manifest: manifest["files"].update({"none": {"sha256": "0", "bytes": 1}}), "sha256 is not 64 hexadecimal"),
]
SECRET = {"name": "secret", "axes": ["batch"], "dtype": "int64"}
FACTS = {"sha256": "0" * 64, "bytes": 1}
REQUIRED = [
    "task",
    "model",
    "reduction",
    "costs",
    "precision",
    "stages",
    "fused",
    "dense",
    "tokenizer",
    "golden",
]


def drop(tensors, name):
    tensors[:] = [tensor for tensor in tensors if tensor["name"] != name]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_manifests_that_are_refused(fresh_engine, broken, edit, message):
    edit_manifest(broken, edit)
    assert_refused(fresh_engine, broken, message)


@pytest.mark.parametrize("name", [*REQUIRED, "files"])
def test_every_required_field(fresh_engine, broken, name):
    edit_manifest(broken, lambda manifest: manifest.pop(name))
    assert_refused(fresh_engine, broken, name)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a":1}' * 2, b'{"a":1, "a":1}']
)
def test_manifests_that_are_none(fresh_engine, broken, content):
    (broken / "manifest.json").write_bytes(content)
    assert_refused(fresh_engine, broken, "not valid JSON|no schema_version")


def test_a_manifest_that_is_too_large_or_no_file(fresh_engine, broken):
    with (broken / "manifest.json").open("r+b") as file:
        file.truncate(17 * 2**20)
    assert_refused(fresh_engine, broken, "more than the 16777216 that are read")
    (broken / "manifest.json").unlink()
    (broken / "manifest.json").mkdir()
    assert_refused(fresh_engine, broken, "not a regular file")


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
    max(golden["batches"][-1]["kept"][-1], key=len).pop()
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
    (b'["a", "b", "c"]', "is a JSON array"),
    (b"3", "is a JSON number"),
    (b"{}", "the keys \\(none\\)"),
    (b'{"text": 1}', "text must be text"),
    (b'{"text": null}', "the keys"),
    (b'{"text": "\xff"}', "not valid JSON"),
    (b'{"text": "\xed\xa0\x80"}', "not valid JSON"),
    (b'{"text": "\\ud800"}', "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"question": "a", "context": "b"}', "the keys context, question"),
    (b'{"text": "a", "id": 12345678901234567890123}', "the integer 12345678901234567890123 has more than 64 bits"),
    (b'{"text": "a", "id": {"deep": ["b", -9223372036854775809]}}', "more than 64 bits"),
    (b'{"input_ids": [2, 5, 3], "id": 18446744073709551616}', "more than 64 bits"),
    (b'{"text": "a", "id": 1e999}', "not valid JSON"),
    (b'{"text": "a", "text": "b"}', "the key 'text' is there twice"),
    (b'\xef\xbb\xbf{"text": "a"}', "byte order mark"),
    (b'{"input_ids": []}', "batch is empty"),
    (b'{"input_ids": [[1]]}', "must be \\[rows, tokens\\]"),
    (b'{"input_ids": [1, [2]]}', "not a rectangular"),
    (b'{"input_ids": [1.5]}', "an integer is wanted"),
    (b'{"input_ids": [99999999999999999999]}', "more than 64 bits"),
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


def test_texts_and_pairs_without_keys(cpp_engine, text_bundle):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    lines = engine.predict('"a film"\n{"text": "a film"}\n["a film", "its pair"]\n').splitlines()
    assert lines[0] == lines[1]
    assert json.loads(lines[2])["token_count"] > json.loads(lines[0])["token_count"]


def test_a_decoding_of_a_later_release_still_runs(fresh_engine, broken):
    edit_manifest(broken, lambda manifest: manifest["task"].update(decoding={"kind": "of tomorrow"}))
    engine = fresh_engine(broken)
    engine.verify()
    outputs, _ = engine.run({"input_ids": [[2, 5, 3]]}, ["logits"])
    assert outputs["logits"].shape == (1, 3)
    with pytest.raises(Exception, match=r"does not decode outputs of the kind 'of tomorrow'.*upgrade") as caught:
        engine.predict('{"text": "a"}')
    assert caught.value.code == INPUT
    engine.close()


def test_links_that_leave_the_bundle(fresh_engine, broken):
    (broken.parent / "elsewhere").write_bytes((broken / "stage_1.onnx").read_bytes())
    (broken / "stage_1.onnx").unlink()
    (broken / "stage_1.onnx").symlink_to("../elsewhere")
    assert_refused(fresh_engine, broken, "stage_1.onnx is a link that leaves the bundle")


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
