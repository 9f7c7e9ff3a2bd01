"""Puts values in place of the macros in a bid's URLs (OpenRTB 2.6 section 4.4).

Names are matched exactly as the specification spells them; a value goes in percent-encoded, since it becomes part
of a URL. A macro that has no value here is replaced by nothing, and one that the specification does not know
stays as it is. `${AUCTION_PRICE:B64}` gives the value in Base64.
"""

import base64
import re
from typing import NamedTuple
from urllib.parse import quote

from bidder.money import MICROS_PER_UNIT, format_decimal
from simulator.exchange.answers import Answer, Bid
from simulator.exchange.auction import Verdict

_MACRO = re.compile(r"\$\{([A-Z_]+)(:B64)?\}")
_MILLION = 1_000_000
_UNKNOWN_HERE = frozenset(("AUCTION_IMP_TS", "AUCTION_DISCOUNT_PCT", "AUCTION_DISCOUNT_CPM"))
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*\Z")


class Macros(NamedTuple):
    """What the macros of one bid stand for. A loser is told what it would have taken, not what was paid.

    Attributes:
        answer: the response that held the bid. seat: of the bid. bid: the bid.
        bid_cpm_micros: its price. verdict: how it ended. loss: reason of list 5.25, 0 for a win.
    """

    answer: Answer
    seat: str
    bid: Bid
    bid_cpm_micros: int
    verdict: Verdict
    loss: int

    def expand(self, url: str) -> str:
        """`url` with every known macro replaced."""
        return _MACRO.sub(self._replacement, url) if "${" in url else url

    def _replacement(self, match: re.Match[str]) -> str:
        value = self._value(match[1])
        if value is None:
            return match[0]
        if match[2]:
            value = base64.b64encode(value.encode()).decode()
        return value if _UNRESERVED.match(value) else quote(value, safe="")

    def _value(self, name: str) -> str | None:
        """The value; empty where there is none here; None for a name that is not of the specification."""
        price = self._price_value(name)
        if price is not None:
            return price
        texts = {
            "AUCTION_LOSS": str(self.loss),
            "AUCTION_CURRENCY": self.answer.cur,
            "AUCTION_ID": self.answer.id,
            "AUCTION_BID_ID": self.answer.bidid,
            "AUCTION_IMP_ID": self.bid.impid,
            "AUCTION_SEAT_ID": self.seat,
            "AUCTION_AD_ID": self.bid.adid,
            "AUCTION_MULTIPLIER": "1" if self.verdict.won else "",
        }
        return texts.get(name, "" if name in _UNKNOWN_HERE else None)

    def _price_value(self, name: str) -> str | None:
        won, price, min_to_win = self.verdict
        if name == "AUCTION_PRICE":
            return format_decimal(price, MICROS_PER_UNIT) if won else ""
        if name == "AUCTION_MIN_TO_WIN":
            return format_decimal(min_to_win, MICROS_PER_UNIT)
        if name == "AUCTION_MBR":
            # Cut to six decimals, so that it never says more than was paid.
            return format_decimal(price * _MILLION // self.bid_cpm_micros, _MILLION) if won else ""
        return None
