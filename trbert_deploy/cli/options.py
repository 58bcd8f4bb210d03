"""Options that several verbs share, defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `export` wrote.")]
RuntimeOption = Annotated[
    Literal["ort", "trt", "torch"],
    typer.Option(
        "--runtime", help="ort: ONNX Runtime; trt: TensorRT engines that `build` made; torch: the PyTorch reference."
    ),
]
ProviderOption = Annotated[
    Literal["tensorrt", "rtx"] | None,
    typer.Option("--provider", help="For ort: TensorRT or TensorRT-RTX inside ONNX Runtime, not the device's own."),
]
DeviceOption = Annotated[
    Literal["cpu", "cuda"] | None,
    typer.Option("--device", help="Never falls back silently.", show_default="cpu; cuda for TensorRT"),
]
ModeOption = Annotated[
    Literal["staged", "fused", "dense"],
    typer.Option("--mode", help="staged: a graph a stage; fused: one graph; dense: without reduction."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Intra-op threads; by default every usable core.")
]
EnginesOption = Annotated[
    Path | None,
    typer.Option("--engines", help="Folder of TensorRT engines.", show_default="BUNDLE.engines, beside the bundle"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def parse_numbers(text: str | None, example: str) -> list[float] | None:
    """``"0.4,0.15"`` as numbers.

    Raises:
        typer.BadParameter: it is not a comma-separated list of numbers.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as {example}") from None
