"""The tracking URLs of a bid, around a signed token.

Macros go in unescaped: exchanges replace the exact text `${AUCTION_PRICE}` (OpenRTB 2.6 section 4.4).
"""

from urllib.parse import urlsplit

from bidder.errors import InputError
from bidder.openrtb.macros import AUCTION_CURRENCY, AUCTION_LOSS, AUCTION_PRICE

WIN, BILLING, LOSS, IMPRESSION, CLICK, CONVERSION, VIEW = "/win", "/bill", "/loss", "/i", "/c", "/v", "/view"
"""Paths of the tracker."""
CLICK_ID = "${CLICK_ID}"
"""In a landing page: where the id of the click goes, by which a server can report what came of it."""

_PRICE = f"&p={AUCTION_PRICE}&c={AUCTION_CURRENCY}"


class TrackingUrls:
    """Builds the URLs that come back to the tracker.

    `nurl`, `burl` and `lurl` go to the exchange, with a token of `Scope.EXCHANGE`. `pixel`, `view`, `click` and
    `conversion` can be read in the browser: give them one of `Scope.BROWSER`.

    Args:
        public_url: where the tracker is reached from outside, such as `https://track.example`, without query.

    Raises:
        InputError: if that is not an http(s) address with a host, or has a query or fragment.
    """

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise InputError(
                f"public URL of the tracker must be http(s)://host without query, was {public_url!r}"
            )
        base = public_url.rstrip("/")
        self._win, self._billing, self._loss = (f"{base}{path}?t=" for path in (WIN, BILLING, LOSS))
        self._impression, self._view, self._click, self._conversion = (
            f"{base}{path}?t=" for path in (IMPRESSION, VIEW, CLICK, CONVERSION)
        )
        self.secure = parts.scheme == "https"

    def nurl(self, token: str) -> str:
        """Win notice, called by the exchange."""
        return f"{self._win}{token}{_PRICE}"

    def burl(self, token: str) -> str:
        """Billing notice, called by the exchange; the one that books spend."""
        return f"{self._billing}{token}{_PRICE}"

    def lurl(self, token: str) -> str:
        """Loss notice, called by the exchange; it asks for the reason, not for the price."""
        return f"{self._loss}{token}&l={AUCTION_LOSS}"

    def pixel(self, token: str) -> str:
        """Impression pixel of the markup."""
        return f"{self._impression}{token}"

    def view(self, token: str) -> str:
        """Called by the markup where half of the ad was in view for its second, or two of a video."""
        return f"{self._view}{token}"

    def click(self, token: str, landing: str) -> str:
        """Click address of the markup; `landing` is what `sign_landing` made for the creative."""
        return f"{self._click}{token}&{landing}"

    def conversion(self, token: str) -> str:
        """Where the advertiser reports conversions, adding `&v=` (worth) and `&e=` (id of the event)."""
        return f"{self._conversion}{token}"

    def conversion_of_a_user(self, pixel: str) -> str:
        """Where the advertiser reports conversions that name no bid; `pixel` is what `sign_pixel` made."""
        return f"{self._conversion.removesuffix('t=')}a={pixel}"
