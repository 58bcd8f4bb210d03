"""What the site takes from the rest of the repository, so that nothing is written twice.

Links in Markdown are the repository's, relative to the file that they stand in, so that they work where the files
themselves are read. Here they become the site's: to the page that a file is on the site; where it is on none, its
path as text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

#: Files of the repository outside docs/ that are part of the site, and where.
SHARED = {
    "CHANGELOG.md": "changelog.md",
    "benchmarks/results/README.md": "results/index.md",
    "benchmarks/results/precision.md": "results/precision.md",
    "benchmarks/results/precision_tensorrt.md": "results/precision_tensorrt.md",
    "benchmarks/results/shipped_model_bench.md": "results/shipped_model_bench.md",
    "benchmarks/results/trade_off.md": "results/trade_off.md",
    "benchmarks/results/trade_off.png": "results/trade_off.png",
    "benchmarks/results/trained_model.md": "results/trained_model.md",
    "calib_data/README.md": "results/data.md",
    "examples/cpp_service/README.md": "deployment/service.md",
    "examples/triton/README.md": "deployment/triton.md",
    "runtimes/cpp/README.md": "deployment/cpp.md",
    "models/README.md": "results/models.md",
    "models/trbert_deploy_models/trbert-minilm-imdb/README.md": "results/model-card.md",
}
#: Files that a page shows among other things, and where.
_SHOWN = {
    "runtimes/cpp/include/trbert/trbert.hpp": "reference/cpp.md#trberthpp",
    "runtimes/cpp/include/trbert/trbert.h": "reference/cpp.md#trberth",
}
_SOURCE_OF = {page: source for source, page in SHARED.items()}

#: Put behind the page of the other name where it is there.
_CONTRIBUTING, _RECIPES = "contributing.md", "CONTRIBUTING.md"

_LINK = re.compile(r"\[([^][]+)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the shared files."""
    for source, page in SHARED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn the links of a page, and put behind it what it takes from elsewhere."""
    uri = page.file.src_uri
    text = site_links(markdown, _SOURCE_OF.get(uri, f"docs/{uri}"), uri)
    if uri == _CONTRIBUTING and (ROOT / _RECIPES).is_file():
        text += "\n\n" + site_links((ROOT / _RECIPES).read_text(encoding="utf-8"), _RECIPES, uri)
    return text


def site_links(markdown: str, source: str, page: str) -> str:
    """Markdown whose links lead to pages.

    Args:
        markdown: of a file of the repository.
        source: that file.
        page: what shows it, by its path below docs/.
    """

    def turned(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            return link[0]  # elsewhere on the web, or a mistake that the strict build finds
        place = SHARED.get(path) or _SHOWN.get(path)
        if path.startswith("docs/") and not path.endswith(".py"):
            place = path.removeprefix("docs/")
        if place is not None:
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{anchor})"
        return f"`{path}`" if text.strip("`").rstrip("/") == path else f"{text} (`{path}`)"

    return _LINK.sub(turned, markdown)
