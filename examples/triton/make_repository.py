"""Make a Triton Inference Server model repository from a bundle: one model for text and one graph for token ids.

    pip install -c constraints.txt '.[export,cpu]' 'tritonclient[grpc]'
    python examples/triton/make_repository.py bundle/ model_repository/ --device cpu
    tritonserver --model-repository model_repository/

``model_repository/trbert`` is the staged engine behind Triton's Python backend (model.py),
``model_repository/trbert_onnx`` the fused graph under its onnxruntime backend. README.md beside this file says how to
call them and what was tried.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

try:
    import onnx
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput
except ImportError as error:
    sys.exit(f"error: {error}\nhint: pip install -c constraints.txt '.[export,cpu]' 'tritonclient[grpc]'")

from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.bundle.folder import whole_folder
from trbert_deploy.core.errors import BundleError, TRBertError

_VERSION = "1"
_LABELS_FILE = "labels.txt"
_TRITON_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.INT64: "TYPE_INT64",
}

#: Text inputs of a task's model and their dims: keys of an item, see trbert_deploy.text.items. Rows of HotpotQA and WikiHop
#: are put together from several documents and come as token ids only.
_TEXT_INPUTS = {
    "sequence-classification": {"text": [1], "text_pair": [1]},
    "token-classification": {"text": [1]},
    "question-answering": {"question": [1], "context": [1]},
    "multiple-choice": {"context": [1], "question": [1], "choices": [-1]},
}
#: Keys of an answer (see trbert_deploy.text.decoding) that are tensors too: type and dims, None for as many as labels.
_ANSWER_OUTPUTS: dict[str, dict[str, tuple[str, list[int] | None]]] = {
    "sequence-classification": {
        "label": ("TYPE_STRING", [1]),
        "score": ("TYPE_FP32", [1]),
        "scores": ("TYPE_FP32", None),
    },
    "token-classification": {},
    "question-answering": {
        "answer": ("TYPE_STRING", [1]),
        "start": ("TYPE_INT64", [1]),
        "end": ("TYPE_INT64", [1]),
        "score": ("TYPE_FP32", [1]),
    },
    "multiple-choice": {"choice": ("TYPE_INT64", [1]), "scores": ("TYPE_FP32", [-1])},
    "hotpot": {"type": ("TYPE_STRING", [1])},
    "wikihop": {"candidate": ("TYPE_INT64", [1]), "scores": ("TYPE_FP32", [-1])},
}


def make_repository(
    bundle: Bundle,
    repository: Path,
    *,
    name: str = "trbert",
    device: str = "cpu",
    max_batch_size: int = 32,
    threads: int | None = None,
) -> None:
    """Write the repository, whole or not at all.

    Args:
        bundle: what to serve; its files are compared with their sha256 and copied.
        repository: the folder to make.
        name: of the model for text; the graph's is ``NAME_onnx``.
        device: ``"cpu"`` or ``"cuda"``.
        max_batch_size: most rows that Triton puts together.
        threads: of each model's thread pool on the CPU; None for all cores.

    Raises:
        BundleError: the bundle is damaged, or its labels cannot be written.
        TRBertError: the repository exists or cannot be written.
    """
    if Path(name).name != name:
        raise TRBertError(f"{name!r} is no name for a model", "give one without a slash: --name trbert")
    if repository.exists():
        raise TRBertError(f"{repository} exists", "give another folder, or remove it first")
    if max_batch_size < 1 or (threads is not None and threads < 1):
        raise TRBertError("--max-batch-size and --threads take numbers from 1 on")
    bundle.require_intact()
    graph = onnx.load(bundle.path(bundle.manifest.fused.file)).graph
    with whole_folder(repository, force=False, replaceable=lambda folder: False) as folder:
        text = folder / name / _VERSION
        shutil.copytree(bundle.folder, text / "bundle")
        shutil.copyfile(Path(__file__).with_name("model.py"), text / "model.py")
        fused = folder / f"{name}_onnx" / _VERSION
        fused.mkdir(parents=True)
        shutil.copyfile(bundle.path(bundle.manifest.fused.file), fused / "model.onnx")
        for config in (_text_config(bundle, graph), _onnx_config(bundle, graph, device)):
            config.name = name if config.backend == "python" else f"{name}_onnx"
            config.max_batch_size = max_batch_size
            config.dynamic_batching.SetInParent()  # with its defaults: whatever waits is batched, nothing waits longer
            group = config.instance_group.add(count=1, kind="KIND_GPU" if device == "cuda" else "KIND_CPU")
            if device == "cuda" and config.backend == "python":
                group.gpus.append(0)  # the engine's device
            if threads is not None:
                key = "threads" if config.backend == "python" else "intra_op_thread_count"
                config.parameters[key].string_value = str(threads)
            _write_model(config, bundle.manifest.model.labels, folder / config.name)


def _text_config(bundle: Bundle, graph: onnx.GraphProto) -> ModelConfig:
    """The staged engine: text in where the bundle has a tokenizer, or the graph's own inputs; all of them optional."""
    task = bundle.manifest.task
    texts = _TEXT_INPUTS.get(task, {}) if bundle.manifest.tokenizer is not None else {}
    inputs = [ModelInput(name=name, data_type="TYPE_STRING", dims=dims) for name, dims in texts.items()]
    inputs += _inputs(graph)
    for value in inputs:
        value.optional = True
        value.allow_ragged_batch = True  # the Python backend is given every request apart: lengths may differ
    outputs = dict(_ANSWER_OUTPUTS[task])
    classes = _classes(graph)
    if task == "sequence-classification" and classes == 1:
        outputs = {"score": outputs["score"]}  # a regressor or reranker has no labels
    outputs["token_count"] = ("TYPE_INT64", [1])
    if bundle.manifest.reduction_layers:
        outputs["kept"] = ("TYPE_INT64", [len(bundle.manifest.reduction_layers)])
    outputs["answer_json"] = ("TYPE_STRING", [1])
    config = ModelConfig(backend="python", input=inputs)
    for name, (data_type, dims) in outputs.items():
        output = config.output.add(name=name, data_type=data_type, dims=[classes] if dims is None else dims)
        if dims is None and bundle.manifest.model.labels:
            output.label_filename = _LABELS_FILE
    return config


def _onnx_config(bundle: Bundle, graph: onnx.GraphProto, device: str) -> ModelConfig:
    """The fused graph; requests share a batch where they are padded to the same length."""
    config = ModelConfig(backend="onnxruntime", default_model_filename="model.onnx", input=_inputs(graph))
    for value in graph.output:
        output = config.output.add()
        _describe(output, value)
        if bundle.manifest.task == "sequence-classification" and value.name == "logits" and _classes(graph) > 1:
            output.label_filename = _LABELS_FILE if bundle.manifest.model.labels else ""
    if device == "cuda":  # TF32 is not float32: selections would differ from the reference's
        accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
        accelerator.parameters["use_tf32"] = "0"
    return config


def _inputs(graph: onnx.GraphProto) -> list[ModelInput]:
    inputs = []
    for value in graph.input:
        inputs.append(ModelInput())
        _describe(inputs[-1], value)
    return inputs


def _describe(target: ModelInput | ModelOutput, value: onnx.ValueInfoProto) -> None:
    """Name, type and dims of a graph's input or output; Triton leaves the batch's axis out, and wants one at least."""
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim][1:]
    target.name = value.name
    target.data_type = DataType.Value(_TRITON_TYPES[tensor.elem_type])
    target.dims.extend(dims or [1])
    if not dims:
        target.reshape.SetInParent()  # [B, 1] of the request is [B] of the graph


def _classes(graph: onnx.GraphProto) -> int:
    """The last axis of the first output: labels in classification."""
    return int(graph.output[0].type.tensor_type.shape.dim[-1].dim_value)


def _write_model(config: ModelConfig, labels: Iterable[str], folder: Path) -> None:
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")
    if any(output.label_filename for output in config.output):
        for label in labels:
            if "\n" in label or "\r" in label:
                raise BundleError(f"the label {label!r} holds a line break, Triton's label files hold one a line")
        (folder / _LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder that `trbert-deploy export` made")
    parser.add_argument("repository", type=Path, help="folder to make")
    parser.add_argument("--name", default="trbert", help="of the model for text; the graph's is NAME_onnx")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--max-batch-size", type=int, default=32, help="most rows in a batch")
    parser.add_argument("--threads", type=int, help="threads of each model on the CPU; by default all cores")
    options = parser.parse_args()
    try:
        make_repository(
            open_bundle(options.bundle),
            options.repository,
            name=options.name,
            device=options.device,
            max_batch_size=options.max_batch_size,
            threads=options.threads,
        )
    except TRBertError as error:
        sys.exit(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    print(options.repository)


if __name__ == "__main__":
    main()
