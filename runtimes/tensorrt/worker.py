"""One caller's way through the engines: its stream, its buffers, its execution contexts and CUDA graphs.

What a stage leaves lies in one buffer until the same stage runs again, which the pipeline promises to wait for. So the
addresses of a stage's inputs and outputs stay the same, and a captured CUDA graph can be launched again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.profiles import Profile, choose_profile
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.device import Context, CudaGraph, Device, DeviceTensor, StageEngine
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError
from trbert_deploy.runtimes.tensorrt.padding import Padded, pad

#: Contexts with their CUDA graphs that a worker keeps; the one unused for longest goes first.
MAX_CALLS = 128

#: Stage, shapes of its inputs, and which of them come from the host.
_CallKey = tuple[int, tuple[tuple[int, ...], ...], tuple[str, ...]]


class _Call:
    """A context, from its second use on as a CUDA graph: TensorRT wants to have run once before it is captured."""

    def __init__(self, context: Context, to_capture: bool) -> None:
        self.context = context
        self._to_capture = to_capture
        self._ran = False
        self.captured: CudaGraph | None = None

    def launch(self, device: Device, stream: int) -> None:
        if self.captured is None and self._to_capture and self._ran:
            self.captured = device.capture(lambda: self.context.enqueue(stream), stream)
        if self.captured is not None:
            self.captured.launch(stream)
        else:
            self.context.enqueue(stream)
        self._ran = True

    def close(self) -> None:
        if self.captured is not None:
            self.captured.close()


class Worker:
    """Runs stages for one caller at a time; a `StageRunner`.

    Args:
        device: where.
        engines: one a stage.
        shapes: they were built for.
        task: of the model.
    """

    def __init__(self, device: Device, engines: Sequence[StageEngine], shapes: ShapeBuckets, task: TaskSpec) -> None:
        self._device = device
        self._engines = engines
        self._shapes = shapes
        self._per_token = frozenset(output.name for output in task.outputs if output.per_token)
        self._padding = {spec.name: spec.padding for spec in task.inputs}
        self._stream = device.stream()
        self._buffers: dict[tuple[int, str], tuple[int, int]] = {}  # (stage, tensor) -> address, bytes
        self._calls: dict[_CallKey, _Call] = {}
        self._width = 0  # tokens of the rows under way: a group goes through all its stages before the next one starts
        size = max(engine.scratch for engine in engines)
        self._scratch = device.allocate(size) if size else 0

    def run(self, stage: int, feeds: Mapping[str, DeviceTensor | Array]) -> dict[str, DeviceTensor]:
        """See `StageRunner.run`.

        Raises:
            EngineError: the shapes are beyond every profile.
        """
        engine = self._engines[stage]
        padded = pad(engine.inputs, feeds, self._shapes, stage, self._padding)
        self._width = padded.width or self._width
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
                self._width if name in self._per_token else None,
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
            places[name] = self._fit(stage, name, (self._shapes.rows, *shape[1:]), engine.dtype(name))
        for name, shape in shapes.items():
            feed = feeds[name]
            if isinstance(feed, DeviceTensor):
                places[name] = feed.address
            else:
                places[name] = self._fit(stage, name, shape, engine.dtype(name))
        for name, address in places.items():
            context.bind(name, address)
        return _Call(context, engine.to_capture)

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
                f"build them again: trbert-deploy build BUNDLE --max-entries {size}",
            )
    return EngineError(f"no profile of the engines holds {dict(sizes)}", "build them again: trbert-deploy build BUNDLE")
