"""Reasons in the words of the people who read them, and the engine's counts as the report takes them."""

from collections.abc import Iterable, Mapping

from bidder.openrtb.reasons import Reason
from simulator.report import text

WORDS = {
    "MALFORMED": "Request could not be read",
    "INVALID": "Request or impression not valid",
    "EXPIRED": "Too late when it was read",
    "CURRENCY": "Currency not accepted",
    "SEAT": "Our seat not invited",
    "AUCTION_TYPE": "Auction type not supported",
    "PRIVATE_AUCTION": "Private auction without a deal of ours",
    "FLOOR_CURRENCY": "Floor in another currency",
    "MEDIA_TYPE": "No medium on offer that can be read",
    "DUPLICATE": "Request seen before",
    "CRAWLER": "Crawler",
    "DATA_CENTRE": "Address of a data centre",
    "IMPOSSIBLE_DEVICE": "Device that contradicts itself",
    "USER_RATE": "Too many requests of one user",
    "ADDRESS_RATE": "Too many requests of one address",
    "SCHAIN_INCOMPLETE": "Supply chain not complete",
    "SCHAIN_BLOCKED": "Seller in the supply chain blocked",
    "SAME_OPPORTUNITY": "Same page view offered another way",
    "NO_CAMPAIGNS": "No campaign to serve",
    "EXCHANGE": "No campaign on this exchange",
    "SIZE": "No creative of this size",
    "HOUR": "No campaign at this hour",
    "GEO": "No campaign in this place",
    "DOMAIN": "No campaign on this site",
    "SEGMENT": "No campaign for this audience",
    "BLOCKED": "Blocked by the publisher",
    "DEAL": "No campaign for this deal",
    "INVENTORY": "No campaign for this kind of inventory",
    "CITY": "No campaign in this city",
    "CIRCLE": "Outside every circle",
    "DEVICE": "No campaign on this device",
    "OS": "No campaign on this system",
    "BROWSER": "No campaign in this browser",
    "CARRIER": "No campaign on this carrier",
    "CONNECTION": "No campaign on this connection",
    "LANGUAGE": "No campaign in this language",
    "CONTENT": "No campaign beside this content",
    "KEYWORD": "No campaign for these keywords",
    "PLACEMENT": "No campaign in this placement",
    "VIEWABILITY": "Not viewable enough",
    "EXPRESSION": "No expression holds",
    "CREATIVE_SIZE": "Creative does not fit the slot",
    "CREATIVE_APPROVAL": "Creative not approved by the exchange",
    "CREATIVE_SECURE": "Creative not all by https",
    "CREATIVE_BLOCKED": "Creative blocked by the publisher",
    "CREATIVE_ATTRIBUTE": "Attribute of the creative blocked",
    "CREATIVE_TYPE": "Type of the creative blocked",
    "CREATIVE_MIME": "File type of the creative not taken",
    "CREATIVE_API": "Framework of the creative not there",
    "CREATIVE_PROTOCOL": "Protocol of the creative not taken",
    "CREATIVE_DURATION": "Creative too long or too short",
    "CREATIVE_DELIVERY": "Delivery of the creative not taken",
    "CREATIVE_LANGUAGE": "Language of the creative not taken",
    "CREATIVE_ASSETS": "Native creative lacks an asset",
    "FLIGHT": "Outside the flight",
    "UNSCORED": "No score",
    "NO_LEASE": "No budget leased",
    "BELOW_FLOOR": "Bid below the floor",
    "BUDGET": "Budget spent or set aside",
    "NO_VALUE": "Worth nothing after pacing",
    "CAPPED": "User saw it often enough",
    "STOPPED": "Stopped by hand",
    "TRIPPED": "Stopped: spent too fast",
    "POD": "Already in this ad break",
    "OUTBID": "Outbid by another campaign of ours",
    "CREATIVE": "No creative fits",
}
"""By name of `Reason`, and of the campaign funnel, whose names are the same in lower case."""

REFUSALS = {
    "inactive": "Paused or without a creative",
    "flight": "Outside the flight",
    "exchange": "Other exchange",
    "deal": "Other deal or open auction",
    "format": "Other format or size",
    "inventory": "Other inventory",
    "hour": "Other hour",
    "geo": "Other place",
    "city": "Other city",
    "circle": "Outside its circles",
    "device": "Other device",
    "os": "Other system",
    "browser": "Other browser",
    "carrier": "Other carrier",
    "connection": "Other connection",
    "language": "Other language",
    "domain": "Other site or app",
    "content": "Other content",
    "keyword": "Other keywords",
    "placement": "Other placement",
    "viewability": "Not viewable enough",
    "segment": "Other audience",
    "expression": "No expression holds",
    "blocked": "Blocked by the publisher",
}
"""What targeting refused, by the dimension that did so first, in the order in which they are asked."""


def words(name: str) -> str:
    """What a reason means; a name we do not know is shown as it is, made readable."""
    return WORDS.get(name.upper()) or text.plain(name)


def refusal_words(name: str) -> str:
    """What a dimension refused."""
    return REFUSALS.get(name) or text.plain(name)


def no_bids(counts: Mapping[int, int]) -> dict[str, int]:
    """The engine's endings by number as `RunResult.reasons` wants them: by name, without the bids."""
    return {Reason(number).name: count for number, count in sorted(counts.items()) if number != Reason.BID}


def drops(funnel: Mapping[str, int]) -> dict[str, int]:
    """A campaign's funnel in the engine as `CampaignResult.funnel` wants it: what dropped the rest only."""
    return {name: count for name, count in funnel.items() if name not in {"eligible", "bid"}}


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of several, added name by name."""
    found: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            found[name] = found.get(name, 0) + count
    return found
