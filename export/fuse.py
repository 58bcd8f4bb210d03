"""Join the stage graphs to one graph, with the selection inside.

Between two stages stand the few operators that a host would run: all rows go on, in order, and as many tokens are
gathered as the widest row kept. In budget mode that number follows from the shape of the input alone, which is what
lets TensorRT build the graph; in policy mode and in multiple choice it follows from the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.core.selection import BUDGET_SCALE, millionths
from trbert_deploy.core.specs import TaskSpec

#: Output of the fused graph: the keep mask of a reduction, counted from 1; as `next_keep_mask` of that stage.
KEEP_MASK_OUTPUT = "keep_mask_{}"


def fuse(stages: Sequence[ModelProto], fractions: Sequence[float], task: TaskSpec) -> ModelProto:
    """One graph of all stages.

    Args:
        stages: the stage graphs, in order; they are not changed.
        fractions: budget fractions, or empty in policy mode.
        task: of the model.

    Returns:
        A graph that takes the caller's inputs of all stages and gives the task's outputs and, for each reduction,
        ``keep_mask_1``, ``keep_mask_2``, ...
    """
    graph = GraphProto(name="trbert")
    glue = _Glue(graph, stages, fractions, task)
    inputs: dict[str, onnx.ValueInfoProto] = {}
    for index, stage in enumerate(stages):
        prefix = f"stage_{index}/"
        names = {value.name: glue.source(value.name, index) for value in stage.graph.input}
        for value in stage.graph.input:
            if names[value.name] == value.name:
                inputs.setdefault(value.name, value)
        if index == len(stages) - 1:
            names |= {value.name: value.name for value in stage.graph.output}
        for initializer in stage.graph.initializer:
            copied = graph.initializer.add()
            copied.CopyFrom(initializer)
            copied.name = prefix + initializer.name
        for node in stage.graph.node:
            _add_renamed(graph, node, names, prefix)
    for index in range(len(stages) - 1):
        glue.add("Identity", [f"stage_{index}/{NEXT}keep_mask"], KEEP_MASK_OUTPUT.format(index + 1))
    graph.input.extend(inputs.values())
    graph.output.extend(stages[-1].graph.output)
    graph.output.extend(
        helper.make_tensor_value_info(
            KEEP_MASK_OUTPUT.format(index + 1), onnx.TensorProto.INT64, ["batch", f"width_{index + 1}"]
        )
        for index in range(len(stages) - 1)
    )
    return helper.make_model(
        graph, opset_imports=stages[0].opset_import, ir_version=stages[0].ir_version, producer_name="trbert-deploy"
    )


def _add_renamed(graph: GraphProto, node: NodeProto, names: dict[str, str], prefix: str) -> None:
    copied = graph.node.add()
    copied.CopyFrom(node)
    copied.name = prefix + node.name
    if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
        raise ValueError(f"node {node.name} holds a subgraph, which the stages never do")
    for refs in (copied.input, copied.output):
        for place, name in enumerate(refs):
            if name:
                refs[place] = names.get(name, prefix + name)


class _Glue:
    """The operators between stages, added to the graph when a stage asks for one of its inputs."""

    def __init__(
        self, graph: GraphProto, stages: Sequence[ModelProto], fractions: Sequence[float], task: TaskSpec
    ) -> None:
        self._graph = graph
        self._given = [{value.name for value in stage.graph.output} for stage in stages]
        self._fractions = fractions
        self._task = task
        self._made: set[str] = set()

    def source(self, name: str, stage: int) -> str:
        """The tensor that feeds this input of a stage: one of the caller's, an earlier stage's, or made here."""
        if name == "rows":
            return self._once("rows", lambda out: self._range(self._batch(), out))
        if name == "keep":
            return self._once(f"keep_{stage}", lambda out: self._range(self._width(stage), out))
        if name == "budget":
            return self._once(f"budget_{stage}", lambda out: self._portion(self._lengths(), stage, out))
        if stage > 0 and NEXT + name in self._given[stage - 1]:
            return f"stage_{stage - 1}/{NEXT}{name}"
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        """Append a node and return its output."""
        self._graph.node.append(
            helper.make_node(operator, list(inputs), [output], f"glue/{output}", None, None, None, **attributes)
        )
        return output

    def _once(self, name: str, make: Callable[[str], object]) -> str:
        output = f"glue/{name}"
        if output not in self._made:
            self._made.add(output)
            make(output)
        return output

    def _constant(self, value: int | list[int]) -> str:
        array = np.array(value, dtype=np.int64)
        name = f"glue/const_{'_'.join(str(v) for v in np.atleast_1d(array))}_{array.ndim}"
        if name not in self._made:
            self._made.add(name)
            self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _size(self, axis: int) -> str:
        """A scalar: the size of input_ids along an axis (-1: tokens)."""
        return self._once(
            f"size_{'tokens' if axis else 'batch'}",
            lambda out: self.add(
                "Gather",
                [self._once("shape", lambda o: self.add("Shape", ["input_ids"], o)), self._constant(axis)],
                out,
                axis=0,
            ),
        )

    def _batch(self) -> str:
        return self._size(0)

    def _width(self, stage: int) -> str:
        """A scalar: how many tokens the stage gathers."""
        if self._fractions and self._task.protected_from is None:
            return self._once(f"width_{stage}", lambda out: self._portion(self._size(-1), stage - 1, out))
        return self._once(
            f"width_{stage}",
            lambda out: self.add("ReduceMax", [f"stage_{stage - 1}/keep_count"], out, keepdims=0),
        )

    def _lengths(self) -> str:
        """[B]: real tokens of each row; in multiple choice of its longest option."""

        def make(out: str) -> None:
            mask = "attention_mask"
            if self._task.sequences_axis:
                mask = self.add("ReduceMax", [mask, self._constant([1])], "glue/any_option", keepdims=0)
            self.add("ReduceSum", [mask, self._constant([1])], out, keepdims=0)

        return self._once("lengths", make)

    def _portion(self, tokens: str, reduction: int, out: str) -> str:
        """ceil(fraction * tokens) in integers, as `trbert_deploy.core.selection.budget`."""
        scaled = self.add("Mul", [tokens, self._constant(millionths(self._fractions[reduction]))], f"{out}/scaled")
        raised = self.add("Add", [scaled, self._constant(BUDGET_SCALE - 1)], f"{out}/raised")
        return self.add("Div", [raised, self._constant(BUDGET_SCALE)], out)

    def _range(self, limit: str, out: str) -> str:
        return self.add("Range", [self._constant(0), limit, self._constant(1)], out)
