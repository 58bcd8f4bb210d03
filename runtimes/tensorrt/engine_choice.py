"""Which engines of a cache a bundle runs on here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from trbert_deploy.bundle import Bundle
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_header
from trbert_deploy.runtimes.tensorrt.gpu import Here, invalid_because


def select_engines(cache: EngineCache, bundle: Bundle, graphs: Sequence[str], here: Here) -> list[Path]:
    """An engine for each graph, all of one build: of several that run here the one built or asked for last.

    Raises:
        EngineError: there is none; says why the last one does not run here.
    """
    command = f"trbert-deploy build {shlex.quote(str(bundle.folder))}"
    found: dict[tuple[ShapeBuckets, str], dict[str, Path]] = {}
    reasons: dict[str, str] = {}
    for path in cache:
        try:
            header = read_header(path)
        except EngineError as error:
            reasons.setdefault("", error.message)
            continue
        if header.graph not in graphs:
            continue
        if reason := invalid_because(header, bundle, here):
            reasons.setdefault(header.graph, f"{path.name}: {reason}")
            continue
        build = found.setdefault((header.shapes, header.key.flavor), {})
        build.setdefault(header.graph, path)
    for build in found.values():
        if all(graph in build for graph in graphs):
            return [build[graph] for graph in graphs]
    lacking = [graph for graph in graphs if not any(graph in build for build in found.values())]
    missing = (lacking or graphs)[0]
    why = reasons.get(missing) or reasons.get("") or f"{cache.folder} holds none"
    fused = " --fused" if graphs == [bundle.manifest.fused.file] else ""
    raise EngineError(f"there is no TensorRT engine of {missing} that runs here ({why})", f"{command}{fused}")
