"""The command line `clearbid models ...`: a file a command; each imports what it needs when it runs."""

import typer

from models.commands.bring import import_model
from models.commands.check import check
from models.commands.train import show, train

COMMANDS = (("train", train), ("show", show), ("check", check), ("import", import_model))
"""Names and functions, in the order of `clearbid models --help`."""


def register(app: typer.Typer) -> None:
    """Adds the sub-command `models` to the application."""
    models = typer.Typer(no_args_is_help=True, help="Train, judge, explain and renew the models that bid.")
    for name, command in COMMANDS:
        models.command(name)(command)
    app.add_typer(models, name="models")
