"""`trbert-deploy verify`: prove a bundle on this machine."""

from __future__ import annotations

import dataclasses

import typer

from trbert_deploy.bundle import open_bundle
from trbert_deploy.cli.options import (
    BundleArgument,
    DeviceOption,
    EnginesOption,
    JsonOption,
    ProviderOption,
    RuntimeOption,
    ThreadsOption,
)
from trbert_deploy.cli.output import note, stdout, write_json
from trbert_deploy.core.errors import BundleError, TRBertError


def verify(
    bundle: BundleArgument,
    runtime: RuntimeOption = "ort",
    provider: ProviderOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    engines: EnginesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check schema and hashes, and replay the golden vectors on a runtime (for ort staged and fused)."""
    from trbert_deploy.api import default_device, load
    from trbert_deploy.verification import Verification, verify_engine

    report = {"schema_version": "1.0", "command": "verify", "bundle": str(bundle)}
    try:
        opened = open_bundle(bundle)
        opened.require_intact()
    except BundleError as error:
        if as_json:
            write_json(report | {"passed": False, "damage": error.damage})
        raise
    results: dict[str, Verification] = {}
    where = device or default_device(runtime, provider)
    name = f"{runtime} {provider}" if provider else runtime
    for mode in ("staged", "fused") if name == "ort" else ("staged",):
        with load(
            opened,
            runtime=runtime,
            provider=provider,
            device=where,
            threads=threads,
            mode=mode,
            engines=engines,
        ) as engine:
            results[f"{name} {mode}" if name == "ort" else name] = verify_engine(engine)
    passed = all(result.passed for result in results.values())
    if as_json:
        write_json(
            report
            | {
                "passed": passed,
                "damage": [],
                "files": len(opened.manifest.files),
                "results": {name: dataclasses.asdict(result) for name, result in results.items()},
            }
        )
    else:
        for what, result in results.items():
            verdict = "passed" if result.passed else "FAILED"
            flips = f", {result.flipped} of {result.reached} tokens kept otherwise" if result.flipped else ""
            stdout.print(f"{what} on {where}: {verdict}, {result.rows} golden rows{flips}", markup=False)
            for complaint in result.complaints:
                note(f"  {complaint}")
        stdout.print(f"{len(opened.manifest.files)} files match their sha256")
    if not passed:
        if as_json:
            raise typer.Exit(1)
        raise TRBertError(
            f"{bundle} does not answer like its reference on {name}, {where}",
            "compare with --runtime torch, and report it with `trbert-deploy env`",
        )
