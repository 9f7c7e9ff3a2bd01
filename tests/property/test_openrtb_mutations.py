"""Whatever a body has become on its way, it is answered by the rules or not at all.

Mutations are made by their numbers, see `tests.support.mutations`: of requests made by a seed, and of recorded
ones where these are there. By default a sample of them runs; all of them by

    python -m pytest tests/property/test_openrtb_mutations.py -m slow -s

which takes CLEARBID_MUTATIONS="first:count" for a part of them, "0:200000" without. A failure names its number.
"""

import os
import time
from collections import Counter
from functools import cache

import orjson
import pytest

from bidder.core.engine import Engine
from bidder.openrtb.reasons import Reason
from tests.support import bodies, catalog
from tests.support import factories as make
from tests.support.crosscheck import faults
from tests.support.data import recorded
from tests.support.factories import S
from tests.support.mutations import mutated
from tests.support.openrtb_schema import response_faults

FULL = "0:200000"
BLOCK = 2_000
"""Mutations that one pair of engines is asked; it begins anew at multiples of it."""
CALL = 40
"""Mutations in one call of the engine that is asked for many at once."""
SYNTHETIC = 600


@cache
def synthetic() -> tuple[bytes, ...]:
    return tuple(bodies.body(seed) for seed in range(SYNTHETIC))


@cache
def third_party() -> tuple[bytes, ...]:
    names = ("requests_valid", "requests_sloppy")
    return tuple(
        line for name in names for line in recorded(f"openrtb/{name}.jsonl").read_bytes().splitlines()
    )


def state_of(engine: Engine, now_ns: int) -> tuple[object, ...]:
    """All that later answers depend on and that figures show."""
    wallet = engine.wallet
    return (
        engine.status(now_ns),
        (engine.reasons, engine.opportunities, engine.repaired, engine.late_wins),
        (wallet.available.tolist(), wallet.agrees(), engine.caps.pending),
        (engine.gate.traffic.bad_addresses, engine.tick(now_ns)),
    )


def check(
    first: int, count: int, corpus: tuple[bytes, ...], *, schema: bool, say: bool = False
) -> Counter[str]:
    """Asks the engine mutations `first` to `first + count`, and counts how they ended; raises at the first fault."""
    ends: Counter[str] = Counter()
    began = time.monotonic()
    for block in range(first // BLOCK, (first + count - 1) // BLOCK + 1):
        numbers = range(max(first, block * BLOCK), min(first + count, (block + 1) * BLOCK))
        ends += _block(block, numbers, corpus, schema=schema)
        if say:
            done = numbers[-1] + 1 - first
            rate = done / (time.monotonic() - began)
            print(f"{first + done}: {done} of {count}, {rate:.0f}/s, {ends['BID']} bids", flush=True)
    return ends


def _block(block: int, numbers: range, corpus: tuple[bytes, ...], *, schema: bool) -> Counter[str]:
    table = catalog.some(block)
    alone, together = catalog.engine(table), catalog.engine(table)
    terms = catalog.terms()
    ends: Counter[str] = Counter()
    for begin in range(0, len(numbers), CALL):
        own = numbers[begin : begin + CALL]
        now_ns = catalog.NOW_NS + begin * S // CALL
        asked = [mutated(number, corpus) for number in own]
        answers = []
        for number, body in zip(own, asked, strict=True):
            try:
                (answer,) = alone.decide([body], [0], now_ns)
            except Exception as error:
                raise AssertionError(
                    f"mutation {number} ended the engine with {error!r}: {body!r}"
                ) from error
            found = faults(body, answer.response, table, terms)
            assert not found, f"mutation {number} has {found}: {body!r}"
            assert not (schema and answer.bid and response_faults(answer.response)), (
                f"mutation {number}: {body!r}"
            )
            answers.append(answer)
        assert together.decide(asked, [0] * len(asked), now_ns) == answers, f"of mutations {own}"
        assert state_of(together, now_ns) == state_of(alone, now_ns), f"after mutations {own}"
        for row in make.decisions(answers):
            ends[Reason(row["reason"]).name] += 1
    return ends


def test_mutations_of_our_own_requests_are_answered_by_the_rules() -> None:
    ends = check(0, 1_000, synthetic(), schema=False)
    assert ends["BID"] > 150
    assert ends["INVALID"] > 50
    assert ends["MALFORMED"] > 50


def test_mutations_of_recorded_requests_are_answered_by_the_rules() -> None:
    ends = check(BLOCK, 1_000, third_party(), schema=True)
    assert ends["BID"] > 200


@pytest.mark.slow
def test_all_mutations_are_answered_by_the_rules() -> None:
    """`-m slow`; CLEARBID_MUTATIONS names a part of them."""
    first, _, count = os.environ.get("CLEARBID_MUTATIONS", FULL).partition(":")
    ends = check(int(first), int(count), synthetic() + third_party(), schema=True, say=True)
    assert ends["BID"] > int(count) // 10
    print(dict(ends.most_common()))


def test_each_mutation_is_made_by_its_number_alone() -> None:
    assert [mutated(number, synthetic()) for number in range(200)] == [
        mutated(number, synthetic()) for number in reversed(range(200))
    ][::-1]


def test_most_mutations_are_of_their_own() -> None:
    assert len({mutated(number, synthetic()) for number in range(1_000)}) > 980


def test_our_own_requests_are_well_formed() -> None:
    engine = catalog.engine()
    rows = make.decide(engine, *synthetic()[:200], now_ns=catalog.NOW_NS)
    assert {Reason.MALFORMED}.isdisjoint(Reason(row["reason"]) for row in rows)
    assert all(orjson.loads(body)["imp"] for body in synthetic()[:200])
    assert engine.repaired == 0
