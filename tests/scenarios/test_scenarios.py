"""Each JSON file beside this one is one auction: campaigns, money, a request, and how it must end.

says       what the scenario is about, one sentence
at         time of the auction, ISO 8601; `+1ns` and `-1ns` behind it move it
settings   settings of the engine, where they are not the usual ones
campaigns  what differs from `CAMPAIGN` below, `start` and `end` as times
granted    money of each campaign at this seat in currency units; 5 where it is not named
leases_end when all leases end, where that matters
before     requests that were decided before
request    the OpenRTB body; or `body`, its text where it is no JSON. age_ms: how old it came
decisions  of each impression: reason by name, and what else is stated
response   what the answer holds at least; null where it must be empty
left       money that may still be bid after it, by campaign
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from bidder.core.campaigns import Campaign
from bidder.core.engine import Engine
from bidder.core.settings import EngineSettings
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal, parse_decimal
from bidder.openrtb.reasons import Reason
from tests.support import factories as make

FILES = sorted(Path(__file__).parent.glob("*.json"))
AT = "2026-03-02T05:00:00Z"
"""A Monday: hour 5 of the week."""
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
    "creatives": [
        {
            "id": "k1",
            "w": 300,
            "h": 250,
            "image_url": "https://cdn.shop.example/b.png",
            "landing_url": "https://shop.example/",
        }
    ],
}
"""Worth 2.00 CPM at a click probability of 0.001, with a multiplier of 1."""


def time_ns(text: str) -> int:
    match = re.fullmatch(r"(.*Z)([+-]\d+)?(?:ns)?", text)
    assert match is not None, f"time must be such as {AT} or {AT}-1ns, was {text}"
    moment = datetime.fromisoformat(match[1]).astimezone(UTC)
    return int(moment.timestamp()) * 10**9 + int(match[2] or 0)


def campaign(changes: dict[str, Any]) -> Campaign:
    fields = {**CAMPAIGN, **changes}
    fields["start_ns"], fields["end_ns"] = time_ns(fields.pop("start")), time_ns(fields.pop("end"))
    return msgspec.convert(fields, Campaign)


def engine(scenario: dict[str, Any], now_ns: int) -> Engine:
    settings = msgspec.convert({"external_scores": True, **scenario.get("settings", {})}, EngineSettings)
    table = [campaign(changes) for changes in scenario["campaigns"]]
    granted = scenario.get("granted", {})
    end_ns = time_ns(scenario["leases_end"]) if "leases_end" in scenario else make.FOREVER_NS
    leases = [
        make.lease(
            one.id,
            granted_nanos=parse_decimal(granted.get(one.id, "5"), NANOS_PER_UNIT),
            bid_until_ns=end_ns,
        )
        for one in table
        if granted.get(one.id, "5") != "none"
    ]
    made = Engine(settings, make.KEY, None, make.START)
    made.adopt_campaigns({one.id: one for one in table}, 1, now_ns)
    made.adopt_leases(leases, now_ns)
    return made


def run(scenario: dict[str, Any]) -> tuple[Engine, Any]:
    now_ns = time_ns(scenario.get("at", AT))
    made = engine(scenario, now_ns)
    for earlier in scenario.get("before", []):
        made.decide([orjson.dumps(earlier)], [0], now_ns)
    body = scenario["body"].encode() if "body" in scenario else orjson.dumps(scenario["request"])
    (answer,) = made.decide([body], [scenario.get("age_ms", 0) * 1_000_000], now_ns)
    return made, answer


def decided(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log in the words of the scenarios."""
    return {
        "imp": row.get("imp_id", ""),
        "reason": Reason(row["reason"]).name,
        "campaign": row.get("campaign_id", ""),
        "creative": row.get("creative_id", ""),
        "bid_cpm": format_decimal(row.get("bid_cpm_micros", 0), MICROS_PER_UNIT),
        "error": row.get("error", ""),
    }


def holds(part: Any, whole: Any) -> bool:
    """Whether `whole` says all that `part` does; lists have the same length."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and holds(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        same = isinstance(whole, list) and len(part) == len(whole)
        return same and all(holds(one, other) for one, other in zip(part, whole, strict=True))
    return bool(part == whole)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = orjson.loads(path.read_bytes())
    made, answer = run(scenario)
    rows = [decided(row) for row in make.decisions([answer])]
    expected = scenario["decisions"]
    assert holds(expected, rows), f"{scenario['says']}\nmust be {expected}\nwas     {rows}"
    response = orjson.loads(answer.response) if answer.response else None
    assert holds(scenario["response"], response), f"{scenario['says']}\nwas {response}"
    assert answer.bid == any(row["reason"] == "BID" for row in rows)
    status = made.status(time_ns(AT))
    left = {name: status[name].granted_nanos - status[name].reserved_nanos for name in status}
    wanted = {name: parse_decimal(text, NANOS_PER_UNIT) for name, text in scenario.get("left", {}).items()}
    assert holds(wanted, left)


def test_every_reason_has_a_scenario() -> None:
    reasons = {row["reason"] for path in FILES for row in orjson.loads(path.read_bytes())["decisions"]}
    assert reasons == {reason.name for reason in Reason}


def test_scenarios_say_what_they_are_about_and_nothing_twice() -> None:
    sentences = [orjson.loads(path.read_bytes())["says"] for path in FILES]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_part_that_is_not_there_is_not_held() -> None:
    """Guards the comparison above."""
    assert holds({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
    others: list[Any] = [{"a": []}, {"a": [{"b": 2}]}, {"a": [{}]}, {}, None, {"a": [{"b": 1}, {"b": 1}]}]
    for wrong in others:
        assert not holds({"a": [{"b": 1}]}, wrong)
