"""The runtimes, a folder each; a part describes its runtime without importing the library that it wraps."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.core.registry import Registry
from trbert_deploy.runtimes.options import MODES, LoadOptions, Mode

if TYPE_CHECKING:  # the command line reads the parts before numpy is there
    from trbert_deploy.bundle import Bundle
    from trbert_deploy.runtimes.base import Runtime


Options = TypeVar("Options", bound=LoadOptions)


class RuntimePart(ABC):
    """What is known of a runtime before it is loaded.

    Attributes:
        name: as users choose it.
        title: for people.
        what: in half a sentence, for help texts.
        modes: which of a bundle's graphs it runs.
        devices: that it runs on, the default first.
        providers: names of further ways to run under the same library, each on a GPU.
        packages: of the optional packages that it imports, the extra that brings each.
        distributions: whose versions `env` says; by default those that are named as `packages`.
        targets: what `bench --beside` can measure: provider and device, by name.
        proved: the modes that `verify` replays, on the device's own provider; on another one the staged mode alone.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    what: ClassVar[str]
    modes: ClassVar[Sequence[Mode]] = MODES
    devices: ClassVar[Sequence[str]] = ("cpu",)
    providers: ClassVar[Mapping[str, str]] = {}
    packages: ClassVar[Mapping[str, str]] = {}
    distributions: ClassVar[Sequence[str]] = ()
    targets: ClassVar[Mapping[str, tuple[str | None, str]]] = {}
    proved: ClassVar[Sequence[Mode]] = ("staged",)

    @abstractmethod
    def open(self, bundle: Bundle, options: LoadOptions) -> Runtime:
        """Load a bundle.

        Args:
            bundle: an open one.
            options: resolved by `resolve`.

        Raises:
            TRBertError: it does not run so here; says how to mend it.
        """

    def files(self, bundle: Bundle, mode: Mode) -> list[str]:
        """The bundle's files that `open` reads, as the manifest names them; the graphs of the mode, unless overridden.

        Args:
            bundle: an open one.
            mode: one of `modes`.

        Raises:
            BundleError: there are files where it would read that the manifest does not vouch for.
        """
        manifest = bundle.manifest
        if mode == "staged":
            return [stage.file for stage in manifest.stages]
        graph = manifest.fused if mode == "fused" else manifest.dense
        return [] if graph is None else [graph.file]

    def label(self, provider: str | None) -> str:
        """What stands for the runtime and a provider of it in reports, such as ``"ort"`` or ``"ort rtx"``."""
        return self.name if provider is None else f"{self.name} {provider}"

    def full_title(self, provider: str | None) -> str:
        """The same for people, such as ``"ONNX Runtime with TensorRT-RTX"``."""
        return self.title if provider is None else f"{self.title} with {self.providers[provider]}"

    def default_device(self, provider: str | None) -> str:
        """The device where none is named."""
        return self.devices[0] if provider is None else "cuda"

    def threads(self, wanted: int | None) -> int | None:
        """How many threads a run with so many would have; None where the runtime has no say in it.

        Raises:
            TRBertError: the process has another number already.
        """
        return wanted

    def facts(self) -> Mapping[str, str]:
        """What `env` says of it beside the versions of its packages; where several say the same, the first counts."""
        return {}

    def resolve(self, options: Options) -> Options:
        """The options with the device filled in.

        Raises:
            TRBertError: the runtime has no such mode, provider or device, or the number of threads is none.
        """
        if options.threads is not None and (type(options.threads) is not int or options.threads < 1):
            raise TRBertError(f"threads must be a whole number of at least 1, not {options.threads!r}")
        if options.mode not in MODES:
            raise TRBertError(f"unknown mode {options.mode!r}", f"one of: {', '.join(MODES)}")
        if options.mode not in self.modes:
            raise TRBertError(
                f"runtime {self.name!r} has no mode {options.mode!r}", f"it takes {' and '.join(self.modes)}"
            )
        if options.provider is not None and not self.providers:
            raise TRBertError(f"runtime {self.name!r} has no providers", "--provider goes with --runtime ort")
        if options.provider is not None and options.provider not in self.providers:
            raise TRBertError(f"unknown provider {options.provider!r}", f"one of: {', '.join(self.providers)}")
        device = options.device or self.default_device(options.provider)
        if options.provider is not None and device != "cuda":
            raise DeviceError(
                f"provider {options.provider!r} does not run on device {device!r}", "--device cuda, or no --provider"
            )
        if device not in self.devices:
            if len(self.devices) > 1:
                raise DeviceError(f"unknown device {device!r}", f"one of: {', '.join(self.devices)}")
            raise DeviceError(
                f"runtime {self.name!r} does not run on device {device!r}",
                f"--device {self.devices[0]}, or --runtime ort",
            )
        return replace(options, device=device)


RUNTIMES: Registry[RuntimePart] = Registry(
    "runtime",
    "trbert_deploy.runtimes",
    {
        "ort": "trbert_deploy.runtimes.onnxruntime:RUNTIME",
        "trt": "trbert_deploy.runtimes.tensorrt:RUNTIME",
        "torch": "trbert_deploy.runtimes.torch:RUNTIME",
    },
)


def known_parts() -> list[RuntimePart]:
    """The parts that can be loaded; one of another package that cannot says so when it is asked for by its name."""
    parts = []
    for name in RUNTIMES.names():
        with contextlib.suppress(TRBertError):
            parts.append(RUNTIMES.get(name))
    return parts


def targets() -> dict[str, tuple[str, str | None, str]]:
    """Runtime, provider and device of everything that `bench --beside` can measure, by name."""
    return {
        name: (part.name, provider, device)
        for part in known_parts()
        for name, (provider, device) in part.targets.items()
    }


def optional_packages() -> dict[str, str]:
    """Of the optional packages of all runtimes, the extra that brings each; for `missing_extra`."""
    return {package: extra for part in known_parts() for package, extra in part.packages.items()}


def open_runtime(bundle: Bundle, options: LoadOptions) -> Runtime:
    """Load a bundle on the runtime that the options name.

    Raises:
        TRBertError: see `RuntimePart.open` and `RuntimePart.resolve`.
        BundleError: what it would read is not what the manifest vouches for.
    """
    from trbert_deploy.bundle.vouching import require_vouched

    part = RUNTIMES.get(options.runtime)
    resolved = part.resolve(options)
    tokenizer = bundle.manifest.tokenizer
    texts = [] if tokenizer is None else [f"{tokenizer.folder}/tokenizer.json"]
    require_vouched(bundle, [*part.files(bundle, resolved.mode), *texts], hashes=options.verify)
    return part.open(bundle, resolved)
