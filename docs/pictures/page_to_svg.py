"""Make a picture of a page that `trbert-deploy predict --show-selection --out PAGE.html` wrote.

    python docs/pictures/page_to_svg.py PAGE.html PICTURE.svg

The words, colours and strokes are the page's; lines are broken where a browser would, at a fixed width.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from itertools import groupby
from operator import itemgetter
from pathlib import Path

WIDTH = 92  # characters of a line
FONT, LINE, MARGIN = 14, 22, 16  # pixels; a character of a monospaced font is 0.6 of its height wide

Piece = tuple[str, str]  # a word or space, and its class


class Page(HTMLParser):
    """Collects the style sheet's rules for words, and the text as pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.rules: list[str] = []
        self.pieces: list[Piece] = []
        self._inside: list[str] = []
        self._kind = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember where the text that follows stands."""
        self._inside.append(tag)
        self._kind = dict(attrs).get("class") or ""

    def handle_endtag(self, tag: str) -> None:
        """What follows has no class."""
        while self._inside and self._inside.pop() != tag:  # <meta> has no end
            pass
        self._kind = ""

    def handle_data(self, data: str) -> None:
        """Take the rules of classes out of the style sheet, and the words out of the text."""
        if "style" in self._inside:
            self.rules = [line for line in data.splitlines() if line.startswith(".")]
        elif "pre" in self._inside:
            self.pieces += [(part, self._kind) for part in re.findall(r"\n|[^\S\n]+|\S+", data)]


def lines(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """The pieces cut into lines of `WIDTH` characters at most, without space at their ends."""
    line: list[Piece] = []
    for text, kind in [*pieces, ("\n", "")]:
        if text == "\n" or sum(len(word) for word, _ in line) + len(text) > WIDTH:
            yield line[:-1] if line and line[-1][0].isspace() else line
            line = []
        if line or not text.isspace():
            line.append((text, kind))


def picture(page: Page) -> str:
    """The SVG."""
    rows = list(lines(page.pieces))
    while rows and not rows[-1]:
        rows.pop()
    width, height = round(WIDTH * FONT * 0.6) + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN
    style = re.sub(r"(?<!-)color:", "fill:", "\n".join(page.rules))
    texts = []
    for number, row in enumerate(rows):
        inner = ""
        for kind, alike in groupby(row, key=itemgetter(1)):
            inner += f'<tspan class="{kind}">{escape("".join(text for text, _ in alike))}</tspan>'
        if inner:
            texts.append(f'<text x="{MARGIN}" y="{MARGIN + number * LINE + FONT}" xml:space="preserve">{inner}</text>')
    size = f'width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}>',
            f"<style>\ntext {{font: {FONT}px monospace; white-space: pre; fill: #000000}}\n{style}\n</style>",
            f'<rect {size} rx="6" fill="#ffffff"/>',
            *texts,
            "</svg>\n",
        ]
    )


def main() -> None:
    """The command."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    page = Page()
    page.feed(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(picture(page), encoding="utf-8")


if __name__ == "__main__":
    main()
