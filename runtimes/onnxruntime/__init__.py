"""ONNX Runtime, on its own providers and on TensorRT's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trbert_deploy.core.extras import require
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import RuntimePart

if TYPE_CHECKING:
    from trbert_deploy.bundle import Bundle
    from trbert_deploy.runtimes.base import Runtime


class OnnxRuntime(RuntimePart):
    """See `RuntimePart`."""

    name = "ort"
    title = "ONNX Runtime"
    what = "ONNX Runtime"
    devices = ("cpu", "cuda")
    providers = {"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}
    packages = {"onnxruntime": "cpu", "onnxruntime_ep_nv_tensorrt_rtx": "ort-rtx"}
    distributions = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-nv-tensorrt-rtx-cu13")
    targets = {
        "ort-cpu": (None, "cpu"),
        "ort-cuda": (None, "cuda"),
        "ort-tensorrt": ("tensorrt", "cuda"),
        "ort-rtx": ("rtx", "cuda"),
    }

    proved = ("staged", "fused")

    def open(self, bundle: Bundle, options: LoadOptions) -> Runtime:
        """See `RuntimePart.open`."""
        opened: Runtime
        if options.provider is None:
            module: Any = require(
                "trbert_deploy.runtimes.onnxruntime.sessions", "runtime 'ort'", packages=self.packages
            )
            opened = module.open_sessions(bundle, options)
        else:
            module = require(
                "trbert_deploy.runtimes.onnxruntime.tensorrt_providers",
                f"provider {options.provider!r}",
                packages=self.packages,
            )
            opened = module.open_provider(bundle, options)
        return opened

    def threads(self, wanted: int | None) -> int:
        """See `RuntimePart.threads`: the process's pool is made now."""
        pool: Any = require("trbert_deploy.runtimes.onnxruntime.pool", "runtime 'ort'", packages=self.packages)
        return int(pool.share_threads(wanted))

    def facts(self) -> dict[str, str]:
        """See `RuntimePart.facts`."""
        try:
            import onnxruntime

            return {"onnxruntime_providers": ", ".join(onnxruntime.get_available_providers())}
        except Exception:  # a broken installation must not stop a report
            return {"onnxruntime_providers": "not installed"}


RUNTIME = OnnxRuntime()
