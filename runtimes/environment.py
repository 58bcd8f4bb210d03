"""What this machine is: stands in every report and manifest, so that a number can be placed. Never fails."""

from __future__ import annotations

import os
import platform
from importlib import metadata

_PACKAGES = (
    "trbert-deploy",
    "numpy",
    "tokenizers",
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-extensions",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "tensorrt-rtx-cu13-libs",
    "cuda-bindings",
)

#: Where NVIDIA's libraries look whether they may round float32 to TF32: "0" forbids it.
TF32_SWITCH = "NVIDIA_TF32_OVERRIDE"


def environment() -> dict[str, str]:
    """Versions, processor and devices as printable text; what is absent reads ``not installed``."""
    facts = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}".strip(),
        "cpu": _cpu_name(),
        "cpu_count": str(usable_cpus()),
    }
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["onnxruntime_providers"] = _providers()
    facts["cuda_device"] = _cuda_device()
    facts[TF32_SWITCH] = os.environ.get(TF32_SWITCH) or "not set"
    return facts


def usable_cpus() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _providers() -> str:
    try:
        import onnxruntime

        return ", ".join(onnxruntime.get_available_providers())
    except Exception:  # a broken installation must not stop a report
        return "not installed"


def _cuda_device() -> str:
    try:
        from trbert_deploy.runtimes.tensorrt.gpu import find_gpu

        if gpu := find_gpu():
            return f"{gpu.name}, compute capability {gpu.compute_capability}, driver for CUDA {gpu.driver}"
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    except Exception:
        return "unknown (torch is not installed)"
