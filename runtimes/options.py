"""How a bundle is loaded: declared once, for `trbert_deploy.load`, for every command line and for reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trbert_deploy.core.flags import flag

#: What this package brings; other packages add runtimes, which may have providers and devices of their own.
OwnRuntime = Literal["ort", "trt", "torch"]
OwnProvider = Literal["tensorrt", "rtx"]
OwnDevice = Literal["cpu", "cuda"]

Mode = Literal["staged", "fused", "dense"]
MODES: tuple[Mode, ...] = get_args(Mode)

Memory = Literal["lean", "arena", "shrink"]


@dataclass(frozen=True)
class LoadOptions:
    """How a bundle is loaded.

    Attributes:
        runtime: what runs it; neither ONNX Runtime nor TensorRT needs torch.
        provider: another way to run under the same library, not the device's own.
        device: where; one that is not there is an error, never a silent run on the CPU. By default the first that the
            runtime has: the CPU, where runtime or provider is TensorRT the GPU.
        mode: which graphs run: ``"staged"`` (one for each stage, rows regrouped between them), ``"fused"`` (a single
            one) or ``"dense"`` (the same weights without reduction). PyTorch runs the reference when staged, and has no
            fused mode; TensorRT has it in budget mode only; dense needs an export with the dense graph, or PyTorch.
        threads: intra-op threads; by default all usable cores. ONNX Runtime's pool is one for the whole process, and
            the first engine decides its size.
        engines: folder of TensorRT engines.
        verify: compare what is about to be loaded with its sha256 first: a flipped bit loads and answers all the same.
            It takes a second for each 1.4 GB on a core with SHA instructions, half to nine tenths of what ONNX Runtime
            takes to load them. Files that the same `Bundle` found whole before are not read again.
        share_pool: for ONNX Runtime, False gives the engine thread pools of its own. It is slower where several callers
            run at once, but other ONNX Runtime sessions of the process may then have pools of their own as well,
            which ONNX Runtime refuses beside a shared one.
        memory: for ONNX Runtime on the CPU, what is kept of the memory that a request took: ``"lean"`` nothing,
            ``"arena"`` all, for the requests that follow, ``"shrink"`` what none needs any more goes back after each.
        group_tokens: for ONNX Runtime without a provider, rows of a request run together up to so many
            tokens, padding included; a longer row runs alone. It bounds what a request takes.
    """

    runtime: OwnRuntime | str = "ort"
    provider: OwnProvider | str | None = None
    device: OwnDevice | str | None = field(default=None, metadata=flag(default="cpu; cuda for TensorRT"))
    mode: Mode = "staged"
    threads: int | None = field(default=None, metadata=flag(minimum=1))
    engines: Path | None = field(default=None, metadata=flag(default="BUNDLE.engines, beside the bundle"))
    verify: bool = True
    share_pool: bool = field(default=True, metadata=flag(hidden=True))  # a command has the process for itself
    memory: Memory = "lean"
    group_tokens: int | None = field(default=None, metadata=flag(minimum=1, default="4096 on the CPU, else 16384"))

    def __post_init__(self) -> None:
        """A path may be given as text."""
        if self.engines is not None:
            object.__setattr__(self, "engines", Path(self.engines))
