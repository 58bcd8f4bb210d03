"""`trbert-deploy build`: TensorRT engines of a bundle's graphs, kept beside it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from trbert_deploy.cli.options import BundleArgument, JsonOption
from trbert_deploy.cli.output import next_command, note, rows_table, stdout, write_json


def build(
    bundle: BundleArgument,
    flavor: Annotated[
        Literal["auto", "tensorrt", "rtx"],
        typer.Option(help="Which TensorRT; auto takes the full one where both are installed."),
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines: buckets lie at quantiles of their lengths and kept counts. By default the movie reviews "
            "that ship with the package, for other tasks than sequence classification powers of two."
        ),
    ] = None,
    buckets: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTHS/KEPT/...",
            help="Tokens by hand: of rows, then kept at each reduction, e.g. 128,512/64,256/32,128; one list for all.",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows of a group at most; larger batches are split.")] = 32,
    max_items: Annotated[
        int | None,
        typer.Option(min=1, help="Options, sentences or candidates of a row at most.", show_default="as the data has"),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="8.9", help="rtx: build for this GPU generation alone; no GPU is needed here. By default all."
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(min=1, metavar="MIB", help="Scratch memory of a kernel at most.")
    ] = None,
    optimization_level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds quickest, 5 runs quickest; TensorRT's default is 3.")
    ] = None,
    fused: Annotated[
        bool, typer.Option("--fused", help="Build model.onnx too, all stages in one engine; budget mode only.")
    ] = False,
    engines: Annotated[Path | None, typer.Option()] = None,
    as_json: JsonOption = False,
) -> None:
    """Build TensorRT engines of a bundle's stages, and of its dense graph; what is in the cache is not built again."""
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.tensorrt.builder import BuildSettings
    from trbert_deploy.runtimes.tensorrt.building import build_engines, graphs_to_build
    from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
    from trbert_deploy.shape_buckets import choose_grid

    if data is not None and buckets is not None:
        raise typer.BadParameter("give --data or --buckets, not both")
    opened = open_bundle(bundle)
    find_flavor(flavor)  # before anything is counted
    graphs_to_build(opened, fused=fused)
    grid = choose_grid(opened, buckets=buckets, data=data, rows=max_batch, items=max_items, say=note)
    report = build_engines(
        opened,
        grid,
        flavor=flavor,
        settings=BuildSettings(compute_capability, workspace, optimization_level),
        fused=fused,
        folder=engines,
        say=note,
    )
    if as_json:
        document = {"schema_version": "1.0", "command": "build", "bundle": str(bundle)}
        write_json(document | dataclasses.asdict(report) | {"grid": grid.model_dump(mode="json")})
        return
    rows = []
    for engine in report.engines:
        size, reused = f"{engine.bytes / 2**20:.1f}", "from the cache" if engine.reused else ""
        rows.append((engine.graph, engine.precision, str(engine.profiles), size, f"{engine.seconds:.1f}", reused))
    stdout.print(rows_table(("engine of", "precision", "profiles", "MiB", "built in s", ""), rows))
    tokens = "/".join(",".join(map(str, one)) for one in (grid.lengths, *grid.kept))
    stdout.print(f"buckets {tokens}, up to {grid.rows} rows, in {report.folder}", markup=False)
    where = "" if engines is None else f" --engines {shlex.quote(str(engines))}"
    next_command(f"trbert-deploy verify {shlex.quote(str(bundle))} --runtime trt{where}")
