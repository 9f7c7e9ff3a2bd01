"""What the command line asks of a forecast, read and checked."""

import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bidder.errors import InputError
from simulator.estimate.controller import Controller
from simulator.forecast.flight import Grouping
from simulator.forecast.traffic import NS_PER_HOUR
from simulator.history.auctions import Auctions
from simulator.history.texts import texts_of
from simulator.reading import why

FIRST_PRICE_SHADE = 0.7
"""Share of the value that is bid where the bid itself is paid, as `ExchangeRules.first_price_shade` has it."""


def holidays_of(path: Path | None) -> dict[date, float]:
    """Factors by day of a TOML file's table `holidays`.

    Raises:
        InputError: the file cannot be read, or names a day or a factor that is none.
    """
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("holidays")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"--holidays {path} must be a readable TOML file: {why(error)}") from None
    if not isinstance(table, dict):
        raise InputError(
            f'--holidays {path} must have a table [holidays] with days such as "2026-12-25" = 0.5'
        )
    found = {}
    for day, factor in table.items():
        try:
            found[date.fromisoformat(day)] = float(factor)
        except (TypeError, ValueError):
            raise InputError(
                f'days of --holidays {path} must be such as "2026-12-25" = 0.5, was {day!r} = {factor!r}'
            ) from None
    return found


def grouping_of(path: Path, campaign: str, by: str, rows: int) -> Grouping | None:
    """The groups of a campaign's opportunities; None where none are asked for.

    Args:
        path: of the history. campaign: its name. by: a column. rows: opportunities that were loaded.

    Raises:
        InputError: no such column.
    """
    if not by:
        return None
    texts = texts_of(path, campaign, by, "--by")
    assert len(texts) == rows, "the history changed while it was read"
    names, codes = np.unique(texts, return_inverse=True)
    return Grouping(codes.astype(np.int64), tuple(names.tolist()))


def hour_after(path: Path) -> int:
    """The first whole hour after the last row of a history, of whichever campaign; nanoseconds since 1970."""
    last = pc.max(pq.read_table(path, columns=["offered_ns"])["offered_ns"]).as_py()
    return (int(last) // NS_PER_HOUR + 1) * NS_PER_HOUR


def controller_of(log: Auctions, cap_nanos: int) -> Controller:
    """The live controller with its usual settings, at the price rule of the log."""
    return Controller(
        start=0.5, cap_nanos=cap_nanos, shade=FIRST_PRICE_SHADE if log.first_price.any() else 1.0
    )


def last_spend(log: Auctions, length_ns: int) -> int:
    """What the end of a history cost, for as long as the flight lasts.

    Raises:
        InputError: nothing.
    """
    span = min(length_ns, int(log.at_ns[-1] - log.at_ns[0]) + 1)
    recent = log.at_ns > log.at_ns[-1] - span
    spend = int(int(log.paid_nanos[recent].sum()) * (length_ns / span))
    if spend <= 0:
        raise InputError(
            f"the history of campaign {log.campaign} has no spend to take a budget from: give --budgets"
        )
    return spend
