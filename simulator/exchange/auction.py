"""The auction rules, on integer CPM micros.

A bid wins if it is at or above the floor and above the highest rival; a tie goes to the rival, who was there
first. At second price the winner pays the larger of floor and rival; at first price its own bid. Where neither
floor nor rival stands against it the price is one micro, because a price of zero could not be told from no price.
"""

from typing import NamedTuple


class Verdict(NamedTuple):
    """How an auction ended for one bid; `price_cpm_micros` is 0 unless it won."""

    won: bool
    price_cpm_micros: int
    min_to_win_cpm_micros: int


def decide(
    bid_cpm_micros: int, floor_cpm_micros: int, rival_cpm_micros: int | None, *, first_price: bool
) -> Verdict:
    """Decides the auction of one bid against the floor and the highest rival.

    Args:
        bid_cpm_micros: > 0.
        floor_cpm_micros: >= 0.
        rival_cpm_micros: None where nobody else bid.
        first_price: whether the winner pays its bid.
    """
    rival = -1 if rival_cpm_micros is None else rival_cpm_micros
    min_to_win = max(floor_cpm_micros, rival + 1, 1)
    if bid_cpm_micros < min_to_win:
        return Verdict(won=False, price_cpm_micros=0, min_to_win_cpm_micros=min_to_win)
    price = bid_cpm_micros if first_price else max(floor_cpm_micros, rival, 1)
    return Verdict(won=True, price_cpm_micros=price, min_to_win_cpm_micros=min_to_win)
