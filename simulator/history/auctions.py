"""One campaign's opportunities as arrays: the shape in which estimates, forecasts and sweeps read a log.

Money is int64 nanos for one impression, which is micros of CPM. What is not known says so: a price by its kind, a
label by -1, a probability by NaN. Nothing is ever filled in here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXACT, ABOVE, AT_MOST, UNKNOWN = 0, 1, 2, 3
"""What is known of the price to beat z, the lowest bid that would have won: z itself; that it is above the logged bid
(lost); that it is at most the logged bid (won where the bid itself is paid); nothing (no bid was made)."""


class Auctions(NamedTuple):
    """Opportunities of one campaign in order of time, n of them.

    Attributes:
        campaign: its name.
        at_ns: int64[n], when each was offered.
        user: uint64[n], a key of the user, 0 where not known.
        stratum: int32[n], the group within which bids do not depend on prices, for censored estimates; 0 for all.
        click: float64[n], predicted click probability, NaN where there is none.
        conversion: float64[n], predicted probability of a conversion after a click, NaN where there is none.
        worth_nanos: int64[n], what the outcome of the goal is worth: value is `worth_nanos` times its probability.
        bid_nanos: int64[n], the logged bid, 0 where none was made.
        density: float64[n], of the logarithm of the logged bid where exploration drew it, else NaN.
        won: bool[n].
        price_kind: uint8[n], `EXACT`, `ABOVE`, `AT_MOST` or `UNKNOWN`.
        price_nanos: int64[n], the price to beat where exact, else the bid that bounds it, else 0.
        paid_nanos: int64[n], what the win cost, 0 where lost.
        floor_nanos: int64[n], the exchange's floor.
        first_price: bool[n], whether a win pays its bid.
        clicked, converted: int8[n], 1, 0 or -1 where not known: what was not shown has no outcome.
        value_nanos: int64[n], worth of the conversion that followed, 0 where none.
    """

    campaign: str
    at_ns: NDArray[np.int64]
    user: NDArray[np.uint64]
    stratum: NDArray[np.int32]
    click: NDArray[np.float64]
    conversion: NDArray[np.float64]
    worth_nanos: NDArray[np.int64]
    bid_nanos: NDArray[np.int64]
    density: NDArray[np.float64]
    won: NDArray[np.bool_]
    price_kind: NDArray[np.uint8]
    price_nanos: NDArray[np.int64]
    paid_nanos: NDArray[np.int64]
    floor_nanos: NDArray[np.int64]
    first_price: NDArray[np.bool_]
    clicked: NDArray[np.int8]
    converted: NDArray[np.int8]
    value_nanos: NDArray[np.int64]

    def take(self, rows: "NDArray[np.int64] | slice") -> "Auctions":
        """The opportunities at these places, in their order."""
        return self._replace(**{name: getattr(self, name)[rows] for name in self._fields[1:]})

    @property
    def opportunities(self) -> int:
        """How many there are."""
        return len(self.at_ns)
