"""`trbert-deploy verify`: prove a bundle on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trbert_deploy.cli.command import Only
from trbert_deploy.cli.options import BundleArgument, JsonOption
from trbert_deploy.cli.output import note, stdout, write_json
from trbert_deploy.core.errors import BundleError, TRBertError
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import RUNTIMES

if TYPE_CHECKING:
    from trbert_deploy.bundle import Bundle
    from trbert_deploy.verification import Verification


def verify(
    bundle: BundleArgument,
    options: Annotated[LoadOptions, Only("runtime", "provider", "device", "threads", "engines")],
    as_json: JsonOption = False,
) -> None:
    """Check schema and hashes, and replay the golden vectors on a runtime (for ort staged and fused)."""
    from trbert_deploy.verification import verify_bundle

    part = RUNTIMES.get(options.runtime)
    options = part.resolve(options)
    report = {"schema_version": "1.0", "command": "verify", "bundle": str(bundle)}
    opened = _intact(bundle, report if as_json else None)
    results = verify_bundle(opened, options)
    passed = all(result.passed for result in results.values())
    files = len(opened.manifest.files)
    if as_json:
        found = {name: dataclasses.asdict(result) for name, result in results.items()}
        write_json(report | {"passed": passed, "damage": [], "files": files, "results": found})
    else:
        _show(results, options.device, files)
    if passed:
        return
    if as_json:
        raise typer.Exit(1)
    raise TRBertError(
        f"{bundle} does not answer like its reference on {part.label(options.provider)}, {options.device}",
        "compare with --runtime torch, and report it with `trbert-deploy env`",
    )


def _intact(folder: Path, report: dict[str, Any] | None) -> Bundle:
    """The bundle; where it is damaged the report says so before the error does."""
    from trbert_deploy.bundle import open_bundle

    try:
        opened = open_bundle(folder)
        opened.require_intact()
    except BundleError as error:
        if report is not None:
            write_json(report | {"passed": False, "damage": error.damage})
        raise
    return opened


def _show(results: dict[str, Verification], device: str | None, files: int) -> None:
    for what, result in results.items():
        verdict = "passed" if result.passed else "FAILED"
        flips = f", {result.flipped} of {result.reached} tokens kept otherwise" if result.flipped else ""
        stdout.print(f"{what} on {device}: {verdict}, {result.rows} golden rows{flips}", markup=False)
        for complaint in result.complaints:
            note(f"  {complaint}")
    stdout.print(f"{files} files match their sha256")
