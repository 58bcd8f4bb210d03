"""TensorRT's engine and execution contexts behind the contracts of `device`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trbert_deploy.bundle import GraphFile
from trbert_deploy.core.errors import DeviceError
from trbert_deploy.runtimes.tensorrt.device import Device
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError, EngineHeader
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, type_name

_BUILD = "build it again: trbert-deploy build BUNDLE"


class TensorRTEngine:
    """An engine, loaded: weights and kernels on the device, shared by all contexts; a `StageEngine`.

    The full TensorRT's work is captured as CUDA graphs by the worker. TensorRT-RTX, which compiles kernels for a shape
    while it runs, captures by itself at the moment that suits it.

    Args:
        flavor: that built it.
        header: of the engine file.
        serialized: the engine itself, from the same file.
        graph: the bundle's, that it was built from.
        device: where it is to run.

    Raises:
        EngineError: TensorRT does not take the engine, or it has other inputs and outputs than the header and the
            bundle say.
    """

    def __init__(
        self, flavor: Flavor, header: EngineHeader, serialized: bytes, graph: GraphFile, device: Device
    ) -> None:
        self._trt = trt = flavor.module
        self._device = device
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(serialized)
        if self._engine is None:
            raise EngineError(f"{flavor.title} does not load the engine of {header.graph}", _BUILD)
        self._lock = threading.Lock()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self._output_names = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        types = {name: type_name(self._engine.get_tensor_dtype(name)) for name in names}
        _require_tensors(header, graph, types, self._output_names)
        self.inputs = {tensor.name: tensor.axes for tensor in graph.inputs}
        self._dtypes: dict[str, np.dtype[np.generic]] = {
            name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names
        }
        self.profiles = header.key.profiles
        self.scratch = int(self._engine.device_memory_size_v2)
        self.to_capture = flavor.name == "tensorrt"
        self._config = self._runtime_config() if flavor.name == "rtx" else None

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """See `StageEngine.dtype`."""
        return self._dtypes[name]

    def context(self, profile: int, shapes: Mapping[str, tuple[int, ...]], scratch: int, stream: int) -> EngineContext:
        """See `StageEngine.context`.

        Raises:
            DeviceError: TensorRT makes none, or does not take the shapes.
        """
        with self._lock:
            made = self._engine.create_execution_context(self._config or self._user_managed)
        if made is None:
            raise DeviceError("TensorRT makes no execution context", "free GPU memory, or use a smaller --max-batch")
        if self.scratch:
            made.set_device_memory(scratch, self.scratch)
        if not made.set_optimization_profile_async(profile, stream):
            raise DeviceError(f"TensorRT does not switch to profile {profile}")
        self._device.synchronize(stream)
        for name, shape in shapes.items():
            if not made.set_input_shape(name, shape):
                raise DeviceError(f"TensorRT does not take {name} of shape {list(shape)} in profile {profile}")
        if missing := made.infer_shapes():
            raise DeviceError(f"TensorRT lacks the shapes of {', '.join(missing)}")
        outputs = {name: tuple(made.get_tensor_shape(name)) for name in self._output_names}
        return EngineContext(made, outputs)

    @property
    def _user_managed(self) -> Any:
        return self._trt.ExecutionContextAllocationStrategy.USER_MANAGED

    def _runtime_config(self) -> Any:
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._user_managed)
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        config.set_runtime_cache(config.create_runtime_cache())  # contexts share the kernels compiled so far
        return config


def _require_tensors(header: EngineHeader, graph: GraphFile, types: Mapping[str, str], outputs: Sequence[str]) -> None:
    complaint = _complaint(header, graph, types, set(outputs))
    if complaint:
        raise EngineError(f"the engine of {header.graph} {complaint}", _BUILD)


def _complaint(header: EngineHeader, graph: GraphFile, types: Mapping[str, str], outputs: set[str]) -> str | None:
    """Where an engine's inputs and outputs, by name and type, are not the header's and the bundle's; else None."""
    for what, found, in_header, in_bundle in (
        ("input", types.keys() - outputs, header.inputs.keys(), graph.input_names),
        ("output", outputs, header.types.keys() - header.inputs.keys(), graph.output_names),
    ):
        for source, wanted in (("its header", set(in_header)), (f"the bundle's {graph.file}", set(in_bundle))):
            if lacking := sorted(wanted - found):
                return f"has no {what} {', '.join(lacking)}, {source} has"
            if strange := sorted(found - wanted):
                return f"has the {what} {', '.join(strange)}, {source} has not"
    for name, kind in types.items():
        if header.types[name] != kind:
            return f"has {name} of type {kind}, its header says {header.types[name]}"
    return None


class EngineContext:
    """An execution context at fixed shapes; a `Context`."""

    def __init__(self, context: Any, outputs: Mapping[str, tuple[int, ...]]) -> None:
        self._context = context
        self.outputs = outputs

    def bind(self, name: str, address: int) -> None:
        """See `Context.bind`."""
        if not self._context.set_tensor_address(name, address):
            raise DeviceError(f"TensorRT does not take the address of {name}")

    def enqueue(self, stream: int) -> None:
        """See `Context.enqueue`."""
        if not self._context.execute_async_v3(stream):
            raise DeviceError("TensorRT does not run the engine", "check the GPU's memory with nvidia-smi")
