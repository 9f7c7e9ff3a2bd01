"""Bid responses as bytes, from templates: what a creative always says is escaped once, when it is loaded.

Each bid carries what an exchange checks (OpenRTB 2.6 sections 4.2.1 to 4.2.3): `id`, `impid`, `price`, `adomain`,
`crid`, `cid`, `cat`, `attr`, `w`, `h`, `mtype`, its notice URLs and its markup. The price is written from an
integer, so it is the very amount that was reserved.
"""

import html

import msgspec

from bidder.money import MICROS_PER_UNIT, format_decimal

MTYPE_BANNER = 1
_SLOT = "\0"
"""Stands where a token goes; no URL or name holds it."""

_json = msgspec.json.Encoder()


def json_text(value: object) -> str:
    """`value` as JSON text."""
    return _json.encode(value).decode()


class NoticeUrls(msgspec.Struct, frozen=True):
    """URLs of one creative's bids with `TOKEN` standing where the token goes."""

    nurl: str
    burl: str
    lurl: str
    pixel: str
    click: str
    conversion: str


TOKEN = _SLOT


class BannerTemplate:
    """Everything of a bid for one creative but its id, impression, price and tokens.

    Args:
        campaign_id: `cid`. creative_id: `crid`. adomain, cat, attr: as in the response.
        w: width in pixels. h: height in pixels.
        image_url: what the markup shows.
        urls: with `TOKEN` where the token goes.
    """

    def __init__(
        self,
        *,
        campaign_id: str,
        creative_id: str,
        adomain: tuple[str, ...],
        cat: tuple[str, ...],
        attr: tuple[int, ...],
        w: int,
        h: int,
        image_url: str,
        urls: NoticeUrls,
    ) -> None:
        markup = (
            f'<a href="{html.escape(urls.click)}" target="_blank" rel="noopener">'
            f'<img src="{html.escape(image_url)}" width="{w}" height="{h}" alt=""></a>'
            f'<img src="{html.escape(urls.pixel)}" width="1" height="1" alt="">'
        )
        notices = {"nurl": urls.nurl, "burl": urls.burl, "lurl": urls.lurl}
        fixed: dict[str, object] = {
            "cid": campaign_id,
            "crid": creative_id,
            "adomain": adomain,
            "mtype": MTYPE_BANNER,
        }
        fixed |= {"cat": cat} if cat else {}
        fixed |= {"attr": attr} if attr else {}
        fixed |= {"w": w, "h": h}
        # JSON escapes NUL, so the parts are encoded with it and split at its escaped form.
        self._notices = _split(json_text(notices)[1:-1])
        self._markup = _split(json_text(markup))
        self._fixed = json_text(fixed)[1:-1]
        self._conversion = _split(json_text(urls.conversion))

    def bid(self, bid_id: str, imp_id: str, bid_cpm_micros: int, token: str, browser_token: str) -> str:
        """One bid as JSON text.

        Args:
            bid_id: text of letters that need no escape.
            imp_id: as the request has it.
            bid_cpm_micros: the price.
            token: goes into the notice URLs, which only the exchange sees.
            browser_token: goes into the markup.
        """
        price = format_decimal(bid_cpm_micros, MICROS_PER_UNIT)
        return (
            f'{{"id":"{bid_id}","impid":{json_text(imp_id)},"price":{price},{token.join(self._notices)},'
            f'"adm":{browser_token.join(self._markup)},{self._fixed},'
            f'"ext":{{"clearbid":{{"cv":{browser_token.join(self._conversion)}}}}}}}'
        )


def _split(text: str) -> list[str]:
    return text.split("\\u0000")


def bid_response(request_id: str, response_id: str, currency: str, seat: str, bids: list[str]) -> bytes:
    """A BidResponse with one seat's bids (section 4.2.1)."""
    return (
        f'{{"id":{json_text(request_id)},"bidid":"{response_id}","cur":"{currency}",'
        f'"seatbid":[{{"seat":{json_text(seat)},"bid":[{",".join(bids)}]}}]}}'
    ).encode()


def no_bid_response(request_id: str, nbr: int) -> bytes:
    """A BidResponse without bids and the reason (section 4.2.1 and list 5.24)."""
    return f'{{"id":{json_text(request_id)},"seatbid":[],"nbr":{nbr}}}'.encode()
