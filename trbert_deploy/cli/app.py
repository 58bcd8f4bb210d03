"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from trbert_deploy.cli import bench, build, env, export, inspect, predict, train, verify
from trbert_deploy.cli.command import command
from trbert_deploy.cli.options import installed_choices
from trbert_deploy.cli.output import stdout

#: In the order in which help lists them.
VERBS = (
    train.train,
    export.export,
    build.build,
    bench.bench,
    predict.predict,
    inspect.inspect,
    verify.verify,
    env.env,
)


def make_app() -> typer.Typer:
    """The console script's commands, with the choices that this installation has."""
    app = typer.Typer(
        name="trbert-deploy",
        help="Put token-reducing BERT (TR-BERT) models into production.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_options)
    choices = installed_choices()
    for verb in VERBS:
        app.command()(command(verb, choices))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from trbert_deploy._version import __version__

        stdout.print(f"trbert-deploy {__version__}")
        raise typer.Exit()


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Put token-reducing BERT (TR-BERT) models into production."""
