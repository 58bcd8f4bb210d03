"""Which TensorRT: the full one, or TensorRT-RTX. Their Python APIs have the same names."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from trbert_deploy.core.errors import MissingExtraError, TRBertError

FLAVORS = ("tensorrt", "rtx")

_MODULES = {"tensorrt": ("tensorrt",), "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_EXTRAS = {"tensorrt": "trt", "rtx": "trt-rtx"}
_NAMES = {"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}


@dataclass(frozen=True)
class Flavor:
    """An installed TensorRT.

    Attributes:
        name: ``"tensorrt"`` or ``"rtx"``.
        module: its Python package.
        version: as it says itself; engines are valid for exactly this one.
    """

    name: str
    module: Any
    version: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{_NAMES[self.name]} {self.version}"


def installed_flavors() -> dict[str, Flavor]:
    """Every TensorRT that can be imported here, by name."""
    found = {}
    for name in FLAVORS:
        for module_name in _MODULES[name]:
            try:
                module = importlib.import_module(module_name)
            except (ImportError, OSError):  # OSError: one of its libraries is not there
                continue
            found[name] = Flavor(name, module, str(module.__version__))
            break
    return found


def type_name(dtype: Any) -> str:
    """TensorRT's name of a tensor's type, in small letters: ``"float"``, ``"half"``, ``"int64"``, ``"bool"``."""
    return str(dtype).rpartition(".")[2].lower()


def find_flavor(name: str = "auto") -> Flavor:
    """The TensorRT of that name; ``"auto"`` takes the full one where both are installed.

    Raises:
        MissingExtraError: it is not installed.
        TRBertError: there is no such flavor.
    """
    if name not in ("auto", *FLAVORS):
        raise TRBertError(f"unknown flavor {name!r}", f"one of: auto, {', '.join(FLAVORS)}")
    installed = installed_flavors()
    for wanted in FLAVORS if name == "auto" else (name,):
        if wanted in installed:
            return installed[wanted]
    what = "TensorRT" if name == "auto" else _NAMES[name]
    extra = _EXTRAS["rtx" if name == "auto" else name]
    others = " (from PyPI alone; or [trt] for the full TensorRT)" if name == "auto" else ""
    raise MissingExtraError(f"{what} is not installed", f"pip install 'trbert-deploy[{extra}]'{others}")
