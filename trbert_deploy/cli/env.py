"""`trbert-deploy env`: versions and devices, for reports and issues."""

from __future__ import annotations

from trbert_deploy.cli.options import JsonOption
from trbert_deploy.cli.output import facts_table, stdout, write_json


def env(as_json: JsonOption = False) -> None:
    """Show versions, processor and devices. Never fails."""
    from trbert_deploy.runtimes.environment import environment

    facts = environment()
    if as_json:
        write_json({"schema_version": "1.0", "command": "env", "environment": facts})
    else:
        stdout.print(facts_table(facts))
