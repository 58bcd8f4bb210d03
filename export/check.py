"""Check what was written: every graph under ONNX Runtime against the PyTorch reference, before anyone sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.golden import Golden, largest_difference
from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.bundle.precision import TOLERANCES, Tolerance
from trbert_deploy.core.errors import CheckFailedError
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.samples import random_batch
from trbert_deploy.model import Decision, by_budget, by_policy, run_stage
from trbert_deploy.model.margin import selection_margins
from trbert_deploy.runtimes.base import Array, Result, Runtime
from trbert_deploy.runtimes.onnxruntime.pool import pool_is_shared
from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner, open_sessions
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

_BATCHES = ((7,), (1, 33), (64, 3, 17, 40, 64), (128, 90, 31))
_SEED = 1234


@dataclass
class CheckResult:
    """What the checks found.

    Attributes:
        rows: how many rows were compared with the reference.
        tolerance: of the bundle's precision.
        near_ties: numbers of those that kept another set where less than the tolerance's `near_tie` decided.
        worst: the largest difference of an output, by graph.
        flips: tokens at reductions that one keeps and the other drops, and those that reach reductions, by graph.
    """

    rows: int
    tolerance: Tolerance
    near_ties: set[int] = field(default_factory=set)
    worst: dict[str, float] = field(default_factory=dict)
    flips: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Expected:
    """A request, the reference's answer, each row's number and the margin of its closest selection."""

    request: Request
    result: Result
    numbers: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float32]


def check_bundle(
    bundle: Bundle, reference: ReferenceRuntime, golden: Golden, progress: Callable[[str], None]
) -> CheckResult:
    """Run every graph on golden and random rows.

    Raises:
        CheckFailedError: a kept set or an output differs from the reference's; says which graph and by how much.
    """
    requests = list(_requests(bundle, golden))
    result = CheckResult(sum(len(request) for request in requests), TOLERANCES[bundle.manifest.precision])
    _check_stages(bundle, reference, requests, result)
    progress(f"check: {len(bundle.manifest.stages)} stages, largest difference {max(result.worst.values()):.1e}")
    expected = _expect(reference, requests)
    options = LoadOptions(share_pool=pool_is_shared())
    _check_runtime("staged pipeline", open_sessions(bundle, options), expected, result, progress)
    fused = open_sessions(bundle, replace(options, mode="fused"))
    _check_runtime(bundle.manifest.fused.file, fused, expected, result, progress)
    if bundle.manifest.dense is not None:
        without = ReferenceRuntime(reference.model.without_reduction())
        dense = open_sessions(bundle, replace(options, mode="dense"))
        _check_runtime(bundle.manifest.dense.file, dense, _expect(without, requests), result, progress)
    return result


def _check_runtime(
    name: str, runtime: Runtime, expected: list[_Expected], result: CheckResult, progress: Callable[[str], None]
) -> None:
    compared = 0
    for one in expected:
        compared += _compare(name, runtime.run(one.request, want_kept=True), one, result)
    runtime.close()
    flipped, reached = result.flips.get(name, (0, 0))
    if result.tolerance.flips:
        if flipped > result.tolerance.flips * reached:
            raise CheckFailedError(
                f"{name}: {flipped} of {reached} tokens at reductions are kept by one and dropped by the reference or "
                f"the other way round, more than {100 * result.tolerance.flips:g} %",
                "export in a higher precision, or keep the layers that suffer most in float32: --fp32-layers 2",
            )
    elif 2 * compared < result.rows:
        raise CheckFailedError(
            f"{name}: near-tied logits decide the selection in {result.rows - compared} of {result.rows} rows, so "
            "this model's kept sets depend on rounding",
            "train its selectors, or export it in the other selection mode",
        )
    flips = f", {flipped} of {reached} tokens kept otherwise" if flipped else ""
    progress(f"check: {name}, largest difference {result.worst[name]:.1e}{flips}")


def _requests(bundle: Bundle, golden: Golden) -> Iterator[Request]:
    task = bundle.manifest.task
    for batch in golden.batches:
        yield check_request(task, batch.inputs)
    rng = np.random.default_rng(_SEED)
    for lengths in _BATCHES:
        capped = [min(length, task.max_length) for length in lengths]
        yield check_request(task, random_batch(task, capped, rng))
    longest = random_batch(task, [task.max_length, 2], rng)
    yield check_request(task, longest)


def _expect(reference: ReferenceRuntime, requests: list[Request]) -> list[_Expected]:
    expected = []
    first = 0
    for request in requests:
        output = reference.forward(request)
        closest = np.full(len(request), np.inf, dtype=np.float32)
        for margin in selection_margins(output):
            closest = np.minimum(closest, margin.numpy())
        numbers = np.arange(first, first + len(request))
        expected.append(_Expected(request, reference.collect(request, output, want_kept=True), numbers, closest))
        first += len(request)
    return expected


def _compare(name: str, given: Result, wanted: _Expected, result: CheckResult) -> int:
    """Compare the answers to a request; how many rows kept the same sets, so that their outputs were compared."""
    same = np.ones(len(wanted.numbers), dtype=bool)
    flipped, reached = result.flips.get(name, (0, 0))
    before = wanted.request.lengths
    for reduction, rows in enumerate(wanted.result.kept or []):
        assert given.kept is not None
        reached += int(before.sum())
        before = np.array([len(positions) for positions in rows])
        for row, positions in enumerate(rows):
            changed = len(np.setxor1d(positions, given.kept[reduction][row]))
            if not changed:
                continue
            flipped += changed
            if wanted.margin[row] >= result.tolerance.near_tie:
                raise CheckFailedError(
                    f"{name}: reduction {reduction + 1} keeps other tokens than the reference in a row of "
                    f"{wanted.request.lengths[row]} tokens, though its logits lie {wanted.margin[row]:.1e} apart",
                    _REPORT,
                )
            same[row] = False
    result.flips[name] = flipped, reached
    result.near_ties.update(wanted.numbers[~same].tolist())
    worst = result.worst.get(name, 0.0)
    for output, array in wanted.result.outputs.items():
        found = _difference(f"{name}: {output}", given.outputs[output][same], array[same], result.tolerance)
        worst = max(worst, found)
    result.worst[name] = worst
    return int(same.sum())


def _difference(what: str, given: Array, wanted: Array, tolerance: Tolerance) -> float:
    if given.shape != wanted.shape:
        raise CheckFailedError(f"{what} is of shape {list(given.shape)}, not {list(wanted.shape)}", _REPORT)
    worst = largest_difference(given, wanted)
    if not worst <= tolerance.outputs:  # also where it is not a number
        raise CheckFailedError(
            f"{what} differs from the PyTorch reference by {worst:.3g}, more than {tolerance.outputs:g}", _REPORT
        )
    return worst


_REPORT = "nothing was written; please report it with the model's config.json and `trbert-deploy env`"


class _Compared:
    """A stage runner that runs every stage on both sides, on the same inputs, and goes on with the reference's."""

    def __init__(self, bundle: Bundle, reference: ReferenceRuntime, result: CheckResult) -> None:
        self.sessions = SessionRunner(bundle, bundle.manifest.stages, "cpu", None, pool_is_shared())
        self._bundle = bundle
        self._model = reference.model
        self._result = result

    def run(self, stage: int, feeds: Mapping[str, Tensor | Array]) -> dict[str, Tensor]:
        budgeted = self._bundle.manifest.reduction.mode == "budget"
        graph = self._bundle.manifest.stages[stage]
        tensors = {name: torch.as_tensor(value) for name, value in feeds.items()}
        with torch.inference_mode():
            found = run_stage(self._model, stage, tensors, by_budget if budgeted else by_policy)
        wanted, decision = found.tensors, found.decision
        named = {n if n == "keep_count" else NEXT + n: t for n, t in wanted.items()} if decision else wanted
        outputs = self.sessions.run(stage, {name: self._as_taken(tensors[name]).numpy() for name in graph.input_names})
        given = {name: self.sessions.fetch(outputs[name]) for name in named}
        worst = 0.0
        for name, tensor in named.items():
            if name not in (f"{NEXT}keep_mask", "keep_count"):
                what = f"{graph.file}: {name}"
                worst = max(worst, _difference(what, given[name], tensor.numpy(), self._result.tolerance))
        if decision is not None:
            near_tie = self._result.tolerance.near_tie
            _check_masks(graph.file, given, wanted["keep_mask"], decision, budgeted, near_tie)
        self._result.worst[graph.file] = max(self._result.worst.get(graph.file, 0.0), worst)
        return named

    def _as_taken(self, tensor: Tensor) -> Tensor:
        """The reference's float32 states are float16 to graphs of that precision."""
        return tensor.half() if tensor.is_floating_point() and self._bundle.manifest.precision == "fp16" else tensor

    def fetch(self, handle: Tensor) -> Array:
        array: Array = handle.numpy()
        return array


def _check_masks(
    file: str, given: Mapping[str, Array], wanted: Tensor, decision: Decision, budgeted: bool, near_tie: float
) -> None:
    """Kept sets are equal but for tokens whose logits lie within `near_tie` of the threshold, or of each other."""
    mask = torch.from_numpy(given[f"{NEXT}keep_mask"])
    if mask.shape != wanted.shape or not torch.equal(mask.sum(-1), torch.from_numpy(given["keep_count"])):
        raise CheckFailedError(f"{file}: keep_mask and keep_count do not fit the reference", _REPORT)
    for row in (mask != wanted).any(-1).nonzero().flatten().tolist():
        changed = mask[row] != wanted[row]
        scores = decision.scores[row][changed]
        spread = float(scores.max() - scores.min()) if budgeted else float(scores.abs().max())
        if spread >= near_tie or not decision.free[row][changed].all():
            raise CheckFailedError(
                f"{file}: keeps other tokens than the reference, though their logits lie {spread:.1e} apart", _REPORT
            )


def _check_stages(bundle: Bundle, reference: ReferenceRuntime, requests: list[Request], result: CheckResult) -> None:
    """Each stage alone, on what the reference hands it, so that a difference has a stage's name."""
    runner = _Compared(bundle, reference, result)
    manifest = bundle.manifest
    pipeline = StagePipeline(runner, [graph.input_names for graph in manifest.stages], manifest.reduction)
    for request in requests:
        pipeline.run(request, want_kept=False)
    runner.sessions.close()
