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
from trbert_deploy.core.specs import Axes, TensorSpec
from trbert_deploy.model import TRBertPreTrainedModel, by_policy, run_stage
from trbert_deploy.model import by_budget as with_budget

#: The opset of every graph: the newest that ONNX Runtime >= 1.27 and TensorRT >= 10.7 both take whole.
OPSET = 20

_EXAMPLE_SIZES = {"batch": 2, "batch_before": 3, "length": 12, "kept": 7, "options": 4, "sentences": 3, "candidates": 5}


@dataclass(frozen=True)
class GraphSpec:
    """What a graph takes, in order, and the names of what it gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]


def stage_spec(model: TRBertPreTrainedModel, index: int, by_budget: bool) -> GraphSpec:
    """What the graph of a stage takes and gives, in order."""
    last = index == model.num_stages - 1
    given = {spec.name: TensorSpec(spec.name, spec.axes, "int64") for spec in model.spec.inputs}
    inputs = [given[name] for name in model.request_inputs(index)]
    if index > 0:
        told = [TensorSpec("rows", ("batch",), "int64"), TensorSpec("keep", ("kept",), "int64")]
        inputs += [*model.carried.values(), *told]
    if by_budget and not last:
        inputs.append(TensorSpec("budget", ("batch",), "int64"))
    if last:
        outputs = tuple(output.name for output in model.task.outputs)
    else:
        outputs = (*(NEXT + name for name in model.carried), "keep_count")
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
        self.decide = with_budget if by_budget else by_policy

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = {spec.name: tensor for spec, tensor in zip(self.spec.inputs, tensors, strict=True)}
        result = run_stage(self.model, self.index, inputs, self.decide).tensors
        return tuple(result[name.removeprefix(NEXT)] for name in self.spec.outputs)


def _trace(model: TRBertPreTrainedModel, index: int, spec: GraphSpec, by_budget: bool) -> onnx.ModelProto:
    sizes = _EXAMPLE_SIZES | ({"length": 10} if index > 0 else {})
    example = tuple(_example(tensor, sizes) for tensor in spec.inputs)
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, name in enumerate(tensor.axes) if isinstance(name, str)} for tensor in spec.inputs
    )
    with _quiet():
        program = torch.onnx.export(
            _Stage(model, index, spec, by_budget).eval(),
            example,
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=list(spec.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _name_dimensions(graph, {tensor.name: tensor.axes for tensor in spec.inputs})
    return graph


def _name_dimensions(graph: onnx.ModelProto, shapes: dict[str, Axes]) -> None:
    """Give the inputs' axes the names that people read, and forget the tracer's stale intermediate shapes."""
    del graph.graph.value_info[:]
    renamed = {}
    for value in graph.graph.input:
        for dim, name in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if dim.dim_param:
                renamed[dim.dim_param] = str(name)
                dim.dim_param = str(name)
    for value in graph.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = renamed.get(dim.dim_param, dim.dim_param)


def _example(tensor: TensorSpec, sizes: dict[str, int]) -> Tensor:
    """A tensor to trace with; an axis of another package's is of a size that no other is."""
    shape = [axis if isinstance(axis, int) else sizes.setdefault(axis, 20 + len(sizes)) for axis in tensor.axes]
    if tensor.dtype == "float32":
        return torch.randn(shape)
    fill = {"budget": 4, "question_ends": 6, "keep": 0, "protected": 0, "input_ids": 0, "token_type_ids": 0}
    if tensor.name == "rows":
        return torch.tensor([2, 0])
    if tensor.name == "positions":
        return torch.arange(shape[1]).expand(shape).contiguous()
    return torch.full(shape, fill.get(tensor.name, 1), dtype=torch.int64)


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
