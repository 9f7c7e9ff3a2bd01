"""What an order must count for, by the second computation of the fault simulation."""

import pytest

from bidder.core.messages import NoticeKind
from simulator.faults.credits import GOAL, Booked, Credits, Order, Shown
from simulator.faults.plan import HOLD_NS, Scenario, scenario
from simulator.faults.plan import S as SECOND

CLICK, SEEN, BILLING = int(NoticeKind.CLICK), int(NoticeKind.IMPRESSION), int(NoticeKind.BILLING)
CLICK_WINDOW_NS, VIEW_WINDOW_NS = 8 * SECOND, 3 * SECOND
T = 1_000 * SECOND
KEY = ("acme", "o1")


def plan() -> Scenario:
    return scenario(2, 500)


def shown(bid: str, line: str = "c1", person: str = "ann") -> Shown:
    return Shown(bid, line, "acme", person, T)


def bought(ledger: Credits, *, by: Shown | None = None, event: str = "", permitted: bool = True) -> None:
    order = Order(*KEY, 5, "ann", by, event, permitted)
    ledger.bought(order)
    for seconds in range(60):
        ledger.telling(order, T + seconds * SECOND)


def of_person(ledger: Credits, at_s: int, written_s: int | None = None) -> list[str]:
    now_ns = T + (at_s if written_s is None else written_s) * SECOND
    return [found.kind for found in ledger.of_person(KEY, 5, T + at_s * SECOND, now_ns)]


def of_bid(ledger: Credits, at_s: int) -> list[str]:
    return [found.kind for found in ledger.of_bid(KEY, 5, T + at_s * SECOND)]


def touch(
    ledger: Credits, bid: str, kind: int, at_s: int, came_s: int | None = None, line: str = "c1"
) -> None:
    came_ns = T + (at_s if came_s is None else came_s) * SECOND
    ledger.touch(shown(bid, line), kind, T + at_s * SECOND, came_ns)


def booked(bid: str, kind: int, goal: str = GOAL, value_nanos: int = 5, event: str = "o1") -> Booked:
    return Booked("acme", event, bid, "c1", value_nanos, kind, goal)


def judged(ledger: Credits, *rows: Booked, strays: tuple[int, int] = (0, 0)) -> list[str]:
    return [found.kind for found in ledger.judge(rows, {"acme": strays})]


@pytest.fixture
def ledger() -> Credits:
    found = Credits(plan())
    bought(found)
    return found


def test_the_windows_are_those_of_the_plan() -> None:
    assert plan().windows("c1") == (CLICK_WINDOW_NS, VIEW_WINDOW_NS)
    assert plan().windows("c2-b") == (10 * SECOND, 0)


def test_the_last_click_in_its_window_goes_before_any_impression(ledger: Credits) -> None:
    for bid, kind, at_s in (("a", CLICK, 1), ("b", CLICK, 2), ("c", BILLING, 4), ("d", CLICK, 6)):
        touch(ledger, bid, kind, at_s)
    assert of_person(ledger, 5) == []
    assert judged(ledger, booked("b", CLICK)) == []
    for wrong in (("a", CLICK), ("c", SEEN), ("d", CLICK)):
        assert "credit" in judged(ledger, booked(*wrong))


def test_an_impression_counts_where_no_click_is_in_its_window(ledger: Credits) -> None:
    touch(ledger, "a", CLICK, 0)
    touch(ledger, "b", SEEN, 7)
    touch(ledger, "v", SEEN, 8, line="c2-b")
    assert of_person(ledger, 9) == []
    assert judged(ledger, booked("b", SEEN)) == []


def test_an_order_is_lost_twice_or_of_another_worth(ledger: Credits) -> None:
    touch(ledger, "a", CLICK, 0)
    assert of_person(ledger, 1) == of_person(ledger, 2) == []
    assert (ledger.told, ledger.again) == (1, 1)
    assert judged(ledger, booked("a", CLICK), strays=(1, 5)) == []
    assert judged(ledger, strays=(2, 10)) == ["conversion_lost"]
    assert judged(ledger, booked("a", CLICK), booked("a", CLICK)) == ["order_twice"]
    assert judged(ledger, booked("a", CLICK, value_nanos=4), strays=(1, 6)) == ["conversion_value"]
    assert judged(ledger, booked("a", CLICK)) == ["conversion_uncounted"]
    assert "conversion_invented" in judged(ledger, booked("a", CLICK, event="o2"))


def test_one_that_waits_may_count_for_what_was_last_from_then_on(ledger: Credits) -> None:
    assert of_person(ledger, 5) == []
    touch(ledger, "late", CLICK, 6)
    assert judged(ledger, strays=(1, 5)) == []
    touch(ledger, "a", SEEN, 4, came_s=6)
    touch(ledger, "b", CLICK, 3, came_s=7)
    for right in (("a", SEEN), ("b", CLICK)):
        assert judged(ledger, booked(*right)) == []
    assert judged(ledger, booked("late", CLICK)) == ["credit"]
    assert judged(ledger, strays=(1, 5)) == ["conversion_lost"]


def test_one_need_not_be_booked_where_its_touch_came_when_the_wait_was_over(ledger: Credits) -> None:
    assert of_person(ledger, 5) == []
    touch(ledger, "a", CLICK, 4, came_s=5 + HOLD_NS // SECOND)
    assert judged(ledger, strays=(1, 5)) == judged(ledger, booked("a", CLICK)) == []


def test_an_order_that_is_told_both_ways_counts_for_what_was_told_first() -> None:
    ledger = Credits(plan())
    bought(ledger, by=shown("x"), event="e1")
    touch(ledger, "a", SEEN, 1)
    assert of_bid(ledger, 2) == of_person(ledger, 2) == []
    assert judged(ledger, booked("x", SEEN, "", event="e1"), strays=(1, 5)) == []
    assert ledger.refused() == 0
    assert "credit" in judged(ledger, booked("a", SEEN))
    assert ledger.refused() == 1


def test_a_bid_counts_within_the_click_window_from_when_it_was_made() -> None:
    ledger = Credits(plan())
    bought(ledger, by=shown("x"))
    assert of_bid(ledger, 9) == []
    assert judged(ledger) == []
    assert of_bid(ledger, 8) == []
    assert judged(ledger) == ["conversion_lost"]


def test_who_may_not_be_followed_counts_for_nothing() -> None:
    ledger = Credits(plan())
    bought(ledger, permitted=False)
    touch(ledger, "a", CLICK, 1)
    assert of_person(ledger, 2) == []
    assert judged(ledger, strays=(1, 5)) == []


def test_what_is_written_must_be_what_the_shop_said(ledger: Credits) -> None:
    told = [found.kind for found in ledger.of_person(KEY, 6, T, T)]
    assert told == [found.kind for found in ledger.of_person(KEY, 5, T + 1, T)] == ["conversion_told"]
    assert [found.kind for found in ledger.of_person(("acme", "o9"), 5, T, T)] == ["conversion_told"]


def test_no_more_may_be_booked_at_any_time_than_may_count(ledger: Credits) -> None:
    assert [found.kind for found in ledger.so_far({"acme": 1})] == ["conversion_invented"]
    touch(ledger, "a", CLICK, 0)
    assert of_person(ledger, 1) == []
    assert list(ledger.so_far({"acme": 1})) == []
