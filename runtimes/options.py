"""How a bundle is loaded: declared once, for `trbert_deploy.load`, for every command line and for reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Mode = Literal["staged", "fused", "dense"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class LoadOptions:
    """How a bundle is loaded.

    Attributes:
        runtime: ``"ort"`` (ONNX Runtime), ``"trt"`` (TensorRT engines that `trbert-deploy build` made; neither needs
            torch), ``"torch"`` (the PyTorch reference in the bundle), or one of another package.
        device: ``"cpu"`` or ``"cuda"``; a device that is not there is an error, never a silent run on the CPU. By
            default the CPU, where runtime or provider is TensorRT the GPU.
        threads: intra-op threads, by default all usable cores. ONNX Runtime's pool is one for the whole process, and
            the first engine decides its size.
        mode: ``"staged"`` (a graph for each stage, rows regrouped between them; PyTorch: the reference),
            ``"fused"`` (one graph; not for PyTorch, for TensorRT in budget mode only) or ``"dense"`` (the same weights
            without reduction; if exported, or PyTorch).
        share_pool: for ONNX Runtime, False gives the engine thread pools of its own: slower where several callers
            run at once, but other ONNX Runtime sessions of the process may then have pools of their own as well,
            which ONNX Runtime refuses beside a shared one.
        provider: of ONNX Runtime: ``"tensorrt"`` or ``"rtx"`` (TensorRT-RTX); by default the device's own.
        engines: folder of TensorRT engines; by default beside the bundle.
        verify: whether to compare every file with its sha256 first.
    """

    runtime: str = "ort"
    device: str | None = None
    threads: int | None = None
    mode: Mode = "staged"
    share_pool: bool = True
    provider: str | None = None
    engines: Path | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        """A path may be given as text."""
        if self.engines is not None:
            object.__setattr__(self, "engines", Path(self.engines))
