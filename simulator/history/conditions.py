"""Conditions on a campaign's opportunities, `region=CA,TX`: which of them hold all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.history.texts import texts_of


def where_of(path: Path, campaign: str, conditions: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which opportunities hold all conditions; None where there is none.

    Args:
        path: of the history. campaign: its name. conditions: `region=CA,TX` for one of these, `region!=CA` for none.

    Raises:
        InputError: a condition is no such text, names no column, or together they leave nothing.
    """
    found: NDArray[np.bool_] | None = None
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not equals or not text.strip():
            raise InputError(f"--where must be such as region=CA,TX or region!=CA, was {condition!r}")
        wanted = [each.strip() for each in text.split(",") if each.strip()]
        column, negated = (name[:-1].strip(), True) if name.endswith("!") else (name.strip(), False)
        own = np.isin(texts_of(path, campaign, column, "--where"), wanted)
        own = ~own if negated else own
        found = own if found is None else found & own
    if found is not None and not found.any():
        raise InputError(
            f"--where must leave auctions of campaign {campaign} to bid for, {' and '.join(conditions)} leaves none: "
            "the values must be written as the history has them"
        )
    return found
