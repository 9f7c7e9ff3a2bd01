"""Reasons in the words of the people who read them, and the engine's counts as the report takes them."""

from collections.abc import Mapping

from bidder.openrtb.reasons import Reason
from simulator.report import text

WORDS = {
    "MALFORMED": "Request could not be read",
    "INVALID": "Request or impression not valid",
    "EXPIRED": "Deadline had passed",
    "CURRENCY": "Currency not accepted",
    "SEAT": "Our seat not invited",
    "AUCTION_TYPE": "Auction type not supported",
    "PRIVATE_AUCTION": "Private auction",
    "FLOOR_CURRENCY": "Floor in another currency",
    "MEDIA_TYPE": "No banner on offer",
    "DUPLICATE": "Request seen before",
    "NO_CAMPAIGNS": "No campaign to serve",
    "EXCHANGE": "No campaign on this exchange",
    "SIZE": "No creative of this size",
    "HOUR": "No campaign at this hour",
    "GEO": "No campaign in this place",
    "DOMAIN": "No campaign on this site",
    "SEGMENT": "No campaign for this audience",
    "BLOCKED": "Blocked by the publisher",
    "FLIGHT": "Outside the flight",
    "UNSCORED": "No score",
    "NO_LEASE": "No budget leased",
    "BELOW_FLOOR": "Bid below the floor",
    "BUDGET": "Budget spent or set aside",
    "NO_VALUE": "Worth nothing after pacing",
    "OUTBID": "Outbid by another campaign of ours",
}
"""By name of `Reason`, and of the campaign funnel, whose names are the same in lower case."""


def words(name: str) -> str:
    """What a reason means; a name we do not know is shown as it is, made readable."""
    return WORDS.get(name.upper()) or text.plain(name)


def no_bids(counts: Mapping[int, int]) -> dict[str, int]:
    """The engine's endings by number as `RunResult.reasons` wants them: by name, without the bids."""
    return {Reason(number).name: count for number, count in sorted(counts.items()) if number != Reason.BID}


def drops(funnel: Mapping[str, int]) -> dict[str, int]:
    """A campaign's funnel in the engine as `CampaignResult.funnel` wants it: what dropped the rest only."""
    return {name: count for name, count in funnel.items() if name not in {"eligible", "bid"}}
