"""Check what was written: every graph under ONNX Runtime against the PyTorch reference, before anyone sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.golden import Golden
from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.core.errors import CheckFailedError
from trbert_deploy.export.check_result import REPORT, CheckResult
from trbert_deploy.export.check_rows import Expected, check_requests, expect
from trbert_deploy.export.check_stages import check_stages
from trbert_deploy.runtimes.base import Result, Runtime
from trbert_deploy.runtimes.onnxruntime.pool import pool_is_shared
from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner, SessionRuntime, open_sessions
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import make_pipeline
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime


def check_bundle(
    bundle: Bundle, reference: ReferenceRuntime, golden: Golden, progress: Callable[[str], None]
) -> CheckResult:
    """Run every graph on golden and random rows; each file is loaded once.

    Raises:
        CheckFailedError: a kept set or an output differs from the reference's; says which graph and by how much.
    """
    manifest = bundle.manifest
    requests = list(check_requests(manifest.task, golden))
    result = CheckResult(sum(len(request) for request in requests), TOLERANCES[manifest.precision])
    options = LoadOptions(device="cpu", share_pool=pool_is_shared())
    runner = SessionRunner(bundle, manifest.stages, "cpu", options)
    check_stages(bundle, runner, reference.model, requests, result)
    progress(f"check: {len(manifest.stages)} stages, largest difference {max(result.worst.values()):.1e}")
    expected = expect(reference, requests)
    staged = SessionRuntime(runner, make_pipeline(bundle, "staged", runner), "cpu")
    _check_runtime("staged pipeline", staged, expected, result, progress)
    fused = open_sessions(bundle, replace(options, mode="fused"))
    _check_runtime(manifest.fused.file, fused, expected, result, progress)
    if manifest.dense is not None:
        without = ReferenceRuntime(reference.model.without_reduction())
        dense = open_sessions(bundle, replace(options, mode="dense"))
        _check_runtime(manifest.dense.file, dense, expect(without, requests), result, progress)
    return result


def _check_runtime(
    name: str, runtime: Runtime, expected: Sequence[Expected], result: CheckResult, progress: Callable[[str], None]
) -> None:
    """Run all requests on a runtime, and close it."""
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


def _compare(name: str, given: Result, wanted: Expected, result: CheckResult) -> int:
    """Compare the results of a request; how many rows kept the same sets, so that their outputs were compared."""
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
                    REPORT,
                )
            same[row] = False
    result.flips[name] = flipped, reached
    result.near_ties.update(wanted.numbers[~same].tolist())
    for output, array in wanted.result.outputs.items():
        result.compare(name, output, given.outputs[output][same], array[same])
    return int(same.sum())
