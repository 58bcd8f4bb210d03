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

import onnxruntime
from onnxruntime import InferenceSession, OrtValue, SessionOptions

from trbert_deploy.bundle import Bundle, GraphFile
from trbert_deploy.bundle.precision import require_precision
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.environment import TF32_SWITCH
from trbert_deploy.runtimes.onnxruntime.pool import session_options
from trbert_deploy.runtimes.onnxruntime.provider_options import bucket_profiles, provider_options, provider_shapes
from trbert_deploy.runtimes.onnxruntime.provider_sessions import require_provider, start_session
from trbert_deploy.runtimes.onnxruntime.sessions import SessionRuntime, run_session
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import graphs_of, make_pipeline
from trbert_deploy.runtimes.profiles import choose_profile
from trbert_deploy.runtimes.tensorrt_checks import check_mode


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
        self.shapes = provider_shapes(bundle)
        self._bundle = bundle
        self._graphs = graphs
        self._provider = provider
        self._folder = folder
        self._profiles = [bucket_profiles(bundle, self.shapes, stage) for stage in range(len(graphs))]
        self._options = options
        self._sessions: dict[tuple[int, int], InferenceSession] = {}
        self._lock = threading.Lock()

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
        for tensor in self._graphs[stage].inputs:
            value = feeds[tensor.name]
            shape = value.shape() if isinstance(value, OrtValue) else value.shape
            sizes |= {axis: size for axis, size in zip(tensor.axes, shape, strict=True) if isinstance(axis, str)}
        number = choose_profile(self._profiles[stage], sizes)
        if number is None:
            raise TRBertError(
                f"the TensorRT sessions hold {self.shapes.rows} rows and {self.shapes.entries} options, sentences or "
                f"candidates, not {sizes}",
                "--provider left out takes any shape",
            )
        return number

    def settings(self, stage: int, number: int) -> dict[str, str]:
        """What the provider is told of a stage's bucket."""
        return provider_options(
            self._provider, self._graphs[stage].inputs, self._profiles[stage][number], self.cache(stage, number)
        )

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
        self.cache(stage, number).mkdir(parents=True, exist_ok=True)
        path = self._bundle.path(self._graphs[stage].file)
        return start_session(path, self._provider, self.settings(stage, number), self._options())


def provider_runtime(
    bundle: Bundle, provider: str, mode: str, folder: Path, options: Callable[[], SessionOptions]
) -> SessionRuntime:
    """A bundle under a provider.

    Args:
        bundle: whose.
        provider: ``"tensorrt"`` or ``"rtx"``.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
        folder: under which engines are cached.
        options: of every session.

    Raises:
        BuildError: TensorRT does not take the graphs of this mode.
        BundleError: there is no dense graph, or the graphs are of another precision than the manifest says.
    """
    check_mode(bundle, mode)
    graphs = graphs_of(bundle, mode)
    require_precision(bundle, [graph.file for graph in graphs])
    runner = ProviderRunner(bundle, graphs, provider, folder, options)
    return SessionRuntime(runner, make_pipeline(bundle, mode, runner, runner.shapes.group), "cuda")


def open_provider(bundle: Bundle, options: LoadOptions) -> SessionRuntime:
    """Load a bundle under a provider.

    Args:
        bundle: whose.
        options: of which provider, mode, threads and share_pool (for what is left to the CPU), and engines are read.

    Raises:
        DeviceError: the provider or a GPU for it is not there.
        MissingExtraError: TensorRT-RTX's provider is not installed.
        TRBertError: see `provider_runtime`.
    """
    assert options.provider is not None
    require_provider(options.provider)
    of_sessions = partial(session_options, options.threads, options.share_pool)
    folder = options.engines or engines_folder(bundle)
    return provider_runtime(bundle, options.provider, options.mode, folder, of_sessions)
