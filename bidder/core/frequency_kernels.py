"""The compiled part of frequency caps: a table of (user, owner) pairs in three plain arrays.

    users    uint64[slots]                 user of the pair in a slot, 0 where the slot is free
    rows     int64[slots, 3 + 2 * limit]   OWNER, NEWEST, COUNTS, exposure times, ends of pending bids
    state    int64[5 + marks]              S_ columns below, then the marks

A pair lives in one of two buckets of 8 slots, both found by its hash, so a look-up reads two short runs of
`users` and at most one row. A new pair goes to the emptier bucket; where both are full, a pair must give way,
see `slot_for`. `limit` follows from the width of `rows`. All times are int64 nanoseconds.

The marks say cheaply of most pairs that they are not there: a word of the marks stands for the users that share some
bits, a bit in it for the owners that share some. What is marked is looked up; what is not marked is not there.
A pair that goes leaves its mark until `remark`.

Other kernels call `find` and `count` (or `recent`, or `first_refusal` for a list of caps) and `pend_one`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Users = NDArray[np.uint64]
Ints = NDArray[np.int64]

WAYS = 8
"""Slots of a bucket; one pair can be in twice as many."""

OWNER, NEWEST, COUNTS, FIRST = range(4)
"""Columns of a row: the owner, the latest time that anything was added at, how many times are held
(exposures in the low byte, pending bids above it), and where the times begin: exposures from the oldest to the
newest, and behind room for `limit` of them the ends of pending bids in the order of their bids."""

S_PAIRS, S_LONGEST_NS, S_EVICTED, S_EXPIRED, S_DISPLACED = range(5)
STATE = 5
"""Columns of the state: pairs held, the longest window of any cap, and how often a pair that still counted was
evicted, one that did not was replaced, and a pending bid that still counted gave way to a later one."""

C_OWNER, C_WINDOW_NS, C_LIMIT = range(3)
"""Columns of a list of caps."""

_NONE = np.uint64(0)
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)
# Factors of 32 bits: a product of two halves fits 64 bits, so that it is the same without compilation, where
# NumPy warns of a product that does not.
_M1 = np.uint64(0x9E37_79B1)
_M2 = np.uint64(0x85EB_CA77)
_M3 = np.uint64(0xC2B2_AE3D)
_PENDING = 256
_EXPOSED = 255


@njit(cache=True)
def buckets(user: np.uint64, owner: int, slots: int) -> tuple[int, int]:
    """First slots of the two buckets that a pair may be in; the same one twice where there is only one."""
    count = np.uint64(slots // WAYS)
    low = np.uint64(owner & 0xFFFF_FFFF) * _M1
    high = np.uint64((owner >> 32) & 0xFFFF_FFFF) * _M2
    mixed = user ^ low ^ high
    once = (mixed & _LOW) * _M1 ^ (mixed >> _HALF) * _M3
    once ^= once >> _HALF
    twice = (once & _LOW) * _M2 ^ (once >> _HALF) * _M1
    twice ^= twice >> _HALF
    first = (once & _LOW) * count >> _HALF
    second = (twice & _LOW) * count >> _HALF
    if first == second:
        second = (first + np.uint64(1)) % count
    return int(np.int64(first)) * WAYS, int(np.int64(second)) * WAYS


@njit(cache=True)
def find(users: Users, rows: Ints, user: np.uint64, owner: int) -> int:
    """Slot of a pair, or -1 where it has none; `user` is a uint64, 0 (unknown) has none."""
    if user == _NONE:
        return -1
    first, second = buckets(user, owner, users.shape[0])
    for slot in range(first, first + WAYS):
        if users[slot] == user and rows[slot, OWNER] == owner:
            return slot
    for slot in range(second, second + WAYS):
        if users[slot] == user and rows[slot, OWNER] == owner:
            return slot
    return -1


@njit(cache=True)
def count(rows: Ints, slot: int, now_ns: int, window_ns: int) -> int:
    """Exposures later than now - window, and pending bids that end later than now, of the pair in `slot`."""
    held = rows[slot, COUNTS]
    oldest_ns = now_ns - window_ns
    found = 0
    place = FIRST + (held & _EXPOSED) - 1
    while place >= FIRST and rows[slot, place] > oldest_ns:
        found += 1
        place -= 1
    begin = FIRST + (rows.shape[1] - FIRST) // 2
    for place in range(begin, begin + held // _PENDING):
        if rows[slot, place] > now_ns:
            found += 1
    return found


@njit(cache=True)
def recent(users: Users, rows: Ints, user: np.uint64, owner: int, now_ns: int, window_ns: int) -> int:
    """What counts of one user for one owner in the window that ends now; 0 for the unknown user."""
    slot = find(users, rows, user, owner)
    return 0 if slot < 0 else count(rows, slot, now_ns, window_ns)


@njit(cache=True)
def mark_of(state: Ints, user: np.uint64) -> int:
    """The marks of a user: bit i is set where a pair of an owner with `owner & 63 == i` may be there."""
    return int(state[STATE + np.int64(user & np.uint64(state.shape[0] - STATE - 1))])


@njit(cache=True)
def set_mark(state: Ints, user: np.uint64, owner: int) -> None:
    """Marks a pair."""
    state[STATE + np.int64(user & np.uint64(state.shape[0] - STATE - 1))] |= np.int64(1) << (owner & 63)


@njit(cache=True)
def remark(users: Users, rows: Ints, state: Ints) -> None:
    """Marks the pairs that are there, and no others."""
    state[STATE:] = 0
    for slot in range(users.shape[0]):
        if users[slot] != _NONE:
            set_mark(state, users[slot], rows[slot, OWNER])


@njit(cache=True)
def first_refusal_marked(
    users: Users, rows: Ints, marks: int, caps: Ints, begin: int, end: int, user: np.uint64, now_ns: int
) -> int:
    """`first_refusal` that looks up only what is among the `marks` of the user."""
    slot = -1
    for i in range(begin, end):
        owner = caps[i, C_OWNER]
        if marks >> (owner & 63) & 1 == 0:
            continue
        if i == begin or owner != caps[i - 1, C_OWNER]:
            slot = find(users, rows, user, owner)
        seen = 0 if slot < 0 else count(rows, slot, now_ns, caps[i, C_WINDOW_NS])
        if seen >= caps[i, C_LIMIT]:
            return i
    return -1


@njit(cache=True)
def first_refusal(
    users: Users, rows: Ints, caps: Ints, begin: int, end: int, user: np.uint64, now_ns: int
) -> int:
    """Number of the first of the caps begin..end-1 that refuses one more impression now, or -1.

    `caps` is int64[caps, 3] by C_ column. A pair is looked up once for caps of one owner in a row.
    """
    slot = -1
    for i in range(begin, end):
        owner = caps[i, C_OWNER]
        if i == begin or owner != caps[i - 1, C_OWNER]:
            slot = find(users, rows, user, owner)
        seen = 0 if slot < 0 else count(rows, slot, now_ns, caps[i, C_WINDOW_NS])
        if seen >= caps[i, C_LIMIT]:
            return i
    return -1


@njit(cache=True)
def free_slot(users: Users, first: int, second: int) -> int:
    """A free slot in the emptier of two buckets, the first where both are as full, or -1."""
    in_first = in_second = 0
    free_first = free_second = -1
    for k in range(WAYS):
        if users[first + k] != _NONE:
            in_first += 1
        elif free_first < 0:
            free_first = first + k
        if users[second + k] != _NONE:
            in_second += 1
        elif free_second < 0:
            free_second = second + k
    return free_first if in_first <= in_second else free_second


@njit(cache=True)
def idle(rows: Ints, slot: int, now_ns: int, longest_ns: int) -> bool:
    """Whether nothing of the pair in `slot` counts for any cap now or later."""
    return count(rows, slot, now_ns, longest_ns) == 0


@njit(cache=True)
def slot_for(users: Users, rows: Ints, state: Ints, user: np.uint64, owner: int, at_ns: int) -> int:
    """Slot of a pair, made where it has none; -1 where it is the newcomer itself that must give way.

    Who gives way where both buckets are full: of the pairs of which nothing counts any more the one whose
    NEWEST is the oldest, and else of all 16 and the newcomer the one whose NEWEST is the oldest; the first in
    slot order where two are as old. Only the latter is counted as evicted.
    """
    slot = find(users, rows, user, owner)
    if slot >= 0:
        return slot
    first, second = buckets(user, owner, users.shape[0])
    slot = free_slot(users, first, second)
    if slot < 0:
        over = live = -1
        for k in range(2 * WAYS):
            other = first + k if k < WAYS else second + k - WAYS
            if idle(rows, other, at_ns, state[S_LONGEST_NS]):
                if over < 0 or rows[other, NEWEST] < rows[over, NEWEST]:
                    over = other
            elif live < 0 or rows[other, NEWEST] < rows[live, NEWEST]:
                live = other
        if over >= 0:
            slot = over
            state[S_EXPIRED] += 1
        else:
            state[S_EVICTED] += 1
            if at_ns < rows[live, NEWEST]:
                return -1
            slot = live
    else:
        state[S_PAIRS] += 1
    users[slot] = user
    rows[slot, OWNER] = owner
    rows[slot, NEWEST] = at_ns
    rows[slot, COUNTS] = 0
    return slot


@njit(cache=True)
def keep_time(rows: Ints, slot: int, at_ns: int) -> None:
    """Adds an exposure to the pair in `slot`, in the order of time; of more than `limit` the oldest goes."""
    exposed = rows[slot, COUNTS] & _EXPOSED
    rows[slot, NEWEST] = max(rows[slot, NEWEST], at_ns)
    if exposed == (rows.shape[1] - FIRST) // 2:
        if at_ns < rows[slot, FIRST]:
            return
        place = FIRST
        last = FIRST + exposed - 1
        while place < last and rows[slot, place + 1] <= at_ns:
            rows[slot, place] = rows[slot, place + 1]
            place += 1
    else:
        place = FIRST + exposed
        while place > FIRST and rows[slot, place - 1] > at_ns:
            rows[slot, place] = rows[slot, place - 1]
            place -= 1
        rows[slot, COUNTS] += 1
    rows[slot, place] = at_ns


@njit(cache=True)
def drop_pending(rows: Ints, slot: int, which: int) -> None:
    """Removes pending bid number `which` of the pair in `slot`."""
    begin = FIRST + (rows.shape[1] - FIRST) // 2
    end = begin + rows[slot, COUNTS] // _PENDING
    for place in range(begin + which, end - 1):
        rows[slot, place] = rows[slot, place + 1]
    rows[slot, COUNTS] -= _PENDING


@njit(cache=True)
def oldest_pending(rows: Ints, slot: int, at_ns: int, ended: bool) -> int:
    """Number of the oldest pending bid of `slot` that has ended by at_ns, or that has not; -1 without one."""
    begin = FIRST + (rows.shape[1] - FIRST) // 2
    for which in range(rows[slot, COUNTS] // _PENDING):
        if (rows[slot, begin + which] <= at_ns) == ended:
            return which
    return -1


@njit(cache=True)
def add_one(users: Users, rows: Ints, state: Ints, user: np.uint64, owner: int, at_ns: int) -> None:
    """Adds an exposure and leaves pending bids alone; the unknown user has none."""
    if user == _NONE:
        return
    slot = slot_for(users, rows, state, user, owner, at_ns)
    if slot >= 0:
        set_mark(state, user, owner)
        keep_time(rows, slot, at_ns)


@njit(cache=True)
def pend_one(
    users: Users, rows: Ints, state: Ints, user: np.uint64, owner: int, at_ns: int, until_ns: int
) -> None:
    """Adds a bid of at_ns that counts until until_ns; the unknown user has none.

    Room for `limit` of them is enough for whoever asks the caps first: with as many counting no cap allows one
    more. Where it is full, the oldest that has ended gives way, and without one the oldest of all.
    """
    if user == _NONE:
        return
    slot = slot_for(users, rows, state, user, owner, at_ns)
    if slot < 0:
        return
    set_mark(state, user, owner)
    room = (rows.shape[1] - FIRST) // 2
    if rows[slot, COUNTS] // _PENDING == room:
        which = oldest_pending(rows, slot, at_ns, True)
        if which < 0:
            which = 0
            state[S_DISPLACED] += 1
        drop_pending(rows, slot, which)
    rows[slot, FIRST + room + rows[slot, COUNTS] // _PENDING] = until_ns
    rows[slot, COUNTS] += _PENDING
    rows[slot, NEWEST] = max(rows[slot, NEWEST], at_ns)


@njit(cache=True)
def confirm_one(users: Users, rows: Ints, state: Ints, user: np.uint64, owner: int, at_ns: int) -> None:
    """Turns a pending bid into an exposure at at_ns; adds the exposure where none is pending.

    The oldest bid that still counts at that time is taken, without one the oldest that ended and was not
    released.
    """
    slot = find(users, rows, user, owner)
    if slot < 0:
        add_one(users, rows, state, user, owner, at_ns)
        return
    if rows[slot, COUNTS] >= _PENDING:
        drop_pending(rows, slot, max(0, oldest_pending(rows, slot, at_ns, False)))
    keep_time(rows, slot, at_ns)


@njit(cache=True)
def release_one(users: Users, rows: Ints, state: Ints, user: np.uint64, owner: int) -> None:
    """Removes the oldest pending bid, whether it still counts or not; a pair without anything left goes."""
    slot = find(users, rows, user, owner)
    if slot < 0 or rows[slot, COUNTS] < _PENDING:
        return
    drop_pending(rows, slot, 0)
    if rows[slot, COUNTS] == 0:
        users[slot] = _NONE
        state[S_PAIRS] -= 1


@njit(cache=True)
def recent_rows(
    users: Users, rows: Ints, who: Users, owners: Ints, now_ns: int, window_ns: int, out: Ints
) -> None:
    """out[i] = `recent` of who[i] and owners[i]."""
    for i in range(who.shape[0]):
        out[i] = recent(users, rows, who[i], owners[i], now_ns, window_ns)


@njit(cache=True)
def add_rows(users: Users, rows: Ints, state: Ints, who: Users, owners: Ints, at_ns: Ints) -> None:
    """`add_one` for each element, in order."""
    for i in range(who.shape[0]):
        add_one(users, rows, state, who[i], owners[i], at_ns[i])


@njit(cache=True)
def pend_rows(
    users: Users, rows: Ints, state: Ints, who: Users, owners: Ints, at_ns: Ints, until_ns: Ints
) -> None:
    """`pend_one` for each element, in order."""
    for i in range(who.shape[0]):
        pend_one(users, rows, state, who[i], owners[i], at_ns[i], until_ns[i])


@njit(cache=True)
def confirm_rows(users: Users, rows: Ints, state: Ints, who: Users, owners: Ints, at_ns: Ints) -> None:
    """`confirm_one` for each element, in order."""
    for i in range(who.shape[0]):
        confirm_one(users, rows, state, who[i], owners[i], at_ns[i])


@njit(cache=True)
def release_rows(users: Users, rows: Ints, state: Ints, who: Users, owners: Ints) -> None:
    """`release_one` for each element, in order."""
    for i in range(who.shape[0]):
        release_one(users, rows, state, who[i], owners[i])
