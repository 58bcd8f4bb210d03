"""What several verbs take beside options dataclasses, and the choices that depend on what is installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from trbert_deploy.bench.options import ALL
from trbert_deploy.cli.option_fields import Choices
from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.runtimes.registry import RUNTIMES, RuntimePart, known_parts, targets

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `export` wrote.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def installed_choices() -> dict[str, Choices]:
    """Runtimes, providers, devices, reductions, those of other packages too; none of their libraries is imported."""
    parts = known_parts()
    providers = [provider for part in parts for provider in part.providers]
    return {
        "runtime": Choices(RUNTIMES.names(), _listed(f"{part.name}: {part.what}" for part in parts)),
        "provider": Choices(providers, _listed(_providers(parts))),
        "device": Choices(list(dict.fromkeys(device for part in parts for device in part.devices)), ""),
        "reduction": Choices(REDUCTIONS.names(), ""),
        "beside": Choices([*targets(), ALL], f"One of: {', '.join(targets())}; or {ALL}."),
    }


def _providers(parts: Iterable[RuntimePart]) -> Iterable[str]:
    return (f"{one}: {part.full_title(one)}, for --runtime {part.name}" for part in parts for one in part.providers)


def _listed(texts: Iterable[str]) -> str:
    return "; ".join(texts) + "."
