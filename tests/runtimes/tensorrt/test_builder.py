"""TensorRT-RTX parses and builds every graph, here, without a GPU; where there is one, the full TensorRT does too."""

from __future__ import annotations

import onnx
import pytest
from graph_files import save_graph
from onnx import TensorProto, helper

from trbert_deploy.bundle import GraphFile
from trbert_deploy.core.errors import MissingExtraError, TRBertError
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.runtimes.profiles import Profile, own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.builder import BuildSettings, build_engine
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.runtimes.tensorrt_checks import BuildError

BUDGET = (0.4, 0.15, 0.1)
SMALL = stage_profiles(ShapeBuckets(lengths=(16,), kept=(), rows=1, entries=1), 0, full_length=False)


@pytest.fixture(scope="module")
def rtx():
    return find_flavor("rtx")


@pytest.fixture(scope="module", params=["rtx", pytest.param("tensorrt", marks=pytest.mark.gpu)])
def every_flavor(request):
    """The full TensorRT builds where its GPU is only."""
    return find_flavor(request.param)


def build(flavor, graph, profiles, folder, settings=BuildSettings(optimization_level=0)):  # noqa: B008
    described = save_graph(graph, folder)
    said = []
    built = build_engine(flavor, folder, described, profiles, settings, said.append)
    assert len(built.serialized) > 10_000
    assert built.precision == "fp32"
    assert set(built.types) == {value.name for value in (*graph.graph.input, *graph.graph.output)}
    complaints = [line for line in said if "building for" not in line]
    assert [line for line in complaints if flavor.name == "rtx" or "error" in line] == []
    return described


def profiles_of(model, shapes, stage):
    return stage_profiles(shapes, stage, full_length=model.full_length, own=own_axes(model.spec))


def test_policy_stages_and_dense(golden_name, traced, every_flavor, tmp_path):
    case = traced(golden_name)
    shapes = ShapeBuckets(lengths=(64,), kept=((32,),) * (case.model.num_stages - 1), rows=4, entries=5)
    for stage, graph in enumerate(case.stages(False)):
        one_and_many = profiles_of(case.model, shapes, stage)
        assert len(one_and_many) == 2
        described = build(every_flavor, graph, one_and_many, tmp_path)
    axes = {tensor.name: tensor.axes for tensor in described.inputs}
    assert axes["keep"] == ("kept",)
    assert axes["hidden_states"][-1] == case.model.config.backbone.hidden_size
    build(every_flavor, case.dense(), profiles_of(case.model, shapes, 0)[-1:], tmp_path)


def assert_budgets_build(case, flavor, folder):
    keep = BUDGET[: case.model.num_stages - 1]
    shapes = ShapeBuckets(lengths=(64,), kept=((32,),) * len(keep), rows=4, entries=5)
    many = [profiles_of(case.model, shapes, stage)[-1:] for stage in range(len(keep))]
    for stage, graph in enumerate(case.stages(True)[:-1]):  # the last is the same in both modes
        build(flavor, graph, many[stage], folder)
    if case.model.task.protected_from is None:
        build(flavor, case.fused(keep), many[0], folder)


@pytest.mark.parametrize(
    "name",
    [
        "bert-sequence-classification",
        "bert-wikihop",
        "distilbert-multiple-choice",
        "distilbert-question-answering",
    ],
)
def test_budget_stages_and_fused(name, traced, every_flavor, tmp_path):
    assert_budgets_build(traced(name), every_flavor, tmp_path)


@pytest.mark.slow
def test_budget_stages_and_fused_of_every_checkpoint(golden_name, traced, every_flavor, tmp_path):
    assert_budgets_build(traced(golden_name), every_flavor, tmp_path)


@pytest.mark.parametrize("stage", [0, 1])
def test_many_profiles_in_one_engine(traced, every_flavor, tmp_path, stage):
    shapes = ShapeBuckets(lengths=(16, 40, 64), kept=((8, 24, 64),) * 2, rows=8, entries=1)
    profiles = stage_profiles(shapes, stage, full_length=False)
    assert len(profiles) == 6
    build(every_flavor, traced("bert-sequence-classification").stage(stage, False), profiles, tmp_path)


@pytest.mark.parametrize(
    "settings", [BuildSettings("8.9"), BuildSettings("12.0", workspace_mib=64, optimization_level=0)]
)
def test_settings(traced, rtx, tmp_path, settings):
    build(rtx, traced("bert-sequence-classification").stage(0, False), SMALL, tmp_path, settings)


def test_an_unknown_compute_capability_is_refused(traced, rtx, tmp_path):
    with pytest.raises(BuildError, match=r"compute capability 3\.5") as caught:
        build(rtx, traced("bert-sequence-classification").stage(0, False), SMALL, tmp_path, BuildSettings("3.5"))
    assert "8.0, 8.6, 8.9, 12.0" in caught.value.hint


def one_node(operator, types=(TensorProto.FLOAT, TensorProto.FLOAT), **attributes):
    node = helper.make_node(operator, ["x"], ["y"], name="the_culprit", **attributes)
    values = [helper.make_tensor_value_info(name, kind, ["batch", 4]) for name, kind in zip("xy", types, strict=True)]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def described(axes=("batch", 4), file="graph.onnx"):
    return GraphFile(file=file, inputs=[TensorSpec("x", axes, "float32")], outputs=[])


def test_an_unsupported_node_is_named_with_its_operator_and_graph(every_flavor, tmp_path):
    onnx.save(one_node("Det"), tmp_path / "stage_7.onnx")
    said, profiles = [], [Profile(axes={"batch": (1, 1, 2)})]
    with pytest.raises(BuildError, match=r"does not parse stage_7\.onnx at node the_culprit \(Det\)"):
        build_engine(every_flavor, tmp_path, described(file="stage_7.onnx"), profiles, BuildSettings(), said.append)
    assert any(line.startswith("TensorRT error: ") for line in said)


def test_a_file_that_is_no_graph(rtx, tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"not a graph")
    with pytest.raises(BuildError, match=r"does not parse graph\.onnx"):
        build_engine(rtx, tmp_path, described(), [], BuildSettings(), lambda line: None)


@pytest.mark.parametrize("axes", [("batch",), ("batch", 5), ("batch", "length"), (1, 4)])
def test_a_graph_of_other_axes_than_the_manifest_says(rtx, tmp_path, axes):
    onnx.save(one_node("Relu"), tmp_path / "graph.onnx")
    with pytest.raises(BuildError, match=r"graph\.onnx takes inputs of the shapes {'x': \[None, 4\]}, the manifest"):
        build_engine(rtx, tmp_path, described(axes), [], BuildSettings(), lambda line: None)


def test_precision_is_read_off_the_graph(every_flavor, tmp_path):
    profile = Profile(axes={"batch": (1, 1, 2)})
    for kind, wanted in ((TensorProto.FLOAT, "fp32"), (TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")):
        onnx.save(one_node("Relu", (kind, kind)), tmp_path / "graph.onnx")
        built = build_engine(every_flavor, tmp_path, described(), [profile], BuildSettings(), lambda line: None)
        assert built.precision == wanted


def test_flavors():
    assert find_flavor("rtx").version == find_flavor("rtx").module.__version__
    with pytest.raises(TRBertError, match="unknown flavor"):
        find_flavor("lite")


def test_a_missing_flavor_names_its_extra(monkeypatch):
    from trbert_deploy.runtimes.tensorrt import flavor

    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(flavor.importlib, "import_module", gone)
    for name, extra in (("tensorrt", "[trt]"), ("rtx", "[trt-rtx]"), ("auto", "[trt-rtx]")):
        with pytest.raises(MissingExtraError) as caught:
            find_flavor(name)
        assert extra in caught.value.hint
