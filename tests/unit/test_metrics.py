"""What a worker tells of itself: `GET /metrics`, and the funnel of each hour."""

import asyncio

import msgspec
import numpy as np
import pytest

from bidder.core.campaigns import Goal
from bidder.core.engine import Engine
from bidder.core.funnel import Recount
from bidder.core.matches import decode_match, encode_match, fingerprint
from bidder.core.messages import (
    BID_REQUESTS,
    CAMPAIGNS,
    FUNNELS,
    MATCHES,
    CampaignChange,
    FunnelHour,
    encode,
)
from bidder.core.settings import EngineSettings
from bidder.core.targeting_kernels import END
from bidder.errors import InputError
from bidder.runtime.clock import VirtualClock
from bidder.runtime.hours import HOUR_NS
from bidder.runtime.http import Request
from bidder.runtime.metrics import MOST_LINES, Metrics, Sample, family, metrics_server
from bidder.runtime.recounting import Recounter
from bidder.runtime.renewal import Renewal
from bidder.runtime.transport import Message, Outbound
from bidder.runtime.worker import Worker
from tests.support import factories as make
from tests.support.factories import Offer, body, campaign, lease
from tests.unit.test_renewal import many

CHANGES = [
    CampaignChange(version=1, campaign_id="c1", campaign=campaign()),
    many(1, 2, 5),
]


def worker(*, funnel: bool = True, changes: list[CampaignChange] = CHANGES) -> Worker:
    settings = EngineSettings(external_scores=True, funnel=funnel)
    made = Worker(Engine(settings, make.KEY, None, make.START))
    values = [(CAMPAIGNS, encode(change)) for change in changes] + [("leases", encode(lease()))]
    made.on_control([Message(topic, 0, n, None, value, 0) for n, (topic, value) in enumerate(values)], 0)
    return made


def ask(made: Worker, first: int, count: int, now_ns: int, **offer: object) -> list[Outbound]:
    bodies = [body(Offer(id=f"r{n}").with_(**offer)) for n in range(first, first + count)]
    return made.on_requests([Message(BID_REQUESTS, 0, 0, None, one, 0) for one in bodies], now_ns, 0)


def hours(out: list[Outbound]) -> list[FunnelHour]:
    return [msgspec.json.decode(one.value, type=FunnelHour) for one in out if one.topic == FUNNELS]


def told(parts: list[FunnelHour]) -> dict[str, list[int]]:
    """Of each line item: asked, refused in all, eligible."""
    found: dict[str, list[int]] = {}
    for part in parts:
        for row in part.rows:
            sums = found.setdefault(row.line_item_id, [0, 0, 0])
            for place, number in enumerate(
                (row.asked, sum(row.refused.values()), row.stages.get("eligible", 0))
            ):
                sums[place] += number
    return found


# -- the funnel by hour -----------------------------------------------------------------------------------------


def test_each_hour_is_told_once_it_is_over_and_holds_its_own_counts_only() -> None:
    made = worker()
    ask(made, 0, 7, HOUR_NS - 1)
    ask(made, 7, 3, HOUR_NS)
    first = hours(made.on_tick(HOUR_NS + 1))
    assert [(part.hour_ns, part.seat, part.start_id) for part in first] == [(0, "seat-1", make.START)]
    assert told(first)["c1"][0] == 7
    assert hours(made.on_tick(HOUR_NS + 2)) == []
    rest = hours(made.on_stop(HOUR_NS + 3))
    assert [(part.hour_ns, part.part) for part in rest] == [(HOUR_NS, 1)]
    assert told(rest)["c1"][0] == 3


def test_what_is_told_adds_up_for_every_line_item() -> None:
    made = worker()
    ask(made, 0, 9, 5, country="USA")
    found = told(hours(made.on_stop(6)))
    assert found["c1"] == [9, 0, 9]
    assert all(asked == refused + eligible == 9 for asked, refused, eligible in found.values())


def test_counts_go_on_where_line_items_come_and_go_within_an_hour() -> None:
    made = worker()
    ask(made, 0, 4, 5)
    gone = CampaignChange(version=3, campaign_id="c1", campaign=None)
    made.on_control([Message(CAMPAIGNS, 0, 0, None, encode(gone), 0)], 6)
    ask(made, 4, 2, 7)
    back = CampaignChange(version=4, campaign_id="c1", campaign=campaign())
    made.on_control([Message(CAMPAIGNS, 0, 0, None, encode(back), 0)], 8)
    ask(made, 6, 1, 9)
    found = told(hours(made.on_stop(10)))
    assert (found["c1"][0], found["m001-000"][0]) == (5, 7)
    assert made.engine.status(10)["c1"].asked == 5


# -- counted elsewhere ------------------------------------------------------------------------------------------


def matches(out: list[Outbound]) -> list[Message]:
    records = [one for one in out if one.topic == MATCHES]
    return [Message(MATCHES, 0, n, one.key, one.value, 0) for n, one in enumerate(records)]


def test_counts_made_of_records_are_those_of_the_hot_path() -> None:
    offers = [
        {"country": "USA"},
        {"country": "DEU", "bcat": ("IAB7",)},
        {"domain": "d3.example"},
        {"test": True},
    ]
    whole, apart = worker(), worker(funnel=False)
    counter = Recounter(apart.engine.settings, "counter")
    counter.on_messages([Message(CAMPAIGNS, 0, 0, None, encode(change), 0) for change in CHANGES])
    for number, offer in enumerate(offers):
        ask(whole, 100 * number, 20, 5, **offer)
        counter.on_messages(matches(ask(apart, 100 * number, 20, 5, **offer)))
    expected = {line_id: (one.asked, one.refused) for line_id, one in whole.engine.status(6).items()}
    found = {row.line_item_id: (row.asked, row.refused) for part in counter.due() for row in part.rows}
    assert found == expected
    assert (counter.rows, counter.left_out, counter.waiting) == (60, 0, 0)


def test_a_record_waits_for_its_table() -> None:
    made = worker(funnel=False)
    counter = Recounter(made.engine.settings, "counter")
    counter.on_messages([Message(CAMPAIGNS, 0, 0, None, encode(CHANGES[0]), 0)])
    counter.on_messages(matches(ask(made, 0, 3, 5)))
    assert (counter.rows, counter.waiting) == (0, 1)
    counter.on_messages([Message(CAMPAIGNS, 0, 0, None, encode(CHANGES[1]), 0)])
    assert (counter.rows, counter.waiting) == (3, 0)


def test_rows_that_requests_made_travel_with_the_record() -> None:
    made = worker(funnel=False)
    table = made.engine.table
    ask(made, 0, 1, 5)
    row = table.first_spare
    table.rows[row] = np.uint64(1)

    record = np.array([row, ~row, END], dtype=np.int32).tobytes()
    found = decode_match(encode_match(table, fingerprint(table), table.base[0], 1, record, 9))
    assert (found.spare.tolist(), found.spare_rows.tolist()) == ([row], [[1]])
    assert (found.at_ns, found.rows, found.record.tolist()) == (9, 1, [row, ~row, END])


@pytest.mark.parametrize("value", [b"", b"\x02" + bytes(60), b"\x01" + bytes(20)])
def test_a_record_that_is_not_whole_is_left_out(value: bytes) -> None:
    with pytest.raises(InputError):
        decode_match(value)
    counter = Recounter(EngineSettings(), "counter")
    counter.on_messages([Message(MATCHES, 0, 0, b"s", value, 0)])
    assert counter.left_out == 1


def test_a_table_of_other_rules_has_another_fingerprint() -> None:
    one, same, other = (worker(changes=c).engine.table for c in (CHANGES, CHANGES, CHANGES[:1]))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert Recount(one).asked == 0


# -- GET /metrics -----------------------------------------------------------------------------------------------


def text_of(made: Worker) -> str:
    return Metrics(made, Renewal(made, VirtualClock()), VirtualClock(), {}).text()


def test_metrics_say_reasons_by_name_funnel_and_money() -> None:
    made = worker()
    ask(made, 0, 3, 0)
    made.on_control([Message("t", 0, 0, None, b"{", 0)], 0)
    lines = text_of(made).splitlines()
    assert "clearbid_requests_total 3" in lines
    assert 'clearbid_line_item_asked_total{line_item="c1"} 3' in lines
    assert 'clearbid_control_refused_total{cause="unreadable"} 1' in lines
    assert "clearbid_table_version 2" in lines
    assert sum("clearbid_opportunities_ended_total{" in line for line in lines) >= 1
    assert all(line.startswith(("#", "clearbid_")) for line in lines)


def test_every_family_is_described_once() -> None:
    lines = text_of(worker()).splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 20


def test_series_of_line_items_are_left_out_where_there_are_too_many() -> None:
    made = worker(changes=[many(1, 1, MOST_LINES + 1)])
    assert "clearbid_line_item" not in text_of(made).replace("clearbid_line_items", "")


def test_the_histogram_counts_up_to_each_bound() -> None:
    made = worker()
    for duration_ms in (0.2, 3.0, 3.0, 40.0):
        made.latency.add(int(duration_ms * 1e6))
    lines = text_of(made).splitlines()
    assert 'clearbid_decide_seconds_bucket{le="0.001"} 1' in lines
    assert 'clearbid_decide_seconds_bucket{le="0.005"} 3' in lines
    assert 'clearbid_decide_seconds_bucket{le="+Inf"} 4' in lines


def test_labels_are_escaped() -> None:
    (*_, line) = family("n", "gauge", "s", [Sample({"a": 'x"\\\n'}, 1.5)])
    assert line == 'n{a="x\\"\\\\\\n"} 1.5'


async def test_the_endpoint_answers_on_loopback() -> None:
    made = worker()
    metrics = Metrics(made, Renewal(made, VirtualClock()), VirtualClock(), {})
    assert metrics.handle(Request("GET", "/", {}, b"")).status == 404
    server = metrics_server(metrics, "127.0.0.1", 0)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    finally:
        await server.stop()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"clearbid_requests_total 0" in answer


def test_metrics_say_what_became_of_values_by_the_model() -> None:
    own = campaign(goal=Goal.CONVERSION, value_source="model", value_nanos=make.S)
    made = Worker(Engine(EngineSettings(), make.KEY, make.valued_model(), make.START))
    made.engine.adopt_campaigns({"c1": own}, 1, 0)
    made.engine.adopt_leases([lease()], 0)
    ask(made, 0, 30, 0, external=None)
    counted = made.engine.values.totals()
    assert sum(counted) == 30
    text = text_of(made)
    for name, count in counted._asdict().items():
        assert f'clearbid_conversion_values_total{{end="{name}"}} {count}\n' in text


def test_the_model_that_decides_is_named() -> None:
    made = worker()
    clock = VirtualClock(0)
    text = Metrics(made, Renewal(made, clock), clock, {}).text()
    assert f'clearbid_model_info{{hash="{made.engine.model_hash}"}} 1' in text.splitlines()
