"""Write src/text/unicode_tables.inc: what Hugging Face's tokenizers library does with each code point.

    python scripts/unicode_tables.py [FILE]      needs: pip install tokenizers

BERT's normalizer and pre-tokenizer in that library take their knowledge of Unicode from four places, of four Unicode
versions: character categories from an old crate (Unicode 8), decompositions from another, lowercase and white space
from Rust itself. No single version of ICU or utf8proc gives the same token ids, and theirs change with the system they
are installed on. So the tables are read off the library itself, one code point at a time.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer

OUT = Path(__file__).parents[1] / "src" / "text" / "unicode_tables.inc"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
LAST_CLASS = "\u0345"  # the highest canonical combining class, 240


def only(**wanted: bool) -> BertNormalizer:
    """A normalizer that takes these steps alone."""
    steps = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return BertNormalizer(**(steps | wanted))


def ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    """Runs [first, last] of ascending code points."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return runs


def where(answer: Callable[[str], object], wanted: Callable[[str], object]) -> list[tuple[int, int]]:
    """The code points whose answer is the wanted one."""
    return ranges(code for code in CODES if answer(chr(code)) == wanted(chr(code)))


def combining_classes() -> list[tuple[int, int, int]]:
    """(first, last, class) of the code points that the library reorders; a class never changes once it is assigned."""
    known = [
        code
        for code in CODES
        if unicodedata.combining(chr(code))
        and (chr(code) == LAST_CLASS or NFD().normalize_str(f"a{LAST_CLASS}{chr(code)}") != f"a{LAST_CLASS}{chr(code)}")
    ]
    runs: list[tuple[int, int, int]] = []
    for code in known:
        order = unicodedata.combining(chr(code))
        if runs and runs[-1][1:] == (code - 1, order):
            runs[-1] = (runs[-1][0], code, order)
        else:
            runs.append((code, code, order))
    return runs


def rows(items: Iterable[str]) -> str:
    """Comma-separated items in lines of at most 120 characters."""
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > 120:
            lines.append("")
        lines[-1] += f"{item}, " if lines[-1] else f"    {item}, "
    return "\n".join(line.rstrip() for line in lines)


def table(kind: str, name: str, entries: Iterable[Iterable[int]]) -> str:
    """An array of structures in C++."""
    cells = ("{" + ", ".join(f"0x{number:X}" for number in entry) + "}" for entry in entries)
    return f"constexpr {kind} {name}[] = {{\n{rows(cells)}\n}};\n"


def text() -> str:
    """The file."""
    clean, chinese, strip = only(clean_text=True), only(handle_chinese_chars=True), only(strip_accents=True)
    split = BertPreTokenizer()
    pieces = {code: [piece for piece, _ in split.pre_tokenize_str(f"a{chr(code)}b")] for code in CODES}
    lower = {code: Lowercase().normalize_str(chr(code)) for code in CODES}
    decomposed = {code: NFD().normalize_str(chr(code)) for code in CODES if code not in HANGUL}
    parts = [
        f"// Made by scripts/unicode_tables.py from tokenizers {tokenizers.__version__}. Do not edit.\n",
        "// Ranges [first, last].",
        table("Range", "kRemoved", where(lambda c: clean.normalize_str(f"a{c}b"), lambda c: "ab")),
        table("Range", "kWhiteSpace", ranges(code for code in CODES if pieces[code] == ["a", "b"])),
        table("Range", "kPunctuation", ranges(code for code in CODES if pieces[code] == ["a", chr(code), "b"])),
        table("Range", "kChinese", where(chinese.normalize_str, lambda c: f" {c} ")),
        table(
            "Range",
            "kNonspacingMarks",
            ranges(c for c in CODES if decomposed.get(c) == chr(c) and strip.normalize_str(f"a{chr(c)}") == "a"),
        ),
        "// {code point, lower case, and what follows it (İ) or 0}",
        table(
            "Lower",
            "kLower",
            ([code, *map(ord, low), *[0] * (2 - len(low))] for code, low in lower.items() if low != chr(code)),
        ),
        "// {code point, its canonical decomposition, as long as it is, then 0}; Hangul syllables by arithmetic",
        table(
            "Decomposition",
            "kDecompositions",
            (
                [code, *map(ord, whole), *[0] * (4 - len(whole))]
                for code, whole in decomposed.items()
                if whole != chr(code)
            ),
        ),
        "// {first, last, canonical combining class}",
        table("CombiningClass", "kCombiningClasses", combining_classes()),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    path.write_text(text(), encoding="utf-8")
