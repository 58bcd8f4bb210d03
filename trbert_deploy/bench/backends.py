"""What is timed side by side: the bundle on its runtime, the baselines, and the bundle on other runtimes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

from trbert_deploy.api import Engine, load
from trbert_deploy.bench.options import ALL, BenchOptions
from trbert_deploy.bench.workload import random_dataset
from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import DeviceError, MissingExtraError, TRBertError
from trbert_deploy.runtimes.environment import TF32_SWITCH, usable_cpus
from trbert_deploy.runtimes.options import LoadOptions, Mode
from trbert_deploy.runtimes.registry import RUNTIMES, targets

if TYPE_CHECKING:
    from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

TORCH = "torch"
TORCH_DENSE = "torch dense"

_MODES = {
    "staged": "a graph a stage, rows regrouped between stages",
    "fused": "one graph, rows grouped by length",
}
_SAME = {"staged": "the bundle", "fused": "the bundle's one graph", "dense": "the dense graph"}


@dataclass
class Backends:
    """Everything that is timed and compared.

    Attributes:
        options: with device and threads as they were chosen.
        engines: by name; the bundle's own first.
        descriptions: by name, a line each.
        reference: the reducing PyTorch model, where there is one.
        beside: names of the same reducing bundle under other runtimes.
        notes: what was left out, and why.
    """

    options: BenchOptions
    engines: dict[str, Engine] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    reference: ReferenceRuntime | None = None
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Of the bundle's own runtime, see `RuntimePart.label`."""
        return RUNTIMES.get(self.options.runtime).label(self.options.provider)

    @property
    def subject(self) -> str:
        """The bundle's own."""
        return next(iter(self.engines))

    @property
    def same_runtime_dense(self) -> str | None:
        """The dense model under the bundle's own runtime."""
        name = f"{self.label} dense"
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
def open_backends(bundle: Bundle, options: BenchOptions) -> Iterator[Backends]:
    """Load the bundle and every baseline that is at hand; what is not is left out with a note.

    Args:
        bundle: what is measured.
        options: device and threads are chosen where they are not given.

    Raises:
        TRBertError: the bundle itself cannot be run so.
    """
    part = RUNTIMES.get(options.runtime)
    options = replace(part.resolve(options), threads=part.threads(options.threads) or usable_cpus())
    with ExitStack() as stack:
        opener = _Opener(bundle, options, stack)
        if options.runtime != TORCH:
            opener.open_own()
        opener.open_reference()
        for name in targets() if ALL in options.beside else dict.fromkeys(options.beside):
            opener.open_beside(name)
        opener.note_tf32()
        yield opener.backends


class _Opener:
    """Opens one kind of backend after the other; all of them are closed with the stack."""

    def __init__(self, bundle: Bundle, options: BenchOptions, stack: ExitStack) -> None:
        self._bundle, self._options, self._stack = bundle, options, stack
        self._part = RUNTIMES.get(options.runtime)
        self.backends = Backends(options)

    def open_own(self) -> None:
        """The bundle on its own runtime, and its dense graph."""
        options, label = self._options, self.backends.label
        title = self._part.full_title(options.provider)
        self._add(f"{label} {options.mode}", self._load(options.mode), f"the bundle, {title}, {_MODES[options.mode]}")
        if self._bundle.manifest.dense is not None and "dense" in self._part.modes:
            what = "same weights and runtime, no reduction, rows grouped by length"
            self._add(f"{label} dense", self._load("dense"), what)
        elif self._bundle.manifest.reduction.layers:
            why = (
                "the bundle has no dense graph (export it with --with-dense)"
                if self._bundle.manifest.dense is None
                else f"{title} has no mode for it"
            )
            self.backends.notes.append(f"no backend '{label} dense': {why}")

    def open_reference(self) -> None:
        """The PyTorch reference, and the same without its reductions."""
        options, manifest = self._options, self._bundle.manifest
        if manifest.reference is None and options.runtime != TORCH:
            self.backends.notes.append("no PyTorch backends: the bundle was exported with --no-reference")
            return
        try:
            engine = self._load("staged", runtime=TORCH, provider=None)
        except (MissingExtraError, DeviceError) as error:
            if options.runtime == TORCH:
                raise
            self.backends.notes.append(f"no PyTorch backends: {error.message} ({error.hint})")
            return
        self._add(TORCH, engine, "the PyTorch reference: eager, reducing, a batch padded whole")
        reference = self.backends.reference = cast("ReferenceRuntime", engine.runtime)
        if manifest.reduction.layers:
            dense = type(reference)(
                reference.model.without_reduction(), device=reference.device, threads=options.threads
            )
            what = "same weights in PyTorch: eager, no reduction, a batch padded whole"
            self._add(TORCH_DENSE, Engine(self._bundle, dense), what)

    def open_beside(self, name: str) -> None:
        """The bundle, and its dense graph, on another runtime; one that does not even start is left out."""
        runtime, provider, device = targets()[name]
        options = self._options
        if (runtime, provider, device) == (options.runtime, options.provider, options.device):
            return
        modes: list[Mode] = [options.mode]
        if self._bundle.manifest.dense is not None:
            modes.append("dense")
        with ExitStack() as tried:
            try:
                opened = [
                    tried.enter_context(self._load(mode, runtime=runtime, provider=provider, device=device))
                    for mode in modes
                ]
                self._try_out(opened)
            except TRBertError as error:
                self.backends.notes.append(f"no backend '{name}': {error.message} ({error.hint})")
                return
            tried.pop_all()
        self.backends.beside.append(f"{name} {options.mode}")
        for mode, engine in zip(modes, opened, strict=True):
            self._add(f"{name} {mode}", engine, f"{_SAME[mode]} under {name}")

    def note_tf32(self) -> None:
        """Say where a provider may round what the bundle has in float32."""
        others = {targets()[name.partition(" ")[0]][1] for name in self.backends.beside}
        providers = {self._options.provider, *others} - {None}
        if providers and self._bundle.manifest.precision == "fp32" and os.environ.get(TF32_SWITCH) != "0":
            self.backends.notes.append(
                "ONNX Runtime's TensorRT providers may multiply float32 in TF32, which moves kept sets: "
                f"{TF32_SWITCH}=0 in the environment forbids it"
            )

    def _load(self, mode: Mode, **changes: Any) -> Engine:
        options = LoadOptions(**{one.name: getattr(self._options, one.name) for one in fields(LoadOptions)})
        return load(self._bundle, replace(options, mode=mode, **changes))

    def _try_out(self, engines: Sequence[Engine]) -> None:
        """Providers start at the first run."""
        probe: dict[str, Any] = {**random_dataset(self._bundle, [1], 0).inputs}
        for engine in engines:
            engine.run(**probe)

    def _add(self, name: str, engine: Engine, description: str) -> None:
        self.backends.engines[name] = self._stack.enter_context(engine)
        self.backends.descriptions[name] = description
