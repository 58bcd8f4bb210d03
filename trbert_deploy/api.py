"""What users hold: an engine that checks a batch, runs it, and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.extras import require
from trbert_deploy.core.request import check_request
from trbert_deploy.core.selection import Kept, check_kept

if TYPE_CHECKING:
    from trbert_deploy.runtimes.base import Runtime
    from trbert_deploy.text.tokenization import BundleTokenizer

RUNTIMES = ("ort", "trt", "torch")
MODES = ("staged", "fused", "dense")


class EngineOutput(dict[str, npt.NDArray[np.float32]]):
    """Output arrays by name.

    Attributes:
        selection: where it was asked for, for each reduction and row the kept positions of the original row,
            int64, ascending.
    """

    def __init__(self, outputs: dict[str, npt.NDArray[np.float32]], selection: Kept | None) -> None:
        super().__init__(outputs)
        self.selection = selection


class Engine:
    """A bundle on a runtime. May be used from several threads at once; a context manager that closes it."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.runtime = runtime
        self._closed = False

    def run(self, *, return_selection: bool = False, **inputs: Any) -> EngineOutput:
        """Answer a batch; a row's answer does not depend on the rows beside it.

        Args:
            return_selection: whether to return which tokens were kept.
            **inputs: input_ids int64 [B, N] ([B, options, N] in multiple choice); attention_mask of the same shape,
                real tokens first (all ones where not given); token_type_ids of the same shape (zeros); and the
                task's own: question_ends [B], sentence_spans [B, S, 2], candidate_positions [B, C].

        Returns:
            float32 arrays by name: ``logits`` [B, labels]; question answering ``start_logits`` and ``end_logits``
            [B, N]; and so on, see `trbert_deploy.tasks`.

        Raises:
            InputError: the arrays do not fit the model.
        """
        return self._answer(inputs, want_kept=return_selection)

    def replay(self, kept: Kept, **inputs: Any) -> EngineOutput:
        """Answer a batch with given kept sets: what tells numeric differences apart from another selection.

        Args:
            kept: for each reduction and row the positions of the original row to keep, ascending, each among those
                of the reduction before; as `EngineOutput.selection`.
            **inputs: see `run`.

        Raises:
            InputError: the arrays do not fit the model, or the kept sets not the arrays.
            TRBertError: the runtime does not run stage by stage.
        """
        return self._answer(inputs, want_kept=True, replay=kept)

    def _answer(self, inputs: Mapping[str, Any], *, want_kept: bool, replay: Kept | None = None) -> EngineOutput:
        if self._closed:
            raise TRBertError("the engine is closed", "load the bundle again")
        request = check_request(self.manifest.task_facts, self.manifest.limit_facts, inputs)
        if replay is not None:
            check_kept(replay, request.lengths, len(self.manifest.reduction_layers))
        answer = self.runtime.answer(request, want_kept=want_kept, replay=replay)
        return EngineOutput(answer.outputs, answer.kept)

    def predict(self, items: Iterable[Any], *, batch_size: int = 32) -> list[dict[str, Any]]:
        """Answer texts.

        Args:
            items: a text, a (text, pair) tuple, or a dict as in the lines of a JSON-lines file (see
                `trbert_deploy.text.items`).
            batch_size: rows that run together; texts are sorted by length first.

        Returns:
            One JSON-ready dict an item, in the items' order.

        Raises:
            InputError: an item cannot be read, or the bundle has no tokenizer.
        """
        if isinstance(items, str | Mapping):
            raise InputError("predict takes a list of items, not a single one", "engine.predict([item])")
        from trbert_deploy.text.prediction import predict

        return list(predict(self, list(items), batch_size=batch_size))

    def close(self) -> None:
        """Let go of the runtime; the engine answers no more."""
        self._closed = True
        self.runtime.close()

    @cached_property
    def tokenizer(self) -> BundleTokenizer:
        """The bundle's tokenizer, read at the first use."""
        from trbert_deploy.text.tokenization import BundleTokenizer

        return BundleTokenizer(self.bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    bundle: str | Path | Bundle,
    *,
    runtime: str = "ort",
    device: str | None = None,
    threads: int | None = None,
    mode: str = "staged",
    share_pool: bool = True,
    provider: str | None = None,
    engines: str | Path | None = None,
    verify: bool = False,
) -> Engine:
    """Load a bundle.

    With ONNX Runtime, from the first engine on all sessions of the process have to use one shared thread pool; see
    `share_pool`.

    Args:
        bundle: its folder.
        runtime: ``"ort"`` (ONNX Runtime), ``"trt"`` (TensorRT engines that `trbert-deploy build` made; neither needs
            torch) or ``"torch"`` (the PyTorch reference in the bundle).
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

    Raises:
        BundleError: it is not a bundle, or damaged.
        DeviceError: the device is not there.
        MissingExtraError: the runtime's package is not installed.
        TRBertError: the options do not go together; for TensorRT, there is no engine that runs here.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    if verify:
        opened.require_intact()
    folder = None if engines is None else Path(engines)
    return Engine(opened, _make_runtime(opened, runtime, device, threads, mode, share_pool, provider, folder))


def default_device(runtime: str, provider: str | None) -> str:
    """The device where none is named."""
    return "cuda" if runtime == "trt" or provider is not None else "cpu"


def _make_runtime(
    bundle: Bundle,
    runtime: str,
    device: str | None,
    threads: int | None,
    mode: str,
    share_pool: bool,
    provider: str | None,
    folder: Path | None,
) -> Runtime:
    if mode not in MODES:
        raise TRBertError(f"unknown mode {mode!r}", f"one of: {', '.join(MODES)}")
    if provider is not None and runtime != "ort":
        raise TRBertError(f"runtime {runtime!r} has no providers", "--provider goes with --runtime ort")
    device = device or default_device(runtime, provider)
    made: Runtime
    if runtime == "ort":
        onnxrt: Any = require("trbert_deploy.runtimes.onnxruntime.sessions", "runtime 'ort'")
        if provider is not None:
            providers: Any = require("trbert_deploy.runtimes.onnxruntime.tensorrt_providers", f"provider {provider!r}")
            made = providers.open_runtime(
                bundle, provider, mode=mode, device=device, threads=threads, share_pool=share_pool, folder=folder
            )
        else:
            make = {
                "staged": onnxrt.StagedRuntime,
                "fused": onnxrt.FusedRuntime,
                "dense": onnxrt.dense_runtime,
            }[mode]
            made = make(bundle, device=device, threads=threads, share_pool=share_pool)
    elif runtime == "trt":
        plans: Any = require("trbert_deploy.runtimes.tensorrt.runtime", "runtime 'trt'")
        made = plans.open_runtime(bundle, mode=mode, device=device, folder=folder)
    elif runtime == "torch":
        if mode == "fused":
            raise TRBertError("runtime 'torch' has no mode 'fused'", "it takes staged (the reference) and dense")
        reference: Any = require("trbert_deploy.runtimes.torch.reference", "runtime 'torch'")
        made = reference.ReferenceRuntime.of_bundle(bundle, device=device, threads=threads, dense=mode == "dense")
    else:
        raise TRBertError(f"unknown runtime {runtime!r}", f"one of: {', '.join(RUNTIMES)}")
    return made
