from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.core.errors import BundleError, DeviceError, InputError, TRBertError
from trbert_deploy.verification import verify_engine

NAME = "bert-sequence-classification"


@pytest.fixture
def bundle(golden_bundle) -> Path:
    return golden_bundle(NAME)


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def edit_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_many_threads_get_the_answers_of_one(bundle, mode):
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(24):
        lengths = rng.integers(1, 90, size=int(rng.integers(1, 9)))
        ids = rng.integers(0, 120, (len(lengths), int(lengths.max())))
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        batches.append({"input_ids": ids, "attention_mask": mask})
    with trbert_deploy.load(bundle, mode=mode) as engine, ThreadPoolExecutor(8) as pool:
        alone = [engine.run(**batch, return_selection=True) for batch in batches]
        together = list(pool.map(lambda batch: engine.run(**batch, return_selection=True), batches * 3))
    for wanted, given in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(given["logits"], wanted["logits"])
        for wanted_rows, given_rows in zip(wanted.selection, given.selection, strict=True):
            assert [row.tolist() for row in given_rows] == [row.tolist() for row in wanted_rows]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([], "2 reductions of 1 rows each, not for none"),
        ([[[0, 2, 4]]], "2 reductions of 1 rows each, not for 1"),
        ([[[0, 2, 4]], [[0], [0]]], "not for 1, 2"),
        ([[[0, 2, 4]], [[0, 3]]], "row 0, reduction 1"),
        ([[[4, 2, 0]], [[0, 2]]], "row 0, reduction 0"),
        ([[[0, 6]], [[0]]], "row 0, reduction 0"),
        ([[[0, 2]], [[]]], "row 0, reduction 1"),
    ],
)
def test_kept_sets_that_no_selection_gives_are_not_replayed(bundle, kept, words):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match=words):
        engine.replay(
            [[np.array(row, dtype=np.int64) for row in rows] for rows in kept], input_ids=[[5, 6, 7, 8, 9, 4]]
        )


def test_a_run_that_onnx_runtime_does_not_finish_is_an_error_of_ours(bundle):
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner

    opened = open_bundle(bundle)
    runner = SessionRunner(opened, opened.manifest.stages, "cpu", trbert_deploy.LoadOptions())
    beyond = {name: np.full((1, 4), 10**6) for name in opened.manifest.stages[0].input_names}
    with pytest.raises(DeviceError, match=r"ONNX Runtime failed in stage_0\.onnx on cpu: .*out of"):
        runner.run(0, beyond)
    runner.close()


def test_regrouping_changes_no_answer_and_no_order(bundle):
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.core.request import check_request
    from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner, SessionRuntime
    from trbert_deploy.runtimes.pipeline import group_by_count, make_pipeline

    opened = open_bundle(bundle)
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 96, size=64)
    ids = rng.integers(0, 120, (64, 96))
    mask = (np.arange(96) < lengths[:, None]).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask}
    request = check_request(opened.manifest.task, inputs)

    def result_with(group):
        runner = SessionRunner(opened, opened.manifest.stages, "cpu", trbert_deploy.LoadOptions())
        runtime = SessionRuntime(runner, make_pipeline(opened, "staged", runner, group), "cpu")
        return runtime.run(request, want_kept=True)

    regrouped = result_with(group_by_count)
    plain = result_with(lambda stage, counts, sequences: [np.arange(len(counts))])
    assert plain.group_sizes == [[64], [64], [64]]
    assert len(regrouped.group_sizes[1]) > 1
    assert [sum(sizes) for sizes in regrouped.group_sizes] == [64, 64, 64]
    np.testing.assert_allclose(regrouped.outputs["logits"], plain.outputs["logits"], atol=1e-5, rtol=0)
    for with_groups, without in zip(regrouped.kept, plain.kept, strict=True):
        assert [row.tolist() for row in with_groups] == [row.tolist() for row in without]


def test_onnx_runtime_needs_no_torch(bundle):
    code = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript", "safetensors"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
        import trbert_deploy

        for mode in ("staged", "fused", "dense"):
            engine = trbert_deploy.load({str(bundle)!r}, mode=mode)
            print(engine.run(input_ids=[[2, 5, 9, 3]])["logits"].shape)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.stdout.split("\n")[:3] == ["(1, 3)"] * 3, ran.stderr


def test_one_pool_of_threads_a_process(bundle):
    code = f"""
        import trbert_deploy
        engine = trbert_deploy.load({str(bundle)!r}, threads=1)
        trbert_deploy.load({str(bundle)!r})
        try:
            trbert_deploy.load({str(bundle)!r}, threads=2)
        except trbert_deploy.TRBertError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "2 threads were asked for, but this process's ONNX Runtime pool has 1" in ran.stdout, ran.stderr


def test_no_engine_has_its_own_pool_beside_a_shared_one(bundle):
    with trbert_deploy.load(bundle), pytest.raises(TRBertError, match="already share one pool"):
        trbert_deploy.load(bundle, share_pool=False)


@pytest.mark.parametrize("share_pool", [True, False])
def test_other_sessions_of_the_process(bundle, share_pool):
    """ONNX Runtime has one rule for all: beside the shared pool no session may have its own."""
    code = f"""
        import onnxruntime, trbert_deploy
        engine = trbert_deploy.load({str(bundle)!r}, share_pool={share_pool})
        print(engine.run(input_ids=[[2, 5, 3]])["logits"].shape)
        onnxruntime.InferenceSession({str(bundle / "dense.onnx")!r})
        print("another session")
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "(1, 3)" in ran.stdout, ran.stderr
    assert ("another session" in ran.stdout) is not share_pool


@pytest.mark.parametrize("runtime", ["ort", "torch"])
def test_a_device_that_is_not_there_is_an_error(bundle, runtime):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="'cuda' was asked for"):
        trbert_deploy.load(bundle, runtime=runtime, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize(("runtime", "mode"), [("ort", "staged"), ("ort", "fused"), ("torch", "staged")])
def test_cuda_answers_as_the_reference(bundle, runtime, mode):
    with trbert_deploy.load(bundle, runtime=runtime, mode=mode, device="cuda") as engine:
        assert engine.runtime.device == "cuda"
        assert verify_engine(engine).complaints == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tpu"}, "unknown runtime 'tpu'. one of: ort, trt, torch"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"mode": "eager"}, "unknown mode 'eager'"),
    ],
)
def test_unknown_options_name_the_known(bundle, options, message):
    with pytest.raises(TRBertError, match=message):
        trbert_deploy.load(bundle, **options)


def test_options_are_one_object_or_keywords_of_it(bundle):
    options = trbert_deploy.LoadOptions(mode="fused", share_pool=True)
    with trbert_deploy.load(bundle, options) as whole, trbert_deploy.load(bundle, mode="fused") as by_name:
        ids = [[2, 5, 9, 3]]
        np.testing.assert_array_equal(whole.run(input_ids=ids)["logits"], by_name.run(input_ids=ids)["logits"])
    with pytest.raises(TRBertError, match="unknown mode 'eager'"):
        trbert_deploy.load(bundle, options, mode="eager")
    with pytest.raises(TypeError, match=r"load\(\) takes no speed; it takes runtime, "):
        trbert_deploy.load(bundle, speed=3)


def test_bad_input_is_refused_before_anything_runs(bundle):
    with trbert_deploy.load(bundle) as engine:
        with pytest.raises(InputError, match="97 tokens, the model takes 96"):
            engine.run(input_ids=np.ones((1, 97), dtype=np.int64))
        with pytest.raises(InputError, match=r"input_ids\[0, 1\] is 120"):
            engine.run(input_ids=[[2, 120]])
        with pytest.raises(InputError, match="has no tokenizer"):
            engine.predict(["a text"])


def test_a_changed_file_is_found(copied):
    path = copied / "stage_1.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"sha256 of stage_1\.onnx"):
        trbert_deploy.load(copied, verify=True)


def test_a_truncated_graph_is_found_without_hashing(copied):
    path = copied / "stage_1.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BundleError, match=r"incomplete: stage_1\.onnx has \d+ bytes"):
        trbert_deploy.load(copied)


def test_a_graph_that_is_none_is_a_bundle_error(copied, capfd):
    path = copied / "stage_1.onnx"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(BundleError, match=r"stage_1\.onnx is no ONNX graph"):
        trbert_deploy.load(copied, verify=False)
    assert capfd.readouterr().out == ""


def test_a_closed_engine_says_so(bundle):
    with trbert_deploy.load(bundle) as engine:
        engine.run(input_ids=[[2, 3]])
    with pytest.raises(TRBertError, match="the engine is closed"):
        engine.run(input_ids=[[2, 3]])


@pytest.mark.parametrize("item", ["a text", {"text": "a text"}])
def test_a_single_item_is_not_taken_for_many(bundle, item):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match="a list of items"):
        engine.predict(item)


def test_cuda_sessions_compute_in_float32(bundle, monkeypatch):
    """TF32, the provider's default, would compare selector logits in 10 bits of mantissa."""
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.onnxruntime import sessions
    from trbert_deploy.runtimes.options import LoadOptions

    asked = []

    class Session:
        def __init__(self, path, options, **settings):
            asked.append(settings)

        def get_providers(self):
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(sessions, "InferenceSession", Session)
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    sessions.open_sessions(open_bundle(bundle), LoadOptions(device="cuda", mode="fused"))
    assert asked == [{"providers": [("CUDAExecutionProvider", {"use_tf32": "0"})], "enable_fallback": 0}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": "3.0"}, r"schema version 3\.0, this release reads 1\.x to 2\.x\. upgrade"),
        ({"schema_version": "0.3"}, r"schema version 0\.3, this release reads 1\.x to 2\.x\. export"),
        ({"schema_version": None}, "has no schema_version"),
        ({"stages": []}, "does not follow the schema: stages"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}}, "names a file outside the bundle"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(copied, changes, message):
    edit_manifest(copied, **changes)
    with pytest.raises(BundleError, match=message):
        trbert_deploy.load(copied)


def test_a_later_minor_version_is_read(copied):
    edit_manifest(copied, schema_version="2.7", something_new={"a": 1})
    with trbert_deploy.load(copied) as engine:
        assert verify_engine(engine).passed


def test_verification_fails_on_another_models_graphs(golden_bundle, copied):
    """A wrong artifact whose hashes are right: only the golden vectors can tell."""
    from trbert_deploy.bundle.reader import sha256_of

    other = golden_bundle(NAME, "0.5,0.2") / "model.onnx"  # the same weights, another selection
    shutil.copy(other, copied / "model.onnx")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = {"sha256": sha256_of(other), "bytes": other.stat().st_size}
    edit_manifest(copied, files=manifest["files"])
    with trbert_deploy.load(copied, mode="staged", verify=True) as engine:
        assert verify_engine(engine).passed
    with trbert_deploy.load(copied, mode="fused", verify=True) as engine:
        result = verify_engine(engine)
    assert not result.passed
    assert any("kept positions differ" in complaint for complaint in result.complaints)


def test_a_bundle_without_reference_says_so(tmp_path, golden, traced_once):
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    checkpoint = load_checkpoint(golden("distilbert3-sequence-classification").folder)
    bundle = export_bundle(checkpoint, tmp_path / "bundle", reference=False)
    with pytest.raises(BundleError, match="--no-reference"):
        trbert_deploy.load(bundle, runtime="torch")
    with pytest.raises(BundleError, match="--with-dense"):
        trbert_deploy.load(bundle, mode="dense")


# -- pickling, and numbers of rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"mode": "fused", "verify": False}, {"runtime": "torch"}])
def test_a_pickled_engine_is_reopened(bundle, options, monkeypatch, tmp_path):
    ids = [[2, 5, 9, 3]]
    monkeypatch.chdir(bundle.parent)
    with trbert_deploy.load(bundle.name, engines=Path("engines"), **options) as engine:
        pickled = pickle.dumps(engine)
        wanted = engine.run(input_ids=ids)["logits"]
    monkeypatch.chdir(tmp_path)  # as another process may stand elsewhere
    with pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.run(input_ids=ids)["logits"], wanted)
        assert type(again.runtime).__name__ == type(engine.runtime).__name__
        assert pickle.dumps(again) == pickled


def test_an_engine_works_in_the_workers_of_a_pool(bundle):
    with trbert_deploy.load(bundle) as engine, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        wanted = engine.run(input_ids=[[2, 5, 9, 3]])["logits"]
        given = pool.submit(run_in_worker, engine).result()
    np.testing.assert_array_equal(given, wanted)


def run_in_worker(engine):
    return engine.run(input_ids=[[2, 5, 9, 3]])["logits"]


def test_an_engine_that_cannot_be_pickled_says_why(bundle):
    with trbert_deploy.load(bundle) as engine:
        bare = trbert_deploy.Engine(engine.bundle, engine.runtime)
        with pytest.raises(TRBertError, match=r"made around a runtime cannot be pickled.*trbert_deploy\.load"):
            pickle.dumps(bare)
    with pytest.raises(TRBertError, match="the engine is closed, so it cannot be pickled"):
        pickle.dumps(engine)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, 2.0, None, "8", True, float("nan")])
def test_what_is_no_number_of_rows(text_bundle, batch_size):
    with (
        trbert_deploy.load(text_bundle("sequence-classification")) as engine,
        pytest.raises(InputError, match=f"batch_size must be a whole number of at least 1, not {batch_size!r}"),
    ):
        engine.predict(["a text"], batch_size=batch_size)


@pytest.mark.parametrize("items", [None, 7, 2.5])
def test_what_is_no_list_of_items(bundle, items):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match="predict takes a list of items, not "):
        engine.predict(items)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads(bundle, threads):
    with pytest.raises(TRBertError, match="threads must be a whole number of at least 1"):
        trbert_deploy.load(bundle, threads=threads)
