"""Who wins and what is paid, over columns, from what a log knows of the price to beat.

| known | a bid b of ours |
|---|---|
| the price to beat z | wins where b >= z; pays b at first price, else z - 1 but never less than the floor |
| that z is above the logged bid | b up to that has lost; of a higher one nobody knows |
| that z is at most the logged bid | b from that on has won; of a lower one nobody knows |
| nothing | nobody knows |

Where nobody knows, the bid has lost, and is counted as `unknown`: an estimate that fills prices in is not made here.
The bid of the log itself has the log's own result. Ties go to the rival: z is one nano above his price.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.history.auctions import ABOVE, AT_MOST, EXACT
from simulator.playback.prepared import Facts


class Market(NamedTuple):
    """How an exchange sells.

    Attributes:
        price: `log` as each row says, `first` or `second` for all. soft_floor_nanos: a bid below it, but at the
            floor or above, pays itself; one at it or above pays at least the soft floor. 0 for none;
            second price only.
    """

    price: str = "log"
    soft_floor_nanos: int = 0


class Verdicts(NamedTuple):
    """How k bids ended: bool[k], int64[k] in nanos, and where nobody knows, bool[k]."""

    won: NDArray[np.bool_]
    paid_nanos: NDArray[np.int64]
    unknown: NDArray[np.bool_]


def decide(
    market: Market,
    facts: Facts,
    rows: NDArray[np.int64],
    lines: NDArray[np.int64],
    bid_nanos: NDArray[np.int64],
) -> Verdicts:
    """Decides bids.

    Args:
        market: how it sells. facts: of the log. rows: int64[k], places in it. lines: int64[k], who bids.
        bid_nanos: int64[k], above 0.
    """
    kind, price = facts.price_kind[rows], facts.price_nanos[rows]
    floor, logged, paid = facts.floor_nanos[rows], facts.bid_nanos[rows], facts.paid_nanos[rows]
    first = facts.first_price[rows] if market.price == "log" else np.full(len(rows), market.price == "first")
    exact, above, at_most = kind == EXACT, kind == ABOVE, kind == AT_MOST
    won = (exact & (bid_nanos >= price)) | (at_most & (bid_nanos >= price))
    won &= bid_nanos >= floor
    unknown = ~exact & ~(above & (bid_nanos <= price)) & ~(at_most & (bid_nanos >= price))
    second = np.where(at_most, paid, np.maximum(np.maximum(floor, price - 1), 1))
    cost = np.where(first, bid_nanos, second)
    if market.soft_floor_nanos:
        soft = market.soft_floor_nanos
        cost = np.where(first | (bid_nanos < soft), bid_nanos, np.maximum(cost, soft))
    elif market.price == "log":
        # What the log's own bid came to is known, whatever rule the exchange had.
        own = (bid_nanos == logged) & (lines == facts.line[rows]) & won
        cost = np.where(own, paid, cost)
    return Verdicts(won, np.where(won, np.minimum(cost, bid_nanos), 0), unknown)
