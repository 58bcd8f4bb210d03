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
from trbert_deploy.text.decoding import DECODERS

_VERSION = "1"
_LABELS_FILE = "labels.txt"
_TRITON_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.INT64: "TYPE_INT64",
}

#: Keys of a prediction that are tensors too, by the kind of decoding (see trbert_deploy.text.decoding): type and dims,
#: None for as many as classes. Whatever a prediction holds beside them stands in `answer_json`.
_Tensors = dict[str, tuple[str, list[int] | None]]
_OUTPUTS: dict[str, _Tensors] = {
    "choices": {"choice": ("TYPE_INT64", [1]), "scores": ("TYPE_FP32", [-1])},
    "span": {
        "answer": ("TYPE_STRING", [1]),
        "start": ("TYPE_INT64", [1]),
        "end": ("TYPE_INT64", [1]),
        "score": ("TYPE_FP32", [1]),
    },
    "span_with_evidence": {"type": ("TYPE_STRING", [1])},
    "candidates": {"candidate": ("TYPE_INT64", [1]), "scores": ("TYPE_FP32", [-1])},
    "tokens": {},
}
#: Of the kind `classes`, by its activation. A sigmoid's labels are as many as there are, so no tensor.
_CLASSES: dict[str, _Tensors] = {
    "softmax": {"label": ("TYPE_STRING", [1]), "score": ("TYPE_FP32", [1]), "scores": ("TYPE_FP32", None)},
    "sigmoid": {"scores": ("TYPE_FP32", None)},
    "identity": {"scores": ("TYPE_FP32", None)},
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
    inputs = [*_texts(bundle), *_inputs(graph)]
    for value in inputs:
        value.optional = True
        value.allow_ragged_batch = True  # the Python backend is given every request apart: lengths may differ
    outputs = _prediction_tensors(bundle, graph)
    outputs["token_count"] = ("TYPE_INT64", [1])
    if reductions := len(bundle.manifest.reduction.layers):
        outputs["kept"] = ("TYPE_INT64", [reductions])
    outputs["answer_json"] = ("TYPE_STRING", [1])
    config = ModelConfig(backend="python", input=inputs)
    for name, (data_type, dims) in outputs.items():
        classes = dims is None
        output = config.output.add(name=name, data_type=data_type, dims=[_classes(bundle, graph)] if classes else dims)
        if classes and bundle.manifest.model.labels:
            output.label_filename = _LABELS_FILE
    return config


def _texts(bundle: Bundle) -> list[ModelInput]:
    """The parts of an item of text, each a text; of the part that is a list as many as there are."""
    text = bundle.manifest.task.text
    if text is None or bundle.manifest.tokenizer is None:
        return []
    parts = dict.fromkeys(part for form in text.forms for part in form)
    return [ModelInput(name=part, data_type="TYPE_STRING", dims=[-1 if part == text.each else 1]) for part in parts]


def _prediction_tensors(bundle: Bundle, graph: onnx.GraphProto) -> _Tensors:
    """The keys of the task's predictions that are tensors."""
    decoding = bundle.manifest.task.decoding
    if decoding.kind not in DECODERS:
        raise BundleError(
            f"this release does not decode outputs of the kind {decoding.kind!r}, so there is no model for text",
            "upgrade trbert-deploy",
        )
    if decoding.kind != "classes":
        return dict(_OUTPUTS.get(decoding.kind, {}))
    activation = decoding.parameters["activation"]
    if activation == "identity" and _classes(bundle, graph) == 1:
        return {"score": ("TYPE_FP32", [1])}  # a regressor or reranker has no labels
    return dict(_CLASSES[activation])


def _onnx_config(bundle: Bundle, graph: onnx.GraphProto, device: str) -> ModelConfig:
    """The fused graph; requests share a batch where they are padded to the same length."""
    config = ModelConfig(backend="onnxruntime", default_model_filename="model.onnx", input=_inputs(graph))
    decoding, labels = bundle.manifest.task.decoding, bundle.manifest.model.labels
    for value in graph.output:
        output = config.output.add()
        _describe(output, value)
        if labels and decoding.kind == "classes" and value.name == decoding.parameters["output"] and len(labels) > 1:
            output.label_filename = _LABELS_FILE
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


def _classes(bundle: Bundle, graph: onnx.GraphProto) -> int:
    """How many logits the output has that classes are read from; -1 where that varies."""
    name = bundle.manifest.task.decoding.parameters["output"]
    (shape,) = (value.type.tensor_type.shape for value in graph.output if value.name == name)
    return int(shape.dim[-1].dim_value) or -1


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
