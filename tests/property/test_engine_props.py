"""The engine against its slow twin, and what must hold whatever it is asked."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bidder.core.batch import CAPACITY
from bidder.core.call import Answer
from bidder.core.engine import Engine
from bidder.core.funnel import Recount
from bidder.core.matches import decode_match
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support import markets
from tests.support.factories import Offer, S
from tests.support.twins import NOW_NS, Market, check_equal, market

ROOT = Path(__file__).resolve().parents[2]
COUNTED_BESIDE = msgspec.structs.replace(markets.SETTINGS, funnel=False)


# -- the twin -----------------------------------------------------------------------------------------------------


def _check(
    seed: int, campaigns: int, requests: int, *, scored: bool, plain: bool = False, valued: bool = False
) -> Market:
    random = Random(seed)
    own = market(random, campaigns, scored=scored, plain=plain, valued=valued)
    check_equal(own, own.bodies(random, requests, scored=scored))
    return own


@given(seed=st.integers(0, 2**32), campaigns=st.integers(1, 8), requests=st.integers(1, 10))
@settings(max_examples=100)
def test_engine_equals_its_twin_on_outside_scores(seed: int, campaigns: int, requests: int) -> None:
    _check(seed, campaigns, requests, scored=False)


@given(seed=st.integers(0, 2**32), campaigns=st.integers(1, 8), requests=st.integers(1, 10))
@settings(max_examples=100)
def test_engine_equals_its_twin_on_modelled_scores(seed: int, campaigns: int, requests: int) -> None:
    _check(seed, campaigns, requests, scored=True)


@given(seed=st.integers(0, 2**32), campaigns=st.integers(1, 8), requests=st.integers(1, 10))
@settings(max_examples=100)
def test_engine_equals_its_twin_where_a_model_values_conversions(
    seed: int, campaigns: int, requests: int
) -> None:
    _check(seed, campaigns, requests, scored=True, valued=True)


@pytest.mark.parametrize("lines", [1, 63, 64, 65, 127, 128, 129])
def test_engine_equals_its_twin_across_words_of_64_line_items(lines: int) -> None:
    _check(lines, lines, 40, scored=True, plain=True)


@given(seed=st.integers(0, 2**32))
@example(seed=320)  # a length that is asked for, but longer than the pod
@settings(max_examples=60)
def test_engine_equals_its_twin_as_time_goes_by(seed: int) -> None:
    """Flights, leases, days, windows of caps and what is pending begin and end between calls."""
    random = Random(seed)
    own = market(random, 4, scored=True)
    bodies = own.bodies(random, 24, scored=True)
    for place, later_s in enumerate((0, 0.000000001, 6, 61, 19 * 3_600, 40 * 3_600)):
        check_equal(own, bodies[4 * place : 4 * place + 4], NOW_NS + int(later_s * S))


def test_engine_equals_its_twin_on_a_seeded_sample() -> None:
    for seed in range(12):
        _check(seed, 4, 12, scored=seed % 2 == 0)
        _check(seed, 4, 12, scored=True, valued=True)
    _check(99, 66, 6, scored=True, plain=True)


def test_kernels_equal_the_twin_without_compilation() -> None:
    """The seeded sample once more, interpreted."""
    test = f"{__file__}::test_engine_equals_its_twin_on_a_seeded_sample"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_twin_market_is_no_desert() -> None:
    """Guards the tests above: their markets end in bids, deals, pods, foreign money and nearly every reason."""
    seen: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for seed in range(440):
        random = Random(seed)
        own = market(random, 1 + seed % 8, scored=seed % 2 == 0)
        for row in make.decide(own.engine, *own.bodies(random, 12, scored=seed % 2 == 0), now_ns=NOW_NS):
            seen[Reason(row["reason"]).name] += 1
            if row["reason"] == Reason.BID:
                kinds.update(
                    name for name in ("deal_id", "currency", "line_item_id", "test", "pcvr") if name in row
                )
    assert seen["BID"] > 150
    assert all(kinds[name] > 5 for name in ("deal_id", "currency", "line_item_id", "test", "pcvr"))
    # Reasons of the body, of traffic and of supply chains are those of other tests.
    others = {"MALFORMED", "CRAWLER", "DATA_CENTRE", "IMPOSSIBLE_DEVICE", "USER_RATE", "ADDRESS_RATE"}
    others |= {"SCHAIN_INCOMPLETE", "SCHAIN_BLOCKED", "CREATIVE_SIZE"}
    assert {reason.name for reason in Reason} - others - seen.keys() == set()


def test_twin_market_has_values_of_every_kind() -> None:
    """Guards the test with a model of value: predictions are taken, raised, lowered, and bids rest on them."""
    ends: Counter[str] = Counter()
    bids = 0
    for seed in range(60):
        random = Random(seed)
        own = market(random, 6, scored=True, valued=True)
        rows = make.decide(own.engine, *own.bodies(random, 12, scored=True), now_ns=NOW_NS)
        ends.update(own.engine.values.totals()._asdict())
        bids += sum("conversion_value_nanos" in row for row in rows)
    assert min(ends[name] for name in ("model", "raised", "lowered")) > 20
    assert bids > 50


# -- splitting ----------------------------------------------------------------------------------------------------


def _traffic(random: Random, requests: int, line_ids: Sequence[str]) -> list[bytes]:
    """Bodies with repeats, test flags, several impressions, media, pods and deals, and some that cannot be read."""
    bodies: list[bytes] = []
    for number in range(requests):
        kind = random.random()
        if bodies and kind < 0.2:
            bodies.append(random.choice(bodies))
        elif kind < 0.24:
            bodies.append(random.choice((b"{", b'{"id":"x"}', b"[]")))
        else:
            bodies.append(markets.random_body(random, number, line_ids, scored=True))
    return bodies


def _twice(seed: int, requests: int, **changes: Any) -> tuple[list[bytes], Engine, Engine]:
    """Bodies, and two engines that know the same."""
    one, two = (market(Random(seed), 4, scored=True, **changes) for _ in range(2))
    return _traffic(Random(seed + 1), requests, one.line_ids), one.engine, two.engine


def _split(engine: Engine, bodies: Sequence[bytes], cuts: Sequence[int]) -> list[Answer]:
    edges = [0, *sorted(cuts), len(bodies)]
    answers: list[Answer] = []
    for begin, end in pairwise(edges):
        answers += engine.decide(bodies[begin:end], [0] * (end - begin), NOW_NS)
    return answers


def _same_state(one: Engine, two: Engine) -> None:
    assert one.status(NOW_NS) == two.status(NOW_NS)
    assert (one.reasons, one.opportunities, one.repaired) == (two.reasons, two.opportunities, two.repaired)
    assert one.caps.pending == two.caps.pending
    assert [array.tolist() for array in one.caps.arrays()] == [array.tolist() for array in two.caps.arrays()]
    assert one.tick(NOW_NS) == two.tick(NOW_NS)


SMALL = msgspec.structs.replace(
    markets.SETTINGS, users=msgspec.structs.replace(markets.SETTINGS.users, cap_pairs=64)
)
"""With tables that are quickly compared."""


@given(data=st.data(), seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=100)
def test_splitting_a_batch_changes_nothing(data: st.DataObject, seed: int, requests: int) -> None:
    bodies, whole, parts = _twice(seed, requests, settings=SMALL)
    cuts = data.draw(st.lists(st.integers(0, len(bodies)), max_size=4))
    assert whole.decide(bodies, [0] * len(bodies), NOW_NS) == _split(parts, bodies, cuts)
    _same_state(whole, parts)


@given(seed=st.integers(0, 2**32), capacity=st.integers(8, 14))
@settings(max_examples=60)
def test_where_a_batch_is_full_changes_nothing(seed: int, capacity: int) -> None:
    """Also inside the impressions and deals of a request; a pod stands in one batch, so it has room for one."""
    bodies, roomy, small = _twice(seed, 15, settings=SMALL)
    whole = roomy.decide(bodies, [0] * len(bodies), NOW_NS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bidder.core.engine.CAPACITY", capacity)
        assert small.decide(bodies, [0] * len(bodies), NOW_NS) == whole
    _same_state(roomy, small)


@contextmanager
def _forgetful() -> Iterator[None]:
    """Books of slots and deals that are full after a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bidder.core.specs.CAPACITY", 1_024 + 3)
        patch.setattr("bidder.core.deals.CAPACITY", 2)
        patch.setattr("bidder.openrtb.parts.CAPACITY", 2)
        yield


@given(seed=st.integers(0, 2**32))
@settings(max_examples=50)
def test_what_books_forget_changes_nothing(seed: int) -> None:
    bodies, knowing, _ = _twice(seed, 20, settings=SMALL)
    whole = knowing.decide(bodies, [0] * len(bodies), NOW_NS)
    with _forgetful():
        forgetful = market(Random(seed), 4, scored=True, settings=SMALL).engine
        assert forgetful.decide(bodies, [0] * len(bodies), NOW_NS) == whole
        assert forgetful._slots.forgotten > 0 or len(forgetful._slots._slots) <= 4
    _same_state(knowing, forgetful)


def test_books_do_forget() -> None:
    """Guards the test above."""
    with _forgetful():
        own = market(Random(5), 4, scored=True)
        own.engine.decide(own.bodies(Random(6), 40, scored=True), [0] * 40, NOW_NS)
        assert own.engine._slots.forgotten > 3


@pytest.mark.parametrize("seed", range(2))
def test_a_call_beyond_the_capacity_of_a_batch_equals_single_calls(seed: int) -> None:
    bodies, whole, parts = _twice(seed, CAPACITY, settings=SMALL)
    assert whole.decide(bodies, [0] * len(bodies), NOW_NS) == _split(parts, bodies, range(len(bodies)))
    _same_state(whole, parts)


def test_swapping_two_requests_does_change_something() -> None:
    """Guards the tests of splitting: order matters where the money is for one bid only."""
    bodies = [make.body(Offer(id=name)) for name in ("r1", "r2")]
    ends = []
    for order in (bodies, bodies[::-1]):
        engine = make.engine(leases=[make.lease(granted_nanos=1_000_000)])
        ends.append({row["request_id"]: row["reason"] for row in make.decide(engine, *order)})
    assert ends == [{"r1": Reason.BID, "r2": Reason.BUDGET}, {"r2": Reason.BID, "r1": Reason.BUDGET}]


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=30)
def test_two_engines_give_the_same_bytes(seed: int, requests: int) -> None:
    bodies, one, two = _twice(seed, requests, settings=SMALL)
    assert one.decide(bodies, [0] * len(bodies), NOW_NS) == two.decide(bodies, [0] * len(bodies), NOW_NS)
    _same_state(one, two)


# -- the funnel counted beside the bidder ---------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 20))
@settings(max_examples=60)
def test_a_recount_of_the_records_equals_the_counters_of_the_hot_path(seed: int, requests: int) -> None:
    inside = market(Random(seed), 5, scored=True)
    beside = market(Random(seed), 5, scored=True, settings=COUNTED_BESIDE)
    bodies = inside.bodies(Random(seed + 1), requests, scored=True)
    recount = Recount(beside.engine.table)
    for body in bodies:
        for own in (inside, beside):
            own.engine.decide([body], [0], NOW_NS)
        for match in map(decode_match, beside.engine.matches):
            recount.take(match.record, match.awake, match.rows)
    beside.engine.funnel.add(recount.asked, recount.refused())
    assert beside.engine.funnel.counts() == inside.engine.funnel.counts()


# -- what must hold ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 25))
@settings(max_examples=80)
def test_every_opportunity_ends_once_and_money_adds_up(seed: int, requests: int) -> None:
    own = market(Random(seed), 5, scored=True)
    engine = own.engine
    bodies = _traffic(Random(seed + 1), requests, own.line_ids)
    free = engine.wallet.purse.available.copy()
    taken = engine.wallet.purse.books[:, 1].copy()
    for body, answer in zip(bodies, engine.decide(bodies, [0] * len(bodies), NOW_NS), strict=True):
        rows = make.decisions([answer])
        bids = _bids(answer)
        assert [row["bid_id"] for row in rows if row["reason"] == Reason.BID] == [bid["id"] for bid in bids]
        assert answer.bid == bool(bids)
        for row in rows:
            if row["reason"] == Reason.BID:
                _check_bid(own, row)
        if rows[0]["reason"] not in (Reason.MALFORMED, Reason.INVALID):
            imps = [imp["id"] for imp in orjson.loads(body)["imp"]]
            assert list(dict.fromkeys(row["imp_id"] for row in rows)) == imps
    purse = engine.wallet.purse
    assert (purse.available >= 0).all()
    assert (purse.books[:, 1] - taken == free - purse.available).all()
    assert all(counts.adds_up for counts in engine.funnel.counts().values())


def _bids(answer: Answer) -> list[dict[str, Any]]:
    seats = orjson.loads(answer.response).get("seatbid", []) if answer.response else []
    return [bid for seat in seats for bid in seat["bid"]]


def _check_bid(own: Market, row: dict[str, Any]) -> None:
    name = row.get("line_item_id", row["campaign_id"])
    line = next(line for line in own.twin.lines if line.id == name)
    # A deal of a fixed price is bought at that, which may be below the least bid.
    least = 1 if "deal_id" in row else line.said("min_bid_cpm_micros")
    assert least <= row["bid_cpm_micros"] <= line.said("max_bid_cpm_micros")
    assert row["bid_cpm_micros"] >= max(1, row.get("floor_cpm_micros", 0)) or "currency" in row
    assert row["creative_id"] in {creative.id for creative in line.creatives}


@given(seed=st.integers(0, 2**32), requests=st.integers(1, 12))
@settings(max_examples=40)
def test_test_requests_change_nothing(seed: int, requests: int) -> None:
    """Nothing of money, pacing, caps, rates, counts, nor of page views that were offered before."""
    _, tried, fresh = _twice(seed, 1, settings=SMALL)
    own = market(Random(seed), 4, scored=True)
    asked = [
        markets.random_request(Random(seed + number), number, own.line_ids, scored=True)
        for number in range(requests)
    ]
    trial = [orjson.dumps({**request, "id": f"t{n}", "test": 1}) for n, request in enumerate(asked)]
    tried.decide(trial, [0] * requests, NOW_NS)
    fresh.repaired = tried.repaired
    _same_state(tried, fresh)
    assert tried.gate._offers == fresh.gate._offers == {}
    live = [orjson.dumps({**request, "test": 0}) for request in asked]
    assert tried.decide(live, [0] * requests, NOW_NS) == fresh.decide(live, [0] * requests, NOW_NS)
    _same_state(tried, fresh)
