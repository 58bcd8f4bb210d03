"""What is broken gives an error with the way out, and the process lives on."""

from __future__ import annotations

import json

import pytest
from broken_bundles import CONFIGURATION, INPUT, assert_refused, edit_manifest, replace


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
