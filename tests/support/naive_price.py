"""The slow twin of pricing: a bid made again from what `clearbid explain --json` tells of its price."""

import math
from typing import Any

ONE = 1_000_000_000
MOST_FOREIGN_NANOS = 9_000_000_000


def bid_again(price: dict[str, Any]) -> int:
    """Nanos that the engine bids: what the factors make, held against bounds, floor and deal; 0 where none.

    Floats are multiplied in the engine's order, or the last digit may differ.
    """
    worth = price["pctr"] * price["goal_value_nanos"]
    if price["goal"] == "conversion":
        worth *= price["pcvr"]
    for modifier in price.get("applied", ()):
        worth *= modifier["factor"]
    worth = worth * price["multiplier"] - price.get("fee_nanos", 0)
    worth = worth / (1.0 + price.get("fee_ppm", 0) / 1_000_000) * price["shade"]
    if price.get("arm") == "landscape":
        worth = price["landscape_nanos"]
    floor = price["floor_nanos"]
    if price["guaranteed"]:
        worth = max(worth, float(max(floor, 1)))
    if worth < 1.0:
        return 0
    bid = price["max_bid_nanos"] if worth >= price["max_bid_nanos"] else math.floor(worth)
    if bid < price["min_bid_nanos"] or bid < floor:
        return 0
    if price["fixed_price"]:
        bid = max(floor, 1)
    if price.get("explore_factor"):
        bid = round(bid * price["explore_factor"])
    rate = price["rate_nanos"]
    return bid if rate == ONE else _abroad(bid, floor, rate, price["max_bid_nanos"])


def _abroad(bid: int, floor: int, rate: int, most: int) -> int:
    """The bid where its price in the other currency is something, at the floor or above and within the most."""
    bid = min(bid, MOST_FOREIGN_NANOS)
    price = bid * ONE // rate
    if floor <= bid and price * rate < floor * ONE:
        price += 1
    cost = -(-price * rate // ONE)
    return 0 if price < 1 or bid < floor or cost > most else bid
