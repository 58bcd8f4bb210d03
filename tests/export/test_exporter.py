from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from forks import Forks

from trbert_deploy.bundle import open_bundle
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import BundleError, CheckFailedError, TRBertError
from trbert_deploy.export import trace
from trbert_deploy.export.exporter import export_bundle

CHECKPOINT = Path(__file__).parent.parent / "golden" / "distilbert3-sequence-classification"
pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture
def checkpoint():
    return load_checkpoint(CHECKPOINT)


@pytest.fixture(scope="module")
def forks():
    with Forks() as running:
        yield running


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("stage", "file"), [(0, "stage_0.onnx"), (1, "stage_1.onnx")])
def test_a_wrong_graph_is_named_and_leaves_nothing(checkpoint, tmp_path, monkeypatch, stage, file):
    def trace_wrongly(model, index, by_budget):
        graph = rightly(model, index, by_budget)
        if index == stage:
            for name, value in graph.graph.initializers.items():
                if name.endswith("ffn.lin2.weight"):
                    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.01), name=name)
        return graph

    rightly = trace.trace_stage
    monkeypatch.setattr(trace, "trace_stage", trace_wrongly)
    message = rf"{re.escape(file)}: .* differs from the PyTorch reference by \d"
    with pytest.raises(CheckFailedError, match=message) as raised:
        export_bundle(checkpoint, tmp_path / "bundle")
    assert "nothing was written" in str(raised.value)
    assert left_behind(tmp_path) == []


def test_a_wrong_selection_is_an_error(checkpoint, tmp_path, monkeypatch):
    def trace_wrongly(model, index, by_budget):
        graph = rightly(model, index, by_budget)
        for node in graph.graph:
            if node.op_type == "GreaterOrEqual":  # drop what the policy keeps
                node.op_type = "Less"
        return graph

    rightly = trace.trace_stage
    monkeypatch.setattr(trace, "trace_stage", trace_wrongly)
    with pytest.raises(CheckFailedError, match=r"keeps other tokens than the reference|differs"):
        export_bundle(checkpoint, tmp_path / "bundle")
    assert left_behind(tmp_path) == []


def test_an_existing_folder_needs_force_and_is_replaced_whole(checkpoint, tmp_path):
    out = tmp_path / "bundle"
    export_bundle(checkpoint, out, reference=False)
    (out / "stale").touch()
    with pytest.raises(TRBertError, match="--force"):
        export_bundle(checkpoint, out)
    bundle = export_bundle(checkpoint, out, force=True, keep=[0.5])
    assert bundle.manifest.selection.fractions == (0.5,)
    assert bundle.manifest.reference == "reference"
    assert not (out / "stale").exists()
    assert left_behind(tmp_path) == ["bundle"]


def test_force_never_replaces_what_is_no_bundle(checkpoint, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.tex").write_text("years of work")
    with pytest.raises(TRBertError, match="not one that was written here"):
        export_bundle(checkpoint, tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "chapter-1.tex").read_text() == "years of work"


def test_a_checkpoint_exports_twice_with_its_own_default(checkpoint, tmp_path):
    assert export_bundle(checkpoint, tmp_path / "a", keep=[0.5]).manifest.selection.mode == "budget"
    with pytest.raises(TRBertError):
        export_bundle(checkpoint, tmp_path / "b", keep=[0.5, 0.2])
    assert checkpoint.model.config.keep is None
    assert export_bundle(checkpoint, tmp_path / "c").manifest.selection.mode == "policy"


def test_exporting_leaves_the_thread_pool_to_the_caller(forks, tmp_path):
    after = """
    import trbert_deploy
    with trbert_deploy.load(out, threads=1) as engine:
        print(engine.runtime.name)
    """
    ended = forks.python(textwrap.dedent(EXPORT) + textwrap.dedent(after), CHECKPOINT, tmp_path / "b")
    assert ended.stdout.endswith("ort\n"), ended.stderr


def test_selectors_that_say_nothing_are_refused_in_policy_mode(checkpoint, tmp_path, monkeypatch):
    """Logits of 1e-9: whether a token is kept hangs on rounding, and nothing could be compared."""

    def run_otherwise(self, request, **options):
        result = real(self, request, **options)
        for rows in result.kept or []:
            for row, positions in enumerate(rows):
                rows[row] = positions[:1]  # another kept set than the reference's everywhere
        return result

    import torch

    from trbert_deploy.runtimes.onnxruntime.sessions import SessionRuntime

    real = SessionRuntime.run
    monkeypatch.setattr(SessionRuntime, "run", run_otherwise)
    for selector in checkpoint.model.selectors:
        torch.nn.init.zeros_(selector.score.weight)
        torch.nn.init.constant_(selector.score.bias, 1e-9)
    with pytest.raises(CheckFailedError, match="near-tied logits decide the selection in"):
        export_bundle(checkpoint, tmp_path / "bundle")
    assert left_behind(tmp_path) == []


def test_keep_fractions_must_fit_the_model(checkpoint, tmp_path):
    with pytest.raises(TRBertError, match="has 1 reductions, but 2 keep fractions"):
        export_bundle(checkpoint, tmp_path / "bundle", keep=[0.4, 0.15])
    assert left_behind(tmp_path) == []


def test_manifest_lists_every_file_and_validates_against_its_schema(checkpoint, tmp_path):
    import jsonschema

    bundle = export_bundle(checkpoint, tmp_path / "bundle")
    files = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    assert files == {"manifest.json", *bundle.manifest.files}
    assert list(bundle.damaged_files()) == []
    schema = json.loads((bundle.folder / "manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "stages": "stage_0.onnx"}, schema)


def test_axes_have_names(checkpoint, tmp_path):
    bundle = export_bundle(checkpoint, tmp_path / "bundle", reference=False)
    graph = onnx.load(bundle.path("stage_1.onnx")).graph
    axes = {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input}
    assert axes == {
        "hidden_states": ["batch_before", "length", 32],
        "keep_mask": ["batch_before", "length"],
        "rows": ["batch"],
        "keep": ["kept"],
    }


EXPORT = """
    import sys
    from pathlib import Path
    from tracing import traced_once
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    checkpoint, out = map(Path, sys.argv[1:])
    with traced_once():
        export_bundle(load_checkpoint(checkpoint), out, progress=lambda line: print(line, flush=True))
"""


def test_no_room_is_a_clear_error_and_leaves_nothing(forks, tmp_path):
    # The kernel refuses to grow any file beyond 100 kB: what a full disk does, without filling one.
    ended = forks.run("export", CHECKPOINT, "--out", tmp_path / "bundle", most_bytes=100_000)
    assert ended.code == 1
    assert "error: there is no room to write" in ended.stderr
    assert "File too large" in ended.stderr
    assert left_behind(tmp_path) == []


def test_a_killed_export_leaves_no_bundle_and_the_next_clears_up(tmp_path, checkpoint):
    out = tmp_path / "bundle"
    program = [sys.executable, "-c", textwrap.dedent(EXPORT), str(CHECKPOINT), str(out)]
    support = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=support)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("stage 1 of 2")  # its folder is there, and files are to come
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    partial = left_behind(tmp_path)
    assert [name.rpartition("-")[0] for name in partial] == [".bundle.partial", ".bundle.writing"]
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path / partial[0])
    export_bundle(checkpoint, out)
    assert left_behind(tmp_path) == ["bundle"]


def test_two_exports_to_one_place_give_one_whole_bundle(forks, tmp_path):
    out = tmp_path / "bundle"
    ended = forks.together([("export", CHECKPOINT, "--out", out)] * 2)
    assert sorted(one.code for one in ended) == [0, 1]
    assert list(open_bundle(out).damaged_files()) == []
    assert left_behind(tmp_path) == ["bundle"]
