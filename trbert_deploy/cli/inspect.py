"""`trbert-deploy inspect`: a bundle by its manifest, what its graphs compute in, and which engines lie beside it."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.table import Table

from trbert_deploy.bundle import Graph, Manifest, open_bundle
from trbert_deploy.bundle.manifest import layer_range
from trbert_deploy.bundle.precision import GraphPrecision, graph_precision, read_sensitivity, require_precisions
from trbert_deploy.cli.options import BundleArgument, EnginesOption, JsonOption
from trbert_deploy.cli.output import facts_table, rows_table, stdout, write_json

if TYPE_CHECKING:
    from trbert_deploy.runtimes.tensorrt.listing import ListedEngine


def inspect(bundle: BundleArgument, engines: EnginesOption = None, as_json: JsonOption = False) -> None:
    """Show what a bundle is, and which TensorRT engines of it are valid here, without loading a runtime."""
    from trbert_deploy.runtimes.engines_folder import engines_folder
    from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache
    from trbert_deploy.runtimes.tensorrt.listing import list_engines

    opened = open_bundle(bundle)
    manifest = opened.manifest
    precisions = {graph.file: graph_precision(opened.path(graph.file)) for graph in _graphs_of(manifest)}
    sensitivity = read_sensitivity(opened)
    cache = EngineCache(engines or engines_folder(opened))
    listed = list_engines(cache, opened)
    if as_json:
        document = {"command": "inspect", "bundle": str(bundle), **manifest.model_dump(mode="json")}
        read = {file: dataclasses.asdict(precision) for file, precision in precisions.items()}
        document |= {"graph_precisions": read, "sensitivity": sensitivity}
        write_json(document | {"engines": [dataclasses.asdict(engine) for engine in listed]})
    else:
        stdout.print(facts_table(_facts(manifest, sensitivity), title=str(bundle)))
        stdout.print()
        stdout.print(_graphs(manifest, precisions))
        if listed:
            stdout.print()
            stdout.print(_engines(listed, str(cache.folder)))
    require_precisions(opened)


def _graphs_of(manifest: Manifest) -> list[Graph]:
    return [*manifest.stages, manifest.fused, *([manifest.dense] if manifest.dense else [])]


def _facts(manifest: Manifest, sensitivity: dict[str, Any] | None) -> dict[str, str]:
    model, limits = manifest.model, manifest.limits
    layers = ", ".join(str(layer) for layer in manifest.reduction.layers)
    if not layers:
        selection = "none: a dense model"
    elif manifest.reduction.mode == "budget":
        fractions = ", ".join(f"{fraction:g}" for fraction in manifest.reduction.fractions)
        selection = f"budget: keeps {fractions} of the original length, rounded up, before layers {layers}"
    else:
        selection = f"policy: keeps what the selectors say before layers {layers}"
    total = sum(facts.bytes for facts in manifest.files.values())
    return {
        "task": manifest.task,
        "model": f"{model.model_class} from {model.source} ({model.source_class})",
        "backbone": f"{model.backbone}, {model.num_layers} layers, hidden size {model.hidden_size}, "
        f"{model.parameters / 1e6:.1f} M parameters",
        "labels": ", ".join(model.labels) or "none",
        "selection": selection,
        "precision": manifest.precision,
        **_quantization(manifest, sensitivity),
        "limits": f"{limits.max_length} tokens a row, vocabulary of {limits.vocab_size}",
        "tokenizer": _tokenizer(manifest),
        "reference": "in the bundle" if manifest.reference else "left out",
        "size": f"{total / 2**20:.1f} MiB in {len(manifest.files)} files",
        "exported": f"{manifest.created} by trbert-deploy {manifest.environment.get('trbert-deploy', '?')}",
        "schema": manifest.schema_version,
    }


def _quantization(manifest: Manifest, sensitivity: dict[str, Any] | None) -> dict[str, str]:
    facts = manifest.quantization
    if facts is None or sensitivity is None:
        return {}
    left = ", ".join(str(layer) for layer in facts.fp32_layers) or "none"
    worst = ", ".join(f"{one['layer']} (by {one['mean_difference']:.2g})" for one in sensitivity["layers"][:3])
    return {
        "quantization": f"form {facts.form}, ranges from {facts.calibration_rows} rows of {facts.calibration}; "
        f"layers left in float32: {left}",
        "sensitivity": f"layers that change the outputs most when quantized alone: {worst}, see {facts.sensitivity}",
    }


def _tokenizer(manifest: Manifest) -> str:
    if manifest.tokenizer is None:
        return "none: give token ids"
    graph = " and as an ONNX graph" if manifest.tokenizer.onnx else ""
    return f"{manifest.tokenizer.folder}{graph}, up to {manifest.tokenizer.max_length} tokens"


def _graphs(manifest: Manifest, precisions: dict[str, GraphPrecision]) -> Table:
    headers = ("graph", "layers", "size (MiB)", "weights (M)", "inputs", "outputs")
    rows = []
    last = manifest.model.num_layers
    bounds = [0, *manifest.reduction.layers, last]
    layers = [layer_range(start, end) for start, end in pairwise(bounds)] + ["all, fused", "all, dense"]
    for graph, what in zip(_graphs_of(manifest), layers, strict=False):
        size = manifest.files[graph.file].bytes / 2**20
        weights = ", ".join(f"{kind} {count / 1e6:.2f}" for kind, count in precisions[graph.file].weights.items())
        rows.append((graph.file, what, f"{size:.1f}", weights, ", ".join(graph.inputs), ", ".join(graph.outputs)))
    return rows_table(headers, rows)


def _engines(listed: list[ListedEngine], folder: str) -> Table:
    headers = ("engine of", "precision", "built by", "GPU", "profiles", "size (MiB)", "here")
    rows = []
    for engine in listed:
        if engine.graph is None or engine.bytes is None:
            facts = [engine.file, "", "", "", "", ""]
        else:
            built = engine.graph, engine.precision, engine.flavor, engine.compute_capability, engine.profiles
            facts = [*map(str, built), f"{engine.bytes / 2**20:.1f}"]
        rows.append([*facts, engine.invalid or "valid"])
    return rows_table(headers, rows, folder)
