"""Switches of rules 51 to 65: the answer, and what its notices book."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import orjson

import bidder.core.call
import bidder.core.templatebook
import bidder.core.templates
import bidder.core.urls
import bidder.openrtb.markup.banner
import bidder.web.rules
import bidder.web.track
from bidder.core.bidbook import BidBook
from bidder.core.devices import agent_of
from bidder.core.gate import Exchange
from bidder.core.messages import NoticeKind
from bidder.money import MAX_NANOS, NANOS_PER_UNIT
from bidder.openrtb.macros import Price, PriceOutcome
from bidder.runtime.http import Reply
from bidder.web.calls import Answer, Outcome
from bidder.web.rules import Amounts
from bidder.web.track import Tracker
from tests.scenarios.switch_tools import Switch, around, bids, facts, instead, kernel, responses

_TRACK, _RULES, _URLS, _BOOK = bidder.web.track, bidder.web.rules, bidder.core.urls, bidder.core.templatebook


# -- 51 to 58: the answer -----------------------------------------------------------------------------------


def _form(name: str) -> Switch:
    return around(
        bidder.core.call, "no_bid_response", lambda old, request_id, nbr, form: old(request_id, nbr, name)
    )


def _empty_seat(old: Any, *args: Any) -> bytes:
    return orjson.dumps(orjson.loads(old(*args)) | {"seatbid": [{"seat": "clearbid", "bid": []}]})


def _a_seat_each(response: dict[str, Any]) -> None:
    (seat,) = response["seatbid"]
    response["seatbid"] = [{**seat, "bid": [bid]} for bid in seat["bid"]]


def _drift(bid: dict[str, Any]) -> None:
    bid["price"] = float(np.float32(bid["price"]))


def _rounded_up(given: dict[str, Any]) -> None:
    own = given["external"][: given["n"]]
    own[(own > 0) & (own < 5e-10)] = 5e-10


def _of_the_campaign(old: Any, campaign: Any, creative: Any, *args: Any) -> Any:
    return old(campaign, msgspec.structs.replace(creative, cat=(), adomain=(), bundle=""), *args)


def _said(*names: str) -> Switch:
    """Leaves attributes out of each bid."""

    def change(bid: dict[str, Any]) -> None:
        for name in names:
            bid.pop(name, None)

    return bids(change)


def _as_a_banner(old: Any, *args: Any) -> Any:
    return msgspec.structs.replace(old(*args), mtype=1, w=300, h=250, dur=1)


def _with_markup(old: Any, *args: Any) -> Any:
    outcome, answer = old(*args)
    return outcome, answer._replace(reply=Reply(200, (), b"<b>Sale</b>"))


# -- 59 to 65: notices --------------------------------------------------------------------------------------


def _as_billing(old: Any, tracker: Tracker, call: Any) -> Any:
    """Books what the bid may cost at most, whatever is told."""
    outcome, answer = old(tracker, call)
    notice = answer.notice
    if notice is None:
        return outcome, answer
    price = notice.price_nanos or notice.cap_nanos
    return outcome, answer._replace(
        notice=msgspec.structs.replace(notice, kind=NoticeKind.BILLING, price_nanos=price)
    )


def _price_needed(old: Any, amounts: Amounts, call: Any, *, unknown_passes: bool) -> Any:
    return old(amounts, call, unknown_passes=False)


def _any_price(old: Any, text: str) -> Price:
    found: Price = old(text)
    return found if found.outcome is PriceOutcome.POSITIVE else Price(PriceOutcome.POSITIVE, 1_000_000)


def _tokens(**changes: Any) -> Switch:
    """Changes what is read of each token; a value may be made of the token."""

    def read(old: Any, *args: Any) -> Any:
        token = old(*args)
        values = {name: value(token) if callable(value) else value for name, value in changes.items()}
        return msgspec.structs.replace(token, **values)

    return around(_TRACK, "read", read)


def _the_cap(old: Any, amounts: Amounts, call: Any, **named: Any) -> int:
    return call.token.cap_nanos if old(amounts, call, **named) else 0


def _by_the_caller(
    old: Any, tracker: Tracker, method: str, target: str, headers: Mapping[bytes, bytes], now_ns: int
) -> Answer:
    if agent_of(headers.get(b"user-agent", b"").decode()).crawler:
        tracker.counts["caller", Outcome.NOT_AN_EVENT] += 1
        return Answer(Reply(204))
    answer: Answer = old(tracker, method, target, headers, now_ns)
    return answer


def _patience(grace_ns: int, conversion_ns: int) -> Switch:
    return around(Tracker, "__init__", lambda old, tracker, keys, currency: old(
        tracker, keys, currency, grace_ns, conversion_ns))  # fmt: skip


def _no_billing_time(old: Any, exchange: Exchange, *args: Any) -> None:
    old(exchange, *args)
    exchange.billing_ns = 0


def _unheard(old: Any, tracker: Tracker, call: Any) -> Any:
    outcome, answer = old(tracker, call)
    return outcome, answer._replace(notice=None)


def _reason_needed(old: Any, tracker: Tracker, call: Any) -> Any:
    outcome, answer = old(tracker, call)
    return (
        (outcome, answer) if call.query.get("l", "").isdigit() else (Outcome.UNREADABLE, Answer(Reply(400)))
    )


_NEVER_SPENT = instead(BidBook, "spent", lambda *args: False)

SWITCHES: dict[int, tuple[Switch, ...]] = {
    51: (
        responses(lambda response: response.update(id=response["id"].strip('"\\\u2028'))),
        responses(lambda response: response.pop("cur")),
        responses(lambda response: response.pop("bidid")),
    ),
    52: (_form("nbr"), _form("none")),
    53: (
        responses(lambda response: response["seatbid"][0].pop("seat")),
        responses(_a_seat_each),
        around(bidder.core.call, "no_bid_response", _empty_seat),
    ),
    54: (bids(_drift), kernel(_rounded_up), bids(lambda bid: bid.update(impid="1"))),
    55: (
        facts(adomain=()),
        facts(crid=""),
        facts(cat=()),
        facts(attr=()),
        facts(language=""),
        around(_BOOK, "_facts", _of_the_campaign),
        instead(_BOOK, "_sample_image", lambda creative: creative.image_url),
        instead(_BOOK, "_one_taxonomy", lambda categories: (1, tuple(categories))),
    ),
    56: (
        around(_BOOK, "_facts", _as_a_banner),
        _said("mtype"),
        facts(w=0, h=0),
        facts(dur=0),
        facts(protocol=0),
    ),
    57: (_said("adm"), around(Tracker, "_win", _with_markup)),
    58: (
        instead(_URLS, "_PRICE", "&p=${auction_price}&c=${auction_currency}"),
        instead(_URLS, "AUCTION_LOSS", "${LOSS}"),
        instead(bidder.openrtb.markup.banner, "_MACROS", re.compile("(?!)")),
    ),
    59: (
        around(Tracker, "_win", _as_billing),
        around(Amounts, "price_nanos", _price_needed),
        instead(BidBook, "won", lambda *args: False),
    ),
    60: (
        _NEVER_SPENT,
        around(Tracker, "_impression", _as_billing),
        instead(BidBook, "verdict", lambda *args: None),
        instead(BidBook, "shown", lambda *args: False),
    ),
    61: (
        around(
            bidder.core.templates,
            "template_of",
            lambda old, *args, **named: old(*args, **{**named, "billing": "burl"}),
        ),
        _said("burl"),
    ),
    62: (
        around(_RULES, "parse_auction_price", _any_price),
        _tokens(cap_nanos=lambda token: token.cap_nanos * 2),
        _tokens(cap_nanos=lambda token: token.cap_nanos - 1),
        instead(_RULES, "check_currency", lambda call, currency: None),
        around(Amounts, "price_nanos", _the_cap),
        _tokens(rate_nanos=NANOS_PER_UNIT),
    ),
    63: (
        around(Tracker, "_loss", _unheard),
        around(Tracker, "_loss", _reason_needed),
        instead(_TRACK, "_BID_WON", -1),
    ),
    64: (around(Tracker, "handle", _by_the_caller),),
    65: (
        _patience(0, 0),
        _patience(MAX_NANOS // 4, MAX_NANOS // 4),
        around(Exchange, "__init__", _no_billing_time),
    ),
}
