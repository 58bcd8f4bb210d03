"""`trbert-deploy train`: from a BERT to a TR-BERT."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trbert_deploy.cli.options import JsonOption, parse_numbers
from trbert_deploy.cli.output import next_command, note, stdout, write_json
from trbert_deploy.core.extras import require
from trbert_deploy.training.arguments import TrainingArguments

if TYPE_CHECKING:
    from trbert_deploy.training.results import TrainingResults

_DEFAULT = TrainingArguments()


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
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Price of tokens: the larger, the faster the model. What is right depends on the data; upstream's lie "
            "between 0.01 and 5.",
            show_default="1",
        ),
    ] = None,
    alphas: Annotated[
        str | None, typer.Option(help="Several prices, e.g. 0.5,1,2: a checkpoint each, a table and a plot.")
    ] = None,
    eval_data: Annotated[
        Path | None, typer.Option(help="Labelled rows to evaluate on; by default --hold-out of the data.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names of a bare encoder's classes, in order, e.g. negative,positive.")
    ] = None,
    hold_out: Annotated[
        float, typer.Option(help="Fraction of the data to evaluate on, greater than 0 and less than 1.")
    ] = _DEFAULT.hold_out,
    fine_tune: Annotated[
        bool | None,
        typer.Option(
            "--fine-tune/--no-fine-tune",
            help="Fit the dense model first; by default only a bare encoder.",
            show_default=False,
        ),
    ] = None,
    fine_tune_epochs: Annotated[
        float, typer.Option(help="Passes over the data, may be a fraction.")
    ] = _DEFAULT.fine_tune_epochs,
    fine_tune_learning_rate: Annotated[float, typer.Option(help="Its peak.")] = _DEFAULT.fine_tune_learning_rate,
    selector_epochs: Annotated[float, typer.Option(help="Of the selectors alone.")] = _DEFAULT.selector_epochs,
    selector_learning_rate: Annotated[float, typer.Option(help="Its peak.")] = _DEFAULT.selector_learning_rate,
    imitation: Annotated[
        float, typer.Option(min=0, max=1, help="First part of the selectors' steps that imitates token importance.")
    ] = _DEFAULT.imitation,
    samples: Annotated[int, typer.Option(min=2, help="Selections drawn for each row.")] = _DEFAULT.samples,
    joint_epochs: Annotated[
        float, typer.Option(help="Of everything, distilled from the dense model.")
    ] = _DEFAULT.joint_epochs,
    joint_learning_rate: Annotated[float, typer.Option(help="Its peak.")] = _DEFAULT.joint_learning_rate,
    max_length: Annotated[
        int, typer.Option(min=3, help="Tokens a row is cut to, after an export too.")
    ] = _DEFAULT.max_length,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a step, on each device.")] = _DEFAULT.batch_size,
    micro_batch_size: Annotated[
        int, typer.Option(min=1, help="Of those, rows that run at once: more are faster, and need more memory.")
    ] = _DEFAULT.micro_batch_size,
    dropout: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Instead of the model's."),
    ] = None,
    attention_dropout: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of attention probabilities, instead of --dropout; 0 is several times faster on a CPU."
        ),
    ] = None,
    seed: int = _DEFAULT.seed,
    precision: Annotated[
        Literal["no", "bf16", "fp16"], typer.Option(help="Mixed precision; selectors stay float32.")
    ] = "no",
    device: Annotated[
        Literal["cpu", "cuda"] | None,
        typer.Option(help="By default what accelerate finds; several: accelerate launch -m trbert_deploy"),
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between states to resume from.")] = _DEFAULT.save_every,
    as_json: JsonOption = False,
) -> None:
    """Train TR-BERT: fine-tune, then selectors by policy gradient, then everything with distillation.

    The formulas and their sources are in the docstrings of trbert_deploy.training.
    """
    if alpha is not None and alphas is not None:
        raise typer.BadParameter("give --alpha or --alphas, not both")
    prices = parse_numbers(alphas, "0.5,1,2") or [1.0 if alpha is None else alpha]
    for package in ("torch", "transformers", "accelerate", "datasets", "matplotlib", "sklearn"):
        require(package, "train", extra="train")
    from trbert_deploy.cli.training_progress import training_reporter
    from trbert_deploy.training.run import train as run_training

    arguments = TrainingArguments(
        alphas=tuple(prices),
        eval_data=eval_data,
        device=device,
        labels=tuple(name.strip() for name in labels.split(",")) if labels else None,
        hold_out=hold_out,
        max_length=max_length,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        seed=seed,
        precision=precision,
        dropout=dropout,
        attention_dropout=attention_dropout,
        fine_tune=fine_tune,
        fine_tune_epochs=fine_tune_epochs,
        fine_tune_learning_rate=fine_tune_learning_rate,
        selector_epochs=selector_epochs,
        selector_learning_rate=selector_learning_rate,
        imitation=imitation,
        samples=samples,
        joint_epochs=joint_epochs,
        joint_learning_rate=joint_learning_rate,
        save_every=save_every,
    )
    with training_reporter() as reporter:
        results = run_training(model, data, out, arguments, reporter=reporter)
    if results is None:  # the main process speaks
        return
    if as_json:
        write_json(results.as_json())
    else:
        _show(results)
        if eval_data is None and not (results.config["fine_tune"] or results.config["bare"]):
            note("note: if the classifier was trained on these data, its accuracy is not that on new ones: --eval-data")
    (trained,) = (one for one in results.models if one.alpha == prices[0])
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
