"""`clearbid models params`."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Whose(StrEnum):
    """Commands that take `--params`."""

    TRAIN = "train"
    RENEW = "renew"


def params(
    command: Annotated[
        Whose, typer.Argument(metavar="COMMAND", help="train or renew.", show_default=False)
    ] = Whose.TRAIN,
) -> None:
    """List the keys that `--params` of a command takes, with their defaults: a TOML file to begin with."""
    from models.keys import keys_listed
    from models.renewal.settings import RenewalSettings
    from models.training.params import TrainParams

    sys.stdout.write(keys_listed(TrainParams if command is Whose.TRAIN else RenewalSettings))
