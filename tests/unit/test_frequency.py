"""Frequency caps: windows, pending bids, and who gives way where the table is full."""

import numpy as np
import pytest
from numba import njit

from bidder.core import frequency_kernels as kernels
from bidder.core.frequency import Cap, FrequencyTable, Level, owner_number, warm_frequency
from bidder.errors import InputError

USER, OWNER, WINDOW_NS = 2**64 - 1, 17, 100


def table(capacity: int = 64, limit: int = 3, longest_window_ns: int = 1_000) -> FrequencyTable:
    return FrequencyTable(capacity, limit, longest_window_ns)


def full(at_ns: int = 1_000) -> FrequencyTable:
    """Both buckets of every pair taken, by users 1 to 8 of at_ns + user."""
    found = table(8)
    for user in range(1, 9):
        found.add(user, OWNER, at_ns + user)
    assert len(found) == 8
    return found


def held(found: FrequencyTable) -> set[int]:
    return set(found.arrays[0].tolist()) - {0}


# -- windows ------------------------------------------------------------------------------------------------


def test_an_exposure_counts_until_the_window_has_passed() -> None:
    found = table()
    found.add(USER, OWNER, 500)
    assert [found.recent(USER, OWNER, now, WINDOW_NS) for now in (500, 599, 600)] == [1, 1, 0]


def test_exposures_that_come_late_stand_in_the_order_of_time() -> None:
    found = table()
    for at_ns in (500, 300, 400):
        found.add(USER, OWNER, at_ns)
    assert [found.recent(USER, OWNER, 500, window) for window in (1, 100, 101, 200, 201)] == [1, 1, 2, 2, 3]


def test_of_more_exposures_than_the_limit_the_newest_are_kept() -> None:
    found = table(limit=2)
    for at_ns in (500, 300, 400, 100, 450):
        found.add(USER, OWNER, at_ns)
    assert [found.recent(USER, OWNER, 500, window) for window in (50, 51, 1_000)] == [1, 2, 2]


def test_pairs_do_not_count_for_each_other() -> None:
    found = table()
    found.add(USER, OWNER, 500)
    others = ((USER, OWNER + 1), (USER - 1, OWNER), (USER, OWNER + 2**32))
    assert [found.recent(user, owner, 500, WINDOW_NS) for user, owner in others] == [0, 0, 0]


def test_the_unknown_user_is_never_stored() -> None:
    found = table()
    found.add(0, 0, 500)
    found.pend(0, 0, 500, 600)
    found.confirm(0, 0, 500)
    found.release(0, 0)
    assert (found.recent(0, 0, 500, WINDOW_NS), len(found)) == (0, 0)


# -- pending bids -------------------------------------------------------------------------------------------


def test_a_pending_bid_counts_until_its_end_whatever_the_window() -> None:
    found = table()
    found.pend(USER, OWNER, 500, 900)
    assert [found.recent(USER, OWNER, now, 1) for now in (500, 899, 900)] == [1, 1, 0]


def test_confirming_turns_a_pending_bid_into_an_exposure() -> None:
    found = table()
    found.pend(USER, OWNER, 500, 900)
    found.confirm(USER, OWNER, 550)
    assert [found.recent(USER, OWNER, now, WINDOW_NS) for now in (550, 649, 650)] == [1, 1, 0]


def test_an_exposure_without_a_pending_bid_counts_all_the_same() -> None:
    found = table()
    found.confirm(USER, OWNER, 550)
    assert found.recent(USER, OWNER, 550, WINDOW_NS) == 1


def test_a_replayed_exposure_leaves_pending_bids_alone() -> None:
    found = table()
    found.pend(USER, OWNER, 500, 900)
    found.add(USER, OWNER, 500)
    assert found.recent(USER, OWNER, 500, WINDOW_NS) == 2


def test_a_late_exposure_ends_the_bid_that_is_over_only_where_none_counts() -> None:
    found = table()
    found.pend(USER, OWNER, 100, 200)
    found.pend(USER, OWNER, 300, 400)
    found.confirm(USER, OWNER, 350)
    assert found.recent(USER, OWNER, 350, WINDOW_NS) == 1
    found.confirm(USER, OWNER, 360)
    found.pend(USER, OWNER, 360, 400)
    found.release(USER, OWNER)
    assert found.recent(USER, OWNER, 360, WINDOW_NS) == 2, "nothing of the first bid is left to release"


def test_a_release_ends_the_oldest_bid_though_it_is_over() -> None:
    found = table()
    found.pend(USER, OWNER, 100, 200)
    found.pend(USER, OWNER, 300, 400)
    found.release(USER, OWNER)
    assert found.recent(USER, OWNER, 300, WINDOW_NS) == 1
    found.release(USER, OWNER)
    assert found.recent(USER, OWNER, 300, WINDOW_NS) == 0


def test_a_release_of_nothing_changes_nothing() -> None:
    found = table()
    found.release(USER, OWNER)
    found.add(USER, OWNER, 500)
    found.release(USER, OWNER)
    assert found.recent(USER, OWNER, 500, WINDOW_NS) == 1


def test_a_pair_with_nothing_left_frees_its_slot() -> None:
    found = table()
    found.pend(USER, OWNER, 500, 900)
    assert len(found) == 1
    found.release(USER, OWNER)
    assert (len(found), held(found)) == (0, set())


def test_a_bid_beyond_the_room_takes_the_place_of_one_that_is_over() -> None:
    found = table(limit=2)
    found.pend(USER, OWNER, 100, 900)
    found.pend(USER, OWNER, 100, 200)
    found.pend(USER, OWNER, 300, 800)
    assert (found.recent(USER, OWNER, 300, 1), found.displaced) == (2, 0)


def test_a_bid_beyond_the_room_displaces_the_oldest_and_is_counted() -> None:
    found = table(limit=2)
    for until_ns in (900, 700, 600):
        found.pend(USER, OWNER, 500, until_ns)
    assert (found.recent(USER, OWNER, 500, 1), found.displaced) == (2, 1)
    assert found.recent(USER, OWNER, 700, 1) == 0


# -- caps ---------------------------------------------------------------------------------------------------


def test_a_cap_refuses_from_its_limit_on() -> None:
    found = table()
    caps = [Cap(OWNER, WINDOW_NS, 2)]
    answers = []
    for at_ns in (500, 510, 520):
        answers.append(found.allows(USER, caps, at_ns))
        found.add(USER, OWNER, at_ns)
    assert answers == [True, True, False]


def test_every_cap_must_allow() -> None:
    found = table()
    found.add(USER, OWNER, 500)
    found.add(USER, OWNER, 590)
    assert found.allows(USER, [Cap(OWNER, 50, 2), Cap(OWNER, 200, 3)], 600)
    assert not found.allows(USER, [Cap(OWNER, 50, 2), Cap(OWNER, 200, 2)], 600)
    assert not found.allows(USER, [Cap(OWNER + 1, 50, 1), Cap(OWNER, 50, 1)], 600)
    assert found.allows(USER, [], 600)


def test_the_unknown_user_is_always_allowed() -> None:
    assert table().allows(0, [Cap(OWNER, WINDOW_NS, 1)], 500)


def test_the_first_refusing_cap_is_named() -> None:
    found = table()
    found.add(USER, OWNER, 500)
    users, rows, _ = found.arrays
    caps = found.caps([Cap(1, 50, 1), Cap(OWNER, 50, 2), Cap(OWNER, 60, 1), Cap(OWNER, 70, 1)])
    assert kernels.first_refusal(users, rows, caps, 0, 4, np.uint64(USER), 500) == 2
    assert kernels.first_refusal(users, rows, caps, 3, 4, np.uint64(USER), 500) == 3
    assert kernels.first_refusal(users, rows, caps, 0, 2, np.uint64(USER), 500) == -1


@pytest.mark.parametrize("cap", [Cap(1, 10, 4), Cap(1, 10, 0), Cap(1, 1_001, 1), Cap(1, 0, 1)])
def test_a_cap_that_the_table_does_not_keep_is_refused(cap: Cap) -> None:
    with pytest.raises(InputError, match="of a cap must be 1 to"):
        table().allows(USER, [cap], 500)


@pytest.mark.parametrize(
    ("capacity", "limit", "window_ns"), [(0, 1, 1), (8, 0, 1), (8, 33, 1), (8, 1, 0), (-8, 1, 1)]
)
def test_a_table_that_cannot_be_is_refused(capacity: int, limit: int, window_ns: int) -> None:
    with pytest.raises(InputError, match=r"of the frequency table must be .*, was"):
        FrequencyTable(capacity, limit, window_ns)


# -- full table ---------------------------------------------------------------------------------------------


def test_the_pair_whose_latest_entry_is_oldest_is_evicted() -> None:
    found = full()
    found.add(1, OWNER, 1_100)
    found.add(9, OWNER, 1_100)
    assert (held(found), found.evicted, found.expired) == ({1, *range(3, 10)}, 1, 0)


def test_a_pending_bid_is_an_entry_too() -> None:
    found = full()
    found.pend(1, OWNER, 1_100, 1_200)
    found.pend(9, OWNER, 1_100, 1_200)
    assert (held(found), found.evicted) == ({1, *range(3, 10)}, 1)


def test_a_pair_that_counts_no_more_gives_way_first_and_is_no_eviction() -> None:
    found = table(8, longest_window_ns=50)
    found.pend(1, OWNER, 900, 2_000)
    found.add(2, OWNER, 901)
    for user in range(3, 9):
        found.add(user, OWNER, 1_000)
    found.add(9, OWNER, 1_000)
    assert (held(found), found.evicted, found.expired) == ({1, *range(3, 10)}, 0, 1)


def test_of_pairs_that_count_no_more_the_oldest_gives_way() -> None:
    found = table(8, longest_window_ns=50)
    for user, at_ns in zip(range(1, 9), (903, 901, 902, 904, 905, 906, 907, 908), strict=True):
        found.add(user, OWNER, at_ns)
    found.add(9, OWNER, 1_000)
    assert (held(found), found.expired) == ({1, *range(3, 10)}, 1)


def test_a_newcomer_older_than_all_is_the_one_forgotten() -> None:
    found = full()
    found.confirm(9, OWNER, 999)
    assert (held(found), found.evicted) == (set(range(1, 9)), 1)
    assert found.recent(9, OWNER, 999, WINDOW_NS) == 0


def test_of_pairs_as_old_as_each_other_the_first_in_slot_order_is_evicted() -> None:
    found = table(8)
    for user in range(1, 9):
        found.add(user, OWNER, 1_000)
    found.add(9, OWNER, 1_000)
    assert held(found) == set(range(2, 10))


def test_a_slot_taken_over_keeps_nothing_of_the_pair_before() -> None:
    found = full()
    found.pend(9, OWNER + 1, 1_100, 1_200)
    assert found.recent(9, OWNER + 1, 1_100, 1_000) == 1
    assert found.recent(1, OWNER, 1_100, 1_000) == 0


def test_nothing_is_evicted_until_seven_tenths_are_full() -> None:
    slots = 1 << 15
    users = np.random.default_rng(5).integers(1, 2**64 - 1, slots, dtype=np.uint64)
    owners = np.arange(slots, dtype=np.int64) % 50
    few = slots * 7 // 10
    for who in (users, np.arange(1, slots + 1, dtype=np.uint64), np.full(slots, users[0])):
        found = FrequencyTable(slots, 1, 1_000)
        what = np.arange(slots) if who[0] == who[1] else owners
        found.add_rows(who[:few], what[:few], np.full(few, 500))
        assert (len(found), found.evicted) == (few, 0)


def test_equal_calls_evict_equal_pairs() -> None:
    users = np.random.default_rng(6).integers(1, 2**64 - 1, 400, dtype=np.uint64)
    one, two = table(128), table(128)
    for found in (one, two):
        found.add_rows(users, np.arange(400) % 3, np.arange(400))
    assert one.evicted > 0
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays, two.arrays, strict=True))


# -- the rest -----------------------------------------------------------------------------------------------


def test_capacity_is_whole_buckets_and_memory_is_as_stated() -> None:
    found = FrequencyTable(1_001, 8, 1)
    assert (found.capacity, found.state_bytes) == (1_008, 1_008 * (32 + 16 * 8))
    assert len(found.arrays) == 3


def test_arrays_stay_the_same_objects() -> None:
    found = table()
    before = found.arrays
    found.add(USER, OWNER, 1)
    found.clear()
    assert all(one is two for one, two in zip(before, found.arrays, strict=True))


def test_clearing_forgets_every_pair() -> None:
    found = full()
    found.clear()
    assert (len(found), found.recent(1, OWNER, 1_001, WINDOW_NS)) == (0, 0)
    found.pend(1, OWNER, 1_001, 1_002)
    assert found.recent(1, OWNER, 1_001, WINDOW_NS) == 1


def test_a_longer_window_keeps_pairs_that_would_have_given_way() -> None:
    found = full()
    found.longest_window_ns = 10_000
    found.add(9, OWNER, 5_000)
    assert (found.evicted, found.expired) == (1, 0)


def test_a_widened_table_counts_what_the_old_one_did() -> None:
    old = table(limit=2)
    for at_ns in (500, 510):
        old.add(USER, OWNER, at_ns)
    old.pend(USER, OWNER, 520, 900)
    wide = old.widened(5)
    wide.add(USER, OWNER, 520)
    assert (wide.limit, len(wide), wide.recent(USER, OWNER, 520, WINDOW_NS)) == (5, 1, 4)
    assert old.recent(USER, OWNER, 520, WINDOW_NS) == 3
    with pytest.raises(InputError, match="must be >= 5, was 4"):
        wide.widened(4)


def test_columns_of_different_lengths_are_refused() -> None:
    two, one = np.ones(2, dtype=np.uint64), np.ones(1, dtype=np.int64)
    for call in (
        lambda: table().recent_rows(two, one, 1, 1),
        lambda: table().add_rows(two, one, one),
        lambda: table().release_rows(two, one),
    ):
        with pytest.raises(AssertionError, match="must be as long as users 2, was 1"):
            call()


def test_owner_numbers_are_stable_and_differ_by_level() -> None:
    assert owner_number(Level.LINE_ITEM, "a") == 5_255_398_553_136_217_337
    numbers = {owner_number(level, name) for level in Level for name in ("a", "b")}
    assert len(numbers) == 6
    assert all(0 <= number < 2**63 for number in numbers)


@njit
def _bid_where_allowed(users, rows, state, who, owner, now_ns):
    """A kernel of someone else's, as the engine's is."""
    bids = 0
    for i in range(who.shape[0]):
        if kernels.recent(users, rows, who[i], owner, now_ns, 100) < 2:
            kernels.pend_one(users, rows, state, who[i], owner, now_ns, now_ns + 50)
            bids += 1
    return bids


def test_another_kernel_can_ask_and_tell() -> None:
    found = table()
    who = np.array([USER, USER, 5, USER, 0, 0, 0], dtype=np.uint64)
    assert _bid_where_allowed(*found.arrays, who, OWNER, 500) == 6
    assert (found.recent(USER, OWNER, 500, 1), found.recent(5, OWNER, 500, 1)) == (2, 1)


def test_warming_up_runs_every_kernel() -> None:
    warm_frequency()
