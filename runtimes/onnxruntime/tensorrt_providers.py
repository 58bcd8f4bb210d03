"""ONNX Runtime's TensorRT and TensorRT-RTX providers: a session for each stage and bucket, engines cached on disk.

ONNX Runtime's TensorRT provider builds an engine for the shapes it is told and stays on its first profile
(microsoft/onnxruntime#31624), so a bucket is a session. Sessions start, and build, when a bucket is first met.

Neither provider has an option against TF32, in which TensorRT multiplies float32 matrices by default, rounded to 10
bits: none is among the options that the libraries of ONNX Runtime 1.31.1 and of the plugin 0.5.0 name, and
microsoft/onnxruntime#26029 asks for one. Kept sets of a float32 bundle are then not exactly the reference's.
NVIDIA_TF32_OVERRIDE=0 in the environment, before the process first uses the GPU, switches TF32 off for everything in
it. The runtime trt and ONNX Runtime's CUDA provider are told not to use TF32 and need no variable.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime import InferenceSession, OrtValue, SessionOptions

from trbert_deploy.bundle import Bundle, GraphFile
from trbert_deploy.bundle.precision import require_precision
from trbert_deploy.core.errors import DeviceError, TRBertError, first_line
from trbert_deploy.core.extras import require
from trbert_deploy.core.grouping import group_rows
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Array, Result
from trbert_deploy.runtimes.environment import TF32_SWITCH
from trbert_deploy.runtimes.onnxruntime.sessions import run_session, session_options
from trbert_deploy.runtimes.pipeline import FusedPipeline, StagePipeline
from trbert_deploy.runtimes.tensorrt.buckets import (
    Grid,
    IntArray,
    Profile,
    choose_profile,
    doubling_buckets,
    round_up_counts,
    stage_profiles,
)
from trbert_deploy.runtimes.tensorrt.building import graphs_of
from trbert_deploy.runtimes.tensorrt.engine_cache import engines_folder

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "rtx": "NvTensorRTRTXExecutionProvider"}

_ROWS = 32  # of a group at most
_ITEMS = 64  # options, sentences or candidates of a row at most
_OVERHEAD_TOKENS = 1024  # what one more group costs; an estimate, as in the runtime trt

_register_lock = threading.Lock()


def provider_grid(bundle: Bundle) -> Grid:
    """The shapes that sessions are started for: numbers of tokens double from 32 to the model's limit."""
    manifest = bundle.manifest
    buckets = doubling_buckets(manifest.task.max_length)
    return Grid(lengths=buckets, kept=(buckets,) * len(manifest.reduction.layers), rows=_ROWS, items=_ITEMS)


def bucket_profiles(grid: Grid, stage: int, *, restores: bool) -> list[Profile]:
    """One profile for each number of tokens, for any number of rows; see `stage_profiles`."""
    any_rows = {"batch": (1, grid.rows, grid.rows), "batch_before": (1, grid.rows, grid.rows)}
    many = stage_profiles(grid, stage, restores=restores)
    return [
        Profile(axes=profile.axes | {axis: any_rows[axis] for axis in any_rows if axis in profile.axes})
        for profile in many
        if profile.axes["batch"][2] == grid.rows
    ]


def profile_shapes(axes: Mapping[str, Sequence[str | int]], profile: Profile) -> list[str]:
    """Smallest, best and largest shapes as the providers' options take them: ``name:1x32,other:1``."""
    return [
        ",".join(
            f"{name}:" + "x".join(str(profile.axes[axis][which] if isinstance(axis, str) else axis) for axis in shape)
            for name, shape in axes.items()
        )
        for which in range(3)
    ]


def provider_options(
    provider: str, axes: Mapping[str, Sequence[str | int]], profile: Profile, cache: Path
) -> dict[str, str]:
    """Options of a session's provider.

    Args:
        provider: ``"tensorrt"`` or ``"rtx"``.
        axes: of the graph's inputs.
        profile: what shapes the engine is for.
        cache: a folder for this graph and profile alone.
    """
    least, best, most = profile_shapes(axes, profile)
    if provider == "rtx":
        return {
            "nv_profile_min_shapes": least,
            "nv_profile_opt_shapes": best,
            "nv_profile_max_shapes": most,
            "nv_runtime_cache_path": str(cache),
        }
    return {
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": best,
        "trt_profile_max_shapes": most,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache.parent),
    }


class ProviderRunner:
    """Runs stages, each by the session of the smallest bucket that holds it; a `StageRunner`.

    Args:
        bundle: whose.
        graphs: one a stage.
        provider: ``"tensorrt"`` or ``"rtx"``.
        folder: under which engines are cached.
        options: of every session.
    """

    def __init__(
        self,
        bundle: Bundle,
        graphs: Sequence[GraphFile],
        provider: str,
        folder: Path,
        options: Callable[[], SessionOptions],
    ) -> None:
        self._bundle = bundle
        self._graphs = graphs
        self._provider = provider
        self._folder = folder
        self._grid = provider_grid(bundle)
        restores = bundle.manifest.reduction.full_length
        self._profiles = [bucket_profiles(self._grid, stage, restores=restores) for stage in range(len(graphs))]
        self._options = options
        self._axes = [_axes(bundle.path(graph.file), options()) for graph in graphs]
        self._sessions: dict[tuple[int, int], InferenceSession] = {}
        self._lock = threading.Lock()

    def group(self, stage: int, counts: IntArray, sequences: int) -> list[IntArray]:
        """Split rows into groups, rows of a bucket counting alike; a `Group` of the pipeline."""
        return group_rows(
            round_up_counts(counts, self._grid.tokens(stage)),
            sequences=sequences,
            overhead_tokens=_OVERHEAD_TOKENS,
            max_rows=self._grid.rows,
        )

    def run(self, stage: int, feeds: Mapping[str, OrtValue | Array]) -> dict[str, OrtValue]:
        """See `StageRunner.run`."""
        number = self.bucket(stage, feeds)
        with self._lock:
            if (stage, number) not in self._sessions:
                self._sessions[stage, number] = self._start(stage, number)
            session = self._sessions[stage, number]
        return run_session(session, self._graphs[stage], feeds, "cuda")

    def fetch(self, handle: OrtValue) -> Array:
        """See `StageRunner.fetch`."""
        array: Array = handle.numpy()
        return array

    def close(self) -> None:
        """Let go of the sessions."""
        self._sessions.clear()

    def bucket(self, stage: int, feeds: Mapping[str, OrtValue | Array]) -> int:
        """The number of the smallest profile that holds these feeds.

        Raises:
            TRBertError: none does.
        """
        sizes: dict[str, int] = {}
        for name, axes in self._axes[stage].items():
            value = feeds[name]
            shape = value.shape() if isinstance(value, OrtValue) else value.shape
            sizes |= {axis: size for axis, size in zip(axes, shape, strict=True) if isinstance(axis, str)}
        number = choose_profile(self._profiles[stage], sizes)
        if number is None:
            raise TRBertError(
                f"the TensorRT sessions hold {_ROWS} rows and {_ITEMS} options, sentences or candidates, not {sizes}",
                "--provider left out takes any shape",
            )
        return number

    def cache(self, stage: int, number: int) -> Path:
        """The folder of an engine cache: of this graph, profile, provider, ONNX Runtime and choice of TF32 alone."""
        graph = self._graphs[stage].file
        what = (
            self._bundle.manifest.files[graph].sha256,
            self._profiles[stage][number].model_dump_json(),
            onnxruntime.__version__,
            os.environ.get(TF32_SWITCH, ""),
        )
        digest = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
        return self._folder / f"ort-{self._provider}" / f"{Path(graph).stem}-{digest}"

    def _start(self, stage: int, number: int) -> InferenceSession:
        cache = self.cache(stage, number)
        cache.mkdir(parents=True, exist_ok=True)
        settings = provider_options(self._provider, self._axes[stage], self._profiles[stage][number], cache)
        return _session(self._bundle.path(self._graphs[stage].file), self._provider, settings, self._options())


class ProviderRuntime:
    """A bundle under one of the providers."""

    def __init__(
        self, bundle: Bundle, provider: str, mode: str, folder: Path, options: Callable[[], SessionOptions]
    ) -> None:
        manifest = bundle.manifest
        self.name = "ort"
        self.device = "cuda"
        self._pipeline: StagePipeline[OrtValue] | FusedPipeline[OrtValue]
        graphs = graphs_of(bundle, mode)
        require_precision(bundle, [graph.file for graph in graphs])
        self._runner = ProviderRunner(bundle, graphs, provider, folder, options)
        if mode == "fused":
            reductions = len(manifest.reduction.layers)
            self._pipeline = FusedPipeline(
                self._runner, graphs[0].inputs, manifest.task_facts, reductions, plan=self._runner.plan
            )
        else:
            keep = manifest.reduction.fractions if mode == "staged" else ()
            self._pipeline = StagePipeline(
                self._runner, [graph.inputs for graph in graphs], keep, plan=self._runner.plan
            )

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        return self._pipeline.run(request, want_kept=want_kept, replay=replay)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._runner.close()


def open_runtime(
    bundle: Bundle,
    provider: str,
    *,
    mode: str = "staged",
    device: str = "cuda",
    threads: int | None = None,
    share_pool: bool = True,
    folder: Path | None = None,
) -> ProviderRuntime:
    """Load a bundle under a provider.

    Args:
        bundle: whose.
        provider: ``"tensorrt"`` or ``"rtx"``.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
        device: ``"cuda"``; there is no other.
        threads: see `trbert_deploy.load`; for what is left to the CPU.
        share_pool: see `trbert_deploy.load`.
        folder: under which engines are cached; by default beside the bundle.

    Raises:
        DeviceError: the provider or a GPU for it is not there.
        MissingExtraError: TensorRT-RTX's provider is not installed.
    """
    if provider not in PROVIDERS:
        raise TRBertError(f"unknown provider {provider!r}", f"one of: {', '.join(PROVIDERS)}")
    if device != "cuda":
        raise DeviceError(f"provider {provider!r} does not run on device {device!r}", "--device cuda, or no --provider")
    if provider == "rtx":
        _rtx_devices()
    elif PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"this ONNX Runtime has no {PROVIDERS[provider]}",
            "pip uninstall onnxruntime; pip install 'trbert-deploy[gpu,trt]'",
        )
    options = partial(session_options, threads, share_pool)
    return ProviderRuntime(bundle, provider, mode, folder or engines_folder(bundle), options)


def _rtx_devices() -> list[Any]:
    """The GPUs that TensorRT-RTX's provider, a plugin, sees."""
    plugin = require("onnxruntime_ep_nv_tensorrt_rtx", "provider 'rtx'")
    name = plugin.get_ep_name()
    with _register_lock:
        if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
            try:
                onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
            except Exception as error:  # onnxruntime's exceptions share no base class but Exception
                raise DeviceError(
                    f"ONNX Runtime does not load {name}: {first_line(error)}",
                    "it needs an NVIDIA driver for CUDA 13 or later",
                ) from error
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise DeviceError(f"{name} sees no GPU that it runs on", "check nvidia-smi")
    return devices


def _session(path: Path, provider: str, settings: Mapping[str, str], options: SessionOptions) -> InferenceSession:
    try:
        if provider == "rtx":
            options.add_provider_for_devices(_rtx_devices()[:1], dict(settings))
            return InferenceSession(str(path), options)
        # What TensorRT leaves over runs on CUDA, without TF32, which is not float32.
        chain = [(PROVIDERS[provider], dict(settings)), ("CUDAExecutionProvider", {"use_tf32": "0"})]
        session = InferenceSession(str(path), options, providers=chain, enable_fallback=0)
    except Exception as error:  # see above
        raise DeviceError(
            f"ONNX Runtime does not start {PROVIDERS[provider]} on {path}: {first_line(error)}",
            "check the driver and `trbert-deploy env`",
        ) from error
    if PROVIDERS[provider] not in session.get_providers():
        raise DeviceError(f"ONNX Runtime could not start {PROVIDERS[provider]} on this machine", "check the driver")
    return session


def _axes(path: Path, options: SessionOptions) -> dict[str, list[str | int]]:
    """The axes of a graph's inputs, as a session that nobody runs says them."""
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {value.name: list(value.shape) for value in session.get_inputs()}
