"""`trbert-deploy export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trbert_deploy.cli.output import next_command, note, stdout
from trbert_deploy.core.extras import require, require_export
from trbert_deploy.export.options import ExportOptions
from trbert_deploy.shipped_models import SHIPPED_MODELS

if TYPE_CHECKING:
    from trbert_deploy.checkpoint import Checkpoint


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder (ours, upstream TR-BERT's, or a plain transformers BERT or DistilBERT), a "
            f"bundle, or a Hub id; or a model that ships with the project: {', '.join(SHIPPED_MODELS)}."
        ),
    ],
    options: ExportOptions,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the bundle.")] = None,
    selection: Annotated[
        Literal["policy", "budget"] | None,
        typer.Option(
            help="policy (a row keeps what the scores say) or budget (a row keeps a fixed fraction, --keep); by "
            "default what the checkpoint says."
        ),
    ] = None,
    save_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Also, or only, write the checkpoint in our own format: converts upstream's."),
    ] = None,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs, and check every graph against PyTorch."""
    if selection == "policy" and options.keep:
        raise typer.BadParameter("--keep goes with --selection budget")
    if selection == "budget" and not options.keep:
        raise typer.BadParameter("--selection budget needs --keep, e.g. --keep 0.4,0.15")
    if out is None and save_checkpoint is None:
        raise typer.BadParameter("give --out DIR for a bundle, or --save-checkpoint DIR to convert only")
    for package in ("torch", "transformers"):
        require(package, "export", extra="export")
    if save_checkpoint is not None:
        from trbert_deploy.checkpoint import convert

        convert(model, save_checkpoint, force=options.force)
        note(f"wrote the checkpoint {save_checkpoint}")
    if out is None:
        stdout.print(str(save_checkpoint), markup=False)
        return
    _export(model, out, replace(options, keep=()) if selection == "policy" else options)
    stdout.print(str(out), markup=False)
    next_command(f"trbert-deploy bench {shlex.quote(str(out))}")


def _export(model: str, out: Path, options: ExportOptions) -> None:
    require_export("export")
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    checkpoint = load_checkpoint(model)
    note(f"{checkpoint.source_class}: {checkpoint.model.task.name}")
    if not checkpoint.has_selectors:
        note(_without_selectors(checkpoint, model))
    hub_id = model if "/" in model and not Path(model).exists() else None
    export_bundle(checkpoint, out, options, source=hub_id, progress=note)


def _without_selectors(checkpoint: Checkpoint, model: str) -> str:
    """What a bundle without selectors is; that they can be learned is said only where `train` learns them."""
    from trbert_deploy.training.objective import is_trained

    said = "note: this checkpoint has no selectors, so its bundle is an ordinary dense model and saves nothing."
    if not is_trained(checkpoint.model):
        return said
    return f"{said} Selectors are learned: trbert-deploy train {shlex.quote(model)} --data FILE --out RUN"
