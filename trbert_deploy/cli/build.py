"""`trbert-deploy build`: TensorRT engines of a bundle's graphs, kept beside it."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING

import typer

from trbert_deploy.cli.options import BundleArgument, JsonOption
from trbert_deploy.cli.output import next_command, note, rows_table, stdout, write_json
from trbert_deploy.core.options import config_of
from trbert_deploy.runtimes.tensorrt.options import BuildOptions

if TYPE_CHECKING:
    from trbert_deploy.runtimes.tensorrt.building import BuildReport


def build(bundle: BundleArgument, options: BuildOptions, as_json: JsonOption = False) -> None:
    """Build TensorRT engines of a bundle's stages, and of its dense graph; what is in the cache is not built again."""
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.tensorrt.building import build_engines, graphs_to_build
    from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
    from trbert_deploy.shape_buckets import choose_shape_buckets

    if options.data is not None and options.buckets is not None:
        raise typer.BadParameter("give --data or --buckets, not both")
    opened = open_bundle(bundle)
    find_flavor(options.flavor)  # before anything is counted
    graphs_to_build(opened, fused=options.fused)
    shapes = choose_shape_buckets(
        opened,
        buckets=options.buckets,
        data=options.data,
        rows=options.max_batch,
        entries=options.max_entries,
        say=note,
    )
    report = build_engines(
        opened,
        shapes,
        flavor=options.flavor,
        settings=options,
        fused=options.fused,
        folder=options.engines,
        say=note,
    )
    if as_json:
        document = {
            "schema_version": "2.0", "command": "build", "bundle": str(bundle), "config": config_of(options)
        }  # fmt: skip
        write_json(document | dataclasses.asdict(report) | {"shapes": shapes.model_dump(mode="json")})
        return
    _show(report)
    where = "" if options.engines is None else f" --engines {shlex.quote(str(options.engines))}"
    next_command(f"trbert-deploy verify {shlex.quote(str(bundle))} --runtime trt{where}")


def _show(report: BuildReport) -> None:
    rows = []
    for engine in report.engines:
        size, reused = f"{engine.bytes / 2**20:.1f}", "from the cache" if engine.reused else ""
        rows.append((engine.graph, engine.precision, str(engine.profiles), size, f"{engine.seconds:.1f}", reused))
    stdout.print(rows_table(("engine of", "precision", "profiles", "MiB", "built in s", ""), rows))
    shapes = report.shapes
    tokens = "/".join(",".join(map(str, one)) for one in (shapes.lengths, *shapes.kept))
    stdout.print(f"buckets {tokens}, up to {shapes.rows} rows, in {report.folder}", markup=False)
