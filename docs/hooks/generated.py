"""What the program says of itself, behind the pages about it: the options of commands, the fields of the manifest."""

from __future__ import annotations

from typing import Any

import typer.cli
import typer.main

from trbert_deploy.bundle.manifest import MANIFEST_FILE, schema
from trbert_deploy.cli.app import make_app


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put behind a page what belongs there."""
    made = {"reference/commands.md": command_help, "reference/bundle.md": manifest_tables}.get(page.file.src_uri)
    return markdown if made is None else f"{markdown}\n{made()}"


def command_help() -> str:
    """Every verb with its arguments and options, as `--help` says them."""
    command = typer.main.get_command(make_app())
    text = typer.cli.get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="trbert-deploy"))
    return text[text.index("\n## ") :]


def manifest_tables() -> str:
    """The manifest's JSON Schema, a table for each of its parts."""
    whole = schema()
    lines: list[str] = []
    for name, part in {MANIFEST_FILE: whole, **whole["$defs"]}.items():
        summary = part.get("description", "").partition("\n\n")[0]
        lines += ["", f"### {name}", "", summary, "", "| field | type | |", "| --- | --- | --- |"]
        for field, facts in part["properties"].items():
            meaning = " ".join(facts.get("description", "").split()).replace("|", "\\|")
            lines.append(f"| `{field}` | {_type(facts)} | {meaning} |")
    return "\n".join(lines)


def _type(facts: dict[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "$ref" in facts:
        name = facts["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in facts:
        return " or ".join(_type(one) for one in facts["anyOf"])
    if "enum" in facts:
        return ", ".join(f"`{value}`" for value in facts["enum"])
    if facts.get("type") == "array" and "items" in facts:
        return f"array of {_type(facts['items'])}"
    if isinstance(facts.get("additionalProperties"), dict):
        return f"object of {_type(facts['additionalProperties'])}"
    return str(facts.get("type", "any"))
