"""`trbert-deploy export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from trbert_deploy.bundle.manifest import Precision, QuantizationForm
from trbert_deploy.cli.options import parse_numbers
from trbert_deploy.cli.output import next_command, note, stdout
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import OptionError
from trbert_deploy.core.extras import require, require_export
from trbert_deploy.export.options import ExportOptions
from trbert_deploy.shipped_models import SHIPPED_MODELS

_HELP = attribute_docs(ExportOptions)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder (ours, upstream TR-BERT's, or a plain transformers BERT or DistilBERT), a "
            f"bundle, or a Hub id; or a model that ships with the project: {', '.join(SHIPPED_MODELS)}."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the bundle.")] = None,
    selection: Annotated[
        Literal["policy", "budget"] | None,
        typer.Option(
            help="policy (a row keeps what the scores say) or budget (a row keeps a fixed fraction); by default "
            "what the checkpoint says."
        ),
    ] = None,
    keep: Annotated[str | None, typer.Option(help=_HELP["keep"], metavar="0.4,0.15")] = None,
    precision: Annotated[Precision, typer.Option(help=_HELP["precision"])] = ExportOptions.precision,
    calibration_data: Annotated[Path | None, typer.Option(help=_HELP["calibration_data"])] = None,
    int8_form: Annotated[QuantizationForm, typer.Option(help=_HELP["int8_form"])] = ExportOptions.int8_form,
    fp32_layers: Annotated[int, typer.Option(min=0, help=_HELP["fp32_layers"])] = ExportOptions.fp32_layers,
    with_dense: Annotated[bool, typer.Option("--with-dense", help=_HELP["with_dense"])] = ExportOptions.with_dense,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help=_HELP["reference"])
    ] = ExportOptions.reference,
    save_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Also, or only, write the checkpoint in our own format: converts upstream's."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands at --out and --save-checkpoint.")] = False,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs, and check every graph against PyTorch."""
    try:
        options = ExportOptions(
            keep=_fractions(selection, keep),
            with_dense=with_dense,
            reference=reference,
            precision=precision,
            calibration_data=calibration_data,
            int8_form=int8_form,
            fp32_layers=fp32_layers,
            force=force,
        )
    except OptionError as error:
        raise typer.BadParameter(str(error)) from error
    if out is None and save_checkpoint is None:
        raise typer.BadParameter("give --out DIR for a bundle, or --save-checkpoint DIR to convert only")
    for package in ("torch", "transformers"):
        require(package, "export", extra="export")
    if save_checkpoint is not None:
        from trbert_deploy.checkpoint import convert

        convert(model, save_checkpoint, force=force)
        note(f"wrote the checkpoint {save_checkpoint}")
    if out is None:
        stdout.print(str(save_checkpoint), markup=False)
        return
    _export(model, out, options)
    stdout.print(str(out), markup=False)
    next_command(f"trbert-deploy bench {shlex.quote(str(out))}")


def _export(model: str, out: Path, options: ExportOptions) -> None:
    require_export("export")
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    checkpoint = load_checkpoint(model)
    note(f"{checkpoint.source_class}: {checkpoint.model.task.name}")
    if not checkpoint.has_selectors:
        note(
            "note: this checkpoint has no selectors, so its bundle is an ordinary dense model and saves nothing. "
            f"Selectors are learned: trbert-deploy train {shlex.quote(model)} --data FILE --out RUN"
        )
    hub_id = model if "/" in model and not Path(model).exists() else None
    export_bundle(checkpoint, out, options, source=hub_id, progress=note)


def _fractions(selection: str | None, keep: str | None) -> tuple[float, ...] | None:
    """What the two options say together: None leaves it to the checkpoint, no fractions mean policy mode."""
    fractions = parse_numbers(keep, "0.4,0.15")
    if selection == "policy" and fractions:
        raise typer.BadParameter("--keep goes with --selection budget")
    if selection == "budget" and not fractions:
        raise typer.BadParameter("--selection budget needs --keep, e.g. --keep 0.4,0.15")
    if selection == "policy":
        return ()
    return None if fractions is None else tuple(fractions)
