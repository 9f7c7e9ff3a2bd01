"""A bank that knows its late spend: hours before the run that the same law made, as its books would hold them.

The law: in each hour, as in the run, a share of the billings comes very late and a share of the won bids is first
told to have lost, each 0 in half of the hours and else even up to a most. So the hours and the run are exchangeable,
which is all that the measured reserve assumes (`core.lateness`).
"""

from collections.abc import Iterable
from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import LateRow
from bidder.core.lateness import BLOCK_WINS
from bidder.store.database import Database
from simulator.faults.dice import Dice

KNOWN_HOURS = 160
"""More than it takes to measure at .99, within the window."""
MOST_VERY_LATE = MOST_FALSE_LOSS = 0.02
_PRICE_NANOS = 1_000_000


class LateRates(NamedTuple):
    """Shares of one hour."""

    very_late: float
    false_loss: float


def drawn_rates(dice: Dice) -> LateRates:
    """Those of an hour, or of a run."""
    return LateRates(
        *(most * dice.uniform() if dice.chance(0.5) else 0.0 for most in (MOST_VERY_LATE, MOST_FALSE_LOSS))
    )


def history(dice: Dice, advertisers: Iterable[str], before_ns: int) -> tuple[LateRow, ...]:
    """A block of each advertiser in each hour before a time."""
    rows = []
    last = before_ns // HOUR_NS
    for hour in range(last - KNOWN_HOURS, last):
        rates = drawn_rates(dice)
        for advertiser in advertisers:
            late = sum(
                dice.chance(rates.very_late) or dice.chance(rates.false_loss) for _ in range(BLOCK_WINS)
            )
            rows.append(LateRow(advertiser, hour, BLOCK_WINS * _PRICE_NANOS, late * _PRICE_NANOS, BLOCK_WINS))
    return tuple(rows)


def keep(database: Database, rows: Iterable[LateRow]) -> None:
    """Puts hours into the books of a bank that has not begun."""
    with database.transaction() as session:
        session.executemany(
            "INSERT INTO lateness (advertiser_id, hour, spent_nanos, uncovered_nanos, wins) VALUES (?, ?, ?, ?, ?)",
            [tuple(row) for row in rows],
        )
