"""The one command, `clearbid`, and what all its subcommands share: errors, exit codes, other packages' commands.

Exit codes: 0 done; 1 a failure without a kind; 2 wrong input or arguments; 3 something outside is not there; 70 our
own logic is wrong; 130 interrupted. Errors are one line on standard error, without a traceback.

Packages above the bidder add commands by the entry point group `clearbid.commands`: each names a function
`register(app)`. Modules are imported when their command runs and not before, so that `--help` is quick.
"""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, NoReturn

import typer

from bidder.errors import ClearbidError, DependencyError
from models.errors import ModelError

GROUP = "clearbid.commands"


def build_app() -> typer.Typer:
    """The command with all its subcommands, those of other packages included."""
    from bidder.cli import answer, brakes, campaigns, explain, funnel, portfolio, profiles, serve, settle

    app = typer.Typer(
        name="clearbid",
        rich_markup_mode="markdown",  # in the other one `[bid]` is taken for a style, and left out
        help="Programmatic ad bidding: OpenRTB from Kafka, exact money, and a replay of the same engine.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    campaigns.register(app)
    brakes.register(app)
    serve.register(app)
    answer.register(app)
    explain.register(app)
    funnel.register(app)
    portfolio.register(app)
    profiles.register(app)
    settle.register(app)
    for entry_point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        _add(app, entry_point)
    return app


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    try:
        build_app()()
    except (ClearbidError, ModelError) as error:
        first = _first(error)
        print(f"clearbid: error: {first}", file=sys.stderr)  # noqa: T201 - standard error is what it is for
        sys.exit(first.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _first(error: ClearbidError | ModelError) -> ClearbidError | ModelError:
    """The error that began it: ending the other parts after a failure often fails too, and says less."""
    while isinstance(error.__context__, ClearbidError) and not error.__suppress_context__:
        error = error.__context__
    return error


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clearbid {version('clearbid')}")
        raise typer.Exit


def _root(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass


def _add(app: typer.Typer, entry_point: EntryPoint) -> None:
    """Adds another package's commands; where they cannot be loaded, one that says why, and only if it is run."""
    try:
        register = entry_point.load()
        register(app)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in does wrong must not end the other commands
        app.command(
            entry_point.name,
            help=f"Cannot be loaded: {type(error).__name__}.",
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_broken(entry_point, error))


def _broken(entry_point: EntryPoint, error: Exception) -> Callable[[], None]:
    """The command that stands for one that cannot be loaded."""

    def command() -> None:
        raise DependencyError(
            f"command {entry_point.name} ({entry_point.value}) cannot be loaded: {type(error).__name__}: {error}; "
            "install Clearbid again with all its dependencies"
        ) from error

    return command


if __name__ == "__main__":
    main()
