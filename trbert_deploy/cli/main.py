"""The console script: registers the verbs, turns errors into messages and exit codes.

Exit codes: 0 fine, 1 a check failed or the user can mend it, 2 usage.
"""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated

import typer

from trbert_deploy._version import __version__
from trbert_deploy.cli import bench, build, env, export, inspect, predict, train, verify
from trbert_deploy.cli.output import report_error, stdout
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.extras import missing_extra

app = typer.Typer(
    name="trbert-deploy",
    help="Put token-reducing BERT (TR-BERT) models into production.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"trbert-deploy {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Put token-reducing BERT (TR-BERT) models into production."""


app.command()(train.train)
app.command()(export.export)
app.command()(build.build)
app.command()(bench.bench)
app.command()(predict.predict)
app.command()(inspect.inspect)
app.command()(verify.verify)
app.command()(env.env)


def main() -> None:
    """Entry point of the console script."""
    debug = "--debug" in sys.argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # JSON is, whatever the locale
    # As Ctrl-C: what is half-written is cleared away before the process ends.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except TRBertError as error:
        if debug:
            raise
        report_error(error)
        sys.exit(1)
    except ImportError as error:
        missing = missing_extra(error, "this command")
        if debug or missing is None:
            raise
        report_error(missing)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
