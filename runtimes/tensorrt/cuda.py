"""Device memory, streams and CUDA graphs through NVIDIA's own bindings of the driver: no PyTorch, no copies kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cuda.bindings import driver

from trbert_deploy.core.errors import DeviceError
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.tensorrt.device import Gpu


class CudaDevice:
    """The first GPU, in its primary context, which TensorRT uses too; held until the process ends.

    Raises:
        DeviceError: there is no driver or no GPU; says which.
    """

    def __init__(self) -> None:
        start_driver()
        self._context = call(driver.cuDevicePrimaryCtxRetain, call(driver.cuDeviceGet, 0))
        self.activate()

    def activate(self) -> None:
        """Make this the calling thread's device."""
        call(driver.cuCtxSetCurrent, self._context)

    def stream(self) -> int:
        """A new stream of its own."""
        return int(call(driver.cuStreamCreate, driver.CUstream_flags.CU_STREAM_NON_BLOCKING))

    def close_stream(self, stream: int) -> None:
        """Let go of a stream."""
        call(driver.cuStreamDestroy, stream)

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream."""
        call(driver.cuStreamSynchronize, stream)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes, on a multiple of 256."""
        return int(call(driver.cuMemAlloc, size))

    def free(self, address: int) -> None:
        """Give memory back; no work that uses it may be under way."""
        call(driver.cuMemFree, address)

    def upload(self, address: int, array: Array, stream: int) -> None:
        """Copy a contiguous array to the device; it may be changed as soon as this returns."""
        # From pageable memory: the driver has taken a copy when the call returns.
        call(driver.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: Array, address: int, stream: int) -> None:
        """Fill a contiguous array from the device, after all work of the stream."""
        call(driver.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, stream)
        self.synchronize(stream)

    def capture(self, work: Callable[[], None], stream: int) -> ExecutableGraph:
        """Capture what `work` puts on the stream, without running it."""
        # Thread-local: other callers may allocate memory meanwhile.
        call(driver.cuStreamBeginCapture, stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            work()
        finally:
            graph = call(driver.cuStreamEndCapture, stream)
        try:
            return ExecutableGraph(call(driver.cuGraphInstantiate, graph, 0))
        finally:
            call(driver.cuGraphDestroy, graph)


class ExecutableGraph:
    """An instantiated CUDA graph; a `CudaGraph`."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Put it on a stream."""
        call(driver.cuGraphLaunch, self._executable, stream)

    def close(self) -> None:
        """Let go of it."""
        call(driver.cuGraphExecDestroy, self._executable)


def read_gpu() -> Gpu:
    """What the first GPU is.

    Raises:
        DeviceError: there is none, or no driver.
    """
    start_driver()
    device = call(driver.cuDeviceGet, 0)
    attribute = driver.CUdevice_attribute
    major, minor = (
        call(driver.cuDeviceGetAttribute, which, device)
        for which in (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    name = call(driver.cuDeviceGetName, 100, device).partition(b"\0")[0].decode()
    version = int(call(driver.cuDriverGetVersion))
    return Gpu(name, f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}")


def start_driver() -> None:
    """Start the driver.

    Raises:
        DeviceError: see `read_gpu`.
    """
    try:
        (error,) = driver.cuInit(0)
    except (RuntimeError, ImportError, OSError) as missing:  # libcuda.so.1 is not there
        raise DeviceError(
            "there is no NVIDIA driver on this machine (libcuda.so.1 is not found)",
            "install the driver, in a container start it with --gpus all; without a GPU use --runtime ort",
        ) from missing
    if error == driver.CUresult.CUDA_ERROR_NO_DEVICE or (
        error == driver.CUresult.CUDA_SUCCESS and call(driver.cuDeviceGetCount) == 0
    ):
        raise DeviceError("the NVIDIA driver sees no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES")
    _check(error)


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a function of the driver and return its one result, if it has one.

    Raises:
        DeviceError: it failed.
    """
    error, *results = function(*arguments)
    _check(error)
    return results[0] if results else None


def _check(error: Any) -> None:
    if error != driver.CUresult.CUDA_SUCCESS:
        hint = "free GPU memory, or build with a smaller --max-batch" if "OUT_OF_MEMORY" in error.name else ""
        raise DeviceError(f"the NVIDIA driver says {error.name}", hint or "check nvidia-smi")
