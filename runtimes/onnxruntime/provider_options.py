"""What ONNX Runtime's TensorRT providers are told: shapes, and where their engines are cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.runtimes.profiles import Profile, own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, doubling_buckets

#: Rows of a group at most, and options, sentences or candidates of a row.
ROWS, ENTRIES = 32, 64


def provider_shapes(bundle: Bundle) -> ShapeBuckets:
    """The shapes that sessions are started for: numbers of tokens double from 32 to the model's limit."""
    manifest = bundle.manifest
    buckets = doubling_buckets(manifest.task.max_length)
    return ShapeBuckets(lengths=buckets, kept=(buckets,) * len(manifest.reduction.layers), rows=ROWS, entries=ENTRIES)


def bucket_profiles(bundle: Bundle, shapes: ShapeBuckets, stage: int) -> list[Profile]:
    """One profile for each number of tokens, for any number of rows; see `stage_profiles`."""
    any_rows = {"batch": (1, shapes.rows, shapes.rows), "batch_before": (1, shapes.rows, shapes.rows)}
    manifest = bundle.manifest
    split = stage_profiles(shapes, stage, full_length=manifest.reduction.full_length, own=own_axes(manifest.task))
    return [
        Profile(axes=profile.axes | {axis: any_rows[axis] for axis in any_rows if axis in profile.axes})
        for profile in split
        if profile.axes["batch"][2] == shapes.rows
    ]


def profile_shapes(inputs: Sequence[TensorSpec], profile: Profile) -> list[str]:
    """Smallest, best and largest shapes as the providers' options take them: ``name:1x32,other:1``."""
    return [
        ",".join(f"{tensor.name}:" + "x".join(map(str, profile.shape(tensor.axes, which))) for tensor in inputs)
        for which in range(3)
    ]


def provider_options(provider: str, inputs: Sequence[TensorSpec], profile: Profile, cache: Path) -> dict[str, str]:
    """Options of a session's provider.

    Args:
        provider: ``"tensorrt"`` or ``"rtx"``.
        inputs: of the graph.
        profile: what shapes the engine is for.
        cache: a folder for this graph and profile alone.
    """
    least, best, most = profile_shapes(inputs, profile)
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
