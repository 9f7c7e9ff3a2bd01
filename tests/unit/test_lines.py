"""Line items resolved: what each says itself, what its campaign and what its advertiser say."""

from typing import Any

import pytest

from bidder.core.campaigns import (
    Advertiser,
    Cap,
    Flight,
    Goal,
    LineItem,
    Modifier,
    Pacing,
    Rule,
    Status,
    Targeting,
)
from bidder.core.frequency import Level, owner_number
from bidder.core.lines import Line, line_of, lines_of
from bidder.errors import InputError
from tests.support.factories import S, campaign, creative


def line(item: LineItem | None = None, advertiser: Advertiser | None = None, **changes: Any) -> Line:
    return line_of(campaign(**changes), item, advertiser or Advertiser(id="shop"))


def test_a_campaign_without_line_items_is_its_own() -> None:
    (own,) = lines_of({"c1": campaign()}, {})
    assert (own.id, own.item, own.line_item_id, own.advertiser) == ("c1", None, "", Advertiser(id="shop"))


def test_a_line_item_names_itself() -> None:
    assert line(LineItem(id="l1")).line_item_id == "l1"


SAYS: dict[str, Any] = {
    "goal": Goal.CONVERSION,
    "value_nanos": 7,
    "max_bid_cpm_micros": 8,
    "min_bid_cpm_micros": 3,
    "pacing": Pacing.ASAP,
    "ahead_percent": 30,
    "catch_up": "drop",
    "unknown_user": "allow",
}


@pytest.mark.parametrize("name", SAYS)
def test_what_a_line_item_says_takes_the_place_of_its_campaigns(name: str) -> None:
    assert getattr(line(LineItem(id="l1", **{name: SAYS[name]})), name) == SAYS[name]


@pytest.mark.parametrize("name", SAYS)
def test_what_a_line_item_leaves_open_is_its_campaigns(name: str) -> None:
    assert getattr(line(LineItem(id="l1"), **{name: SAYS[name]}), name) == SAYS[name]


@pytest.mark.parametrize("paused", ["advertiser", "campaign", "line item", "none"])
def test_who_is_paused_anywhere_above_does_not_bid(paused: str) -> None:
    status = {
        name: Status.PAUSED if name == paused else Status.ACTIVE
        for name in ("advertiser", "campaign", "line item")
    }
    made = line(
        LineItem(id="l1", status=status["line item"]),
        Advertiser(id="shop", status=status["advertiser"]),
        status=status["campaign"],
    )
    assert made.active == (paused == "none")


def test_rules_to_include_take_the_campaigns_place_and_rules_to_exclude_hold_too() -> None:
    above = Targeting(geo=Rule(("CA",), ("NY",)), os=Rule(("ios",)), domain=Rule((), ("x.example",)))
    own = Targeting(geo=Rule(("TX",), ("WA",)), os=Rule((), ("linux",)))
    assert line(LineItem(id="l1", targeting=own), targeting=above).rules == {
        "geo": Rule(("TX",), ("NY", "WA")),
        "os": Rule(("ios",), ("linux",)),
        "domain": Rule((), ("x.example",)),
    }


def test_modifiers_of_both_hold_the_campaigns_first() -> None:
    one, two = (Modifier(dimension="geo", value=value, factor=2.0) for value in ("CA", "NY"))
    assert line(LineItem(id="l1", modifiers=(two,)), modifiers=(one,)).modifiers == (one, two)


def test_caps_of_all_levels_count_whose_impressions_they_are_set_on() -> None:
    cap = Cap(impressions=2, seconds=60)
    made = line(LineItem(id="l1", caps=(cap, cap)), Advertiser(id="shop", caps=(cap,)), caps=(cap,))
    owners = [
        owner_number(level, name)
        for level, name in (
            (Level.LINE_ITEM, "l1"),
            (Level.LINE_ITEM, "l1"),
            (Level.CAMPAIGN, "c1"),
            (Level.ADVERTISER, "shop"),
        )
    ]
    assert [tuple(one) for one in made.caps] == [(owner, 60 * S, 2) for owner in owners]


def test_flights_are_the_parts_within_the_campaigns_in_order() -> None:
    spans = ((80, 200), (0, 5), (20, 30), (5, 12))
    flights = tuple(Flight(start_ns=start, end_ns=end) for start, end in spans)
    made = line(LineItem(id="l1", flights=flights), start_ns=10, end_ns=100)
    assert [(flight.start_ns, flight.end_ns) for flight in made.flights] == [(10, 12), (20, 30), (80, 100)]


def test_without_flights_of_its_own_a_line_item_runs_with_its_campaign() -> None:
    assert line(LineItem(id="l1"), start_ns=10, end_ns=100).flights == (Flight(start_ns=10, end_ns=100),)


def test_creatives_are_the_active_ones_that_it_names_in_the_campaigns_order() -> None:
    creatives = (creative("k1"), creative("k2", status=Status.PAUSED), creative("k3"), creative("k4"))
    all_of_them = line(LineItem(id="l1"), creatives=creatives)
    named = line(LineItem(id="l1", creatives=("k4", "k2", "k1")), creatives=creatives)
    assert [one.id for one in all_of_them.creatives] == ["k1", "k3", "k4"]
    assert [one.id for one in named.creatives] == ["k1", "k4"]


def test_line_items_go_by_their_ids_across_campaigns() -> None:
    two = {"c1": campaign("c1", line_items=(LineItem(id="z"), LineItem(id="b"))), "c2": campaign("c2")}
    assert [one.id for one in lines_of(two, {})] == ["b", "c2", "z"]


def test_a_line_item_with_the_id_of_another_campaign_is_refused() -> None:
    with pytest.raises(InputError, match="c2 of campaign"):
        lines_of({"c1": campaign("c1", line_items=(LineItem(id="c2"),)), "c2": campaign("c2")}, {})
