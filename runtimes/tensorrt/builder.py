"""One ONNX graph to one engine, with TensorRT's own parser and builder.

Networks are strongly typed: an engine's precision is its graph's. TensorRT 10 has to be told so, by STRONGLY_TYPED at
`create_network`; 11 and TensorRT-RTX have no others. Without that flag's name none is passed. Of precision flags only
TF32 is touched, which is cleared. The number of compute capabilities is TensorRT-RTX's own and is set for it alone.

What was checked, and how:

1. TensorRT-RTX 1.7.1: the tests build with it.
2. TensorRT 10.13: every other attribute used here, in `messages` and in `engine` is in the class where it is looked
   for, in the type stubs of `tensorrt-stubs` 10.13.0.35.1.
3. TensorRT 10.7, 10.16 and 11.4: their names occur in the extension modules of the wheels `tensorrt_cu12_bindings`
   10.7.0, `tensorrt_cu13_bindings` 10.16.1.11 and 11.4.0.106 (`nptype` in their `__init__.py`). Occurrence of a name
   tells neither its class nor its signature.

The full TensorRT has not been run with this code: its libraries are not on PyPI.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trbert_deploy.bundle.manifest import GraphFile
from trbert_deploy.runtimes.profiles import Profile
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, type_name
from trbert_deploy.runtimes.tensorrt.messages import Messages, Say, heartbeat
from trbert_deploy.runtimes.tensorrt.options import BuildSettings
from trbert_deploy.runtimes.tensorrt_checks import BuildError


@dataclass(frozen=True)
class BuiltEngine:
    """What a build gave.

    Attributes:
        serialized: the engine.
        precision: what the graph's types say: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"int8"``.
        types: of each input and output, see `type_name`.
        seconds: how long parsing and building took.
    """

    serialized: bytes
    precision: str
    types: dict[str, str]
    seconds: float


def build_engine(
    flavor: Flavor, folder: Path, graph: GraphFile, profiles: Sequence[Profile], settings: BuildSettings, say: Say
) -> BuiltEngine:
    """Parse and build.

    Args:
        flavor: which TensorRT.
        folder: where the graph lies.
        graph: what the manifest says of it; messages name it by its file.
        profiles: at least one.
        settings: for the builder.
        say: is given TensorRT's warnings and errors, and a line now and then while it builds.

    Raises:
        BuildError: the parser or the builder refuses the graph; names the node, its operator and the graph. Or the
            graph has other inputs than the manifest says.
    """
    start = time.perf_counter()
    trt = flavor.module
    messages = Messages(say)
    logger = messages.logger(trt)  # builder, network and parser use it as long as they live
    builder = trt.Builder(logger)
    if builder is None:
        raise BuildError(f"{flavor.title} does not start: {messages.last}", "see `trbert-deploy env`")
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / graph.file)):
        raise _refusal(parser, messages, flavor, graph.file)
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    _check_inputs(inputs, graph)
    config = builder.create_builder_config()
    _configure(config, trt, flavor, settings)
    for profile in profiles:
        _add_profile(builder, config, graph, profile)
    config.progress_monitor = heartbeat(trt, graph.file, start, say)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BuildError(
            f"{flavor.title} does not build {graph.file}: {messages.last}",
            "report it with the bundle's manifest.json and `trbert-deploy env`",
        )
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    types = {tensor.name: type_name(tensor.dtype) for tensor in (*inputs, *outputs)}
    return BuiltEngine(bytes(serialized), _precision(network, trt), types, time.perf_counter() - start)


def _network_flags(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _check_inputs(inputs: Sequence[Any], graph: GraphFile) -> None:
    """Profiles are told by the manifest's names of axes, so what varies has to be what it says."""
    found = {tensor.name: [size if size >= 0 else None for size in tensor.shape] for tensor in inputs}
    said = {one.name: [None if isinstance(axis, str) else axis for axis in one.axes] for one in graph.inputs}
    if found != said:
        raise BuildError(
            f"{graph.file} takes inputs of the shapes {found}, the manifest says {said}",
            "export the bundle again: trbert-deploy export MODEL --out DIR",
        )


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


def _add_profile(builder: Any, config: Any, graph: GraphFile, profile: Profile) -> None:
    made = builder.create_optimization_profile()
    for tensor in graph.inputs:
        made.set_shape(tensor.name, *(profile.shape(tensor.axes, which) for which in range(3)))
    if config.add_optimization_profile(made) < 0:
        raise BuildError(f"TensorRT refuses the profile {profile.axes}")


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


def _refusal(parser: Any, messages: Messages, flavor: Flavor, graph: str) -> BuildError:
    if not parser.num_errors:
        return BuildError(f"{flavor.title} does not parse {graph}: {messages.last}")
    error = parser.get_error(0)
    where = f"at node {error.node_name() or error.node()} ({error.node_operator()})" if error.node_operator() else ""
    return BuildError(
        f"{flavor.title} does not parse {graph} {where}".rstrip() + f": {error.desc().strip()}",
        "run it with --runtime ort, and report it with `trbert-deploy env`",
    )
