"""Bid responses as bytes, from templates: what a creative always says is escaped once, when it is loaded.

Each bid carries what an exchange checks (OpenRTB 2.6 sections 4.2.1 to 4.2.3): `id`, `impid`, `price`, its
`BidFacts`, its notice URLs and its markup. The price is written from an integer, so it is the very amount that
was reserved. `group` is left out: each of our bids stands by itself.
"""

import html
from typing import Literal

import msgspec

from bidder.money import MICROS_PER_UNIT, format_decimal
from bidder.openrtb.markup import pieces as holes
from bidder.openrtb.markup.pieces import Pieces, Slot

MTYPE_BANNER, MTYPE_VIDEO, MTYPE_AUDIO, MTYPE_NATIVE = 1, 2, 3, 4
TOKEN = holes.TOKEN
"""Stands in a URL where the token goes."""

Billing = Literal["burl", "impression"]
"""Who tells us that an impression is owed: the exchange at `burl`, or who shows the markup by an address in it. For
VAST `burl` is discouraged (implementation guide, section 7.8); a bid has one of them, never both."""

NoBid = Literal["nbr", "empty_seatbid", "empty_object", "none"]
"""Forms of an answer without bids (section 4.2.1): with the reason, with an empty `seatbid`, `{}`, or no content."""

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
    view: str = ""


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


class BidFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every bid of a creative says of it, by the names of section 4.2.3; what is at its default is left out.

    cat is of taxonomy `cattax`. iurl holds no cache buster. protocol is that of the markup. w, h: pixels;
    wratio, hratio instead of them for a flex ad. dur, exp: seconds.
    """

    cid: str
    crid: str
    adomain: tuple[str, ...]
    mtype: int
    bundle: str = ""
    iurl: str = ""
    cat: tuple[str, ...] = ()
    cattax: int = 1
    attr: tuple[int, ...] = ()
    apis: tuple[int, ...] = ()
    protocol: int = 0
    language: str = ""
    w: int = 0
    h: int = 0
    wratio: int = 0
    hratio: int = 0
    dur: int = 0
    exp: int = 0


class BidTemplate:
    """Everything of a bid for one creative but its id, impression, price, tokens, deal and place in a pod.

    Args:
        facts: what it says of the creative.
        urls: with `TOKEN` where the token goes.
        markup: `adm`.
        billing: `impression` where the markup, and not `burl`, tells us that the impression is owed.
        line_item_id: stands in our own extension; empty where it is the campaign's.

    Raises:
        AssertionError: the markup holds a token that books spend although `burl` is given, or holds none although
            it is not.
    """

    __slots__ = ("_behind", "_exchange", "_many", "_mixed", "_rest")

    def __init__(
        self,
        facts: BidFacts,
        urls: NoticeUrls,
        markup: Pieces,
        *,
        billing: Billing = "burl",
        line_item_id: str = "",
    ) -> None:
        assert (Slot.EXCHANGE_TOKEN in markup) == (billing == "impression"), (
            f"markup must hold the exchange's token only where billing is by impression, was {billing}"
        )
        notices = {"nurl": urls.nurl, "lurl": urls.lurl} | ({"burl": urls.burl} if billing == "burl" else {})
        text: list[str | Slot] = []
        for name, url in notices.items():
            text += [f',"{name}":', *holes.json_pieces(holes.url_pieces(url, Slot.EXCHANGE_TOKEN))]
        text += [',"adm":', *holes.json_pieces(markup)]
        text += [",", holes.ascii_json(msgspec.to_builtins(facts))[1:-1]]
        text += [',"ext":{"clearbid":{"cv":', *holes.json_pieces(holes.url_pieces(urls.conversion))]
        text += [f',"li":{holes.ascii_json(line_item_id)}' if line_item_id else "", "}}"]
        self._cut(tuple(text))

    def _cut(self, text: Pieces) -> None:
        """Cuts the text at its slots: first those of the exchange's token, then the bid's id and the browser's.

        To join what lies between is the quickest way to fill it. Most markup names the bid never or once, and most
        has the exchange's token before all others, or not at all.
        """
        *first, rest = holes.cut(text, Slot.EXCHANGE_TOKEN)
        self._behind: list[str] | None = None
        self._many: list[list[str]] | None = None
        self._mixed: Pieces | None = None
        if any(isinstance(piece, Slot) for part in first for piece in part):
            self._mixed = text
            return
        self._exchange = [*holes.texts(first), ""]
        parts = [holes.texts(holes.cut(part, Slot.BROWSER_TOKEN)) for part in holes.cut(rest, Slot.BID_ID)]
        self._rest = parts[0]
        self._behind = parts[1] if len(parts) == 2 else None
        self._many = parts if len(parts) > 2 else None

    def bid(
        self,
        bid_id: str,
        imp_id_json: str,
        price: str,
        token: str,
        browser_token: str,
        deal_json: str = "",
        extra: str = "",
    ) -> str:
        """One bid as JSON text.

        Args:
            bid_id: text of letters that need no escape.
            imp_id_json: JSON text of the impression's id.
            price: CPM as decimal text, such as `1.25`.
            token: goes where only the exchange looks; letters that need no escape.
            browser_token: goes into the markup.
            deal_json: `,"dealid":"x"`, or nothing.
            extra: more fields, such as `,"slotinpod":1`; none that `BidFacts` holds.
        """
        if self._mixed is not None:
            filled = {Slot.EXCHANGE_TOKEN: token, Slot.BROWSER_TOKEN: browser_token, Slot.BID_ID: bid_id}
            text = "".join([piece if isinstance(piece, str) else filled[piece] for piece in self._mixed])
            return f'{{"id":"{bid_id}","impid":{imp_id_json},"price":{price}{text}{deal_json}{extra}}}'
        if self._many is not None:
            rest = bid_id.join(map(browser_token.join, self._many))
        elif self._behind is not None:
            rest = f"{browser_token.join(self._rest)}{bid_id}{browser_token.join(self._behind)}"
        else:
            rest = browser_token.join(self._rest)
        return (
            f'{{"id":"{bid_id}","impid":{imp_id_json},"price":{price}{token.join(self._exchange)}'
            f"{rest}{deal_json}{extra}}}"
        )


def _split(text: str) -> list[str]:
    return text.split("\\u0000")


def bid_response(request_id: str, response_id: str, currency: str, seat: str, bids: list[str]) -> bytes:
    """A BidResponse with one seat's bids (section 4.2.1)."""
    return (
        f'{{"id":{json_text(request_id)},"bidid":"{response_id}","cur":"{currency}",'
        f'"seatbid":[{{"seat":{json_text(seat)},"bid":[{",".join(bids)}]}}]}}'
    ).encode()


def no_bid_response(request_id: str, nbr: int, form: NoBid = "nbr") -> bytes:
    """A BidResponse without bids, in the form that an exchange likes best (section 4.2.1).

    Args:
        request_id: what it answers.
        nbr: the reason (list 5.24); only the form `nbr` says it.
        form: `none` is no content at all, to be sent with status 204.
    """
    if form == "none":
        return b""
    if form == "empty_object":
        return b"{}"
    reason = f',"nbr":{nbr}' if form == "nbr" else ""
    return f'{{"id":{json_text(request_id)},"seatbid":[]{reason}}}'.encode()
