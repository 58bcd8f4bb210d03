"""`trbert-deploy train`: from a BERT to a TR-BERT."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trbert_deploy.cli.options import JsonOption
from trbert_deploy.cli.output import next_command, note, stdout, write_json
from trbert_deploy.core.extras import require
from trbert_deploy.training.arguments import TrainingArguments

if TYPE_CHECKING:
    from trbert_deploy.training.results import TrainingResults


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="A transformers BERT or DistilBERT, a sequence classifier or a bare encoder: a folder or a Hub id."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(help="Labelled rows: JSON lines (also .xz, .gz), CSV or parquet with text, label, text_pair."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run. The same command again goes on with an interrupted run.")
    ],
    arguments: TrainingArguments,
    as_json: JsonOption = False,
) -> None:
    """Train TR-BERT: fine-tune, then selectors by policy gradient, then everything with distillation.

    The formulas and their sources are in the docstrings of trbert_deploy.training.
    """
    for package in ("torch", "transformers", "accelerate", "datasets", "matplotlib", "sklearn"):
        require(package, "train", extra="train")
    from trbert_deploy.cli.training_progress import training_reporter
    from trbert_deploy.training.run import train as run_training

    with training_reporter() as reporter:
        results = run_training(model, data, out, arguments, reporter=reporter)
    if results is None:  # the main process speaks
        return
    if as_json:
        write_json(results.as_json())
    else:
        _show(results)
        if arguments.eval_data is None and not (results.config["fine_tune"] or results.config["bare"]):
            note("note: if the classifier was trained on these data, its accuracy is not that on new ones: --eval-data")
    (trained,) = (one for one in results.models if one.alpha == float(f"{arguments.alphas[0]:g}"))
    next_command(f"trbert-deploy export {shlex.quote(trained.folder)} --out bundle --with-dense")


def _show(results: TrainingResults) -> None:
    from rich.table import Table

    header, *rows = results.table()
    table = Table(title=f"{results.rows} rows that this run did not train on")
    for name in header:
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        table.add_row(*row)
    stdout.print(table)
