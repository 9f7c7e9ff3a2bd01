"""The dimensions of targeting, in the order in which they are asked: what refuses first is the reason.

A dimension is *used* where a line item of the table has a rule in it; the kernel asks the used ones alone. Three
are not stated by ad-ops: FLIGHT (whether a line item is in flight now), FORMAT (whether it has a creative of a
medium and size that the slot takes) and BLOCKED (what the request bars).
"""

from enum import IntEnum

from bidder.openrtb.reasons import Reason


class Dimension(IntEnum):
    """Dimensions; those of names in `core.campaigns.DIMENSIONS` are stated by ad-ops."""

    FLIGHT = 0
    EXCHANGE = 1
    DEAL = 2
    FORMAT = 3
    INVENTORY = 4
    HOUR = 5
    GEO = 6
    CITY = 7
    CIRCLE = 8
    DEVICE = 9
    OS = 10
    BROWSER = 11
    CARRIER = 12
    CONNECTION = 13
    LANGUAGE = 14
    DOMAIN = 15
    CONTENT = 16
    KEYWORD = 17
    PLACEMENT = 18
    VIEWABILITY = 19
    SEGMENT = 20
    EXPRESSION = 21
    BLOCKED = 22


REASONS: tuple[Reason, ...] = tuple(
    Reason.SIZE if dimension is Dimension.FORMAT else Reason[dimension.name] for dimension in Dimension
)
"""The reason that each dimension refuses with."""

OPEN_AUCTION = ""
"""Value of DEAL that the open auction shows, and that every line item without deals wants."""
