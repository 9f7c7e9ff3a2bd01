"""Exposures: each counted once, for every owner that has a cap."""

from typing import Any

import msgspec
import pytest

from bidder.core.exposures import Exposure, ExposureBook
from bidder.core.frequency import FrequencyTable, Level, owner_number
from bidder.core.messages import encode
from bidder.core.users import key_text
from bidder.errors import InputError

USER, LONGEST_NS, KEEP_NS = 2**64 - 1, 10_000, 100
LINE, CAMPAIGN, ADVERTISER = (
    owner_number(level, name)
    for level, name in ((Level.LINE_ITEM, "l1"), (Level.CAMPAIGN, "c1"), (Level.ADVERTISER, "a1"))
)


def exposure(number: int = 1, **changes: Any) -> Exposure:
    fields: dict[str, Any] = {"bid_id": f"{number:016d}", "user": key_text(USER), "line_item_id": "l1"}
    fields |= {"campaign_id": "c1", "advertiser": "a1", "at_ns": 50_000}
    return Exposure(**(fields | changes))


def book(*owners: int, keep_ns: int = KEEP_NS, capacity: int = 1_000) -> ExposureBook:
    table = FrequencyTable(64, 8, LONGEST_NS)
    return ExposureBook(keep_ns, capacity, table, owners or (LINE, CAMPAIGN, ADVERTISER))


def count(found: ExposureBook, owner: int = LINE, now_ns: int = 50_000, window_ns: int = 1_000) -> int:
    return found.table.recent(USER, owner, now_ns, window_ns)


def test_an_exposure_counts_for_its_line_item_campaign_and_advertiser() -> None:
    found = book()
    assert found.take(exposure(), 50_000)
    assert [count(found, owner) for owner in (LINE, CAMPAIGN, ADVERTISER)] == [1, 1, 1]


def test_owners_without_a_cap_take_no_room() -> None:
    found = book(CAMPAIGN)
    found.take(exposure(), 50_000)
    assert [count(found, owner) for owner in (LINE, CAMPAIGN, ADVERTISER)] == [0, 1, 0]
    assert len(found.table) == 1


def test_adopted_owners_count_from_then_on() -> None:
    found = book(CAMPAIGN)
    found.take(exposure(1), 50_000)
    found.adopt([LINE])
    found.take(exposure(2), 50_000)
    assert [count(found, owner) for owner in (LINE, CAMPAIGN)] == [1, 1]


def test_a_repeat_counts_once() -> None:
    found = book()
    found.take(exposure(), 50_000)
    assert not found.take(exposure(), 50_099)
    assert (count(found), found.taken, found.repeated) == (1, 1, 1)


def test_a_repeat_in_the_same_batch_counts_once() -> None:
    found = book()
    assert found.take_rows([exposure(1), exposure(1), exposure(2)], 50_000) == 2
    assert (count(found), found.repeated) == (2, 1)


def test_a_bid_is_remembered_for_its_time_whenever_a_generation_begins() -> None:
    for later_ns in range(1, KEEP_NS):
        found = book()
        for number, now_ns in enumerate((50_000, 50_070, 50_070 + later_ns, 50_169)):
            found.take(exposure(number), now_ns)
        assert not found.take(exposure(1), 50_169), later_ns


def test_a_bid_is_forgotten_in_the_end() -> None:
    found = book()
    for number in range(200):
        found.take(exposure(number), 50_000 + number * 10)
    assert len(found) <= 20
    assert found.forgotten == 0


def test_more_bids_than_there_is_room_for_forget_the_oldest_and_are_counted() -> None:
    found = book(capacity=10)
    for number in range(12):
        found.take(exposure(number), 50_000)
    assert (len(found), found.forgotten) == (7, 5)
    assert not any(found.take(exposure(number), 50_000) for number in range(7, 12))
    assert found.take(exposure(0), 50_000)


def test_an_exposure_older_than_the_longest_window_is_counted_as_such_only() -> None:
    found = book()
    assert not found.take(exposure(), 50_000 + LONGEST_NS)
    assert found.take(exposure(), 50_000 + LONGEST_NS - 1)
    assert (found.too_old, len(found.table)) == (1, 3)


def test_the_unknown_user_is_not_counted() -> None:
    found = book()
    assert not found.take(exposure(user=key_text(0)), 50_000)
    assert (found.unknown, len(found.table), len(found)) == (1, 0, 0)


def test_an_exposure_of_the_future_is_taken_as_of_now() -> None:
    for take in ("take", "take_rows"):
        found = book()
        one = exposure(at_ns=90_000)
        getattr(found, take)(one if take == "take" else [one], 50_000)
        assert [count(found, now_ns=now_ns) for now_ns in (50_000, 50_999, 51_000)] == [1, 1, 0]


@pytest.mark.parametrize("whole", [False, True], ids=["take", "take_rows"])
@pytest.mark.parametrize(("replayed", "left"), [(False, 1), (True, 2)])
def test_an_exposure_ends_a_pending_bid_unless_it_is_read_again(
    whole: bool, replayed: bool, left: int
) -> None:
    found = book(LINE)
    found.table.pend(USER, LINE, 49_990, 60_000)
    if whole:
        found.take_rows([exposure()], 50_000, replayed=replayed)
    else:
        found.take(exposure(), 50_000, replayed=replayed)
    assert count(found) == left


def test_batches_do_what_single_calls_do() -> None:
    some = [exposure(number % 7, at_ns=50_000 - number, user=key_text(number % 3)) for number in range(40)]
    one, many = book(), book()
    taken = sum(one.take(each, 50_000) for each in some)
    assert many.take_rows(some, 50_000) == taken > 0
    assert all((a == b).all() for a, b in zip(one.table.arrays, many.table.arrays, strict=True))
    assert (one.taken, one.repeated, one.unknown) == (many.taken, many.repeated, many.unknown)


def test_nothing_to_take_is_no_batch() -> None:
    assert book().take_rows([], 50_000) == 0


def test_after_clearing_the_log_is_counted_anew() -> None:
    found = book()
    found.take(exposure(), 50_000)
    found.clear()
    assert (len(found), count(found)) == (0, 0)
    assert found.take(exposure(), 50_000, replayed=True)
    assert count(found) == 1


@pytest.mark.parametrize(("keep_ns", "capacity"), [(0, 10), (1, 1)])
def test_a_book_that_cannot_be_is_refused(keep_ns: int, capacity: int) -> None:
    with pytest.raises(InputError, match=r"must be >= .*, was"):
        book(keep_ns=keep_ns, capacity=capacity)


def test_an_exposure_reads_as_it_was_written() -> None:
    sent = exposure()
    assert msgspec.json.decode(encode(sent), type=Exposure) == sent
    assert encode(sent) == (
        b'{"type":"exposure","bid_id":"0000000000000001","user":"ffffffffffffffff","line_item_id":"l1",'
        b'"campaign_id":"c1","advertiser":"a1","at_ns":50000,"v":1}'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"bid_id": "1"},
        {"user": "1"},
        {"line_item_id": ""},
        {"campaign_id": "a b"},
        {"advertiser": None},
        {"at_ns": -1},
    ],
    ids=str,
)
def test_an_exposure_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(msgspec.to_builtins(exposure()) | change, Exposure)
