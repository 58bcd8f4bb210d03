"""TensorRT and TensorRT-RTX: engines built ahead, kept beside the bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trbert_deploy.core.extras import require
from trbert_deploy.runtimes.options import LoadOptions, Mode
from trbert_deploy.runtimes.registry import RuntimePart

if TYPE_CHECKING:
    from trbert_deploy.bundle import Bundle
    from trbert_deploy.runtimes.base import Runtime


class TensorRT(RuntimePart):
    """See `RuntimePart`."""

    name = "trt"
    title = "TensorRT"
    what = "TensorRT engines that `build` made"
    devices = ("cuda",)
    packages = {"tensorrt": "trt", "tensorrt_rtx_bindings": "trt-rtx", "cuda": "trt-rtx"}
    distributions = ("tensorrt", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "cuda-bindings")
    targets = {"trt": (None, "cuda")}

    def open(self, bundle: Bundle, options: LoadOptions) -> Runtime:
        """See `RuntimePart.open`."""
        module: Any = require("trbert_deploy.runtimes.tensorrt.runtime", "runtime 'trt'", packages=self.packages)
        opened: Runtime = module.open_runtime(bundle, options)
        return opened

    def files(self, bundle: Bundle, mode: Mode) -> list[str]:
        """See `RuntimePart.files`: engines have a sha256 of their own, and name that of their graph."""
        return []

    def facts(self) -> dict[str, str]:
        """See `RuntimePart.facts`: the GPU, as its driver says."""
        from trbert_deploy.runtimes.tensorrt.gpu import find_gpu

        gpu = find_gpu()
        return {} if gpu is None else {"cuda_device": str(gpu)}


RUNTIME = TensorRT()
