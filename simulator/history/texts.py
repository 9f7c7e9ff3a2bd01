"""A text column of a campaign's rows, in the order of `load_auctions`: to tell groups apart, or to choose by."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.history.file import History
from simulator.history.schema import SCHEMA

TEXTS = tuple(
    field.name for field in SCHEMA if pa.types.is_string(field.type) and field.name not in ("id", "bid_id")
)
NOT_KNOWN = "not known"


def texts_of(path: Path | str, campaign: str, column: str, option: str) -> NDArray[np.str_]:
    """A text for each opportunity that a campaign bid for, `NOT_KNOWN` where there is none.

    Args:
        path: of the history. campaign: its name. column: one of `TEXTS`. option: that asks for it, for the error.

    Raises:
        InputError: no such column, or the history cannot be read.
    """
    if column not in TEXTS:
        raise InputError(f"{option} must name a column out of {', '.join(TEXTS)}, was {column}")
    wanted = list(dict.fromkeys((column, "campaign")))
    found: list[str] = []
    for table in History(path).tables(wanted):
        own = table.filter(pc.fill_null(pc.equal(table.column("campaign"), campaign), False))
        found += pc.fill_null(own.column(column), NOT_KNOWN).to_pylist()
    return np.array(found, dtype=np.str_)
