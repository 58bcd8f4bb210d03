"""`export`: a checkpoint becomes a bundle, checked against the reference, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from onnx import ModelProto

from trbert_deploy.bundle import SCHEMA_VERSION, Bundle, GraphFile, Manifest, open_bundle
from trbert_deploy.bundle.folder import whole_folder
from trbert_deploy.bundle.golden import write_golden
from trbert_deploy.bundle.manifest import (
    MANIFEST_FILE,
    SCHEMA_FILE,
    FileFacts,
    ModelFacts,
    Precision,
    layer_range,
    schema,
)
from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.bundle.reader import sha256_of
from trbert_deploy.checkpoint import Checkpoint, load_tokenizer, save_checkpoint
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.selection import Selection
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.check import check_bundle
from trbert_deploy.export.fuse import fuse
from trbert_deploy.export.golden import make_golden
from trbert_deploy.export.graphs import save_graph
from trbert_deploy.export.precision import Int8Options, make_fp16, make_int8
from trbert_deploy.export.tokenizer import write_tokenizer
from trbert_deploy.export.trace import OPSET, trace_dense, trace_stage
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

_REFERENCE_FOLDER = "reference"
_FUSED_FILE = "model.onnx"
_DENSE_FILE = "dense.onnx"
_GOLDEN_FILE = "golden.json"


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    *,
    keep: Sequence[float] | None = None,
    with_dense: bool = False,
    with_reference: bool = True,
    precision: Precision = "fp32",
    int8: Int8Options | None = None,
    force: bool = False,
    source: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Export a checkpoint.

    Args:
        checkpoint: what `load_checkpoint` gave.
        out: the folder to make.
        keep: budget fractions; None for the checkpoint's default, an empty sequence for policy mode.
        with_dense: whether to export the same weights without reduction too, for comparison.
        with_reference: whether the PyTorch checkpoint goes into the bundle.
        precision: what the encoder layers compute in.
        int8: how, where that is int8; by default as `Int8Options` says.
        force: whether an existing bundle at `out` is replaced.
        source: how the manifest names the checkpoint; by default its folder's name.
        progress: is given a line for every step.

    Returns:
        The bundle at `out`.

    Raises:
        CheckFailedError: a graph does not reproduce the reference; nothing is left behind.
        TRBertError: `out` cannot be written, or the arguments do not fit the model.
    """
    model = checkpoint.model
    selection = model.config.selection if keep is None else Selection.of(keep, model.num_stages - 1)
    if with_dense and model.num_stages == 1:
        raise TRBertError("the checkpoint has no selectors: its bundle is dense already", "leave --with-dense out")
    tokenizer = load_tokenizer(checkpoint.folder)
    int8 = int8 or Int8Options()
    if precision == "int8":
        int8.check(model.spec, len(model.encoder_layers), tokenizer is not None)
    with _selecting(model, selection), whole_folder(out, force=force, replaceable=is_bundle) as folder:
        stages, fused, dense = _write_graphs(model, selection, folder, with_dense, progress)
        tokenizer_facts = None
        if tokenizer is None:
            progress("no tokenizer beside the checkpoint: the bundle takes token ids only")
        else:
            max_length = model.spec.max_length
            tokenizer_facts, remark = write_tokenizer(tokenizer, folder, max_length)
            progress("tokenizer" + (f" ({remark})" if remark else ""))
        if with_reference:
            save_checkpoint(model, folder / _REFERENCE_FOLDER)
            progress("reference checkpoint")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=_model_facts(checkpoint, source),
            task=model.spec,
            reduction=_reduction_spec(model, selection),
            costs=model.costs,
            precision="fp32",
            opset=OPSET,
            stages=stages,
            fused=fused,
            dense=dense,
            tokenizer=tokenizer_facts,
            golden=_GOLDEN_FILE,
            reference=_REFERENCE_FOLDER if with_reference else None,
            files={},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            environment=environment(),
        )
        bundle = Bundle(folder, manifest)
        if precision == "fp16":
            bundle = make_fp16(bundle, progress)
        elif precision == "int8":
            bundle = make_int8(bundle, int8, progress)
        reference = ReferenceRuntime(model)
        golden = make_golden(reference, TOLERANCES[precision])
        write_golden(golden, folder / _GOLDEN_FILE)
        result = check_bundle(bundle, reference, golden, progress)
        if result.near_ties:
            progress(f"check: {len(result.near_ties)} of {result.rows} rows kept other tokens where logits nearly tie")
        _write_manifest(bundle.manifest, folder)
    return open_bundle(out)


def is_bundle(folder: Path) -> bool:
    """Whether a folder was written by `export_bundle`, whatever its version."""
    return (folder / MANIFEST_FILE).is_file() and (folder / SCHEMA_FILE).is_file()


@contextlib.contextmanager
def _selecting(model: TRBertPreTrainedModel, selection: Selection) -> Iterator[None]:
    """Make this the model's default selection while it is exported."""
    before = model.config.keep
    model.config.keep = list(selection.fractions) or None
    try:
        yield
    finally:
        model.config.keep = before


def _write_graphs(
    model: TRBertPreTrainedModel,
    selection: Selection,
    folder: Path,
    with_dense: bool,
    progress: Callable[[str], None],
) -> tuple[list[GraphFile], GraphFile, GraphFile | None]:
    traced: list[ModelProto] = []
    stages: list[GraphFile] = []
    layers = model.stage_bounds
    for index in range(model.num_stages):
        start = time.perf_counter()
        traced.append(trace_stage(model, index, by_budget=bool(selection.fractions)))
        stages.append(save_graph(traced[-1], folder, f"stage_{index}.onnx"))
        progress(
            f"stage {index + 1} of {model.num_stages}: {layer_range(layers[index], layers[index + 1])}, "
            f"{time.perf_counter() - start:.1f} s"
        )
    start = time.perf_counter()
    graph = fuse(traced, selection.fractions, model.spec)
    traced.clear()
    fused = save_graph(graph, folder, _FUSED_FILE)
    progress(f"fused: {time.perf_counter() - start:.1f} s")
    dense = None
    if with_dense:
        start = time.perf_counter()
        dense = save_graph(trace_dense(model), folder, _DENSE_FILE)
        progress(f"dense: {time.perf_counter() - start:.1f} s")
    return stages, fused, dense


def _model_facts(checkpoint: Checkpoint, source: str | None) -> ModelFacts:
    config = checkpoint.model.config
    backbone = config.backbone
    return ModelFacts(
        source=source or checkpoint.folder.resolve().name,
        source_class=checkpoint.source_class,
        model_class=type(checkpoint.model).__name__,
        backbone=backbone.model_type,
        num_layers=backbone.num_hidden_layers,
        hidden_size=backbone.hidden_size,
        num_attention_heads=backbone.num_attention_heads,
        intermediate_size=checkpoint.model.parts.intermediate_size(backbone),
        parameters=sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        labels=config.label_names if checkpoint.model.task.labelled else [],
    )


def _reduction_spec(model: TRBertPreTrainedModel, selection: Selection) -> ReductionSpec:
    return ReductionSpec(
        kind=model.reduction.name,
        layers=tuple(model.config.reduction_layers),
        fate=model.reduction.fate,
        mode=selection.mode,
        fractions=selection.fractions,
        full_length=model.full_length,
    )


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    """The manifest comes last: it lists every other file with its hash."""
    (folder / SCHEMA_FILE).write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
    files = {
        path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    complete = manifest.model_copy(update={"files": files})
    (folder / MANIFEST_FILE).write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
