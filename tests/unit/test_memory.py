"""What is remembered of requests: bounded in number everywhere, in bytes where bodies are made to be large."""

from functools import lru_cache

import orjson
import pytest

from bidder.core import batch
from bidder.memory import forget_texts, forgettable
from bidder.openrtb.parts import BANNER
from tests.support import factories as make
from tests.support.factories import Offer


def test_a_forgettable_function_is_asked_anew() -> None:
    asked: list[str] = []

    @forgettable
    @lru_cache
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    assert [length("a"), length("a")] == [1, 1]
    forget_texts()
    assert length("a") == 1
    assert asked == ["a", "a"]


def test_parts_are_forgotten_with_the_texts() -> None:
    first, _ = BANNER.read(b'{"w":1}')
    assert BANNER.read(b'{"w":1}')[0] is first
    forget_texts()
    assert BANNER.read(b'{"w":1}')[0] is not first


def bodies(count: int) -> list[bytes]:
    """Requests of 20 kB each, with a publisher's list and a site of their own."""
    return [
        make.body(Offer(id=f"r{number}", more={"badv": [f"{'x' * 20_000}{number}.example"], "tmax": None}))
        for number in range(count)
    ]


def test_large_bodies_leave_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MOST_LARGE_BYTES", 100_000)
    own = make.engine()
    for number, body in enumerate(bodies(40)):
        make.decide(own, body, now_ns=number)
        held = sum(len(key[0]) for key in own._batch._showing._barred)
        assert held <= 140_000
    assert held > 0


def test_forgetting_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = make.engine()
    forgetful = make.engine()
    expected = [orjson.dumps(make.decide(remembering, body)) for body in bodies(12)]
    monkeypatch.setattr(batch, "_MOST_LARGE_BYTES", 1)
    assert [orjson.dumps(make.decide(forgetful, body)) for body in bodies(12)] == expected


def test_small_bodies_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MOST_LARGE_BYTES", 1)
    own = make.engine()
    before = own._slots.forgotten
    make.decide(own, *[make.body(Offer(id=f"r{number}")) for number in range(20)])
    assert own._slots.forgotten == before
