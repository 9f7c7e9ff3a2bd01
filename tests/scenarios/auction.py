"""Plays one scenario: makes an engine, decides its requests, calls its tracking URLs, and compares what came of it.

The files beside this one are JSON objects:

says        what the scenario is about, one sentence
at          time of the auction, ISO 8601; `+1ns` and `-1ns` behind it move it
settings    settings of the engine, where they are not the usual ones
advertisers what is stated of them; none where that is left out
campaigns   what differs from `CAMPAIGN`, `start` and `end` as times; creatives differ from `CREATIVE`
pctr        click probability of every line item by a model; without it each impression brings one for `c1`
granted     money of each campaign at this seat in currency units; 5 where it is not named
leases_end  when all leases end, where that matters
profiles    segments of users, who are stated by their ids
exposures   what users were shown: ids of the user, `campaign`, and `at`
before      requests that were decided before, at `before_at` or at the same time
request     what differs from `REQUEST`, its impressions from `IMP`; null leaves an attribute out.
            Or `body`, a text. age_ms: how old it came
decisions   of each opportunity: reason by name, and what else is stated
response    what the answer holds at least, see `holds`; null where it must be empty
then        calls of tracking URLs in order, see `Play.call`
books       what the bank has booked of each campaign after them
tick_s      seconds after the auction at which the engine ticks, before `left` is looked at
left        money that may still be bid at the end, by campaign
"""

import html
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import numpy as np
import orjson

from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.call import Answer
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.engine import Engine
from bidder.core.exposures import Exposure
from bidder.core.profiles import Profile
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.core.users import key_text, user_key
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal, parse_decimal
from bidder.openrtb.reasons import Reason
from bidder.web.track import Tracker
from tests.support import factories as make

AT = "2026-03-02T05:00:00Z"
"""A Monday: hour 5 of the week."""
CREATIVE: dict[str, Any] = {
    "id": "k1",
    "w": 300,
    "h": 250,
    "image_url": "https://cdn.shop.example/b.png",
    "landing_url": "https://shop.example/",
}
CAMPAIGN: dict[str, Any] = {
    "id": "c1",
    "name": "Spring sale",
    "advertiser": "shop",
    "adomain": ["shop.example"],
    "budget_nanos": 10 * NANOS_PER_UNIT,
    "start": "2026-03-01T00:00:00Z",
    "end": "2026-04-01T00:00:00Z",
    "value_nanos": 2 * NANOS_PER_UNIT,
    "max_bid_cpm_micros": 9 * MICROS_PER_UNIT,
    "pacing": "asap",
    "creatives": [CREATIVE],
}
"""Worth 2.00 CPM at a click probability of 0.001, with a multiplier of 1."""
IMP: dict[str, Any] = {
    "id": "1",
    "banner": {"w": 300, "h": 250},
    "ext": {"clearbid": {"campaign": "c1", "pctr": 0.001}},
}
REQUEST: dict[str, Any] = {
    "id": "auction-1",
    "imp": [IMP],
    "site": {"domain": "news.example"},
    "device": {"geo": {"country": "USA", "region": "CA"}},
    "at": 2,
    "tmax": 120,
    "cur": ["USD"],
}
SETTINGS: dict[str, Any] = {
    "external_scores": True,
    "users": {"cap_pairs": 1_024, "profiles": 1_024, "exposure_ids": 1_024},
}
_URL = re.compile(r"https?://[^\s\"'<>\]]+")


class Mismatch(AssertionError):
    """What a scenario states is not what came of it."""


# -- reading a scenario -------------------------------------------------------------------------------------


def time_ns(text: str) -> int:
    """Nanoseconds since 1970 of a time such as `2026-03-02T05:00:00Z-1ns`."""
    match = re.fullmatch(r"(.*Z)([+-]\d+)?(?:ns)?", text)
    assert match is not None, f"time must be such as {AT} or {AT}-1ns, was {text}"
    moment = datetime.fromisoformat(match[1]).astimezone(UTC)
    return int(moment.timestamp()) * 10**9 + int(match[2] or 0)


def campaign(changes: dict[str, Any]) -> Campaign:
    """A campaign that differs from `CAMPAIGN`."""
    fields = {**CAMPAIGN, **changes}
    fields["creatives"] = [_creative(one) for one in fields["creatives"]]
    fields["start_ns"], fields["end_ns"] = time_ns(fields.pop("start")), time_ns(fields.pop("end"))
    return msgspec.convert(fields, Campaign)


def _creative(changes: dict[str, Any]) -> dict[str, Any]:
    """A creative that differs from `CREATIVE`; one that is no banner takes no size and no image from there."""
    usual = (
        CREATIVE if changes.get("media", "banner") == "banner" else {"landing_url": CREATIVE["landing_url"]}
    )
    return _known(usual, changes)


def _known(usual: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def body_of(changes: dict[str, Any], *, scored: bool) -> bytes:
    """A request that differs from `REQUEST`, its impressions from `IMP`: without its score where a model scores."""
    request = _known(REQUEST, changes)
    usual = {name: value for name, value in IMP.items() if not (scored and name == "ext")}
    if isinstance(request.get("imp"), list):
        request["imp"] = [_known(usual, {} if one is IMP else one) for one in request["imp"]]
    return orjson.dumps(request)


@cache
def even_model(pctr: float) -> Model:
    """A model that gives every line item the same click probability."""
    model = make.model()
    knots = np.full(len(model.table.knots_probability), pctr)
    return replace(model, table=replace(model.table, knots_probability=knots))


def _user(ids: dict[str, Any]) -> str:
    eids = [
        (one["source"], [(uid["id"], uid.get("atype")) for uid in one["uids"]]) for one in ids.get("eids", ())
    ]
    key = user_key(ids.get("buyeruid"), eids, ids.get("ifa"), ids.get("id"), ids.get("exchange", "default"))
    return key_text(key)


# -- playing it ---------------------------------------------------------------------------------------------


class Play:
    """One scenario played to its end.

    Args:
        scenario: as its file has it.

    Attributes:
        engine, answer: after the auction. rows: of the log, in the words of scenarios.
        response: the answer's, None where it is empty. books: of the bank by campaign.
    """

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        self.now_ns = time_ns(scenario.get("at", AT))
        self.scored = "pctr" in scenario
        self.table = [campaign(changes) for changes in scenario["campaigns"]]
        self.engine = self._engine()
        self.answer = self._decide()
        self.rows = [decided(row) for row in make.decisions([self.answer])]
        self.response = orjson.loads(self.answer.response) if self.answer.response else None
        self.books: dict[str, Any] = {}
        if "then" in scenario:
            self._notices()
        if "tick_s" in scenario:
            self.engine.tick(self.now_ns + scenario["tick_s"] * make.S)

    def _engine(self) -> Engine:
        scenario = self.scenario
        settings = msgspec.convert({**SETTINGS, **scenario.get("settings", {})}, EngineSettings)
        self.settings = settings
        self.advertisers = {
            fields["id"]: msgspec.convert(fields, Advertiser) for fields in scenario.get("advertisers", ())
        }
        granted = scenario.get("granted", {})
        end_ns = time_ns(scenario["leases_end"]) if "leases_end" in scenario else make.FOREVER_NS
        leases = [
            make.lease(
                one.id,
                granted_nanos=parse_decimal(granted.get(one.id, "5"), NANOS_PER_UNIT),
                bid_until_ns=end_ns,
            )
            for one in self.table
            if granted.get(one.id, "5") != "none"
        ]
        made = Engine(settings, make.KEY, even_model(scenario["pctr"]) if self.scored else None, make.START)
        made.adopt_campaigns({one.id: one for one in self.table}, 1, self.now_ns, self.advertisers)
        made.adopt_leases(leases, self.now_ns)
        made.profile([self._profile(one) for one in scenario.get("profiles", ())])
        made.expose(
            [self._exposure(number, one) for number, one in enumerate(scenario.get("exposures", ()))],
            self.now_ns,
        )
        return made

    def _profile(self, fields: dict[str, Any]) -> Profile:
        return Profile(
            user=_user(fields["user"]),
            segments=tuple(fields["segments"]),
            at_ns=self.now_ns,
            expires_ns=make.FOREVER_NS,
        )

    def _exposure(self, number: int, fields: dict[str, Any]) -> Exposure:
        shown = next(one for one in self.table if one.id == fields.get("campaign", "c1"))
        return Exposure(
            bid_id=f"shown-{number}".ljust(16, "-"),
            user=_user(fields["user"]),
            line_item_id=shown.id,
            campaign_id=shown.id,
            advertiser=shown.advertiser,
            at_ns=time_ns(fields["at"]) if "at" in fields else self.now_ns - make.S,
        )

    def _decide(self) -> Answer:
        scenario = self.scenario
        before_ns = time_ns(scenario["before_at"]) if "before_at" in scenario else self.now_ns
        for earlier in scenario.get("before", []):
            self.engine.decide([body_of(earlier, scored=self.scored)], [0], before_ns)
        text = scenario.get("body")
        body = text.encode() if text is not None else body_of(scenario["request"], scored=self.scored)
        (answer,) = self.engine.decide([body], [scenario.get("age_ms", 0) * 1_000_000], self.now_ns)
        return answer

    # -- notices --------------------------------------------------------------------------------------------

    def _notices(self) -> None:
        campaigns = {one.id: one for one in self.table}
        self.tracker = Tracker((make.KEY,), self.settings.currency)
        self.bank = Bank(BankRules(), campaigns, None, self.advertisers)
        exposures = 0
        for call in self.scenario["then"]:
            at_ns = self.now_ns + round(call.get("after_s", 1) * make.S)
            for _ in range(call.get("times", 1)):
                exposures += self.call(call, at_ns)
        for report in self.bank.report():
            self.books[report.id] = {
                "spend": format_decimal(report.spend_nanos, NANOS_PER_UNIT),
                "late": format_decimal(report.late_nanos, NANOS_PER_UNIT),
                "wins": report.wins,
                "impressions": report.impressions,
                "clicks": report.clicks,
                "views": report.views,
                "conversions": report.conversions,
                "unbilled": report.unbilled,
                "exposures": exposures,
                "refused": report.refused,
            }

    def call(self, call: dict[str, Any], at_ns: int) -> int:
        """Calls one URL of the answer as its reader would, and tells bank and engine; the number of new exposures.

        call      `nurl`, `burl`, `lurl` or `cv` of the bid, or a path of its markup, such as `/i`
        bid       which bid, 0 where it is not stated
        fill      what the exchange puts in place of macros; those not named stay as they are
        more      what is added to the URL
        method, headers, after_s, times: how, when (1 second after the auction) and how often it is called
        gets      what the caller gets at least: status, body, and what the tracker made of it
        """
        url = self._url(call)
        for name, value in call.get("fill", {}).items():
            url = url.replace("${" + name + "}", value)
        url += call.get("more", "")
        headers = {name.encode(): value.encode() for name, value in call.get("headers", {}).items()}
        before = self.tracker.counts.copy()
        told = self.tracker.handle(call.get("method", "GET"), url, headers, at_ns)
        ((_, outcome),) = self.tracker.counts - before
        gets = {
            "status": told.reply.status,
            "body": told.reply.body.decode("latin-1"),
            "outcome": outcome.value,
        }
        self._must(call.get("gets", {}), gets)
        if told.notice is None:
            return 0
        effects = self.bank.apply([told.notice], at_ns)
        self.engine.settle(effects.settlements, at_ns)
        return len(effects.exposures)

    def _url(self, call: dict[str, Any]) -> str:
        which = call["call"]
        bids = [bid for seat in (self.response or {}).get("seatbid", ()) for bid in seat["bid"]]
        number = call.get("bid", 0)
        if number >= len(bids):
            raise Mismatch(f"{self.scenario['says']}\nmust be bid on, was {self.rows}")
        bid = bids[number]
        if which == "cv":
            return str(bid["ext"]["clearbid"]["cv"])
        if which in {"nurl", "burl", "lurl"}:
            if which not in bid:
                raise Mismatch(f"{self.scenario['says']}\nbid must have {which}, has none")
            return str(bid[which])
        found = [html.unescape(url) for url in _URL.findall(bid["adm"])]
        for url in found:
            if url.split("?", 1)[0].endswith(which):
                return url
        raise Mismatch(f"{self.scenario['says']}\nmarkup must have an address {which}, was {bid['adm']}")

    # -- comparing ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises `Mismatch` where what came of it is not what the scenario states."""
        scenario = self.scenario
        self._must(scenario["decisions"], self.rows)
        self._must(scenario["response"], self.response)
        bid = any(row["reason"] == "BID" for row in self.rows)
        assert self.answer.bid == bid, (
            "the answer says that it holds bids where a row says so, and only there"
        )
        self._must(scenario.get("books", {}), self.books)
        status = self.engine.status(self.now_ns)
        left = {
            name: one.granted_nanos - one.reserved_nanos - one.posted_nanos for name, one in status.items()
        }
        wanted = {
            name: parse_decimal(text, NANOS_PER_UNIT) for name, text in scenario.get("left", {}).items()
        }
        self._must(wanted, left)

    def _must(self, expected: Any, actual: Any) -> None:
        if not holds(expected, actual):
            raise Mismatch(f"{self.scenario['says']}\nmust be {expected}\nwas     {actual}")


def decided(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log in the words of the scenarios."""
    return {
        "imp": row.get("imp_id", ""),
        "reason": Reason(row["reason"]).name,
        "exchange": row.get("exchange", ""),
        "deal": row.get("deal_id", ""),
        "campaign": row.get("campaign_id", ""),
        "creative": row.get("creative_id", ""),
        "bid_cpm": format_decimal(row.get("bid_cpm_micros", 0), MICROS_PER_UNIT),
        "floor_cpm": format_decimal(row.get("floor_cpm_micros", 0), MICROS_PER_UNIT),
        "error": row.get("error", ""),
    }


def holds(part: Any, whole: Any) -> bool:
    """Whether `whole` says all that `part` does; lists have the same length.

    In an object, null says that an attribute is not there, `$only` lists all that may be. In place of a text,
    `$has` and `$lacks` list pieces of it, `$matches` is a pattern of all of it, and `$json` what it holds as JSON.
    """
    if isinstance(part, dict):
        if not all(_MARKS[key](value, whole) for key, value in part.items() if key in _MARKS):
            return False
        plain = {key: value for key, value in part.items() if key not in _MARKS}
        return (not plain and isinstance(whole, str)) or (
            isinstance(whole, dict)
            and all(
                key not in whole if value is None else key in whole and holds(value, whole[key])
                for key, value in plain.items()
            )
        )
    if isinstance(part, list):
        same = isinstance(whole, list) and len(part) == len(whole)
        return same and all(holds(one, other) for one, other in zip(part, whole, strict=True))
    return bool(part == whole)


def _as_json(part: Any, text: Any) -> bool:
    try:
        return holds(part, orjson.loads(text))
    except orjson.JSONDecodeError:
        return False


_MARKS = {
    "$only": lambda names, whole: isinstance(whole, dict) and set(whole) <= set(names),
    "$has": lambda pieces, whole: isinstance(whole, str) and all(piece in whole for piece in pieces),
    "$lacks": lambda pieces, whole: isinstance(whole, str) and not any(piece in whole for piece in pieces),
    "$matches": lambda pattern, whole: isinstance(whole, str) and re.fullmatch(pattern, whole) is not None,
    "$json": lambda part, whole: isinstance(whole, str) and _as_json(part, whole),
}
