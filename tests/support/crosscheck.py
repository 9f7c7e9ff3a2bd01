"""Holds an answer against the request that it answers and the campaigns that it sells, without the bidder's code.

`faults` reads both as plain JSON and says everything that an exchange could object to. It is slow and straight.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import gcd
from typing import Any

import orjson

from tests.support import crossread as read
from tests.support.crosslists import lists_of
from tests.support.crossmarkup import markup_faults
from tests.support.crossread import Unreadable

MICRO = Decimal("0.000001")
MEDIA = {1: "banner", 2: "video", 3: "audio", 4: "native"}
_NO_BID_CODES = {*range(18), *range(500, 1_000)}
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("id", "impid", "nurl", "burl", "lurl", "adm", "bundle", "iurl", "cid", "crid", "language", "dealid"), str
    ),
    **dict.fromkeys(("mtype", "cattax", "protocol", "w", "h", "wratio", "hratio", "dur", "exp", "slotinpod"), int),
    **dict.fromkeys(("adomain", "cat", "attr", "apis"), list),
    "price": (int, float),
    "ext": dict,
}  # fmt: skip
_NEEDED = ("id", "impid", "price", "adm", "nurl", "lurl", "cid", "crid", "adomain", "mtype")


@dataclass(frozen=True)
class Terms:
    """What was agreed with exchanges.

    buyer: our seat name. rates: by currency, account units for one. agreed: currency of requests without `cur`, by
    exchange (else USD). no_bid: form of an answer without bids by exchange (else `nbr`). margin_ms: off `tmax`.
    """

    buyer: str
    rates: Mapping[str, str]
    agreed: Mapping[str, str] = field(default_factory=dict)
    no_bid: Mapping[str, str] = field(default_factory=dict)
    margin_ms: int = 20

    def rate(self, currency: str) -> Decimal | None:
        """Account units for one of a currency."""
        return Decimal(self.rates[currency]) if currency in self.rates else None


def faults(body: bytes, response: bytes, campaigns: Mapping[str, Any], terms: Terms) -> list[str]:
    """Everything that is wrong with the answer to a body; empty where it is right.

    Args:
        body: the request as it came. response: as it goes out; empty where nothing does.
        campaigns: records by id. terms: that hold.
    """
    if not response:
        return []
    answer = orjson.loads(response)
    seats = answer.get("seatbid", [])
    try:
        request = read.body_of(body)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        return ["an answer to what is no request"]
    exchange = read.soft(read.text, (read.soft(read.record, request.get("ext")) or {}).get("exchange")) or ""
    if not seats:
        return _no_bid(request, answer, terms.no_bid.get(exchange, "nbr"))
    try:
        return _Check(request, answer, campaigns, terms, exchange).faults()
    except Unreadable as error:
        return [f"a bid although a rule cannot be known: {error}"]


def bids_of(response: bytes) -> list[dict[str, Any]]:
    """The bids of a response."""
    answer = orjson.loads(response) if response else {}
    return [bid for seat in answer.get("seatbid", ()) for bid in seat["bid"]]


def _no_bid(request: dict[str, Any], answer: dict[str, Any], form: str) -> list[str]:
    expected: dict[str, Any] = {} if form == "empty_object" else {"id": answer.get("id"), "seatbid": []}
    if form == "nbr":
        expected["nbr"] = answer.get("nbr")
    found = [] if answer == expected and form != "none" else [f"form {form} without bids is {answer}"]
    if form == "nbr" and answer.get("nbr") not in _NO_BID_CODES:
        found.append(f"nbr {answer.get('nbr')}")
    if expected and not read.same_id(request.get("id"), answer.get("id", "")):
        found.append(f"id {answer.get('id')}")
    return found


class _Check:
    """One answer with bids."""

    def __init__(
        self,
        request: dict[str, Any],
        answer: dict[str, Any],
        campaigns: Mapping[str, Any],
        terms: Terms,
        exchange: str,
    ) -> None:
        self.request, self.answer, self.campaigns, self.terms = request, answer, campaigns, terms
        self.exchange = exchange
        self.found: list[str] = []
        self.at = 2

    def say(self, holds: bool, what: str) -> None:
        if not holds:
            self.found.append(what)

    def faults(self) -> list[str]:
        self._whole()
        bids = [bid for seat in self.answer["seatbid"] for bid in seat["bid"]]
        ids = Counter(bid.get("id") for bid in bids)
        self.say(max(ids.values()) == 1, f"ids of bids {ids}")
        breaks: dict[tuple[str, str], list[tuple[dict[str, Any], str]]] = {}
        for bid in bids:
            line = self._bid(bid)
            breaks.setdefault((bid["impid"], bid.get("dealid", "")), []).append((bid, line))
        for (imp_id, deal), shown in breaks.items():
            self._break(imp_id, deal, shown)
        return self.found

    # -- the request as a whole -----------------------------------------------------------------------------

    def _whole(self) -> None:
        request, answer, terms = self.request, self.answer, self.terms
        self.say(read.same_id(request.get("id"), answer["id"]) and bool(answer["id"]), f"id {answer['id']}")
        listed = read.texts(request.get("cur"), "cur") or [terms.agreed.get(self.exchange, "USD")]
        self.say(answer.get("cur") in listed, f"cur {answer.get('cur')} is not of {listed}")
        self.say(isinstance(answer.get("bidid"), str) and bool(answer["bidid"]), "bidid")
        for seat in answer["seatbid"]:
            self.say(seat.get("seat") == terms.buyer and bool(seat["bid"]), "seat")
        seats = read.texts(request.get("wseat"), "wseat")
        self.say(not seats or terms.buyer in seats, "wseat")
        self.say(terms.buyer not in read.texts(request.get("bseat"), "bseat"), "bseat")
        tmax = read.number(request.get("tmax"), "tmax")
        self.say(tmax is None or tmax > terms.margin_ms, f"late for tmax {tmax}")
        at = read.whole(request.get("at"), "at")
        self.at = 2 if at is None else at
        read.whole(request.get("test"), "test")
        places = [name for name in ("site", "app", "dooh") if isinstance(request.get(name), dict)]
        self.say(len(places) < 2, f"places {places}")
        self._privacy()
        self.imps = read.records(request.get("imp"), "imp")

    def _privacy(self) -> None:
        """The marks that allow or forbid must be readable."""
        regs = read.record(self.request.get("regs"), "regs")
        for where in (regs, read.record(regs.get("ext"), "regs.ext")):
            for name in ("coppa", "gdpr") if where is regs else ("gdpr",):
                read.whole(where.get(name), f"regs.{name}")
            for name in ("us_privacy", "gpp"):
                read.text(where.get(name), f"regs.{name}")
            read.wholes(where.get("gpp_sid"), "regs.gpp_sid")
        device = self.request.get("device")
        if isinstance(device, dict):
            read.whole(device.get("lmt"), "device.lmt")
            read.whole(device.get("dnt"), "device.dnt")

    # -- one bid --------------------------------------------------------------------------------------------

    def _bid(self, bid: dict[str, Any]) -> str:
        """Checks a bid and says which line item made it."""
        for name, value in bid.items():
            known = _TYPES.get(name)
            self.say(known is not None and isinstance(value, known), f"{name} {value!r:.60}")
        self.say(all(name in bid for name in _NEEDED), f"lacks one of {_NEEDED}")
        if self.found:
            return ""  # what follows reads these
        own = [imp for imp in self.imps if read.same_id(imp.get("id"), bid["impid"])]
        if len(own) != 1:
            self.found.append(f"impid {bid['impid']} is of {len(own)} impressions")
            return ""
        imp, medium = own[0], MEDIA.get(bid["mtype"], "")
        offered = imp.get(medium)
        if not isinstance(offered, dict):
            self.found.append(f"mtype {bid['mtype']} is not offered")
            return ""
        campaign = self.campaigns.get(bid["cid"])
        creative = (
            next((one for one in campaign.creatives if one.id == bid["crid"]), None) if campaign else None
        )
        if creative is None:
            self.found.append(f"cid {bid['cid']} crid {bid['crid']} unknown")
            return ""
        self._creative(bid, campaign, creative, medium)
        quantity = read.record(imp.get("qty"), "qty")
        multiplier = read.number(quantity.get("multiplier"), "qty.multiplier")
        self.say(multiplier is None or multiplier > 0, f"qty {multiplier}")
        deal = self._deal(bid, imp)
        line, deals = self._line(bid, campaign)
        self.say(
            bid["dealid"] in deals if "dealid" in bid else not deals, f"line item {line} is for deals {deals}"
        )
        self._price(bid, imp, medium, offered, deal)
        self.found += lists_of(self.request, bid, campaign, creative, deal)
        self.found += _OFFERS[medium](bid, creative, offered)
        approval = creative.approvals.get(self.exchange)
        self.say(approval is None or approval.value == "approved", f"approval {approval}")
        secure = bool(read.whole(imp.get("secure"), "secure"))
        self.say(not secure or b"http://" not in orjson.dumps(bid), "not secure")
        self.found += markup_faults(bid, creative, medium, offered, secure=secure)
        return line

    def _creative(self, bid: dict[str, Any], campaign: Any, creative: Any, medium: str) -> None:
        self.say(creative.media.value == medium, f"a {creative.media.value} creative as {medium}")
        self.say(creative.status.value == "active" and campaign.status.value == "active", "paused")
        self.say(tuple(bid["adomain"]) == (creative.adomain or campaign.adomain), f"adomain {bid['adomain']}")
        self.say(tuple(bid.get("attr", ())) == creative.attr, f"attr {bid.get('attr')}")
        self.say(tuple(bid.get("apis", ())) == creative.api, f"apis {bid.get('apis')}")
        self.say(bid.get("bundle", "") == (creative.bundle or campaign.bundle), "bundle")
        self.say(bid.get("language", "") == creative.language, "language")
        linear = medium in ("video", "audio")
        self.say(bid.get("dur", 0) == (creative.duration_s if linear else 0), f"dur {bid.get('dur')}")
        stated = creative.cat or campaign.cat
        taxonomy = bid.get("cattax", 1)
        cats = [c if taxonomy == 1 else f"{taxonomy}:{c}" for c in bid.get("cat", ())]
        self.say(set(cats) <= set(stated) and bool(cats) == bool(stated), f"cat {cats}")

    def _line(self, bid: dict[str, Any], campaign: Any) -> tuple[str, Sequence[str]]:
        """The line item that made a bid, and the deals that it is for."""
        name = bid["ext"]["clearbid"].get("li", campaign.id)
        item = next((one for one in campaign.line_items if one.id == name), None)
        self.say(item is not None if campaign.line_items else name == campaign.id, f"line item {name}")
        own = item.targeting.deal.include if item is not None else ()
        return name, own or campaign.targeting.deal.include

    def _deal(self, bid: dict[str, Any], imp: dict[str, Any]) -> dict[str, Any] | None:
        pmp = read.record(imp.get("pmp"), "pmp")
        private = bool(read.whole(pmp.get("private_auction"), "private_auction"))
        deals = read.records(pmp.get("deals"), "deals")
        if "dealid" not in bid:
            self.say(not private, "open bid in a private auction")
            self.say(self.at in (1, 2), f"at {self.at}")
            return None
        # Where an id is there twice, a bid that meets one of them is right.
        own = [deal for deal in deals if read.same_id(deal.get("id"), bid["dealid"])]
        if not own:
            self.found.append(f"dealid {bid['dealid']} is not offered")
            return None
        return own[0] if len(own) == 1 else max(own, key=lambda deal: self._meets(bid, deal))

    def _meets(self, bid: dict[str, Any], deal: dict[str, Any]) -> bool:
        floor = self._in_account(deal.get("bidfloor"), deal.get("bidfloorcur"))
        return floor is not None and Decimal(str(bid["price"])) >= floor

    # -- money ----------------------------------------------------------------------------------------------

    def _price(
        self,
        bid: dict[str, Any],
        imp: dict[str, Any],
        medium: str,
        offered: dict[str, Any],
        deal: dict[str, Any] | None,
    ) -> None:
        price = Decimal(str(bid["price"]))
        self.say(price > 0, f"price {price}")
        rate = self.terms.rate(self.answer["cur"])
        if rate is None:
            self.found.append(f"no rate of {self.answer['cur']}")
            return
        terms = imp if deal is None else deal
        timed = deal if deal is not None else offered
        floor = self._in_account(terms.get("bidfloor"), terms.get("bidfloorcur"))
        if medium in ("video", "audio"):
            # The floors by duration of a video are in the currency of its impression.
            floor = self._by_duration(bid["dur"], timed, terms.get("bidfloorcur"), floor)
        if floor is None:
            self.found.append("a floor in a currency without a rate")
            return
        self.say(price * rate >= floor, f"price {price} is worth {price * rate}, floor {floor}")
        if deal is not None:
            at = read.whole(deal.get("at"), "deal.at")
            seats = read.texts(deal.get("wseat"), "deal.wseat")
            self.say(not seats or self.terms.buyer in seats, "deal.wseat")
            self.say((self.at if at is None else at) in (1, 2, 3), f"deal.at {at}")
            self.say(
                at != 3 or price * rate <= max(floor, MICRO) + 2 * MICRO * max(rate, 1),
                f"fixed {floor}, {price}",
            )

    def _in_account(self, value: Any, currency: Any) -> Decimal | None:
        """A floor in the account's currency; None where it cannot be told."""
        floor = read.number(value, "bidfloor") or Decimal(0)
        code = read.text(currency, "bidfloorcur")
        rate = self.terms.rate("USD" if code is None else code)
        return Decimal(0) if floor <= 0 else None if rate is None else floor * rate

    def _by_duration(
        self, seconds: int, timed: dict[str, Any], currency: Any, floor: Decimal | None
    ) -> Decimal | None:
        per_second = read.number(timed.get("mincpmpersec"), "mincpmpersec")
        if per_second is not None:
            each = self._in_account(timed["mincpmpersec"], currency)
            floor = None if each is None else each * seconds
        held = []
        for one in read.records(timed.get("durfloors"), "durfloors"):
            least = read.whole(one.get("mindur"), "mindur") or 0
            most = read.whole(one.get("maxdur"), "maxdur") or seconds
            if least <= seconds <= most:
                held.append(self._in_account(one.get("bidfloor"), currency))
        if not held:
            return floor
        return None if None in held else max(one for one in held if one is not None)

    # -- pods -----------------------------------------------------------------------------------------------

    def _break(self, imp_id: str, deal: str, shown: list[tuple[dict[str, Any], str]]) -> None:
        """A pod holds several ads of the open auction; of all else an impression gets one bid a deal."""
        imp = next((one for one in self.imps if read.same_id(one.get("id"), imp_id)), {})
        media = {MEDIA.get(bid["mtype"], "") for bid, _ in shown}
        medium = media.pop()
        offered = imp.get(medium)
        pod = 0
        if medium in ("video", "audio") and isinstance(offered, dict):
            pod = read.whole(offered.get("poddur"), "poddur") or 0
        if pod <= 0:
            self.say(all("slotinpod" not in bid for bid, _ in shown), "slotinpod without a pod")
        if len(shown) == 1:
            return
        if pod <= 0 or media or deal:
            self.found.append(f"{len(shown)} bids for one impression")
            return
        total = sum(bid["dur"] for bid, _ in shown)
        most = read.whole(offered.get("maxseq"), "maxseq") or 0
        most = most if most > 0 else 2**31
        lines = Counter(line for _, line in shown)
        self.say(total <= pod, f"{total} s in a pod of {pod} s")
        self.say(len(shown) <= most, f"{len(shown)} ads in a pod of {most}")
        self.say(max(lines.values()) == 1, f"line items of a pod {lines}")


# -- what a slot takes --------------------------------------------------------------------------------------


def _banner(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> list[str]:
    sizes = [
        tuple(read.soft(read.whole, one.get(name)) or 0 for name in ("w", "h", "wratio", "hratio"))
        for one in read.soft_list(read.record, slot.get("format"))
    ]
    if not sizes:
        sizes = [(read.soft(read.whole, slot.get("w")) or 0, read.soft(read.whole, slot.get("h")) or 0, 0, 0)]
    w, h = (bid["wratio"], bid["hratio"]) if "wratio" in bid else (bid.get("w", 0), bid.get("h", 0))
    if "wratio" in bid:
        # A creative that stretches fills any size of its ratio.
        ratio = (w // gcd(w, h), h // gcd(w, h))
        offered = [(a or c, b or d) for a, b, c, d in sizes if (a or c) > 0 and (b or d) > 0]
        fits = ratio in [(a // gcd(a, b), b // gcd(a, b)) for a, b in offered]
    else:
        fits = (w, h) in [(a, b) for a, b, _, _ in sizes] and (w, h) == (creative.w, creative.h)
    found = [] if fits else [f"size {w}x{h} is not of {sizes}"]
    kind = creative.btype or (3 if creative.html else 2)
    if kind in read.wholes(slot.get("btype"), "btype"):
        found.append(f"btype {kind}")
    return found + _common(creative, slot)


def _linear(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> list[str]:
    found = _common(creative, slot)
    seconds = bid["dur"]
    exact = read.wholes(slot.get("rqddurs"), "rqddurs")
    least = read.whole(slot.get("minduration"), "minduration") or 0
    most = read.whole(slot.get("maxduration"), "maxduration") or seconds
    pod = read.whole(slot.get("poddur"), "poddur") or seconds
    if not (seconds in exact if exact else least <= seconds <= most) or seconds > pod:
        found.append(f"dur {seconds} is not of {exact or (least, most)} in {pod}")
    if creative.mime.lower() not in [mime.lower() for mime in read.texts(slot.get("mimes"), "mimes")]:
        found.append(f"mime {creative.mime}")
    protocols = read.wholes(slot.get("protocols"), "protocols")
    single = read.soft(read.whole, slot.get("protocol"))
    if slot.get("protocols") is None and single and bid["mtype"] == 2:
        protocols = [single]
    if protocols and bid["protocol"] not in protocols:
        found.append(f"protocol {bid['protocol']}")
    delivery = read.soft_list(read.whole, slot.get("delivery"))
    if delivery and creative.delivery not in delivery:
        found.append(f"delivery {creative.delivery}")
    lowest, highest = (read.soft(read.whole, slot.get(name)) or 0 for name in ("minbitrate", "maxbitrate"))
    rate = creative.bitrate_kbps
    if rate and not lowest <= rate <= (highest or rate):
        found.append(f"bitrate {rate}")
    linearity = read.soft(read.whole, slot.get("linearity"))
    if bid["mtype"] == 2 and linearity and linearity != creative.linearity:
        found.append(f"linearity {creative.linearity}")
    if bid["mtype"] == 2 and read.soft(read.whole, slot.get("skip")) and 16 in creative.attr:
        found.append("skippable where the player skips")
    return found


def _native(bid: dict[str, Any], creative: Any, slot: dict[str, Any]) -> list[str]:
    return _common(creative, slot)


def _common(creative: Any, slot: dict[str, Any]) -> list[str]:
    found = []
    barred = set(creative.attr) & set(read.wholes(slot.get("battr"), "battr"))
    if barred:
        found.append(f"battr {barred}")
    lacking = set(creative.api) - set(read.soft_list(read.whole, slot.get("api")))
    if lacking:
        found.append(f"api {lacking}")
    return found


_OFFERS = {"banner": _banner, "video": _linear, "audio": _linear, "native": _native}
