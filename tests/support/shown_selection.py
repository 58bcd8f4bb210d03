"""Items whose selection is shown, and how what is shown is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from predicted import REVIEWS

TRICKY = "Café d\u00e9j\u00e0-vu, nai\u0308ve: <b>bold</b> & [bold]not[/bold] [/] :smile: 100%"
SHOWN = [
    "A good film.",
    TRICKY,
    REVIEWS[0]["text"],
    ("It was not unbelievable", "but <i>it</i> was"),
    (REVIEWS[1]["text"], "Was it?"),
]


def squeezed(text: str) -> str:
    """Without spaces, and without the accent that the tokenizer gives to no word."""
    return "".join(text.replace("\u0308", "").split())


def plain(words: Sequence[tuple[str, str]]) -> str:
    """How words with their fates are shown without colours, squeezed."""
    made, previous = "", None
    unread = sum(fate == "unread" for _, fate in words)
    for word, fate in words:
        if fate == "kept":
            made += word
        elif fate != previous:
            made += "·" if fate == "dropped" else f"[{unread}word{'s' * (unread > 1)}notread]"
        previous = fate
    return squeezed(made)


def sections(shown: str) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """The texts of an item's reductions, from (heading, text, text...) blocks."""
    items = []
    for block in re.split(r"^(?=(?:item|id) .*: label)", shown, flags=re.MULTILINE)[1:]:
        headline, *reductions = re.split(r"^(?=before layer \d+: )", block.rstrip("\n"), flags=re.MULTILINE)
        split = [reduction.rstrip("\n").split("\n", 1) for reduction in reductions]
        items.append((headline.strip(), [(heading, text.split("\n---\n")) for heading, text in split]))
    return items
