"""What the report says of why: of underpacing, and of what was too late."""

import xml.etree.ElementTree as ET

import msgspec

from simulator.report import render
from simulator.report.blocks import FORMULAS
from simulator.report.reasons import words
from simulator.report.summary import CurvePoint
from tests.support.results import START_NS, run_result


def page_of(result):
    return "".join(ET.fromstring(render(result)).itertext())


def test_a_campaign_behind_its_plan_says_what_may_hold_it_back():
    exchange = {"offered": 80_000, "timeouts": 11_637}
    whole = run_result(1, exchange=exchange)
    (one,) = whole.campaigns
    first = msgspec.structs.replace(one, spend_nanos=one.budget_nanos // 2, funnel=one.funnel | {"budget": 0})
    plan = [CurvePoint(at_ns=START_NS, spend_nanos=first.spend_nanos, plan_nanos=one.budget_nanos)]

    def card(campaign, counts):
        made = run_result(1, exchange=counts)
        return page_of(msgspec.structs.replace(made, campaigns=[campaign], curves={one.id: plan}))

    late = card(first, exchange)
    assert "What may hold it back: 14.5% of all requests were answered too late" in late
    assert "found its money" not in late
    dry = msgspec.structs.replace(first, funnel={"budget": 300}, eligible=1_200)
    assert "300 of its 1,200 eligible opportunities (25.0%) found its money spent or set aside" in card(
        dry, {}
    )
    assert "What may hold it back" not in card(first, {})
    on_plan = msgspec.structs.replace(dry, spend_nanos=one.budget_nanos)
    assert "What may hold it back" not in card(on_plan, exchange)


def test_three_kinds_of_too_late_have_three_names():
    names = {words("EXPIRED"), words("BID_CAME_AFTER_THE_DEADLINE"), "Answered too late"}
    assert names == {"Too late when it was read", "Bid came after the deadline", "Answered too late"}
    parts = FORMULAS["Answered too late"].lower()
    assert "too late when they were read" in parts
    assert "bid came after the deadline" in parts
    assert "--speedup" in parts
