"""`trbert-deploy export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from trbert_deploy.bundle.manifest import Precision, QuantizationForm
from trbert_deploy.cli.output import next_command, note, stdout
from trbert_deploy.core.extras import require, require_export
from trbert_deploy.shipped_models import SHIPPED_MODELS


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
            help="policy (a row keeps what the selector says) or budget (a row keeps a fixed fraction); by default "
            "what the checkpoint says."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Budget: fractions of the original length kept at each reduction, rounded up to tokens, e.g. 0.4,0.15."
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16: typed float16 graphs, for GPUs; int8: Q/DQ graphs, calibrated per stage on the tokens that "
            "reach it. Selection is decided in float32 in every precision."
        ),
    ] = "fp32",
    calibration_data: Annotated[
        Path | None,
        typer.Option(
            help="int8: JSON lines such as the model will see, as `predict` takes them; about 100 are used. By default "
            "the movie reviews that ship with the package, where the task takes plain text."
        ),
    ] = None,
    int8_form: Annotated[
        QuantizationForm,
        typer.Option(
            help="int8: cpu for ONNX Runtime on CPUs, tensorrt for TensorRT. Neither is fast, or taken at all, where "
            "the other belongs."
        ),
    ] = "cpu",
    fp32_layers: Annotated[
        int, typer.Option(min=0, help="int8: so many layers stay in float32, those that were measured to suffer most.")
    ] = 0,
    with_dense: Annotated[
        bool, typer.Option("--with-dense", help="Export the same weights without reduction too, to compare.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Put the PyTorch checkpoint into the bundle.")
    ] = True,
    save_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Also, or only, write the checkpoint in our own format: converts upstream's."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands at --out and --save-checkpoint.")] = False,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs, and check every graph against PyTorch."""
    fractions = _fractions(selection, keep)
    if precision != "int8" and (calibration_data is not None or fp32_layers or int8_form != "cpu"):
        raise typer.BadParameter("--calibration-data, --int8-form and --fp32-layers go with --precision int8")
    if out is None and save_checkpoint is None:
        raise typer.BadParameter("give --out DIR for a bundle, or --save-checkpoint DIR to convert only")
    for package in ("torch", "transformers"):
        require(package, "export", extra="export")
    from trbert_deploy.checkpoint import convert, load_checkpoint

    if save_checkpoint is not None:
        convert(model, save_checkpoint, force=force)
        note(f"wrote the checkpoint {save_checkpoint}")
    if out is None:
        stdout.print(str(save_checkpoint), markup=False)
        return
    require_export("export")
    from trbert_deploy.export.exporter import export_bundle
    from trbert_deploy.export.precision import Int8Options

    checkpoint = load_checkpoint(model)
    note(f"{checkpoint.source_class}: {checkpoint.model.task.name}")
    if not checkpoint.has_selectors:
        note(
            "note: this checkpoint has no selectors, so its bundle is an ordinary dense model and saves nothing. "
            f"Selectors are learned: trbert-deploy train {shlex.quote(model)} --data FILE --out RUN"
        )
    export_bundle(
        checkpoint,
        out,
        keep=fractions,
        with_dense=with_dense,
        with_reference=reference,
        precision=precision,
        int8=Int8Options(calibration_data, int8_form, fp32_layers),
        force=force,
        source=model if "/" in model and not Path(model).exists() else None,
        progress=note,
    )
    stdout.print(str(out), markup=False)
    next_command(f"trbert-deploy bench {shlex.quote(str(out))}")


def parse_numbers(text, example):
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as {example}") from None


def _fractions(selection: str | None, keep: str | None) -> list[float] | None:
    """What the two options say together: None leaves it to the checkpoint, an empty list means policy mode."""
    fractions = parse_numbers(keep, "0.4,0.15")
    if selection == "policy" and fractions:
        raise typer.BadParameter("--keep goes with --selection budget")
    if selection == "budget" and not fractions:
        raise typer.BadParameter("--selection budget needs --keep, e.g. --keep 0.4,0.15")
    return [] if selection == "policy" else fractions
