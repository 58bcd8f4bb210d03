"""One caller's way through the engines: its stream, its buffers, its execution contexts and CUDA graphs.

What a stage leaves lies in one buffer until the same stage runs again, which the pipeline promises to wait for. So the
addresses of a stage's inputs and outputs stay the same, and a recorded CUDA graph can be launched again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trbert_deploy.core.grouping import group_rows
from trbert_deploy.runtimes.tensorrt.buckets import Grid, IntArray, Profile, choose_profile, round_up_counts
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError
from trbert_deploy.runtimes.tensorrt.padding import Array, Axes, Padded, pad

#: What one more group costs on a GPU, in tokens. Not measured here: BERT-base on a V100 is reported to take 1.30 ms for
#: 8 tokens and 1.45 ms for 128, which is about a thousand tokens' worth of launching.
OVERHEAD_TOKENS = 1024

#: Contexts with their graphs that a lane keeps; the one unused for longest goes first.
MAX_CALLS = 128

#: Stage, shapes of its inputs, and which of them come from the host.
_CallKey = tuple[int, tuple[tuple[int, ...], ...], tuple[str, ...]]


class Graph(Protocol):
    """Recorded work."""

    def launch(self, stream: int) -> None:
        """Put it on a stream."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Device(Protocol):
    """Memory and streams; the real one is `trbert_deploy.runtimes.tensorrt.cuda.CudaDevice`."""

    def activate(self) -> None:
        """Make this the calling thread's device."""
        ...

    def stream(self) -> int:
        """A new stream of its own."""
        ...

    def close_stream(self, stream: int) -> None:
        """Let go of a stream."""
        ...

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` bytes, on a multiple of 256."""
        ...

    def free(self, address: int) -> None:
        """Give memory back; no work that uses it may be under way."""
        ...

    def upload(self, address: int, array: Array, stream: int) -> None:
        """Copy a contiguous array to the device; it may be changed as soon as this returns."""
        ...

    def download(self, array: Array, address: int, stream: int) -> None:
        """Fill a contiguous array from the device, after all work of the stream."""
        ...

    def capture(self, work: Callable[[], None], stream: int) -> Graph:
        """Record what `work` puts on the stream, without running it."""
        ...


class Context(Protocol):
    """An engine at fixed shapes."""

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the outputs."""
        ...

    def bind(self, name: str, address: int) -> None:
        """Say where an input or output lies."""
        ...

    def enqueue(self, stream: int) -> None:
        """Put the work on a stream."""
        ...


class StageEngine(Protocol):
    """A stage's engine; may be used from several threads at once."""

    @property
    def inputs(self) -> Mapping[str, Axes]:
        """Axes of each input."""
        ...

    @property
    def profiles(self) -> Sequence[Profile]:
        """In order."""
        ...

    @property
    def scratch(self) -> int:
        """Bytes that a context needs beside inputs and outputs."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether its work is to be recorded as a CUDA graph (False where it does so by itself)."""
        ...

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """Of an input or output."""
        ...

    def context(self, profile: int, shapes: Mapping[str, tuple[int, ...]], scratch: int, stream: int) -> Context:
        """Make a context that uses the memory at `scratch`."""
        ...


@dataclass(frozen=True)
class DeviceTensor:
    """A stage's output.

    Attributes:
        address: where it lies.
        dtype: of its elements.
        shape: as the engine wrote it.
        rows: how many of its rows are real.
        width: where its second axis is a row's tokens that are given back, how many are real.
    """

    address: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    rows: int
    width: int | None


class _Call:
    """A context, from its second use on as a CUDA graph: TensorRT wants to have run once before it is recorded."""

    def __init__(self, context: Context, recorded: bool) -> None:
        self.context = context
        self._recorded = recorded
        self._ran = False
        self._graph: Graph | None = None

    def launch(self, device: Device, stream: int) -> None:
        if self._graph is None and self._recorded and self._ran:
            self._graph = device.capture(lambda: self.context.enqueue(stream), stream)
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self.context.enqueue(stream)
        self._ran = True

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()


class Lane:
    """Runs stages for one caller at a time; a `StageRunner`.

    Args:
        device: where.
        engines: one a stage.
        grid: the shapes they were built for.
        per_token: names of outputs whose second axis is a row's tokens.
    """

    def __init__(self, device: Device, engines: Sequence[StageEngine], grid: Grid, per_token: frozenset[str]) -> None:
        self._device = device
        self._engines = engines
        self._grid = grid
        self._per_token = per_token
        self._stream = device.stream()
        self._buffers: dict[tuple[int, str], tuple[int, int]] = {}  # (stage, tensor) -> address, bytes
        self._calls: dict[_CallKey, _Call] = {}
        size = max(engine.scratch for engine in engines)
        self._scratch = device.allocate(size) if size else 0

    def group(self, stage: int, counts: IntArray, sequences: int) -> list[IntArray]:
        """Split rows into groups, counting what they are rounded up to; a `Group` of the pipeline."""
        return group_rows(
            round_up_counts(counts, self._grid.tokens(stage)),
            sequences=sequences,
            overhead_tokens=OVERHEAD_TOKENS,
            max_rows=self._grid.rows,
        )

    def run(self, stage: int, feeds: Mapping[str, DeviceTensor | Array]) -> dict[str, DeviceTensor]:
        """See `StageRunner.run`.

        Raises:
            EngineError: the shapes are beyond every profile.
        """
        engine = self._engines[stage]
        padded = pad(engine.inputs, feeds, self._grid, stage)
        shapes = {name: padded.shape(axes) for name, axes in engine.inputs.items()}
        key = (stage, tuple(shapes.values()), tuple(padded.arrays))
        call = self._calls.pop(key, None) or self._make(stage, shapes, padded, feeds)
        self._calls[key] = call  # the last is the one used last
        if len(self._calls) > MAX_CALLS:
            self._drop(next(iter(self._calls)))
        for name, array in padded.arrays.items():
            address, _ = self._buffers[stage, name]
            self._device.upload(address, array, self._stream)
        call.launch(self._device, self._stream)
        return {
            name: DeviceTensor(
                self._buffers[stage, name][0],
                engine.dtype(name),
                shape,
                padded.rows,
                padded.width if name in self._per_token else None,
            )
            for name, shape in call.context.outputs.items()
        }

    def fetch(self, handle: DeviceTensor) -> Array:
        """See `StageRunner.fetch`; what was added by rounding up is cut off."""
        array = np.empty(handle.shape, dtype=handle.dtype)
        self._device.download(array, handle.address, self._stream)
        array = array[: handle.rows]
        return array if handle.width is None else array[:, : handle.width]

    def close(self) -> None:
        """Let go of contexts, buffers and the stream, once their work is done."""
        self._device.synchronize(self._stream)
        self._forget_calls()
        addresses = [address for address, _ in self._buffers.values()]
        for address in [*addresses, *([self._scratch] if self._scratch else [])]:
            self._device.free(address)
        self._buffers.clear()
        self._device.close_stream(self._stream)

    def _make(
        self,
        stage: int,
        shapes: Mapping[str, tuple[int, ...]],
        padded: Padded,
        feeds: Mapping[str, DeviceTensor | Array],
    ) -> _Call:
        engine = self._engines[stage]
        profile = choose_profile(engine.profiles, padded.sizes)
        if profile is None:
            raise _beyond(engine.profiles, padded.sizes)
        context = engine.context(profile, shapes, self._scratch, self._stream)
        places: dict[str, int] = {}
        for name, shape in context.outputs.items():
            # Room for as many rows as there can be: the next stage takes the whole buffer.
            places[name] = self._fit(stage, name, (self._grid.rows, *shape[1:]), engine.dtype(name))
        for name, shape in shapes.items():
            feed = feeds[name]
            if isinstance(feed, DeviceTensor):
                places[name] = feed.address
            else:
                places[name] = self._fit(stage, name, shape, engine.dtype(name))
        for name, address in places.items():
            context.bind(name, address)
        return _Call(context, engine.recorded)

    def _fit(self, stage: int, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
        """The address of a buffer that is large enough; where it has to move, what knows the old address goes."""
        size = math.prod(shape) * dtype.itemsize
        address, room = self._buffers.get((stage, name), (0, 0))
        if size <= room:
            return address
        if room:
            self._device.synchronize(self._stream)
            self._forget_calls()
            del self._buffers[stage, name]  # where there is no room for the new one, nothing knows the old one
            self._device.free(address)
        address = self._device.allocate(size)
        self._buffers[stage, name] = address, size
        return address

    def _forget_calls(self) -> None:
        for key in list(self._calls):
            self._drop(key)

    def _drop(self, key: _CallKey) -> None:
        self._device.synchronize(self._stream)
        self._calls.pop(key).close()


def _beyond(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> EngineError:
    """The error for shapes that no profile holds: every bucket was found, so it is an axis that is not rounded up."""
    for axis, size in sizes.items():
        most = max((profile.axes[axis][2] for profile in profiles if axis in profile.axes), default=size)
        if size > most:
            return EngineError(
                f"the engines were built for at most {most} {axis}, this batch has {size}",
                f"build them again: trbert-deploy build BUNDLE --max-items {size}",
            )
    return EngineError(f"no profile of the engines holds {dict(sizes)}", "build them again: trbert-deploy build BUNDLE")
