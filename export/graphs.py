"""A model's ONNX graphs in memory: what export's passes take and give.

They are `onnx_ir` models and not protobuf messages, because of the weights: a graph of onnx_ir refers to them, so that
the stages, the fused and the dense graph share the tensors of the PyTorch model, and a weight is copied when its graph
is written or converted, one graph at a time. A message would hold a copy of its own for each graph.

What changes one graph is a pass in onnx_ir's form (`onnx_ir.passes.PassBase`; `Half`, `Quantize`): `Graphs.apply` runs
it on every graph. What makes one graph of several, or needs rows of data, is a function on `Graphs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import onnx
import onnx_ir as ir

FUSED_FILE = "model.onnx"
DENSE_FILE = "dense.onnx"


@dataclass(frozen=True)
class Graphs:
    """The graphs of one model.

    Attributes:
        stages: in order.
        layers: for each encoder layer what the names of its weights begin with, in every graph but the fused one.
        dense: the same weights without reduction, where that is wanted.
        fused: all stages in one; None until `trbert_deploy.export.fuse.add_fused` has made it.
    """

    stages: tuple[ir.Model, ...]
    layers: tuple[str, ...]
    dense: ir.Model | None = None
    fused: ir.Model | None = None

    def named(self) -> Iterator[tuple[str, ir.Model]]:
        """The graphs that there are, each with the name of its file."""
        yield from ((stage_file(index), stage) for index, stage in enumerate(self.stages))
        if self.fused is not None:
            yield FUSED_FILE, self.fused
        if self.dense is not None:
            yield DENSE_FILE, self.dense

    def apply(self, pass_for: Callable[[str], ir.passes.PassBase]) -> Graphs:
        """The stages and the dense graph after a pass; a fused graph is made of the new stages.

        Args:
            pass_for: the pass for the graph of that file.
        """
        stages = [pass_for(stage_file(index))(stage).model for index, stage in enumerate(self.stages)]
        dense = None if self.dense is None else pass_for(DENSE_FILE)(self.dense).model
        return replace(self, stages=tuple(stages), dense=dense, fused=None)


def stage_file(index: int) -> str:
    """The file of a stage's graph."""
    return f"stage_{index}.onnx"


def to_message(model: ir.Model) -> onnx.ModelProto:
    """A graph as the protobuf message that other libraries convert and that files hold; weights are copied into it.

    Shapes between nodes are left out: the tracer's optimizer leaves some of them stale, and so does a conversion.
    """
    message = ir.to_proto(model)
    assert isinstance(message, onnx.ModelProto)
    del message.graph.value_info[:]
    return message


def from_message(message: onnx.ModelProto) -> ir.Model:
    """A converted message as a graph.

    It is written to bytes and read again in between: a message keeps the memory of what was taken out of it, here
    weights in their former type, until it goes itself; and the graph's weights would hold on to it.
    """
    model = ir.from_proto(onnx.ModelProto.FromString(message.SerializeToString()))
    assert isinstance(model, ir.Model)
    return model
