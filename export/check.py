"""Check what was written: every graph under ONNX Runtime against the PyTorch reference, before anyone sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.golden import TOLERANCE, Golden
from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.errors import CheckFailedError
from trbert_deploy.export.samples import random_batch
from trbert_deploy.model.margin import selection_margins
from trbert_deploy.request import Request, check_request
from trbert_deploy.runtimes.base import Answer, Array, Runtime
from trbert_deploy.runtimes.onnxrt import FusedRuntime, SessionRunner, StagedRuntime, dense_runtime
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.runtimes.reference import ReferenceRuntime

#: Two runtimes round a logit differently by about 1e-6. Where less than this decides, another kept set is no error of
#: the graphs; such rows are counted and their outputs left out of the comparison.
NEAR_TIE = 2e-5

_BATCHES = ((1, (7,)), (2, (1, 33)), (5, (64, 3, 17, 40, 64)), (3, (128, 90, 31)))
_SEED = 1234


@dataclass
class CheckResult:
    """What the checks found.

    Attributes:
        rows: how many rows were compared with the reference.
        near_ties: how many of them kept another set where less than `NEAR_TIE` decided.
        worst: the largest difference of an output, by graph.
    """

    rows: int
    near_ties: int
    worst: dict[str, float]


def check_bundle(
    bundle: Bundle, reference: ReferenceRuntime, golden: Golden, progress: Callable[[str], None]
) -> CheckResult:
    """Run every graph on golden and random rows.

    Raises:
        CheckFailedError: a kept set or an output differs from the reference's; says which graph and by how much.
    """
    requests = list(_requests(bundle, golden))
    result = CheckResult(sum(len(request) for request in requests), 0, {})
    expected = [(request, *_expect(reference, request)) for request in requests]
    _check_stages(bundle, reference, requests, result)
    progress(f"check: {len(bundle.manifest.stages)} stages, largest difference {max(result.worst.values()):.1e}")
    runtimes: list[tuple[str, Callable[[Bundle], Runtime]]] = [
        ("staged pipeline", StagedRuntime),
        (bundle.manifest.fused.file, FusedRuntime),
    ]
    for name, make in runtimes:
        runtime = make(bundle)
        for request, answer, margin in expected:
            _compare(name, runtime.answer(request, want_kept=True), answer, margin, result)
        runtime.close()
        progress(f"check: {name}, largest difference {result.worst[name]:.1e}")
    if bundle.manifest.dense is not None:
        runtime = dense_runtime(bundle)
        dense_reference = ReferenceRuntime(reference.model.without_reduction())
        for request in requests:
            answer = dense_reference.answer(request, want_kept=False)
            given = runtime.answer(request, want_kept=False)
            _compare(bundle.manifest.dense.file, given, answer, np.full(len(request), np.inf), result)
        runtime.close()
        progress(
            f"check: {bundle.manifest.dense.file}, largest difference "
            f"{result.worst[bundle.manifest.dense.file]:.1e}"
        )
    return result


def _requests(bundle: Bundle, golden: Golden) -> Iterator[Request]:
    task, limits = bundle.manifest.task_facts, bundle.manifest.limit_facts
    for batch in golden.batches:
        yield check_request(task, limits, batch.inputs)
    rng = np.random.default_rng(_SEED)
    for _, lengths in _BATCHES:
        capped = [min(length, limits.max_length) for length in lengths]
        yield check_request(task, limits, random_batch(task, limits, capped, rng))
    longest = random_batch(task, limits, [limits.max_length, 2], rng)
    yield check_request(task, limits, longest)


def _expect(reference: ReferenceRuntime, request: Request) -> tuple[Answer, npt.NDArray[np.float32]]:
    """The reference's answer, and for each row the margin of its closest selection."""
    mask = torch.from_numpy(request.arrays["attention_mask"])
    margins = selection_margins(reference.model, mask, reference.forward(request))
    closest = np.full(len(request), np.inf, dtype=np.float32)
    for margin in margins:
        closest = np.minimum(closest, margin.numpy())
    return reference.answer(request, want_kept=True), closest


def _compare(
    name: str, given: Answer, wanted: Answer, margin: npt.NDArray[np.float32], result: CheckResult
) -> None:
    same = np.ones(len(margin), dtype=bool)
    for reduction, rows in enumerate(wanted.kept or []):
        assert given.kept is not None
        for row, positions in enumerate(rows):
            if np.array_equal(positions, given.kept[reduction][row]):
                continue
            if not 0 < margin[row] < NEAR_TIE:
                raise CheckFailedError(
                    f"{name}: reduction {reduction + 1} keeps other tokens than the reference in a row of "
                    f"{len(positions)} kept tokens, though the logits lie {margin[row]:.1e} apart",
                    _REPORT,
                )
            same[row] = False
    result.near_ties += int((~same).sum())
    worst = result.worst.get(name, 0.0)
    for output, array in wanted.outputs.items():
        worst = max(worst, _difference(f"{name}: {output}", given.outputs[output][same], array[same]))
    result.worst[name] = worst


def _difference(what: str, given: Array, wanted: Array, relative: float = 0.0) -> float:
    if given.shape != wanted.shape:
        raise CheckFailedError(f"{what} is of shape {list(given.shape)}, not {list(wanted.shape)}", _REPORT)
    distance = np.abs(given.astype(np.float64) - wanted.astype(np.float64))
    allowed = TOLERANCE * (1 + relative * np.abs(wanted.astype(np.float64)))
    if not (distance <= allowed).all():
        raise CheckFailedError(
            f"{what} differs from the PyTorch reference by {distance.max():.3g}, more than {TOLERANCE:g}", _REPORT
        )
    return float(distance.max(initial=0.0))


_REPORT = "nothing was written; please report it with the model's config.json and `trbert-deploy env`"


class _Compared:
    """A stage runner that runs every stage on both sides, on the same inputs, and goes on with the reference's."""

    def __init__(
        self, bundle: Bundle, reference: ReferenceRuntime, result: CheckResult
    ) -> None:
        self.sessions = SessionRunner(bundle, bundle.manifest.stages, "cpu", None)
        self._bundle = bundle
        self._model = reference.model
        self._result = result

    def run(self, stage: int, feeds: Mapping[str, Tensor | Array]) -> dict[str, Tensor]:
        by_budget = self._bundle.manifest.selection.mode == "budget"
        graph = self._bundle.manifest.stages[stage]
        tensors = {name: torch.as_tensor(value) for name, value in feeds.items()}
        logits: list[Tensor] = []
        with torch.inference_mode():
            wanted = self._model.stage(stage, tensors, by_budget=by_budget, logits_out=logits)
        last = not logits
        named = wanted if last else {n if n == "keep_count" else NEXT + n: t for n, t in wanted.items()}
        given = self.sessions.run(stage, {name: tensors[name].numpy() for name in graph.inputs})
        worst = 0.0
        for name, tensor in named.items():
            what = f"{graph.file}: {name}"
            array = self.sessions.fetch(given[name])
            if name in (f"{NEXT}hidden_states", *(o.name for o in self._model.task.outputs)):
                worst = max(worst, _difference(what, array, tensor.numpy(), relative=0.0 if last else 1.0))
            elif array.shape != tuple(tensor.shape):
                raise CheckFailedError(f"{what} is of shape {list(array.shape)}, not {list(tensor.shape)}", _REPORT)
        self._result.worst[graph.file] = max(self._result.worst.get(graph.file, 0.0), worst)
        return named

    def fetch(self, handle: Tensor) -> Array:
        array: Array = handle.numpy()
        return array


def _check_stages(
    bundle: Bundle, reference: ReferenceRuntime, requests: list[Request], result: CheckResult
) -> None:
    """Each stage alone, on what the reference hands it, so that a difference has a stage's name."""
    runner = _Compared(bundle, reference, result)
    manifest = bundle.manifest
    pipeline = StagePipeline(runner, [graph.inputs for graph in manifest.stages], manifest.selection.keep)
    for request in requests:
        pipeline.answer(request, want_kept=False)
    runner.sessions.close()
