"""Optional dependencies: import one, or say which pip command installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from trbert_deploy.core.errors import MissingExtraError

_EXTRA_OF_MODULE = {
    "accelerate": "train",
    "cuda": "trt-rtx",
    "datasets": "train",
    "huggingface_hub": "torch",
    "matplotlib": "train",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxruntime_ep_nv_tensorrt_rtx": "ort-rtx",
    "onnxruntime_extensions": "export",
    "onnxscript": "export",
    "safetensors": "torch",
    "tensorrt": "trt",
    "tensorrt_rtx_bindings": "trt-rtx",
    "torch": "torch",
    "transformers": "torch",
}


def missing_extra(error: ImportError, purpose: str, extra: str | None = None) -> MissingExtraError | None:
    """Turn the failed import of an optional package into an error that names its extra.

    Args:
        error: what `import` raised.
        purpose: what the package was needed for, e.g. ``"export"``.
        extra: the extra that brings all that the purpose needs, where it is not the package's own.

    Returns:
        The error to raise, or None where `error` is not about an optional package.
    """
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRA_OF_MODULE:
        return None
    extra = extra or _EXTRA_OF_MODULE[package]
    alternative = " (or [gpu] for CUDA)" if extra == "cpu" else ""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed",
        f"pip install 'trbert-deploy[{extra}]'{alternative}",
    )


def require(module: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import `module`, or raise the error that names the extra it comes with.

    Args:
        module: a module of ours that needs an optional package, or the package itself.
        purpose: what it is needed for, for the message.
        extra: see `missing_extra`.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = missing_extra(error, purpose, extra)
        if missing is None:
            raise
        raise missing from error


def require_export(purpose: str) -> None:
    """See that everything an export needs is installed.

    Raises:
        MissingExtraError: something is not.
    """
    for package in ("torch", "transformers", "onnx", "onnxscript", "onnxruntime_extensions"):
        require(package, purpose, extra="export")
    require("onnxruntime", purpose)
