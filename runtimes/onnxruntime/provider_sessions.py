"""Sessions under ONNX Runtime's TensorRT providers, and whether the providers are there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime import InferenceSession, SessionOptions

from trbert_deploy.core.errors import DeviceError, first_line
from trbert_deploy.core.extras import require

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "rtx": "NvTensorRTRTXExecutionProvider"}

#: TensorRT-RTX's provider, a plugin.
_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"

_register_lock = threading.Lock()


def require_provider(provider: str) -> None:
    """See that a provider is there.

    Raises:
        DeviceError: it, or a GPU for it, is not there.
        MissingExtraError: TensorRT-RTX's provider is not installed.
    """
    if provider == "rtx":
        _rtx_devices()
    elif PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"this ONNX Runtime has no {PROVIDERS[provider]}",
            "pip uninstall onnxruntime; pip install 'trbert-deploy[gpu,trt]'",
        )


def start_session(path: Path, provider: str, settings: Mapping[str, str], options: SessionOptions) -> InferenceSession:
    """A session on a graph.

    Args:
        path: of the graph.
        provider: ``"tensorrt"`` or ``"rtx"``.
        settings: for the provider, see `provider_options`.
        options: of the session.

    Raises:
        DeviceError: it does not start.
    """
    try:
        if provider == "rtx":
            options.add_provider_for_devices(_rtx_devices()[:1], dict(settings))
            return InferenceSession(str(path), options)
        # What TensorRT leaves over runs on CUDA, without TF32, which is not float32.
        chain = [(PROVIDERS[provider], dict(settings)), ("CUDAExecutionProvider", {"use_tf32": "0"})]
        session = InferenceSession(str(path), options, providers=chain, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise DeviceError(
            f"ONNX Runtime does not start {PROVIDERS[provider]} on {path}: {first_line(error)}",
            "check the driver and `trbert-deploy env`",
        ) from error
    if PROVIDERS[provider] not in session.get_providers():
        raise DeviceError(f"ONNX Runtime could not start {PROVIDERS[provider]} on this machine", "check the driver")
    return session


def _rtx_devices() -> list[Any]:
    """The GPUs that TensorRT-RTX's provider, a plugin, sees."""
    plugin = require(_PLUGIN, "provider 'rtx'", packages={_PLUGIN: "ort-rtx"})
    name = plugin.get_ep_name()
    with _register_lock:
        if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
            try:
                onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
            except Exception as error:  # onnxruntime's exceptions share no base class but Exception
                raise DeviceError(
                    f"ONNX Runtime does not load {name}: {first_line(error)}",
                    "it needs an NVIDIA driver for CUDA 13 or later",
                ) from error
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise DeviceError(f"{name} sees no GPU that it runs on", "check nvidia-smi")
    return devices
