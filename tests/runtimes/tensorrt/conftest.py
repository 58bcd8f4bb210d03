"""A device in memory, and engines whose work ONNX Runtime does on the CPU: everything above TensorRT runs for real."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.runtimes.profiles import Profile, own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets


class HostCudaGraph:
    def __init__(self, work: list[Callable[[], None]]) -> None:
        self.work = work
        self.closed = False

    def launch(self, stream: int) -> None:
        assert not self.closed
        for one in self.work:
            one()

    def close(self) -> None:
        self.closed = True


class HostDevice:
    """Addresses are real places of numpy arrays; fresh and freed memory holds what would ruin an answer."""

    def __init__(self) -> None:
        self.blocks: dict[int, np.ndarray] = {}
        self.streams: dict[int, list | None] = {}  # what is being captured
        self.names = itertools.count(1)
        self.captured = 0
        self.downloaded: list[int] = []
        self.lock = threading.Lock()

    def activate(self) -> None:
        pass

    def stream(self) -> int:
        with self.lock:
            name = next(self.names)
            self.streams[name] = None
            return name

    def close_stream(self, stream: int) -> None:
        del self.streams[stream]

    def synchronize(self, stream: int) -> None:
        assert self.streams[stream] is None, "synchronized while capturing"

    def allocate(self, size: int) -> int:
        with self.lock:
            address = next(self.names) << 32
            self.blocks[address] = np.full(size, 0x7F, dtype=np.uint8)  # float32: 3.4e38; int64: 9e18
            return address

    def free(self, address: int) -> None:
        self.blocks.pop(address)

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        assert self.streams[stream] is None, "uploaded while capturing"
        assert array.flags["C_CONTIGUOUS"]
        self.blocks[address][: array.nbytes] = np.frombuffer(array.tobytes(), dtype=np.uint8)

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        self.synchronize(stream)
        self.downloaded.append(array.nbytes)
        array[...] = self.read(address, array.shape, array.dtype)

    def capture(self, work: Callable[[], None], stream: int) -> HostCudaGraph:
        captured: list[Callable[[], None]] = []
        self.streams[stream] = captured
        work()
        self.streams[stream] = None
        self.captured += 1
        return HostCudaGraph(captured)

    def enqueue(self, work: Callable[[], None], stream: int) -> None:
        capturing = self.streams[stream]
        if capturing is None:
            work()
        else:
            capturing.append(work)

    def read(self, address: int, shape: Sequence[int], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = self.blocks[address]
        assert size <= len(block), "beyond the buffer"
        return np.frombuffer(block[:size].tobytes(), dtype=dtype).reshape(shape)

    def write(self, address: int, array: np.ndarray) -> None:
        assert array.nbytes <= len(self.blocks[address]), "beyond the buffer"
        self.blocks[address][: array.nbytes] = np.frombuffer(array.tobytes(), dtype=np.uint8)


class HostContext:
    """Reads its inputs from the device, runs the graph and writes the outputs, each time it is enqueued."""

    def __init__(self, engine: HostEngine, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.engine = engine
        self.shapes = shapes
        self.places: dict[str, int] = {}
        # As TensorRT, it knows the outputs' shapes from the inputs' shapes, whatever they hold.
        blank = {name: np.zeros(shape, dtype=engine.dtype(name)) for name, shape in shapes.items()}
        names = list(engine.output_names)
        self.outputs = {name: array.shape for name, array in zip(names, engine.session.run(names, blank), strict=True)}

    def bind(self, name: str, address: int) -> None:
        self.places[name] = address

    def enqueue(self, stream: int) -> None:
        self.engine.device.enqueue(self.run, stream)

    def run(self) -> None:
        device = self.engine.device
        feeds = {
            name: device.read(self.places[name], shape, self.engine.dtype(name)) for name, shape in self.shapes.items()
        }
        self.engine.ran.append(dict(self.shapes))
        outputs = dict(zip(self.outputs, self.engine.session.run(list(self.outputs), feeds), strict=True))
        for name, array in outputs.items():
            assert array.shape == self.outputs[name]
            device.write(self.places[name], np.ascontiguousarray(array))


class HostEngine:
    """A graph with the profiles that its engine would have; refuses shapes outside a profile, as TensorRT does."""

    def __init__(self, graph: onnx.ModelProto, session: Any, profiles: Sequence[Profile], device: HostDevice) -> None:
        self.session, self.profiles, self.device = session, tuple(profiles), device
        self.inputs = {value.name: _axes(value) for value in graph.graph.input}
        self.output_names = [value.name for value in graph.graph.output]
        self.dtypes = {
            value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
            for value in (*graph.graph.input, *graph.graph.output)
        }
        self.scratch, self.to_capture = 1024, True
        self.ran: list[dict[str, tuple[int, ...]]] = []

    def dtype(self, name: str) -> np.dtype:
        return self.dtypes[name]

    def context(self, profile: int, shapes: Mapping[str, tuple[int, ...]], scratch: int, stream: int) -> HostContext:
        assert self.device.blocks[scratch].size >= self.scratch
        for name, axes in self.inputs.items():
            for axis, size in zip(axes, shapes[name], strict=True):
                least, _, most = self.profiles[profile].axes[axis] if isinstance(axis, str) else (axis, axis, axis)
                assert least <= size <= most, f"{name}: {axis} is {size}, the profile holds {least} to {most}"
        return HostContext(self, shapes)


def _axes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.fixture(scope="session")
def host_engines(session_of: Callable[[Any], Any]) -> Callable[..., list[HostEngine]]:
    """Engines of graphs, one a stage, on a device in memory."""

    def make(
        graphs: Sequence[onnx.ModelProto],
        shapes: ShapeBuckets,
        task: TaskSpec,
        device: HostDevice,
        *,
        full_length: bool,
    ) -> list[HostEngine]:
        own = own_axes(task)
        return [
            HostEngine(
                graph, session_of(graph), stage_profiles(shapes, stage, full_length=full_length, own=own), device
            )
            for stage, graph in enumerate(graphs)
        ]

    return make


@pytest.fixture
def host_device() -> HostDevice:
    return HostDevice()


@pytest.fixture(scope="module")
def bundle(golden_bundle: Callable[..., Path]) -> Bundle:
    """Two stages in policy mode; small enough that engines are built in no time."""
    return open_bundle(golden_bundle("distilbert3-sequence-classification"))
