"""What users hold: an engine that checks a batch, runs it, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.options import with_changes
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.core.request import check_request
from trbert_deploy.core.selection import Kept, check_kept
from trbert_deploy.runtimes.base import Runtime
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import open_runtime
from trbert_deploy.text.prediction import predict
from trbert_deploy.text.tokenizer import BundleTokenizer


class Engine:
    """A bundle on a runtime. May be used from several threads at once; a context manager that closes it.

    It can be pickled where `load` made it: the bundle is then loaded anew, in the same way, where it is unpickled.

    Args:
        bundle: what it answers by.
        runtime: what runs it.
        options: how the bundle was loaded; None for an engine that cannot be pickled.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, options: LoadOptions | None = None) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.runtime = runtime
        self._options = options
        self._closed = False

    def __reduce__(self) -> tuple[Callable[..., Engine], tuple[Path, LoadOptions]]:
        if self._closed:
            raise TRBertError("the engine is closed, so it cannot be pickled", "load the bundle again")
        if self._options is None:
            raise TRBertError(
                "an engine that was made around a runtime cannot be pickled: nothing says how to make it again",
                "make it with trbert_deploy.load",
            )
        engines = self._options.engines
        options = replace(self._options, engines=None if engines is None else engines.absolute())
        return load, (self.bundle.folder.absolute(), options)

    def run(self, *, return_selection: bool = False, **inputs: Any) -> EngineOutput:
        """Answer a batch; a row's answer does not depend on the rows beside it.

        Args:
            return_selection: whether to return which tokens were kept.
            **inputs: input_ids int64 [B, N] ([B, options, N] in multiple choice); attention_mask of the same shape,
                real tokens first (all ones where not given); token_type_ids of the same shape (zeros); and the
                task's own: question_ends [B], sentence_spans [B, S, 2], candidate_positions [B, C].

        Returns:
            float32 arrays by name: ``logits`` [B, labels]; question answering ``start_logits`` and ``end_logits``
            [B, N]; and so on, as the manifest's task says.

        Raises:
            InputError: the arrays do not fit the model.
        """
        return self._run(inputs, want_kept=return_selection)

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
        return self._run(inputs, want_kept=True, replay=kept)

    def _run(self, inputs: Mapping[str, Any], *, want_kept: bool, replay: Kept | None = None) -> EngineOutput:
        if self._closed:
            raise TRBertError("the engine is closed", "load the bundle again")
        request = check_request(self.manifest.task, inputs)
        if replay is not None:
            check_kept(replay, request.lengths, len(self.manifest.reduction.layers))
        result = self.runtime.run(request, want_kept=want_kept, replay=replay)
        return EngineOutput(result.outputs, result.kept)

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
        if not isinstance(items, Iterable):
            raise InputError(f"predict takes a list of items, not {type(items).__name__}")
        return list(predict(self, list(items), batch_size=batch_size))

    def close(self) -> None:
        """Let go of the runtime; the engine answers no more."""
        self._closed = True
        self.runtime.close()

    @cached_property
    def tokenizer(self) -> BundleTokenizer:
        """The bundle's tokenizer, read at the first use."""
        return BundleTokenizer.of(self.bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(bundle: str | Path | Bundle, options: LoadOptions | None = None, **changes: Any) -> Engine:
    """Load a bundle.

    With ONNX Runtime, from the first engine on all sessions of the process have to use one shared thread pool; see
    `LoadOptions.share_pool`.

    Args:
        bundle: its folder.
        options: how; by default under ONNX Runtime on the CPU.
        **changes: attributes of `LoadOptions`, instead of those in `options`: ``load("bundle/", runtime="trt")``.

    Raises:
        BundleError: it is not a bundle, or damaged.
        DeviceError: the device is not there.
        MissingExtraError: the runtime's package is not installed.
        TRBertError: the options do not go together; for TensorRT, there is no engine that runs here.
        TypeError: there is no such option.
    """
    chosen = with_changes(options or LoadOptions(), changes, "load")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    return Engine(opened, open_runtime(opened, chosen), chosen)
