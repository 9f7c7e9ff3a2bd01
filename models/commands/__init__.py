"""The command line `clearbid models ...`: a file a command; each imports what it needs when it runs."""

import typer

from models.commands.audit import audit
from models.commands.bring import import_model
from models.commands.calibration import calibration
from models.commands.check import check
from models.commands.drift import drift
from models.commands.evaluate import evaluate
from models.commands.explain import explain
from models.commands.landscape import landscape
from models.commands.params import params
from models.commands.registry import app as registry
from models.commands.renew import renew
from models.commands.segments import segments
from models.commands.train import show, train

COMMANDS = (
    ("audit", audit),
    ("train", train),
    ("params", params),
    ("show", show),
    ("evaluate", evaluate),
    ("landscape", landscape),
    ("explain", explain),
    ("calibration", calibration),
    ("segments", segments),
    ("renew", renew),
    ("drift", drift),
    ("check", check),
    ("import", import_model),
)
"""Names and functions, in the order of `clearbid models --help`."""


def register(app: typer.Typer) -> None:
    """Adds the sub-command `models` to the application."""
    models = typer.Typer(no_args_is_help=True, help="Train, judge, explain and renew the models that bid.")
    for name, command in COMMANDS:
        models.command(name)(command)
    models.add_typer(registry, name="registry")
    app.add_typer(models, name="models")
