"""`trbert-deploy predict --show-selection`: answers with what each reduction left of the text, for people."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from trbert_deploy.api import Engine
from trbert_deploy.cli.output import stdout
from trbert_deploy.core.errors import InputError
from trbert_deploy.tasks import TASKS
from trbert_deploy.text.decoding import Prediction
from trbert_deploy.text.prediction import Predicted
from trbert_deploy.text.selection_view import Fate, Run, view

#: rich's own page, but that long lines are broken.
_PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="UTF-8">
<title>trbert-deploy predict --show-selection</title>
<style>
{stylesheet}
body {{ color: {foreground}; background-color: {background}; }}
pre {{ font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<pre>{code}</pre>
</body>
</html>
"""

#: A text's control characters would drive the terminal, and are none of HTML's.
_HARMLESS = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def items_of_text(items: Iterable[object]) -> Iterator[object]:
    """The items, up to one of token ids.

    Raises:
        InputError: an item is token ids; the message names it.
    """
    for number, item in enumerate(items):
        if isinstance(item, Mapping) and item.get("input_ids") is not None:
            takes_text = ", ".join(task.name for task in TASKS if task.text is not None)
            raise InputError(
                f"{getattr(item, 'source', f'item {number}')} is token ids, which have no words to show",
                f"--show-selection takes items of text, which these tasks have: {takes_text}",
            )
        yield item


def write(engine: Engine, predictions: Iterable[Predicted], stream: TextIO, out: Path | None) -> None:
    """Write predictions and what is left of their texts.

    Args:
        engine: that gave them.
        predictions: of items of text.
        stream: to write to, where `out` is a file.
        out: the file's name, whose ending says whether it is a page (.html) or plain text; None for stdout.
    """
    page = out is not None and out.suffix.lower() in (".html", ".htm")
    if out is None:
        console, dropped = stdout, "dim" if stdout.color_system and not stdout.no_color else None
    elif page:
        console, dropped = Console(file=io.StringIO(), record=True, highlight=False, soft_wrap=True), "dim strike"
    else:
        console, dropped = Console(file=stream, color_system=None, highlight=False, soft_wrap=True), None
    for number, predicted in enumerate(predictions):
        if number:
            console.print()
        console.print(_rendered(engine, number, predicted, dropped))
    if page:
        stream.write(console.export_html(code_format=_PAGE))


def _rendered(engine: Engine, number: int, predicted: Predicted, dropped: str | None) -> Text:
    """One item; `dropped` is the style of dropped words, or None where there are no styles."""
    row, prediction, kept = predicted
    whole = Text()
    name = f"id {_json(prediction['id'])}" if "id" in prediction else f"item {number}"
    whole.append(f"{name}: {_in_a_line(prediction)}", "bold cyan")
    reductions = view(row, engine.tokenizer.pieces(row.texts), kept, engine.manifest.reduction.layers)
    if not reductions:
        whole.append(f"\n\nno reduction: all {row.length} tokens go through every layer", "cyan")
    for reduction in reductions:
        heading = f"before layer {reduction.layer}: {reduction.kept} of {reduction.tokens} tokens go on"
        whole.append(f"\n\n{heading}", "cyan")
        for place, runs in enumerate(reduction.texts):
            whole.append("\n---\n" if place else "\n", "cyan")
            _append(whole, runs, dropped)
    return whole


def _append(whole: Text, runs: Sequence[Run], dropped: str | None) -> None:
    for run in runs:
        text = run.text.translate(_HARMLESS)
        if run.fate is Fate.UNREAD:
            space = "" if whole.plain[-1].isspace() else " "
            whole.append(f"{space}[{run.words} {'word' if run.words == 1 else 'words'} not read]", "italic cyan")
        elif run.fate is Fate.DROPPED:
            whole.append("·" if dropped is None else text, dropped)
        else:
            whole.append(text, "bold" if run.fate is Fate.KEPT else None)


def _in_a_line(prediction: Prediction) -> str:
    """What was chosen, and its probability; of several labels those that were, of bare scores all."""
    if "tokens" in prediction:
        return ", ".join(f"{_json(one['text'])} {one['label']} {one['score']:.4g}" for one in prediction["tokens"])
    keys = ("label", "labels", "answer", "choice", "text", "score")
    chosen: Prediction = {key: prediction[key] for key in keys if key in prediction}
    chosen = chosen or {"scores": prediction["scores"]}
    if "choice" in prediction:
        chosen["score"] = prediction["scores"][prediction["choice"]]
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {_json(value)}" for key, value in chosen.items()
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_HARMLESS)
