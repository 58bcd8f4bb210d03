"""What a worker needs of a GPU and of TensorRT: the contracts, in terms of addresses and streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trbert_deploy.core.specs import Axes
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.profiles import Profile


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: as the driver says.
        compute_capability: as ``"8.9"``.
        driver: the CUDA version that the driver offers, as ``"13.0"``.
    """

    name: str
    compute_capability: str
    driver: str

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.compute_capability}, driver for CUDA {self.driver}"


class CudaGraph(Protocol):
    """Captured work, to run again and again at the same shapes and addresses."""

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

    def capture(self, work: Callable[[], None], stream: int) -> CudaGraph:
        """Capture what `work` puts on the stream, without running it."""
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
    def to_capture(self) -> bool:
        """Whether its work is to be captured as a CUDA graph (False where it does so by itself)."""
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
