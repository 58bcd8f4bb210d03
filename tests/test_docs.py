"""README and docs: the site builds, links lead somewhere, commands exist, and what is shown is what is printed."""

from __future__ import annotations

import importlib.util
import re
import resource
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from trbert_deploy.bundle.manifest import schema
from trbert_deploy.cli.app import make_app

ROOT = Path(__file__).parents[1]
VERBS = typer.main.get_command(make_app()).commands

#: mkdocs in a process that cannot reach a network.
OFFLINE_MKDOCS = """
import socket, sys
def refuse(*arguments, **options): raise OSError("a build needs no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(sys.argv[1:])
"""

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^][]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SPAN = re.compile(rf"`(?:trbert-deploy )?((?:{'|'.join(VERBS)}) [^`]+)`")


def load_script(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = load_script("docs/hooks/shared.py")
SHARED_PAGES = [ROOT / name for name in HOOKS.SHARED if name.endswith(".md")]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SHARED_PAGES})
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


class Command(NamedTuple):
    """A command of a console block: its words, and the lines that it is said to print."""

    words: list[str]
    printed: list[str]


def commands(markdown: str) -> Iterator[Command]:
    for _, language, block in FENCE.findall(markdown):
        if language != "console":
            continue
        for part in re.split(r"^\$ ", textwrap.dedent(block).replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            for count in range(1, len(lines) + 1):  # a text in quotes may go over several lines
                lexer = shlex.shlex("\n".join(lines[:count]), posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                try:
                    yield Command(list(lexer), lines[count:])
                    break
                except ValueError:
                    assert count < len(lines), f"a quote is not closed: {part}"


def calls(words: list[str], program: str) -> Iterator[list[str]]:
    """What a program is given, wherever in a pipeline it is called."""
    while program in words:
        words = words[words.index(program) + 1 :]
        end = next((place for place, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
        yield words[:end]


def parse(arguments: list[str]) -> None:
    """Let the command line read arguments, to the last value, and run nothing."""
    verb, *rest = arguments
    VERBS[verb].make_context(verb, rest)


@EVERY_PAGE
def test_commands_are_such_as_the_command_line_takes(page):
    text = page.read_text(encoding="utf-8")
    for command in commands(text):
        for arguments in calls(command.words, "trbert-deploy"):
            parse(arguments)
        for program in ("python", "bash"):
            for script, *_ in calls(command.words, program):
                if script.endswith((".py", ".sh")):
                    assert (ROOT / script).is_file() or (page.parent / script).is_file(), script
    for span in SPAN.findall(text):
        verb, *rest = span.split()
        known = {name for option in VERBS[verb].params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, span


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("predict bundle/ --show-selektion", "No such option"),
        ("export MODEL --precision fp8", "not one of"),
        ("bench bundle/ --limit none", "valid integer"),
        ("train MODEL --out run/", "Missing parameter: data"),
        ("predict", "Missing parameter: bundle"),
    ],
)
def test_other_commands_are_found_out(command, complaint):
    (shown,) = commands(f"```console\n$ xz -dc x.xz | trbert-deploy {command} > out  # why\nprinted\n```\n")
    assert shown.printed == ["printed"]
    (arguments,) = calls(shown.words, "trbert-deploy")
    with pytest.raises(Exception, match=complaint):
        parse(arguments)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def built_pages() -> Iterator[Path]:
    """What the site has to hold: every page of docs/, and those taken from elsewhere."""
    own = (page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md"))
    for page in (*own, *map(Path, HOOKS.SHARED.values())):
        if page.suffix == ".md":
            yield page.with_suffix(".html") if page.stem == "index" else page.with_suffix("") / "index.html"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 130


def test_the_site_builds_strictly_and_needs_no_network(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    build = [sys.executable, "-c", OFFLINE_MKDOCS, "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert built.returncode == 0, built.stdout + built.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20  # seconds of processor time
    pages = {str(page.relative_to(tmp_path)): page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    for name, html in pages.items():
        assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//", html), name
    assert pages.keys() >= {str(place) for place in built_pages()}
    for verb in VERBS:
        assert f"trbert-deploy {verb}" in pages["reference/commands/index.html"]
    for field in schema()["properties"]:
        assert f"<code>{field}</code>" in pages["reference/bundle/index.html"]
    for name in ("load", "Engine", "EngineOutput"):
        assert f'id="trbert_deploy.{name}"' in pages["reference/python/index.html"]
    assert "class TRBERT_EXPORT Engine" in re.sub("<[^>]+>", "", pages["reference/cpp/index.html"])


def test_links_become_the_sites():
    links = (
        "[a](../limits.md#text) [b](../../runtimes/cpp/README.md#build) [c](../../examples/install.sh) "
        "[`export/`](../../export) [d](https://x.y/z) [e](nowhere.md)"
    )
    assert HOOKS.site_links(links, "docs/guides/bench.md", "guides/bench.md") == (
        "[a](../limits.md#text) [b](../deployment/cpp.md#build) c (`examples/install.sh`) `export` "
        "[d](https://x.y/z) [e](nowhere.md)"
    )


def shown(page: str) -> Command:
    """The first command of a page that shows a selection."""
    found = commands((ROOT / page).read_text(encoding="utf-8"))
    return next(command for command in found if "--show-selection" in command.words)


def test_the_readme_shows_what_predict_prints(shipped_bundle, cli):
    command = shown("README.md")
    _, verb, _, *rest = command.words
    result = cli(verb, shipped_bundle, *rest)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == command.printed


def test_the_picture_is_made_by_the_command_beside_it(shipped_bundle, cli, tmp_path):
    _, verb, _, *rest = shown("docs/reduction.md").words
    page, picture = tmp_path / "selection.html", tmp_path / "selection.svg"
    result = cli(verb, shipped_bundle, *(page if word == page.name else word for word in rest))
    assert result.exit_code == 0, result.output
    subprocess.run([sys.executable, ROOT / "docs/pictures/page_to_svg.py", page, picture], check=True)
    committed = (ROOT / "docs/pictures/selection.svg").read_text(encoding="utf-8")
    assert picture.read_text(encoding="utf-8") == committed
    assert len(committed) < 100_000
