"""TensorRT-RTX parses and builds every graph, here, without a GPU; where there is one, the full TensorRT does too."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper
from trbert_deploy.runtimes.tensorrt.buckets import Grid, Profile, stage_profiles

from trbert_deploy.core.errors import MissingExtraError, TRBertError
from trbert_deploy.runtimes.tensorrt.builder import BuildError, BuildSettings, build_plan
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor

BUDGET = (0.4, 0.15, 0.1)
SMALL = stage_profiles(Grid(lengths=(16,), kept=(), rows=1, items=1), 0, restores=False)


@pytest.fixture(scope="module")
def rtx():
    return find_flavor("rtx")


@pytest.fixture(scope="module", params=["rtx", pytest.param("tensorrt", marks=pytest.mark.gpu)])
def every_flavor(request):
    """The full TensorRT builds where its GPU is only."""
    return find_flavor(request.param)


def build(flavor, graph, stage, profiles, folder, settings=BuildSettings(optimization_level=0)):  # noqa: B008
    path = folder / "graph.onnx"
    onnx.save(graph, path)
    said = []
    built = build_plan(flavor, path, f"stage {stage}", profiles, settings, said.append)
    assert len(built.plan) > 10_000
    assert built.precision == "fp32"
    assert set(built.inputs) == {value.name for value in graph.graph.input}
    complaints = [line for line in said if "building for" not in line]
    assert [line for line in complaints if flavor.name == "rtx" or "error" in line] == []
    return built


def test_policy_stages_and_dense(golden_name, traced, every_flavor, tmp_path):
    case = traced(golden_name)
    restores, reductions = case.model.task.restores, case.model.num_stages - 1
    grid = Grid(lengths=(64,), kept=((32,),) * reductions, rows=4, items=5)
    for stage, graph in enumerate(case.stages(False)):
        one_and_many = stage_profiles(grid, stage, restores=restores)
        assert len(one_and_many) == 2
        built = build(every_flavor, graph, stage, one_and_many, tmp_path)
    assert built.inputs["keep"] == ["kept"]
    assert built.inputs["hidden_states"][-1] == case.model.config.backbone.hidden_size
    build(every_flavor, case.dense(), 0, stage_profiles(grid, 0, restores=restores)[-1:], tmp_path)


def test_budget_stages_and_fused(golden_name, traced, every_flavor, tmp_path):
    case = traced(golden_name)
    restores, keep = case.model.task.restores, BUDGET[: case.model.num_stages - 1]
    grid = Grid(lengths=(64,), kept=((32,),) * len(keep), rows=4, items=5)
    many = [stage_profiles(grid, stage, restores=restores)[-1:] for stage in range(len(keep))]
    for stage, graph in enumerate(case.stages(True)[:-1]):  # the last is the same in both modes
        build(every_flavor, graph, stage, many[stage], tmp_path)
    if not case.model.task.multiple_choice:
        build(every_flavor, case.fused(keep), 0, many[0], tmp_path)


@pytest.mark.parametrize("stage", [0, 1])
def test_many_profiles_in_one_engine(traced, every_flavor, tmp_path, stage):
    grid = Grid(lengths=(16, 40, 64), kept=((8, 24, 64),) * 2, rows=8, items=1)
    profiles = stage_profiles(grid, stage, restores=False)
    assert len(profiles) == 6
    build(every_flavor, traced("bert-sequence-classification").stage(stage, False), stage, profiles, tmp_path)


@pytest.mark.parametrize(
    "settings", [BuildSettings("8.9"), BuildSettings("12.0", workspace_mib=64, optimization_level=0)]
)
def test_settings(traced, rtx, tmp_path, settings):
    build(rtx, traced("bert-sequence-classification").stage(0, False), 0, SMALL, tmp_path, settings)


def test_an_unknown_compute_capability_is_refused(traced, rtx, tmp_path):
    with pytest.raises(BuildError, match=r"compute capability 3\.5") as caught:
        build(rtx, traced("bert-sequence-classification").stage(0, False), 0, SMALL, tmp_path, BuildSettings("3.5"))
    assert "8.0, 8.6, 8.9, 12.0" in caught.value.hint


def one_node(operator, types=(TensorProto.FLOAT, TensorProto.FLOAT), **attributes):
    node = helper.make_node(operator, ["x"], ["y"], name="the_culprit", **attributes)
    values = [helper.make_tensor_value_info(name, kind, ["batch", 4]) for name, kind in zip("xy", types, strict=True)]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_an_unsupported_node_is_named_with_its_operator_and_stage(every_flavor, tmp_path):
    path = tmp_path / "graph.onnx"
    onnx.save(one_node("Det"), path)
    said = []
    with pytest.raises(BuildError, match=r"does not parse stage 7 at node the_culprit \(Det\)"):
        build_plan(every_flavor, path, "stage 7", [Profile(axes={"batch": (1, 1, 2)})], BuildSettings(), said.append)
    assert any(line.startswith("TensorRT error: ") for line in said)


def test_a_file_that_is_no_graph(rtx, tmp_path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BuildError, match="does not parse stage 0"):
        build_plan(rtx, path, "stage 0", [], BuildSettings(), lambda line: None)


def test_precision_is_read_off_the_graph(every_flavor, tmp_path):
    path = tmp_path / "graph.onnx"
    profile = Profile(axes={"batch": (1, 1, 2)})
    for kind, wanted in ((TensorProto.FLOAT, "fp32"), (TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")):
        onnx.save(one_node("Relu", (kind, kind)), path)
        assert build_plan(every_flavor, path, "g", [profile], BuildSettings(), lambda line: None).precision == wanted


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
