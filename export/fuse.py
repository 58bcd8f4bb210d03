"""Join the stage graphs to one graph, with the selection inside.

Between two stages stand the few operators that a host would run: all rows go on, in order, and as many tokens are
gathered as the widest row kept. In budget mode that number follows from the shape of the input alone, which is what
lets TensorRT build the graph; in policy mode, and where a task protects tokens, it follows from the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.core.selection import BUDGET_SCALE, millionths
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.export.graphs import Graphs

#: Output of the fused graph: the keep mask of a reduction, counted from 1; as `next_keep_mask` of that stage.
KEEP_MASK_OUTPUT = "keep_mask_{}"


def add_fused(graphs: Graphs, fractions: Sequence[float], task: TaskSpec) -> Graphs:
    """The graphs with the fused one; see `fuse`.

    Needs: stages in their final precision, since what is done to a stage later is not done to its copy in here.
    """
    return replace(graphs, fused=fuse(graphs.stages, fractions, task))


def fuse(stages: Sequence[ir.Model], fractions: Sequence[float], task: TaskSpec) -> ir.Model:
    """One graph of all stages.

    Needs: stages that are chained as `stage_spec` says, without subgraphs, all of one opset.
    Ensures: it takes the caller's inputs of all stages and gives the task's outputs and, for each reduction,
    ``keep_mask_1``, ``keep_mask_2``, ... The stages are not changed; the weights are theirs.

    Args:
        stages: in order.
        fractions: budget fractions, or empty in policy mode.
        task: of the model.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports=dict(stages[0].graph.opset_imports), name="trbert")
    fused = _Fused(graph, fractions, task)
    for index, stage in enumerate(stages):
        fused.add_stage(stage.graph, index, last=index == len(stages) - 1)
    for index, outputs in enumerate(fused.given[:-1], start=1):
        mask = fused.op("Identity", [outputs[f"{NEXT}keep_mask"]], KEEP_MASK_OUTPUT.format(index))
        mask.type = ir.TensorType(ir.DataType.INT64)
        mask.shape = ir.Shape(["batch", f"width_{index}"])
        graph.outputs.append(mask)
    return ir.Model(graph, ir_version=stages[0].ir_version, producer_name="trbert-deploy")


class _Fused:
    """The graph as it grows, and the operators between stages, each added when a stage first asks for it.

    Attributes:
        given: for each stage so far its outputs by name.
    """

    def __init__(self, graph: ir.Graph, fractions: Sequence[float], task: TaskSpec) -> None:
        self.given: list[dict[str, ir.Value]] = []
        self._graph = graph
        self._fractions = fractions
        self._task = task
        self._made: dict[str, ir.Value] = {}

    def add_stage(self, stage: ir.Graph, index: int, *, last: bool) -> None:
        """Copy a stage; its names get its number in front, but for the task's outputs."""
        prefix = f"stage_{index}/"
        here: dict[ir.Value | None, ir.Value | None] = {None: None}
        here |= {value: self._source(value, index) for value in stage.inputs}
        for value in stage.initializers.values():
            weight = _copy(value, prefix + str(value.name))
            self._graph.register_initializer(weight)
            here[value] = weight
        for node in stage:
            made = [_copy(value, str(value.name) if last and value.is_graph_output() else prefix + str(value.name))
                    for value in node.outputs]  # fmt: skip
            inputs = [here[value] for value in node.inputs]
            attributes = node.attributes.values()
            if any(one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in attributes):
                raise ValueError(f"node {node.name} holds a subgraph, which the stages never do")
            name = prefix + str(node.name)
            self._graph.append(ir.Node(node.domain, node.op_type, inputs, attributes, outputs=made, name=name))
            here |= dict(zip(node.outputs, made, strict=True))
        outputs = {str(value.name): here[value] for value in stage.outputs}
        self.given.append({name: value for name, value in outputs.items() if value is not None})
        if last:
            self._graph.outputs.extend(self.given[-1].values())

    def op(self, operator: str, inputs: Sequence[ir.Value], name: str, **attributes: int) -> ir.Value:
        """Append a node and return its output."""
        made = ir.Value(name=name)
        given = [ir.AttrInt64(key, value) for key, value in attributes.items()]
        self._graph.append(ir.Node("", operator, inputs, given, outputs=[made], name=f"glue/{name}"))
        return made

    def _source(self, value: ir.Value, stage: int) -> ir.Value:
        """The tensor that feeds this input of a stage: an earlier stage's, one made here, or one of the caller's."""
        name = str(value.name)
        if name == "rows":
            return self._once("rows", lambda out: self._range(self._size(0), out))
        if name == "keep":
            return self._once(f"keep_{stage}", lambda out: self._range(self._width(stage), out))
        if name == "budget":
            return self._once(f"budget_{stage}", lambda out: self._portion(self._lengths(), stage, out))
        if stage > 0 and NEXT + name in self.given[stage - 1]:
            return self.given[stage - 1][NEXT + name]
        return self._caller(name, value)

    def _caller(self, name: str, like: ir.Value | None = None) -> ir.Value:
        """One of the caller's inputs."""
        if name not in self._made:
            assert like is not None, f"no stage so far takes {name}"
            self._made[name] = _copy(like, name)
            self._graph.inputs.append(self._made[name])
        return self._made[name]

    def _once(self, name: str, make: Callable[[str], ir.Value]) -> ir.Value:
        name = f"glue/{name}"
        if name not in self._made:
            self._made[name] = make(name)
        return self._made[name]

    def _constant(self, value: int | list[int]) -> ir.Value:
        array = np.array(value, dtype=np.int64)
        name = f"glue/const_{'_'.join(str(v) for v in np.atleast_1d(array))}_{array.ndim}"
        if name not in self._made:
            self._made[name] = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            self._graph.register_initializer(self._made[name])
        return self._made[name]

    def _size(self, axis: int) -> ir.Value:
        """A scalar: the size of input_ids along an axis (-1: tokens)."""

        def make(out: str) -> ir.Value:
            shape = self._once("shape", lambda name: self.op("Shape", [self._caller("input_ids")], name))
            return self.op("Gather", [shape, self._constant(axis)], out, axis=0)

        return self._once(f"size_{'tokens' if axis else 'batch'}", make)

    def _width(self, stage: int) -> ir.Value:
        """A scalar: how many tokens the stage gathers."""

        def make(out: str) -> ir.Value:
            if self._fractions and self._task.protected_from is None:
                return self._portion(self._size(-1), stage - 1, out)
            return self.op("ReduceMax", [self.given[stage - 1]["keep_count"]], out, keepdims=0)

        return self._once(f"width_{stage}", make)

    def _lengths(self) -> ir.Value:
        """[B]: real tokens of each row, of the longest of its sequences."""

        def make(out: str) -> ir.Value:
            mask = self._caller("attention_mask")
            if self._task.sequences_axis:
                mask = self.op("ReduceMax", [mask, self._constant([1])], "glue/any_option", keepdims=0)
            return self.op("ReduceSum", [mask, self._constant([1])], out, keepdims=0)

        return self._once("lengths", make)

    def _portion(self, tokens: ir.Value, reduction: int, out: str) -> ir.Value:
        """ceil(fraction * tokens) in integers, as `trbert_deploy.core.selection.budget`."""
        scaled = self.op("Mul", [tokens, self._constant(millionths(self._fractions[reduction]))], f"{out}/scaled")
        raised = self.op("Add", [scaled, self._constant(BUDGET_SCALE - 1)], f"{out}/raised")
        return self.op("Div", [raised, self._constant(BUDGET_SCALE)], out)

    def _range(self, limit: ir.Value, out: str) -> ir.Value:
        return self.op("Range", [self._constant(0), limit, self._constant(1)], out)


def _copy(value: ir.Value, name: str) -> ir.Value:
    """The same tensor for another graph; its content is shared."""
    shape = None if value.shape is None else value.shape.copy()
    return ir.Value(name=name, shape=shape, type=value.type, const_value=value.const_value)
