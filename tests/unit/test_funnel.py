"""Where opportunities end: counts by line item that add up, in the hot path, beside it, and across tables."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core import funnel
from bidder.core.campaigns import Rule, Status, Targeting
from bidder.core.dimensions import Dimension
from bidder.core.engine import Engine
from bidder.core.funnel import Counts, Recount
from bidder.core.funnel_kernels import SLICES, count_bits, drain
from bidder.core.matches import decode_match
from tests.support import factories as make
from tests.support.factories import Offer, campaign

GEO = Targeting(geo=Rule(include=("CA",)))


def stages(counts: Counts) -> dict[str, int]:
    return {name: times for name, times in counts.stages.items() if times}


def decide(engine: Engine, *names: str, **changes: object) -> None:
    make.decide(engine, *[make.body(Offer(id=name).with_(**changes)) for name in names])


# -- bit-sliced counters --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2**64 - 1)), max_size=80))
def test_counters_are_exact(added: list[tuple[int, int, int]]) -> None:
    counters = np.zeros((2, SLICES, 2), dtype=np.uint64)
    wanted = np.zeros((128, 2), dtype=np.int64)
    for dimension, word, bits in added:
        count_bits(counters, dimension, word, np.uint64(bits))
        for bit in range(64):
            wanted[64 * word + bit, dimension] += bits >> bit & 1
    totals = np.zeros((128, 2), dtype=np.int64)
    drain(counters, totals)
    assert (totals == wanted).all()
    assert not counters.any()


def test_counters_hold_as_many_as_their_slices_say() -> None:
    counters = np.zeros((1, SLICES, 1), dtype=np.uint64)
    for _ in range(funnel.MOST_ROWS):
        count_bits(counters, 0, 0, np.uint64(2**63 + 1))
    totals = np.zeros((64, 1), dtype=np.int64)
    drain(counters, totals)
    assert totals[[0, 1, 63], 0].tolist() == [funnel.MOST_ROWS, 0, funnel.MOST_ROWS]


def test_counters_are_drained_before_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(funnel, "MOST_ROWS", 3)
    engine = make.engine([campaign(targeting=GEO)])
    for number in range(5):
        decide(engine, f"a{number}", f"b{number}")
    assert engine.funnel.counts()["c1"] == Counts(10, {"geo": 10}, dict.fromkeys(funnel.STAGES, 0))


# -- what is counted ------------------------------------------------------------------------------------------


def test_every_line_item_has_its_own_story() -> None:
    paused = campaign("c4", status=Status.PAUSED)
    other = campaign("c2", targeting=GEO)
    ended = campaign("c3", end_ns=1, start_ns=0)
    engine = make.engine([campaign(), other, ended, paused], now_ns=5)
    make.decide(engine, make.body(Offer(region="NY")), make.body(Offer(id="r2", region="CA")), now_ns=5)
    found = engine.funnel.counts()
    assert (found["c1"].refused, stages(found["c1"])) == ({}, {"eligible": 2, "bid": 2})
    assert (found["c2"].refused, stages(found["c2"])) == ({"geo": 1}, {"eligible": 1, "unscored": 1})
    assert (found["c3"].refused, stages(found["c3"])) == ({"flight": 2}, {})
    assert (found["c4"].refused, stages(found["c4"])) == ({"inactive": 2}, {})
    assert all(counts.asked == 2 and counts.adds_up for counts in found.values())


def test_only_the_first_refusal_of_a_line_item_counts() -> None:
    both = Targeting(geo=Rule(include=("CA",)), segment=Rule(include=("s9",)))
    engine = make.engine([campaign(targeting=both)])
    decide(engine, "r1", region="NY")
    decide(engine, "r2", region="CA")
    assert engine.funnel.counts()["c1"].refused == {"geo": 1, "segment": 1}


def test_repeats_tests_and_what_never_came_to_line_items_are_not_asked() -> None:
    engine = make.engine()
    decide(engine, "r1", "r1")
    decide(engine, "r2", test=True)
    decide(engine, "r3", at=7)
    make.decide(engine, b"{")
    counts = engine.funnel.counts()["c1"]
    assert (counts.asked, stages(counts), counts.adds_up) == (1, {"eligible": 1, "bid": 1}, True)


def test_counts_go_on_when_campaigns_change_and_come_back() -> None:
    engine = make.engine([campaign("c1", targeting=GEO), campaign("c2")])
    decide(engine, "r1")
    before = engine.funnel.counts()
    engine.adopt_campaigns({"c2": campaign("c2")}, 2, 0)
    decide(engine, "r2")
    engine.adopt_campaigns({"c0": campaign("c0"), "c1": campaign("c1"), "c2": campaign("c2")}, 3, 0)
    found = engine.funnel.counts()
    assert found["c1"] == before["c1"]
    assert (found["c0"].asked, found["c2"].asked) == (0, 2)


def test_counts_that_do_not_add_up_are_seen() -> None:
    fine = Counts(3, {"geo": 1}, {"eligible": 2, "bid": 1, "outbid": 1})
    assert fine.adds_up
    assert not fine._replace(asked=4).adds_up
    assert not fine._replace(stages={"eligible": 2, "bid": 1}).adds_up


# -- beside the bidder ----------------------------------------------------------------------------------------


def test_records_hold_what_was_asked_and_nothing_else() -> None:
    settings = msgspec.structs.replace(make.SETTINGS, funnel=False)
    engine = make.engine([campaign(targeting=GEO), campaign("c2")], settings=settings)
    offers = [Offer(id="r1"), Offer(id="r1"), Offer(id="r2", test=True), Offer(id="r3", region="CA")]
    make.decide(engine, *map(make.body, offers))
    recount = Recount(engine.table)
    matches = [decode_match(value) for value in engine.matches]
    for match in matches:
        recount.take(match.record, match.awake, match.rows)
    refused = recount.refused()
    engine.funnel.add(recount.asked, refused)
    counts = engine.funnel.counts()
    assert sum(match.rows for match in matches) == recount.asked == 3
    assert refused["c1"] == {"geo": 2}
    assert all(one.asked == 3 for one in counts.values())


def test_a_recount_knows_who_may_not_bid_at_all() -> None:
    engine = make.engine([campaign(status=Status.PAUSED)])
    recount = Recount(engine.table)
    recount.take(np.array([2**31 - 1] * 3, dtype=np.int32), np.zeros(1, dtype=np.uint64), 1)
    assert recount.refused() == {"c1": {"inactive": 1}}


def test_every_dimension_has_a_name_in_counts() -> None:
    assert {funnel._name(dimension) for dimension in Dimension} == {one.name.lower() for one in Dimension}
    assert all(funnel._column(funnel._name(place)) == place for place in range(len(Dimension) + 1))
