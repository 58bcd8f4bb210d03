"""`export`: a checkpoint becomes a bundle, checked against the reference, whole or not at all.

The graphs stay in memory from pass to pass: traced, in fp16 or int8 if wanted, fused. Then each is written, once, and
the check runs what was written.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trbert_deploy.bundle import SCHEMA_VERSION, Bundle, Manifest, open_bundle
from trbert_deploy.bundle.folder import whole_folder
from trbert_deploy.bundle.golden import write_golden
from trbert_deploy.bundle.manifest import MANIFEST_FILE, SCHEMA_FILE, ModelFacts, QuantizationFacts, TokenizerFacts
from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.checkpoint import Checkpoint, load_tokenizer, save_checkpoint
from trbert_deploy.core.options import with_changes
from trbert_deploy.core.selection import Selection
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.calibration_rows import read_requests
from trbert_deploy.export.check import check_bundle
from trbert_deploy.export.facts import model_facts, reduction_spec
from trbert_deploy.export.fuse import add_fused
from trbert_deploy.export.golden import make_golden
from trbert_deploy.export.graphs import DENSE_FILE, FUSED_FILE, Graphs, stage_file
from trbert_deploy.export.half import Half
from trbert_deploy.export.int8 import quantize
from trbert_deploy.export.options import ExportOptions
from trbert_deploy.export.tokenizer import write_tokenizer
from trbert_deploy.export.trace import OPSET, trace
from trbert_deploy.export.write import write_graphs, write_manifest
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime
from trbert_deploy.text.tokenizer import BundleTokenizer

_REFERENCE_FOLDER = "reference"
_GOLDEN_FILE = "golden.json"


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions | None = None,
    *,
    source: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **changes: Any,
) -> Bundle:
    """Export a checkpoint.

    Args:
        checkpoint: what `load_checkpoint` gave.
        out: the folder to make.
        options: how; by default in float32, with the checkpoint's own selection.
        source: how the manifest names the checkpoint; by default its folder's name.
        progress: is given a line for every step.
        **changes: attributes of `ExportOptions`, instead of those in `options`: ``precision="fp16"``.

    Returns:
        The bundle at `out`.

    Raises:
        CheckFailedError: a graph does not reproduce the reference; nothing is left behind.
        TRBertError: `out` cannot be written, or the options do not go together or do not fit the model.
        TypeError: there is no such option.
    """
    chosen = with_changes(options or ExportOptions(), changes, "export_bundle")
    model = checkpoint.model
    tokenizer = load_tokenizer(checkpoint.folder)
    chosen.check(model, tokenizer is not None)
    selection = chosen.selection(model)
    with _selecting(model, selection), whole_folder(out, force=chosen.force, replaceable=is_bundle) as folder:
        making = _Making(model, reduction_spec(model, selection), chosen, folder, progress)
        graphs = trace(model, bool(selection.fractions), chosen.with_dense, progress)
        tokenizer_facts = making.write_tokenizer(tokenizer)
        if chosen.reference:
            save_checkpoint(model, folder / _REFERENCE_FOLDER)
            progress("reference checkpoint")
        graphs, quantization = making.convert(graphs, tokenizer_facts)
        graphs = making.fuse(graphs)
        bundle = making.write(graphs, model_facts(checkpoint, source), tokenizer_facts, quantization)
        making.check(bundle)
        write_manifest(bundle)
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


@dataclass(frozen=True)
class _Making:
    """A bundle that is being made, step by step."""

    model: TRBertPreTrainedModel
    reduction: ReductionSpec
    options: ExportOptions
    folder: Path
    progress: Callable[[str], None]

    def write_tokenizer(self, tokenizer: Any) -> TokenizerFacts | None:
        if tokenizer is None:
            self.progress("no tokenizer beside the checkpoint: the bundle takes token ids only")
            return None
        facts, remark = write_tokenizer(tokenizer, self.folder, self.model.spec.max_length)
        self.progress("tokenizer" + (f" ({remark})" if remark else ""))
        return facts

    def convert(self, graphs: Graphs, tokenizer: TokenizerFacts | None) -> tuple[Graphs, QuantizationFacts | None]:
        """The traced graphs in the precision that is wanted; int8's report is written."""
        task, options = self.model.spec, self.options
        if options.precision == "fp16":
            half = Half([output.name for output in task.outputs])
            self.progress("fp16: weights and states in float16; selection and LayerNormalization in float32")
            return graphs.apply(lambda file: half), None
        if options.precision == "int8":
            rows = read_requests(BundleTokenizer(self.folder, task, tokenizer), task, options.calibration_data)
            return quantize(graphs, self.reduction, rows, options, self.folder, self.progress)
        return graphs, None

    def fuse(self, graphs: Graphs) -> Graphs:
        start = time.perf_counter()
        graphs = add_fused(graphs, self.reduction.fractions, self.model.spec)
        self.progress(f"fused: {time.perf_counter() - start:.1f} s")
        return graphs

    def write(
        self,
        graphs: Graphs,
        model: ModelFacts,
        tokenizer: TokenizerFacts | None,
        quantization: QuantizationFacts | None,
    ) -> Bundle:
        """The bundle with its graphs on the disk; its manifest is in memory, and lists no other file yet."""
        described, files = write_graphs(graphs, self.folder)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=model,
            task=self.model.spec,
            reduction=self.reduction,
            costs=self.model.costs,
            precision=self.options.precision,
            quantization=quantization,
            opset=OPSET,
            stages=[described[stage_file(index)] for index in range(len(graphs.stages))],
            fused=described[FUSED_FILE],
            dense=described.get(DENSE_FILE),
            tokenizer=tokenizer,
            golden=_GOLDEN_FILE,
            reference=_REFERENCE_FOLDER if self.options.reference else None,
            files=files,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            environment=environment(),
        )
        return Bundle(self.folder, manifest)

    def check(self, bundle: Bundle) -> None:
        """Write golden vectors, and hold every graph against the reference."""
        reference = ReferenceRuntime(self.model)
        golden = make_golden(reference, TOLERANCES[self.options.precision])
        write_golden(golden, bundle.path(_GOLDEN_FILE))
        result = check_bundle(bundle, reference, golden, self.progress)
        if result.near_ties:
            kept = f"{len(result.near_ties)} of {result.rows} rows kept other tokens"
            self.progress(f"check: {kept} where logits nearly tie")
