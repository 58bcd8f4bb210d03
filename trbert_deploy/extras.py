"""Optional dependencies: import one, or say which pip command installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from trbert_deploy.errors import MissingExtraError

_EXTRA_OF_MODULE = {
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxruntime_extensions": "export",
    "onnxscript": "export",
    "safetensors": "torch",
    "tensorrt": "trt",
    "tensorrt_rtx_bindings": "trt-rtx",
    "torch": "torch",
    "transformers": "torch",
}


def missing_extra(error: ImportError, purpose: str) -> MissingExtraError | None:
    """Turn the failed import of an optional package into an error that names its extra.

    Args:
        error: what `import` raised.
        purpose: what the package was needed for, e.g. ``"export"``.

    Returns:
        The error to raise, or None where `error` is not about an optional package.
    """
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(package)
    if extra is None:
        return None
    alternative = " (or [gpu] for CUDA)" if extra == "cpu" else ""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed",
        f"pip install 'trbert-deploy[{extra}]'{alternative}",
    )


def require(module: str, purpose: str) -> ModuleType:
    """Import `module`, or raise the error that names the extra it comes with.

    Args:
        module: a module of ours that needs an optional package, or the package itself.
        purpose: what it is needed for, for the message.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = missing_extra(error, purpose)
        if missing is None:
            raise
        raise missing from error
