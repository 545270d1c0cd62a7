"""The program around the subcommands: exit codes, errors without tracebacks, warnings in a line.

Exit codes: 0 done, 1 an error of relprop's or of what it was given, 2 a wrong command line.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import relprop
from relprop.errors import RelpropError, RelpropWarning

if TYPE_CHECKING:
    from typer import Typer


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line (`sys.argv` without `arguments`); ends in SystemExit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # It belongs to the program, and is understood behind the subcommand's name, too.
    given = sorted(given, key=lambda argument: argument != "--debug")
    with warnings.catch_warnings():
        warnings.simplefilter("always", RelpropWarning)
        warnings.showwarning = _one_line(warnings.showwarning)
        try:
            program()(given, prog_name="relprop")
        except RelpropError as error:
            _fail(error, str(error), debug=debug)
        except (OSError, ImportError) as error:
            _fail(error, f"{type(error).__name__}: {error}", debug=debug)
        except Exception as error:  # noqa: BLE001  whatever it is, the user gets one line of it
            text = f"{type(error).__name__}: {error} (with --debug: where it happened)"
            _fail(error, text, debug=debug)


def program() -> Typer:
    """The program with its subcommands; RelpropError where typer is missing."""
    try:
        import typer
    except ImportError as error:
        raise RelpropError("the commands need typer: pip install 'relprop[cli]'") from error
    from relprop.app.cli.coverage import coverage
    from relprop.app.cli.demo import demo
    from relprop.app.cli.evaluate import evaluate
    from relprop.app.cli.explain import explain
    from relprop.app.cli.rules import rules
    from relprop.app.cli.tune import tune

    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    def show_version(wanted: bool) -> None:
        if wanted:
            print(f"relprop {relprop.__version__}")
            raise typer.Exit

    debug = typer.Option(False, "--debug", help="Show where an error happened.")
    version = typer.Option(
        False, "--version", callback=show_version, is_eager=True, help="Show the version."
    )

    @app.callback()
    def relprop_options(debug: bool = debug, version: bool = version) -> None:
        """Explain the predictions of models with Layer-wise Relevance Propagation."""

    for command in (demo, explain, evaluate, tune, coverage, rules):
        app.command()(command)
    return app


def _fail(error: BaseException, text: str, *, debug: bool) -> None:
    if debug:
        raise error
    print(f"relprop: error: {text}", file=sys.stderr)
    raise SystemExit(1)


def _one_line(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Shows relprop's warnings without the line of code that they come from."""

    def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, RelpropWarning):
            print(f"relprop: warning: {message}", file=sys.stderr)
        else:
            usual(message, category, *rest, **more)

    return show
