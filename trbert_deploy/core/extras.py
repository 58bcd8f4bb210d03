"""Optional dependencies: import one, or say which pip command installs it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from trbert_deploy.core.errors import MissingExtraError

#: Of optional packages, the extra that brings each; a runtime says its own.
PACKAGES = {
    "accelerate": "train",
    "datasets": "train",
    "huggingface_hub": "torch",
    "matplotlib": "train",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxruntime": "cpu",
    "onnxruntime_extensions": "export",
    "onnxscript": "export",
    "safetensors": "torch",
    "sklearn": "train",
    "torch": "torch",
    "transformers": "torch",
    "trbert_deploy_models": "models",
}


def missing_extra(
    error: ImportError, purpose: str, extra: str | None = None, packages: Mapping[str, str] | None = None
) -> MissingExtraError | None:
    """Turn the failed import of an optional package into an error that names its extra.

    Args:
        error: what `import` raised.
        purpose: what the package was needed for, e.g. ``"export"``.
        extra: the extra that brings all that the purpose needs, where it is not the package's own.
        packages: further optional packages, as `PACKAGES`.

    Returns:
        The error to raise, or None where `error` is not about an optional package.
    """
    package = (error.name or "").partition(".")[0]
    known = {**PACKAGES, **(packages or {})}
    if package not in known:
        return None
    extra = extra or known[package]
    alternative = " (or [gpu] for CUDA)" if extra == "cpu" else ""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed",
        f"pip install 'trbert-deploy[{extra}]'{alternative}",
    )


def require(
    module: str, purpose: str, extra: str | None = None, packages: Mapping[str, str] | None = None
) -> ModuleType:
    """Import `module`, or raise the error that names the extra it comes with.

    Args:
        module: a module of ours that needs an optional package, or the package itself.
        purpose: what it is needed for, for the message.
        extra: see `missing_extra`.
        packages: see `missing_extra`.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = missing_extra(error, purpose, extra, packages)
        if missing is None:
            raise
        raise missing from error


def require_export(purpose: str) -> None:
    """See that everything an export needs is installed.

    Raises:
        MissingExtraError: something is not.
    """
    for package in ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "onnxruntime_extensions"):
        require(package, purpose, extra="export")
    require("onnxruntime", purpose)
