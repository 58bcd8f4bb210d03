"""What this machine is: stands in every report and manifest, so that a number can be placed. Never fails."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from trbert_deploy.core.errors import first_line
from trbert_deploy.runtimes.registry import RUNTIMES

#: Distributions whose versions are said, beside those of the runtimes.
_DISTRIBUTIONS = ("trbert-deploy", "numpy", "tokenizers", "onnx", "onnxruntime-extensions")

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
    facts |= {name: _version(name) for name in _DISTRIBUTIONS}
    said: dict[str, str] = {}
    for name in RUNTIMES.names():
        try:
            part = RUNTIMES.get(name)
            facts |= {one: _version(one) for one in part.distributions or part.packages}
            for key, value in part.facts().items():
                said.setdefault(key, value)
        except Exception as error:  # another package's code must not stop a report
            said[f"runtime {name}"] = f"does not load: {first_line(error)}"
    return facts | said | {TF32_SWITCH: os.environ.get(TF32_SWITCH) or "not set"}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


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
