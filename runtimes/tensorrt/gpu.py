"""What is at hand on this machine, and whether an engine is valid for it."""

from __future__ import annotations

from dataclasses import dataclass

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import DeviceError
from trbert_deploy.runtimes.tensorrt.device import Gpu
from trbert_deploy.runtimes.tensorrt.engine_cache import ANY, EngineHeader
from trbert_deploy.runtimes.tensorrt.flavor import installed_flavors

_LEAST_PORTABLE = (8, 0)  # engines of TensorRT-RTX that name no compute capability run from here on


@dataclass(frozen=True)
class Here:
    """This machine.

    Attributes:
        versions: of each installed TensorRT flavor.
        gpu: the first one, or None.
    """

    versions: dict[str, str]
    gpu: Gpu | None


def look_here() -> Here:
    """Look what is installed; never fails."""
    versions = {name: flavor.version for name, flavor in installed_flavors().items()}
    return Here(versions, find_gpu())


def find_gpu() -> Gpu | None:
    """The first GPU; None where there is none, no driver, or nothing to ask it with."""
    try:
        from trbert_deploy.runtimes.tensorrt.cuda import read_gpu

        return read_gpu()
    except (ImportError, DeviceError):
        return None


def invalid_because(header: EngineHeader, bundle: Bundle, here: Here) -> str | None:
    """Why an engine does not run here; None where it does.

    Args:
        header: the engine's.
        bundle: that it is to run.
        here: the machine.
    """
    key = header.key
    facts = bundle.manifest.files.get(header.graph)
    if facts is None or facts.sha256 != key.graph_sha256:
        return f"built from another {header.graph} than the bundle's"
    version = here.versions.get(key.flavor)
    if version is None:
        return f"needs {key.flavor} {key.tensorrt}, which is not installed"
    if version != key.tensorrt:
        return f"built by {key.flavor} {key.tensorrt}, installed is {version}"
    if here.gpu is None:
        return "there is no GPU here"
    if key.driver not in (ANY, here.gpu.driver):
        return f"built under a driver for CUDA {key.driver}, this one offers {here.gpu.driver}"
    if key.compute_capability == ANY:
        least = ".".join(map(str, _LEAST_PORTABLE))
        mine = tuple(int(part) for part in here.gpu.compute_capability.split("."))
        return None if mine >= _LEAST_PORTABLE else f"runs from compute capability {least} on"
    if key.compute_capability != here.gpu.compute_capability:
        return f"built for compute capability {key.compute_capability}, this GPU has {here.gpu.compute_capability}"
    return None
