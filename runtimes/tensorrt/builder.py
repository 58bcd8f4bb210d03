"""One ONNX graph to one engine, with TensorRT's own parser and builder.

Networks are strongly typed: an engine's precision is its graph's. TensorRT 10 has to be told so, by STRONGLY_TYPED at
`create_network`; 11 and TensorRT-RTX have no others. Without that flag's name none is passed. Of precision flags only
TF32 is touched, which is cleared. The number of compute capabilities is TensorRT-RTX's own and is set for it alone.

What was checked, and how:

1. TensorRT-RTX 1.7.1: the tests build with it.
2. TensorRT 10.13: every other attribute used here and in `engine` is in the class where it is looked for, in the type
   stubs of `tensorrt-stubs` 10.13.0.35.1.
3. TensorRT 10.7, 10.16 and 11.4: their names occur in the extension modules of the wheels `tensorrt_cu12_bindings`
   10.7.0, `tensorrt_cu13_bindings` 10.16.1.11 and 11.4.0.106 (`nptype` in their `__init__.py`). Occurrence of a name
   tells neither its class nor its signature.

The full TensorRT has not been run with this code: its libraries are not on PyPI.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.tensorrt.buckets import Profile
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, type_name

#: What says nothing: int64 inputs are bound as such, of `keep` only the shape is read, and the last stage ignores some.
_EXPECTED = ("Int64 binding", "Unused Input", "is unused or used only at compile-time")

#: A long build says every so many seconds that it is alive.
_HEARTBEAT = 10.0

Say = Callable[[str], None]


class BuildError(TRBertError):
    """TensorRT does not take a graph."""


@dataclass(frozen=True)
class BuildSettings:
    """What the builder is told beside the graph.

    Attributes:
        compute_capability: of the GPU to build for, as ``"8.9"``; None: for the full TensorRT the GPU at hand, for
            TensorRT-RTX every one from 8.0 on.
        workspace_mib: scratch memory that a kernel may take; None for TensorRT's default.
        optimization_level: 0 (quick build) to 5 (quick engine); None for TensorRT's default.
    """

    compute_capability: str | None = None
    workspace_mib: int | None = None
    optimization_level: int | None = None


@dataclass(frozen=True)
class BuiltPlan:
    """What a build gave.

    Attributes:
        plan: the serialized engine.
        precision: what the graph's types say: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"int8"``.
        inputs: the axes of each input, by their names in the graph or their fixed sizes.
        types: of each input and output, see `type_name`.
        seconds: how long parsing and building took.
    """

    plan: bytes
    precision: str
    inputs: dict[str, list[str | int]]
    types: dict[str, str]
    seconds: float


@dataclass
class _Messages:
    """TensorRT's messages: warnings reach the user once, errors are kept for the exception too."""

    say: Say
    errors: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def logger(self, trt: Any) -> Any:
        take = self._take

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    take(message, True)
                elif severity == trt.ILogger.Severity.WARNING:
                    take(message, False)

        return Logger()

    def _take(self, message: str, is_error: bool) -> None:
        if message in self._seen or any(expected in message for expected in _EXPECTED):
            return
        self._seen.add(message)
        if is_error:
            self.errors.append(message)
        self.say(f"TensorRT {'error' if is_error else 'warning'}: {message}")


def build_plan(
    flavor: Flavor, graph: Path, stage: str, profiles: Sequence[Profile], settings: BuildSettings, say: Say
) -> BuiltPlan:
    """Parse and build.

    Args:
        flavor: which TensorRT.
        graph: the ONNX file.
        stage: how messages name it.
        profiles: at least one.
        settings: for the builder.
        say: is given TensorRT's warnings and errors, and a line now and then while it builds.

    Raises:
        BuildError: the parser or the builder refuses the graph; names the node, its operator and the stage.
    """
    start = time.perf_counter()
    trt = flavor.module
    messages = _Messages(say)
    logger = messages.logger(trt)  # builder, network and parser use it as long as they live
    builder = trt.Builder(logger)
    if builder is None:
        raise BuildError(f"{flavor.title} does not start: {_last(messages)}", "see `trbert-deploy env`")
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise _refusal(parser, messages, flavor, stage)
    config = builder.create_builder_config()
    _configure(config, trt, flavor, settings)
    given = [network.get_input(number) for number in range(network.num_inputs)]
    inputs = {tensor.name: _axes(tensor) for tensor in given}
    made = [network.get_output(number) for number in range(network.num_outputs)]
    types = {tensor.name: type_name(tensor.dtype) for tensor in (*given, *made)}
    for profile in profiles:
        _add_profile(builder, config, inputs, profile)
    config.progress_monitor = _heartbeat(trt, stage, start, say)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(
            f"{flavor.title} does not build {stage}: {_last(messages)}",
            "report it with the bundle's manifest.json and `trbert-deploy env`",
        )
    return BuiltPlan(bytes(plan), _precision(network, trt), inputs, types, time.perf_counter() - start)


def _network_flags(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configure(config: Any, trt: Any, flavor: Flavor, settings: BuildSettings) -> None:
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    # fp32 means fp32: a kept set must not depend on rounding to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    if settings.compute_capability is None:
        return
    if flavor.name != "rtx":
        raise BuildError(
            f"{flavor.title} builds for the GPU at hand only", "leave --compute-capability out, or use --flavor rtx"
        )
    wanted = "SM" + settings.compute_capability.replace(".", "")
    known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    if wanted not in known:
        listed = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in sorted(known, key=lambda name: int(name[2:])))
        raise BuildError(
            f"{flavor.title} does not build for compute capability {settings.compute_capability} alone",
            f"one of {listed}; without --compute-capability the engine runs on all from 8.0 on",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.__members__[wanted], 0)


def _axes(tensor: Any) -> list[str | int]:
    return [tensor.get_dimension_name(axis) if size == -1 else int(size) for axis, size in enumerate(tensor.shape)]


def _add_profile(builder: Any, config: Any, inputs: dict[str, list[str | int]], profile: Profile) -> None:
    made = builder.create_optimization_profile()
    for name, axes in inputs.items():
        shapes = [
            tuple(profile.axes[axis][which] if isinstance(axis, str) else axis for axis in axes) for which in range(3)
        ]
        made.set_shape(name, *shapes)
    if config.add_optimization_profile(made) < 0:
        raise BuildError(f"TensorRT refuses the profile {profile.axes}")


def _heartbeat(trt: Any, stage: str, start: float, say: Say) -> Any:
    last = start

    class Heartbeat(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            nonlocal last
            now = time.perf_counter()
            if now - last >= _HEARTBEAT:
                last = now
                say(f"{stage}: building for {now - start:.0f} s ({phase})")
            return True

        def phase_finish(self, phase: str) -> None:
            pass

    return Heartbeat()


def _precision(network: Any, trt: Any) -> str:
    """The lowest precision among the types of the network's tensors, integers that count or index aside."""
    found: set[str] = set()
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        if layer.type == trt.LayerType.QUANTIZE:
            return "int8"
        found.update(str(layer.get_output(place).dtype) for place in range(layer.num_outputs))
    for name, precision in (("HALF", "fp16"), ("BF16", "bf16")):
        if any(dtype.endswith(name) for dtype in found):
            return precision
    return "fp32"


def _refusal(parser: Any, messages: _Messages, flavor: Flavor, stage: str) -> BuildError:
    if not parser.num_errors:
        return BuildError(f"{flavor.title} does not parse {stage}: {_last(messages)}")
    error = parser.get_error(0)
    where = f"at node {error.node_name() or error.node()} ({error.node_operator()})" if error.node_operator() else ""
    return BuildError(
        f"{flavor.title} does not parse {stage} {where}".rstrip() + f": {error.desc().strip()}",
        "run it with --runtime ort, and report it with `trbert-deploy env`",
    )


def _last(messages: _Messages) -> str:
    return messages.errors[-1] if messages.errors else "it gives no reason"
