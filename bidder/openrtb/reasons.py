"""Why an opportunity ended as it did: one number for each ending, and its OpenRTB no-bid code.

The hundreds say where it ended: 0 a bid; 1xx the request or impression itself; 2xx targeting, by the dimension
that left no line item, and from 230 on the creatives; 3xx caps, money and the price. Numbers are written to logs:
never reuse one.
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
    CRAWLER = 111
    DATA_CENTRE = 112
    IMPOSSIBLE_DEVICE = 113
    USER_RATE = 114
    ADDRESS_RATE = 115
    SCHAIN_INCOMPLETE = 116
    SCHAIN_BLOCKED = 117
    SAME_OPPORTUNITY = 118

    NO_CAMPAIGNS = 200
    EXCHANGE = 201
    SIZE = 202
    HOUR = 203
    GEO = 204
    DOMAIN = 205
    SEGMENT = 206
    BLOCKED = 207
    DEAL = 208
    INVENTORY = 209
    CITY = 210
    CIRCLE = 211
    DEVICE = 212
    OS = 213
    BROWSER = 214
    CARRIER = 215
    CONNECTION = 216
    LANGUAGE = 217
    CONTENT = 218
    KEYWORD = 219
    PLACEMENT = 220
    VIEWABILITY = 221
    EXPRESSION = 222

    CREATIVE_SIZE = 230
    CREATIVE_APPROVAL = 231
    CREATIVE_SECURE = 232
    CREATIVE_BLOCKED = 233
    CREATIVE_ATTRIBUTE = 234
    CREATIVE_TYPE = 235
    CREATIVE_MIME = 236
    CREATIVE_API = 237
    CREATIVE_PROTOCOL = 238
    CREATIVE_DURATION = 239
    CREATIVE_DELIVERY = 240
    CREATIVE_LANGUAGE = 241
    CREATIVE_ASSETS = 242

    FLIGHT = 301
    UNSCORED = 302
    NO_LEASE = 303
    BELOW_FLOOR = 304
    BUDGET = 305
    NO_VALUE = 306
    CAPPED = 307
    POD = 308
    STOPPED = 309
    TRIPPED = 310


_NBR = {
    Reason.MALFORMED: 2,
    Reason.INVALID: 2,
    Reason.AUCTION_TYPE: 2,
    Reason.CRAWLER: 3,
    Reason.IMPOSSIBLE_DEVICE: 4,
    Reason.USER_RATE: 4,
    Reason.ADDRESS_RATE: 4,
    Reason.DATA_CENTRE: 5,
    Reason.CAPPED: 9,
    Reason.EXPIRED: 15,
    Reason.SCHAIN_INCOMPLETE: 16,
    Reason.SCHAIN_BLOCKED: 17,
}
EXCHANGE_SPECIFIC = 500


def nbr(reason: Reason) -> int:
    """The no-bid reason code for an exchange (OpenRTB 2.6, list 5.24 as kept in AdCOM "No-Bid Reason Codes").

    Reasons of our own business have no standard code: they are 500 + the reason, in the list's own range.
    """
    return _NBR.get(reason, EXCHANGE_SPECIFIC + reason)


NBR: dict[int, int] = {int(reason): nbr(reason) for reason in Reason}
"""`nbr` of every reason by its number, for the hot path."""
