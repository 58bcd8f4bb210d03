"""Trace the stages of the PyTorch reference, and the whole model without reduction, to ONNX graphs."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim

from trbert_deploy.bundle.manifest import NEXT, layer_range
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.export.examples import example_inputs
from trbert_deploy.export.graphs import Graphs
from trbert_deploy.model import TRBertPreTrainedModel, by_policy, run_stage
from trbert_deploy.model import by_budget as with_budget

#: The opset of every graph: the newest that ONNX Runtime >= 1.27 and TensorRT >= 10.7 both take whole.
OPSET = 20


def trace(
    model: TRBertPreTrainedModel,
    by_budget: bool,
    with_dense: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Graphs:
    """A model's graphs but the fused one, in float32.

    Ensures: standard operators of `OPSET`; inputs and outputs as `stage_spec` says, with dynamic axes of the names that
    it gives them; no notes of the tracer, and no path of this machine. Weights are the model's own tensors.
    """
    stages = []
    for index in range(model.num_stages):
        start = time.perf_counter()
        stages.append(trace_stage(model, index, by_budget))
        layers = layer_range(model.stage_bounds[index], model.stage_bounds[index + 1])
        progress(f"stage {index + 1} of {model.num_stages}: {layers}, {time.perf_counter() - start:.1f} s")
    dense = None
    if with_dense:
        start = time.perf_counter()
        dense = trace_dense(model)
        progress(f"dense: {time.perf_counter() - start:.1f} s")
    return Graphs(tuple(stages), layer_names(model), dense)


def trace_stage(model: TRBertPreTrainedModel, index: int, by_budget: bool) -> ir.Model:
    """One stage."""
    return _trace(model, index, stage_spec(model, index, by_budget), by_budget)


def trace_dense(model: TRBertPreTrainedModel) -> ir.Model:
    """The same weights without reduction: what a speed-up is measured against."""
    return trace_stage(model.without_reduction(), 0, by_budget=False)


def layer_names(model: TRBertPreTrainedModel) -> tuple[str, ...]:
    """For each encoder layer what the names of its weights in graphs begin with."""
    names = {module: name for name, module in model.named_modules()}
    return tuple(f"model.{names[layer]}." for layer in model.encoder_layers)


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


def _trace(model: TRBertPreTrainedModel, index: int, spec: GraphSpec, by_budget: bool) -> ir.Model:
    example = example_inputs(model, index)
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, name in enumerate(tensor.axes) if isinstance(name, str)} for tensor in spec.inputs
    )
    with _quiet():
        program = torch.onnx.export(
            _Stage(model, index, spec, by_budget).eval(),
            tuple(example[tensor.name] for tensor in spec.inputs),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=list(spec.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph: ir.Model = program.model
    _strip(graph.graph)
    _name_axes(graph.graph, spec)
    return graph


def _strip(graph: ir.Graph) -> None:
    """Take away the tracer's notes, such as stack traces, which name this machine's folders."""
    graph.metadata_props.clear()
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        values += node.outputs
    for value in values:
        value.metadata_props.clear()


def _name_axes(graph: ir.Graph, spec: GraphSpec) -> None:
    """Give the inputs' axes the names that people read, and the outputs' those of the inputs."""
    renamed: dict[str, str] = {}
    for value, tensor in zip(graph.inputs, spec.inputs, strict=True):
        assert value.shape is not None
        for axis, name in enumerate(tensor.axes):
            traced = value.shape[axis]
            if isinstance(traced, ir.SymbolicDim):
                renamed[str(traced.value)] = str(name)
                value.shape[axis] = str(name)
    for value in graph.outputs:
        assert value.shape is not None
        for axis, traced in enumerate(value.shape):
            if isinstance(traced, ir.SymbolicDim) and str(traced.value) in renamed:
                value.shape[axis] = renamed[str(traced.value)]


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
