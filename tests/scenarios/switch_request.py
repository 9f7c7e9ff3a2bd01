"""Switches of rules 8 to 29: what a request says."""

from typing import Any

import msgspec
import orjson

import bidder.core.batch
import bidder.core.call
import bidder.core.creatives
import bidder.core.showing
import bidder.openrtb.codec
import bidder.openrtb.mending
from bidder.core.batch import Batch
from bidder.core.creatives import C, Creatives, with_parents
from bidder.core.deals import Deal, DealBook
from bidder.core.decision_columns import (
    FIRST_PRICE,
    R_CHOSEN_DEAL,
    R_FLAGS,
    R_FLOOR,
    R_FLOORS,
    R_FLOORS_END,
    R_LANGUAGE_OK,
    R_PER_SECOND,
    SECURE,
)
from bidder.core.gate import ACCOUNT_RATE, Exchange, Gate
from bidder.core.showing import Showing
from bidder.core.specs import NO_FLOOR, S
from bidder.core.templates import Templates
from bidder.core.views import GeoView, ViewBook
from bidder.errors import RequestError
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest
from bidder.openrtb.taxonomy import ancestors
from tests.scenarios.switch_tools import (
    Switch,
    admitted,
    around,
    bids,
    both,
    creatives,
    facts,
    instead,
    kernel,
    rows,
)

_CODEC, _SHOWING, _BATCH = bidder.openrtb.codec, bidder.core.showing, bidder.core.batch
_FIELDS = set(BidRequest.__struct_fields__)


# -- 8 to 12: reading ---------------------------------------------------------------------------------------


def _known_fields(old: Any, body: bytes) -> Any:
    if not set(orjson.loads(body)) <= _FIELDS:
        raise RequestError("unknown field", "$.x")
    return old(body)


def _known_values(old: Any, request: BidRequest) -> None:
    if request.device is not None and (request.device.devicetype or 0) > 8:
        raise RequestError("unknown device type", "$.device.devicetype")
    old(request)


def _known_extensions(old: Any, body: bytes) -> Any:
    if set(orjson.loads(body).get("ext", ())) - {"exchange", "schain"}:
        raise RequestError("unknown extension", "$.ext")
    return old(body)


def _no_mending(old: Any, decoder: Any, body: bytes, *args: Any) -> Any:
    raise RequestError("must be of the right type", "$.x")


def _anything_goes(old: Any, body: bytes) -> Any:
    tree = orjson.loads(body)
    tree["id"] = tree.get("id") or "x"
    tree["imp"] = tree.get("imp") or [{"banner": {"w": 300, "h": 250}}]
    for number, imp in enumerate(tree["imp"]):
        imp.setdefault("id", str(number))
    return old(orjson.dumps(tree))


def _never_strict(old: Any, exchange: Exchange, *args: Any) -> None:
    old(exchange, *args)
    exchange.strict = False


def _somewhere(old: Any, *args: Any) -> Any:
    found = old(*args)
    return GeoView("USA", "CA", None) if found.country is None else found


def _no_screens(old: Any, showing: Showing, *args: Any) -> None:
    old(showing, *args)
    showing._inventories["dooh"] = showing._inventories[""]


_NO_STRUCTURE = instead(_CODEC, "_check", lambda request: None)
_MEND_NOTHING = around(_CODEC, "read_typed", _no_mending)


# -- 13 to 17: the auction ----------------------------------------------------------------------------------


def _aged(change: Any) -> Switch:
    def admit(old: Any, gate: Gate, request: Any, exchange: Any, age_ns: int, *args: Any) -> Any:
        return old(gate, request, exchange, change(age_ns), *args)

    return around(Gate, "admit", admit)


def _as_second_price(request: BidRequest) -> None:
    if request.at >= 500:
        request.at = 2


def _any_seat(request: BidRequest) -> None:
    request.wseat = request.bseat = None


def _no_seat(request: BidRequest) -> Reason | None:
    return Reason.SEAT if request.wseat or request.bseat else None


def _no_test(old: Any, body: bytes) -> Any:
    decoded = old(body)
    decoded.request.test = 0
    return decoded


def _one_currency_alone(old: Any, gate: Gate, cur: Any, exchange: Any, now_ns: int) -> Any:
    return old(gate, cur, exchange, now_ns) if cur == ["USD"] else None


# -- 18 to 21: what is barred -------------------------------------------------------------------------------


def _bars(change: Any) -> Switch:
    return around(_SHOWING, "blocked_of", lambda old, request: change(old(request), request))


def _parents_too(found: list[str], request: BidRequest) -> list[str]:
    more = [f"cat:{t}:{a}" for c, t, x in (one.split(":", 2) for one in found if one[:4] == "cat:")
            for a in ancestors(int(t), x)]  # fmt: skip
    return found + more + ["adv:" + a for one in found if one[:4] == "adv:" for a in with_parents(one[4:])]


def _every_taxonomy(found: list[str], request: BidRequest) -> list[str]:
    plain = [one.split(":", 2)[2] for one in found if one.startswith("cat:")]
    return found + [f"cat:{taxonomy}:{one}" for taxonomy in range(1, 10) for one in plain]


def _as_written(found: list[str], request: BidRequest) -> list[str]:
    domains = orjson.loads(bytes(request.badv)) if request.badv else []
    return [one for one in found if not one.startswith("adv:")] + ["adv:" + domain for domain in domains]


def _without(kind: str) -> Switch:
    return _bars(lambda found, request: [one for one in found if not one.startswith(kind)])


_NO_PARENTS = instead(bidder.core.creatives, "ancestors", lambda taxonomy, category: (category,))
_TAXONOMY_1 = _bars(lambda found, request: ["cat:1:" + one.split(":", 2)[2] if one[:4] == "cat:" else one
                                            for one in found])  # fmt: skip
_EVERY_APP = both(
    _bars(lambda found, request: found + ["app:*"] * any(one.startswith("app:") for one in found)),
    around(
        bidder.core.creatives,
        "blocks_of",
        lambda old, campaign, creative: old(campaign, creative) | {"app:*"},
    ),
)
_CAMPAIGN_S_APP = around(
    bidder.core.creatives,
    "blocks_of",
    lambda old, campaign, creative: old(campaign, msgspec.structs.replace(creative, bundle="")),
)


def _whole_lines(old: Any, own: Creatives) -> Any:
    """What bars one creative of a line item bars them all."""
    for line in range(len(own.starts) - 1):
        sets = [own._block_sets[row] for row in own.of_line(line)]
        for row in own.of_line(line):
            own._block_sets[row] = frozenset().union(*sets)
    return old(own)


_ALL_OR_NONE = around(Creatives, "_blocks", _whole_lines)


# -- 22 to 25 -----------------------------------------------------------------------------------------------


def _exchange(**changes: int) -> Switch:
    def made(old: Any, exchange: Exchange, *args: Any) -> None:
        old(exchange, *args)
        for name, value in changes.items():
            setattr(exchange, name, value)

    return around(Exchange, "__init__", made)


def _one_tid(old: Any, gate: Gate, tid: str, *args: Any) -> bool:
    return bool(old(gate, "t", *args))


def _remembered(dedupe_ns: int) -> Switch:
    return around(Gate, "seen", lambda old, gate, tid, request_id, now_ns, window: old(
        gate, tid, request_id, now_ns, dedupe_ns))  # fmt: skip


def _plain_tracker(old: Any, templates: Templates, key: bytes, public_url: str) -> None:
    old(templates, key, public_url.replace("https://", "http://"))


_EVERYWHERE = ["instl", "rewarded", "tag:top-1", "pos:1"]
NO_PLACEMENTS = instead(_SHOWING, "_placements", lambda imp, slots: [])
ALL_PLACEMENTS = instead(_SHOWING, "_placements", lambda imp, slots: list(_EVERYWHERE))


# -- 26 to 29: floors ---------------------------------------------------------------------------------------


def _one_more(old: Any, *args: Any) -> Any:
    floor = old(*args)
    return floor + 1 if floor and not isinstance(floor, Reason) else floor


def _rate_needed(old: Any, imp: Any, rate: Any, slots: Any) -> Any:
    return Reason.FLOOR_CURRENCY if rate is None else old(imp, rate, slots)


def _plain_floor(old: Any, imp: Any, rate: Any, slots: Any) -> Any:
    return old(imp, ACCOUNT_RATE, slots)


_NUMBERS_ARE_DOLLARS = both(
    around(_BATCH, "floor_of", _plain_floor), around(Gate, "rate", lambda old, *args: ACCOUNT_RATE)
)


def _no_durations(given: dict[str, Any]) -> None:
    given["slots"][:, S.PER_SECOND] = NO_FLOOR
    given["slots"][:, S.FLOORS_END] = given["slots"][:, S.FLOORS]
    own = given["batch"][: given["n"]]
    own[:, R_PER_SECOND], own[:, R_FLOORS_END] = NO_FLOOR, own[:, R_FLOORS]


def _deals(**changes: Any) -> Switch:
    """Changes what is read of each deal."""

    def deal(old: Any, book: DealBook, *args: Any) -> Deal:
        return Deal(**({name: getattr(old(book, *args), name) for name in Deal.__struct_fields__} | changes))

    return around(DealBook, "_deal", deal)


def _pending(change: Any) -> Switch:
    """Changes the floor of what is for a deal."""

    def add(old: Any, batch: Batch, pending: Any, *args: Any) -> None:
        if pending.deal is not None:
            pending.floor = change(batch, pending)
        old(batch, pending, *args)

    return around(Batch, "add", add)


_FLOOR_OF_THE_IMPRESSION = _pending(lambda batch, one: round(one.imp.bidfloor * 1_000_000))
_CURRENCY_OF_THE_IMPRESSION = _pending(
    lambda batch, one: -(-one.floor * batch._gate.rate(one.imp.bidfloorcur, one.call.now_ns) // ACCOUNT_RATE)
)


def _slot_floors_over_the_deal(given: dict[str, Any]) -> None:
    given["batch"][: given["n"], R_CHOSEN_DEAL] = -1


def _deal_wide(given: dict[str, Any]) -> None:
    """Floors by duration count for banners too: the impression's floor is that of a long video."""
    if (given["slots"][:, S.PER_SECOND] > 0).any():
        given["batch"][: given["n"], R_FLOOR] = given["slots"][:, S.PER_SECOND].max() * 30


def _one_each(old: Any, batch: Batch, call: Any, imp: Any, *args: Any) -> None:
    imp.qty = None
    old(batch, call, imp, *args)


SWITCHES: dict[int, tuple[Switch, ...]] = {
    8: (
        around(_CODEC, "_decode", _known_fields),
        around(_CODEC, "_check", _known_values),
        _MEND_NOTHING,
        instead(bidder.openrtb.mending, "_HARD", frozenset()),
        instead(bidder.openrtb.mending, "_HARD_PATHS", ()),
        around(Exchange, "__init__", _never_strict),
    ),
    9: (
        around(ViewBook, "geo", _somewhere),
        _MEND_NOTHING,
        around(Gate, "_money", _one_currency_alone),
    ),
    10: (around(_CODEC, "_decode", _known_extensions), _MEND_NOTHING, bids(lambda bid: bid.update(cv="x"))),
    11: (both(_NO_STRUCTURE, around(_CODEC, "_decode", _anything_goes)),),
    12: (_NO_STRUCTURE, around(Showing, "__init__", _no_screens)),
    13: (_aged(lambda age_ns: 0), _aged(lambda age_ns: age_ns + 10**9 if age_ns else 0)),
    14: (
        rows(R_FLAGS, lambda flags: flags & ~FIRST_PRICE),
        rows(R_FLAGS, lambda flags: flags | FIRST_PRICE),
        admitted(_as_second_price),
    ),
    15: (around(bidder.core.call, "decode", _no_test),),
    16: (admitted(_any_seat), admitted(_no_seat)),
    17: (
        instead(Gate, "_money", lambda gate, cur, exchange, now_ns: (gate._account, ACCOUNT_RATE)),
        around(Gate, "_money", _one_currency_alone),
    ),
    18: (
        instead(_SHOWING, "blocked_of", lambda request: []),
        _bars(_parents_too),
        _bars(_every_taxonomy),
        _TAXONOMY_1,
        _NO_PARENTS,
        _ALL_OR_NONE,
        instead(Creatives, "covered", lambda *args: True),
        instead(Creatives, "covered", lambda *args: False),
    ),
    19: (
        _without("adv:"),
        _bars(_parents_too),
        _bars(_as_written),
        _ALL_OR_NONE,
        instead(bidder.core.creatives, "with_parents", lambda domain: (domain,)),
        instead(
            bidder.core.creatives,
            "with_parents",
            lambda domain: tuple(domain[start:] for start in range(len(domain))),
        ),
    ),
    20: (_without("app:"), _EVERY_APP, _CAMPAIGN_S_APP),
    21: (
        rows(R_LANGUAGE_OK, lambda column: -1),
        rows(R_LANGUAGE_OK, lambda column: column * (column == -1)),
        instead(_BATCH, "_tongues", list),
    ),
    22: (
        instead(Gate, "seen", lambda *args: False),
        around(Gate, "seen", _one_tid),
        _remembered(3_600 * 10**9),
        _remembered(10**9),
        _exchange(dedupe_ns=10**10),
    ),
    23: (facts(exp=0), _exchange(billing_ns=0), _exchange(billing_ns=1_200 * 10**9)),
    24: (
        rows(R_FLAGS, lambda flags: flags & ~SECURE),
        rows(R_FLAGS, lambda flags: flags | SECURE),
        creatives(C.SECURE, lambda column: 1),
        creatives(C.SECURE, lambda column: 0),
        around(Templates, "__init__", _plain_tracker),
    ),
    25: (NO_PLACEMENTS, ALL_PLACEMENTS),
    26: (
        instead(_BATCH, "floor_of", lambda *args: 0),
        around(_BATCH, "floor_of", _one_more),
        around(_BATCH, "floor_of", _rate_needed),
        _NUMBERS_ARE_DOLLARS,
        instead(_BATCH, "cpm_micros_from_float", lambda cpm: int(cpm * 1_000_000)),
    ),
    27: (
        kernel(_no_durations),
        _FLOOR_OF_THE_IMPRESSION,
        kernel(_slot_floors_over_the_deal),
        kernel(_deal_wide),
        instead(_BATCH, "floor_of", lambda *args: 0),
    ),
    28: (_CURRENCY_OF_THE_IMPRESSION, _NUMBERS_ARE_DOLLARS),
    29: (around(Batch, "_impression", _one_each),),
}
