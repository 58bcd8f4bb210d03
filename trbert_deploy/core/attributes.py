"""What a dataclass's docstring says of its attributes: written once, read by the JSON Schema and the command line."""

from __future__ import annotations

import inspect
import re

_ATTRIBUTE = re.compile(r"^(\w+): (.*)$")


def attribute_docs(owner: type) -> dict[str, str]:
    """The text of each attribute under ``Attributes:`` in a class's docstring, each on one line; bases' first."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        found |= _own(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
    return found


def _own(text: str) -> dict[str, str]:
    _, _, section = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):  # another section
            break
        if line.startswith("    ") and not line.startswith("     ") and (match := _ATTRIBUTE.match(line.strip())):
            name, found[match[1]] = match[1], match[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
