"""Why an opportunity ended as it did: one number for each ending, and its OpenRTB no-bid code.

The hundreds say where it ended: 0 a bid; 1xx the request or impression itself; 2xx targeting, by the dimension
that left no campaign; 3xx the money and the price. Numbers are written to logs: never reuse one.
"""

from enum import IntEnum


class Reason(IntEnum):
    """How one opportunity ended."""

    BID = 0

    MALFORMED = 101
    INVALID = 102
    EXPIRED = 103
    CURRENCY = 104
    SEAT = 105
    AUCTION_TYPE = 106
    PRIVATE_AUCTION = 107
    FLOOR_CURRENCY = 108
    MEDIA_TYPE = 109
    DUPLICATE = 110

    NO_CAMPAIGNS = 200
    EXCHANGE = 201
    SIZE = 202
    HOUR = 203
    GEO = 204
    DOMAIN = 205
    SEGMENT = 206
    BLOCKED = 207

    FLIGHT = 301
    UNSCORED = 302
    NO_LEASE = 303
    BELOW_FLOOR = 304
    BUDGET = 305
    NO_VALUE = 306


_NBR = {
    Reason.MALFORMED: 2,
    Reason.INVALID: 2,
    Reason.AUCTION_TYPE: 2,
    Reason.EXPIRED: 15,
}
EXCHANGE_SPECIFIC = 500


def nbr(reason: Reason) -> int:
    """The no-bid reason code for an exchange (OpenRTB 2.6, list 5.24 as kept in AdCOM "No-Bid Reason Codes").

    Reasons of our own business have no standard code: they are 500 + the reason, in the list's own range.
    """
    return _NBR.get(reason, EXCHANGE_SPECIFIC + reason)
