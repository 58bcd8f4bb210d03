"""The arms: the bundle, and what it is measured against."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trbert_deploy.api import Engine, load
from trbert_deploy.bench.workload import random_dataset
from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import DeviceError, MissingExtraError, TRBertError
from trbert_deploy.core.extras import require
from trbert_deploy.runtimes.environment import TF32_SWITCH, usable_cpus

if TYPE_CHECKING:
    from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

TORCH = "torch"
TORCH_DENSE = "torch dense"

#: Runtimes that can be measured beside the bundle's own: runtime, provider and device of `trbert_deploy.load`.
BESIDE: dict[str, tuple[str, str | None, str]] = {
    "ort-cpu": ("ort", None, "cpu"),
    "ort-cuda": ("ort", None, "cuda"),
    "ort-tensorrt": ("ort", "tensorrt", "cuda"),
    "ort-rtx": ("ort", "rtx", "cuda"),
    "trt": ("trt", None, "cuda"),
}


@dataclass(frozen=True)
class Arms:
    """Everything that is timed and compared.

    Attributes:
        engines: by name; the bundle's own arm first.
        descriptions: by name, a line each.
        runtime: of the bundle's own arm.
        threads: of every arm.
        reference: the reducing PyTorch model, where there is one.
        beside: names of the same reducing bundle under other runtimes.
        notes: which arms were left out, and why.
    """

    engines: dict[str, Engine]
    descriptions: dict[str, str]
    runtime: str
    threads: int
    reference: ReferenceRuntime | None
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """The bundle's own arm."""
        return next(iter(self.engines))

    @property
    def same_runtime_dense(self) -> str | None:
        """The dense arm under the bundle's own runtime."""
        name = f"{self.runtime} dense"
        return name if name in self.engines else None

    @property
    def speed_baseline(self) -> str | None:
        """What a speed-up is demanded against: dense under the same runtime, else PyTorch."""
        return self.same_runtime_dense or self._other(TORCH)

    @property
    def accuracy_baseline(self) -> str | None:
        """What an accuracy drop counts from: dense, best under the same runtime, else the reference."""
        return self.same_runtime_dense or self._other(TORCH_DENSE) or self._other(TORCH)

    def _other(self, name: str) -> str | None:
        return name if name in self.engines and name != self.subject else None


@contextmanager
def open_arms(
    bundle: Bundle,
    *,
    runtime: str,
    mode: str,
    device: str,
    threads: int | None,
    provider: str | None = None,
    engines: Path | None = None,
    beside: Sequence[str] = (),
) -> Iterator[Arms]:
    """Load the bundle and every baseline that is at hand; what is not is left out with a note.

    Args:
        bundle: what is measured.
        runtime: its runtime.
        mode: ``"staged"`` or ``"fused"`` (no meaning for torch).
        device: of all arms.
        threads: of all arms; None for those of the process's ONNX Runtime pool, or for every core.
        provider: of the ONNX Runtime arms, see `trbert_deploy.load`.
        engines: see `trbert_deploy.load`.
        beside: other runtimes to run the bundle on, of `BESIDE`.

    Raises:
        TRBertError: the bundle itself cannot be run so.
    """
    if mode not in ("staged", "fused"):
        raise TRBertError(f"mode {mode!r} cannot be measured", "--mode staged or --mode fused; dense is an arm anyway")
    threads = _threads(runtime, threads)
    reduces = bool(bundle.manifest.reduction.layers)
    notes: list[str] = []
    loaded: dict[str, Engine] = {}
    about: dict[str, str] = {}
    family = f"{runtime} {provider}" if provider else runtime
    with ExitStack() as stack:

        def add(name: str, engine: Engine, description: str) -> None:
            loaded[name], about[name] = stack.enter_context(engine), description

        def open_engine(mode: str, where: tuple[str, str | None, str]) -> Engine:
            return load(
                bundle,
                runtime=where[0],
                provider=where[1],
                device=where[2],
                threads=threads,
                mode=mode,
                engines=engines,
            )

        own = runtime, provider, device
        if runtime != TORCH:
            add(f"{family} {mode}", open_engine(mode, own), f"the bundle, {_NAMES.get(family, family)}, {_MODES[mode]}")
            if bundle.manifest.dense is not None:
                add(
                    f"{family} dense",
                    open_engine("dense", own),
                    "same weights and runtime, no reduction, rows grouped by length",
                )
            elif reduces:
                notes.append(f"no arm '{family} dense': the bundle has no dense graph (export it with --with-dense)")
        reference = None
        if bundle.manifest.reference is None and runtime != TORCH:
            notes.append("no PyTorch arms: the bundle was exported with --no-reference")
        else:
            try:
                reference = _reference(bundle, device, threads)
            except (MissingExtraError, DeviceError) as error:
                if runtime == TORCH:
                    raise
                notes.append(f"no PyTorch arms: {error.message} ({error.hint})")
        if reference is not None:
            add(
                TORCH,
                Engine(bundle, reference),
                "the PyTorch reference: eager, reducing, a batch padded whole",
            )
            if reduces:
                module: Any = require("trbert_deploy.runtimes.torch.reference", "the dense PyTorch arm")
                dense_reference = module.ReferenceRuntime(
                    reference.model.without_reduction(), device=device, threads=threads
                )
                add(
                    TORCH_DENSE,
                    Engine(bundle, dense_reference),
                    "same weights in PyTorch: eager, no reduction, a batch padded whole",
                )
        others = []
        for name in beside:
            if BESIDE[name] == own:
                continue
            modes = [mode, *(["dense"] if bundle.manifest.dense is not None else [])]
            with ExitStack() as tried:
                try:
                    opened = [tried.enter_context(open_engine(one, BESIDE[name])) for one in modes]
                    probe: dict[str, Any] = {**random_dataset(bundle, [1], 0).inputs}
                    for engine in opened:  # providers start at the first run
                        engine.run(**probe)
                except TRBertError as error:
                    notes.append(f"no arm '{name}': {error.message} ({error.hint})")
                    continue
                tried.pop_all()
            others.append(f"{name} {mode}")
            for one, engine in zip(modes, opened, strict=True):
                add(f"{name} {one}", engine, f"{_SAME[one]} under {name}")
        providers = {provider, *(BESIDE[name.partition(" ")[0]][1] for name in others)} - {None}
        if providers and bundle.manifest.precision == "fp32" and os.environ.get(TF32_SWITCH) != "0":
            notes.append(
                "ONNX Runtime's TensorRT providers may multiply float32 in TF32, which moves kept sets: "
                f"{TF32_SWITCH}=0 in the environment forbids it"
            )
        yield Arms(loaded, about, family, threads, reference, others, notes)


_NAMES = {
    "ort": "ONNX Runtime",
    "ort tensorrt": "ONNX Runtime with TensorRT",
    "ort rtx": "ONNX Runtime with TensorRT-RTX",
    "trt": "TensorRT",
}
_MODES = {
    "staged": "a graph a stage, rows regrouped between stages",
    "fused": "one graph, rows grouped by length",
}
_SAME = {"staged": "the bundle", "fused": "the bundle's one graph", "dense": "the dense graph"}


def _threads(runtime: str, threads: int | None) -> int:
    if runtime == "ort":
        onnxrt: Any = require("trbert_deploy.runtimes.onnxruntime.sessions", "runtime 'ort'")
        return int(onnxrt.share_threads(threads))
    return threads or usable_cpus()


def _reference(bundle: Bundle, device: str, threads: int) -> ReferenceRuntime:
    module: Any = require("trbert_deploy.runtimes.torch.reference", "the PyTorch reference")
    runtime: ReferenceRuntime = module.ReferenceRuntime.of_bundle(bundle, device=device, threads=threads)
    return runtime
