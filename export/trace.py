"""Trace one stage of the PyTorch reference, or the whole model without reduction, to an ONNX graph."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.model import TRBertPreTrainedModel

#: The opset of every graph: the newest that ONNX Runtime >= 1.27 and TensorRT >= 10.7 both take whole.
OPSET = 20

_SHAPES: dict[str, tuple[str, ...]] = {
    # the caller's inputs
    "input_ids": ("batch", "length"),
    "attention_mask": ("batch", "length"),
    "token_type_ids": ("batch", "length"),
    "question_ends": ("batch",),
    "sentence_spans": ("batch", "sentences", "2"),
    "candidate_positions": ("batch", "candidates"),
    # what a stage is told
    "rows": ("batch",),
    "keep": ("kept",),
    "budget": ("batch",),
    # what a stage takes over from all rows of the one before
    "hidden_states": ("batch_before", "length", "hidden"),
    "keep_mask": ("batch_before", "length"),
    "option_mask": ("batch_before", "options", "length"),
    "protected": ("batch_before", "length"),
}
_STATIC = ("hidden", "2")
_EXAMPLE_SIZES = {"batch": 2, "batch_before": 3, "length": 12, "kept": 7, "options": 4, "sentences": 3, "candidates": 5}


@dataclass(frozen=True)
class GraphSpec:
    """Names of a graph's inputs and outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def stage_spec(model: TRBertPreTrainedModel, index: int, by_budget: bool) -> GraphSpec:
    """What the graph of a stage takes and gives, in order."""
    last = index == model.num_stages - 1
    inputs = list(model.request_inputs(index))
    if index > 0:
        inputs += [*model.carried(), "rows", "keep"]
    if by_budget and not last:
        inputs.append("budget")
    if last:
        outputs = tuple(output.name for output in model.task.outputs)
    else:
        outputs = (*(NEXT + name for name in model.carried()), "keep_count")
    return GraphSpec(tuple(inputs), outputs)


def trace_stage(model: TRBertPreTrainedModel, index: int, by_budget: bool) -> onnx.ModelProto:
    """The ONNX graph of one stage: dynamic batch, length and kept count."""
    return _trace(model, index, stage_spec(model, index, by_budget), by_budget)


def trace_dense(model: TRBertPreTrainedModel) -> onnx.ModelProto:
    """The ONNX graph of the same weights without reduction: what a speed-up is measured against."""
    dense = model.without_reduction()
    return _trace(dense, 0, stage_spec(dense, 0, by_budget=False), by_budget=False)


class _Stage(nn.Module):
    def __init__(self, model: TRBertPreTrainedModel, index: int, spec: GraphSpec, by_budget: bool) -> None:
        super().__init__()
        self.model = model
        self.index = index
        self.spec = spec
        self.by_budget = by_budget

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self.spec.inputs, tensors, strict=True))
        result = self.model.stage(self.index, inputs, by_budget=self.by_budget)
        return tuple(result[name.removeprefix(NEXT)] for name in self.spec.outputs)


def _trace(model: TRBertPreTrainedModel, index: int, spec: GraphSpec, by_budget: bool) -> onnx.ModelProto:
    sizes = _EXAMPLE_SIZES | {"hidden": model.config.backbone.hidden_size, "2": 2}
    if index > 0:
        sizes["length"] = 10
    shapes = [_shape_of(model, name, index) for name in spec.inputs]
    example = tuple(
        _example(name, tuple(sizes[dim] for dim in shape), sizes)
        for name, shape in zip(spec.inputs, shapes, strict=True)
    )
    dynamic = tuple({axis: Dim.DYNAMIC for axis, dim in enumerate(shape) if dim not in _STATIC} for shape in shapes)
    with _quiet():
        program = torch.onnx.export(
            _Stage(model, index, spec, by_budget).eval(),
            example,
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _name_dimensions(graph, dict(zip(spec.inputs, shapes, strict=True)))
    return graph


def _name_dimensions(graph: onnx.ModelProto, shapes: dict[str, tuple[str, ...]]) -> None:
    """Give the inputs' axes the names that people read, and forget the tracer's stale intermediate shapes."""
    del graph.graph.value_info[:]
    renamed = {}
    for value in graph.graph.input:
        for dim, name in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if dim.dim_param:
                renamed[dim.dim_param] = name
                dim.dim_param = name
    for value in graph.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = renamed.get(dim.dim_param, dim.dim_param)


def _shape_of(model: TRBertPreTrainedModel, name: str, index: int) -> tuple[str, ...]:
    shape = _SHAPES[name]
    if model.task.multiple_choice and name in ("input_ids", "attention_mask", "token_type_ids"):
        return ("batch", "options", "length")
    if model.task.multiple_choice and name == "hidden_states":
        return ("batch_before", "options", "length", "hidden")
    if index > 0 and name == "attention_mask":  # restoring tasks: the carried tensors keep the row's length
        return ("batch", "length")
    return shape


def _example(name: str, shape: tuple[int, ...], sizes: dict[str, int]) -> Tensor:
    if name == "hidden_states":
        return torch.randn(shape)
    if name == "budget":
        return torch.full(shape, 4)
    if name == "question_ends":
        return torch.full(shape, 6)
    if name == "rows":
        return torch.tensor([2, 0])
    if name in ("input_ids", "token_type_ids", "keep", "protected"):
        return torch.zeros(shape, dtype=torch.int64)
    return torch.ones(shape, dtype=torch.int64)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about other packages off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
