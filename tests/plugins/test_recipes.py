"""CONTRIBUTING.md shows the very code of the packages beside this file."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)\n```\n", re.S)


def test_recipes_are_the_packages_files():
    shown = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {Path(path).parent.name for path in shown} == {"task", "backbone", "reduction", "runtime"}
    for path, code in shown.items():
        assert code == (ROOT / path).read_text(encoding="utf-8").strip(), path


def test_each_is_one_file_and_its_pyproject():
    for folder in sorted(path for path in Path(__file__).parent.iterdir() if (path / "pyproject.toml").is_file()):
        assert len([*folder.glob("*.py")]) == 1, folder
