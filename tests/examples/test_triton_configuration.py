"""examples/triton: configurations against the real graphs."""

import json
import shutil
import sys

import onnx
import pytest
from triton_requests import TASKS, config_of, script
from tritonclient.grpc.model_config_pb2 import DataType, ModelInstanceGroup

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import BundleError, TRBertError

ON_GPU = ModelInstanceGroup.Kind.KIND_GPU


@pytest.mark.parametrize("task", TASKS)
def test_the_configuration_is_the_graphs(repository_of, session_of, id_requests, task):
    folder = repository_of(task) / "trbert_onnx"
    config = config_of(folder)
    assert (config.name, config.backend) == ("trbert_onnx", "onnxruntime")
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    graph = folder / "1" / config.default_model_filename
    session = session_of(onnx.load(graph))
    for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [value.name for value in declared] == [value.name for value in real]
        for value, tensor in zip(declared, real, strict=True):
            types_ = {"tensor(int64)": DataType.TYPE_INT64, "tensor(float)": DataType.TYPE_FP32}
            assert value.data_type == types_[tensor.type]
            dims = [] if value.HasField("reshape") else list(value.dims)
            assert value.HasField("reshape") == (len(tensor.shape) == 1)
            assert dims == [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]
    for request in id_requests(task)[0]:  # what Triton does with a request: every input there, reshaped, run
        feeds = {
            value.name: request[value.name][:, 0] if value.HasField("reshape") else request[value.name]
            for value in config.input
        }
        for value, array in zip(config.output, session.run(None, feeds), strict=True):
            assert len(array) == len(request["input_ids"])
            assert array.ndim == 1 + len(value.dims)
            assert all(size in (-1, real) for size, real in zip(value.dims, array.shape[1:], strict=True))


def test_labels_stand_in_the_order_of_the_logits(repository_of, bundle_of):
    labels = bundle_of("sequence-classification").manifest.model.labels
    assert len(labels) == 3
    for name, output in (("trbert", "scores"), ("trbert_onnx", "logits")):
        folder = repository_of("sequence-classification") / name
        named = {value.name: value.label_filename for value in config_of(folder).output if value.label_filename}
        assert list(named) == [output]
        assert (folder / named[output]).read_text(encoding="utf-8").splitlines() == labels
    for task in TASKS[1:]:
        for folder in repository_of(task).iterdir():
            assert not any(value.label_filename for value in config_of(folder).output)
            assert not (folder / "labels.txt").exists()


def test_cuda_and_the_other_options(bundle_of, tmp_path):
    script.make_repository(
        bundle_of("wikihop"), tmp_path / "m", name="reader", device="cuda", max_batch_size=8, threads=2
    )
    text, graph = config_of(tmp_path / "m" / "reader"), config_of(tmp_path / "m" / "reader_onnx")
    for config in (text, graph):
        assert config.max_batch_size == 8
        assert [group.kind for group in config.instance_group] == [ON_GPU]
    assert list(text.instance_group[0].gpus) == [0]
    assert text.parameters["threads"].string_value == "2"
    assert graph.parameters["intra_op_thread_count"].string_value == "2"
    (accelerator,) = graph.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})


def test_without_a_tokenizer_there_is_no_text(repository_of):
    config = config_of(repository_of("sequence-classification", tokenizer=False) / "trbert")
    assert [value.name for value in config.input] == ["input_ids", "attention_mask", "token_type_ids"]


def test_what_cannot_be_made_is_refused_and_leaves_nothing(bundle_of, tmp_path, monkeypatch, capsys):
    bundle = bundle_of("sequence-classification")
    (tmp_path / "there").mkdir()
    with pytest.raises(TRBertError, match="exists"):
        script.make_repository(bundle, tmp_path / "there")
    with pytest.raises(TRBertError, match="no name"):
        script.make_repository(bundle, tmp_path / "m", name="a/b")
    for wrong in ({"max_batch_size": 0}, {"threads": 0}):
        with pytest.raises(TRBertError, match="from 1 on"):
            script.make_repository(bundle, tmp_path / "m", **wrong)
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model"]["labels"][0] = "two\nlines"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="line break"):
        script.make_repository(open_bundle(copy), tmp_path / "m")
    graph = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    monkeypatch.setattr(sys, "argv", ["make_repository.py", str(copy), str(tmp_path / "m")])
    with pytest.raises(SystemExit, match=r"error: .*sha256 of model.onnx") as ended:
        script.main()
    assert "hint: export the bundle again" in str(ended.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "there"]
    monkeypatch.setattr(sys, "argv", ["make_repository.py", str(bundle.folder), str(tmp_path / "m")])
    script.main()
    assert capsys.readouterr().out == f"{tmp_path / 'm'}\n"
