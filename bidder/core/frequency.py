"""Frequency caps: how often each user was shown an owner's impressions, exact in any rolling window.

An *owner* is the number of whatever a cap is set on: a line item, a campaign or an advertiser (`owner_number`).
A cap allows one more impression iff fewer than `limit` of them count: exposures later than now - window, and
bids that are still pending. One process owns a user (requests and exposures meet in one partition by
`bidder.core.users.user_key_text`), and this table is that process's memory of it: it is rebuilt from the log of
exposures, never stored.

What a cap promises: never more than `limit` impressions in its window, as long as none of these happens:

- the pair of user and owner was evicted (`evicted` counts them), or the owner's cap is newer than the exposure;
- an impression was shown after its bid had ended here, with another bid made meanwhile;
- the user is unknown (key 0), which this table never stores: what that means is for the engine to say;
- the log of exposures has not been read again to its end after a start or a rebalance.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from bidder.core import frequency_kernels as kernels
from bidder.core.frequency_kernels import FIRST, S_LONGEST_NS, STATE, WAYS
from bidder.errors import InputError

MOST_LIMIT = 32
"""The highest limit that a cap may have: each costs 16 bytes a pair."""

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int64]


class Level(IntEnum):
    """What a cap is set on."""

    LINE_ITEM = 1
    CAMPAIGN = 2
    ADVERTISER = 3


@lru_cache(maxsize=65_536)
def owner_number(level: Level, name: str) -> int:
    """The owner number of a line item, campaign or advertiser: 0 to 2**63 - 1, the same in every process.

    It is a hash and no row number, so that it stays what it was when campaigns are loaded anew. Of a million
    owners two share a number in one of twenty million such sets.
    """
    return xxhash.xxh3_64_intdigest(b"%d:%b" % (level, name.encode())) >> 1


class Cap(NamedTuple):
    """At most `limit` impressions of `owner` for one user in any `window_ns`."""

    owner: int
    window_ns: int
    limit: int


class FrequencyTable:
    """Exposures and pending bids of pairs of user and owner, in a fixed number of slots.

    A pair costs 32 + 16 * limit bytes: 96 at a limit of 4, 160 at 8, 544 at 32; a million pairs at a limit of 8
    are 168 MB, taken from the system as they are first used. Kept of each are the times of its last `limit`
    exposures (exact for every cap up to that limit) and of as many pending bids.

    Where a new pair finds its 16 slots taken, a pair gives way: one of which nothing counts any more (older
    than the longest window, no bid pending), and else the one whose latest entry is the oldest. Only the second
    forgets something, and is counted in `evicted`. The same calls always evict the same pairs.

    Args:
        capacity: pairs, rounded up to a multiple of 8. Give half more than are alive at once: up to about seven
            tenths full nothing is evicted.
        limit: the largest limit of any cap, 1 to 32.
        longest_window_ns: the longest window of any cap.

    Raises:
        InputError: a limit or a window that the table cannot have.
    """

    def __init__(self, capacity: int, limit: int, longest_window_ns: int) -> None:
        if capacity < 1:
            raise InputError(f"capacity of the frequency table must be >= 1 pair, was {capacity}")
        if not 1 <= limit <= MOST_LIMIT:
            raise InputError(f"limit of the frequency table must be 1 to {MOST_LIMIT}, was {limit}")
        self.limit = limit
        self.capacity = -(-capacity // WAYS) * WAYS
        self._users: Keys = np.zeros(self.capacity, dtype=np.uint64)
        self._rows: Numbers = np.zeros((self.capacity, FIRST + 2 * limit), dtype=np.int64)
        self._state: Numbers = np.zeros(STATE + _marks(self.capacity), dtype=np.int64)
        self.longest_window_ns = longest_window_ns

    # -- for other kernels and for reports ------------------------------------------------------------------

    @property
    def arrays(self) -> tuple[Keys, Numbers, Numbers]:
        """`users`, `rows` and `state` of `bidder.core.frequency_kernels`: the same objects for life."""
        return self._users, self._rows, self._state

    @property
    def longest_window_ns(self) -> int:
        """The longest window of any cap: what is older counts for none."""
        return self._longest_window_ns

    @longest_window_ns.setter
    def longest_window_ns(self, window_ns: int) -> None:
        if window_ns < 1:
            raise InputError(f"longest window of the frequency table must be >= 1 ns, was {window_ns}")
        self._longest_window_ns = window_ns
        self._state[S_LONGEST_NS] = window_ns

    @property
    def state_bytes(self) -> int:
        """Bytes of all slots, used or not."""
        return self._users.nbytes + self._rows.nbytes

    def __len__(self) -> int:
        """Pairs held, those of which nothing counts any more included."""
        return int(self._state[kernels.S_PAIRS])

    @property
    def evicted(self) -> int:
        """Pairs that were forgotten while they counted: of these alone a cap can be passed for want of room."""
        return int(self._state[kernels.S_EVICTED])

    @property
    def expired(self) -> int:
        """Pairs that gave way after nothing of them counted any more, which costs nothing."""
        return int(self._state[kernels.S_EXPIRED])

    @property
    def displaced(self) -> int:
        """Pending bids that gave way while they counted: 0 where every bid asks its caps first."""
        return int(self._state[kernels.S_DISPLACED])

    # -- asking ---------------------------------------------------------------------------------------------

    def recent(self, user: int, owner: int, now_ns: int, window_ns: int) -> int:
        """What counts in the window that ends now, up to `limit` exposures and `limit` pending bids."""
        return int(kernels.recent(self._users, self._rows, np.uint64(user), owner, now_ns, window_ns))

    def recent_rows(self, users: Keys, owners: Numbers, now_ns: int, window_ns: int) -> Numbers:
        """`recent` of many pairs: int64[n] of uint64[n] users and int64[n] owners."""
        _same_length(users, owners)
        found = np.zeros(len(users), dtype=np.int64)
        kernels.recent_rows(self._users, self._rows, users, owners, now_ns, window_ns, found)
        return found

    def caps(self, caps: Sequence[Cap]) -> Numbers:
        """Caps as `first_refusal` of the kernels reads them: int64[caps, 3].

        Raises:
            InputError: a limit or a window that this table does not keep.
        """
        for cap in caps:
            if not 1 <= cap.limit <= self.limit:
                raise InputError(f"limit of a cap must be 1 to {self.limit} in this table, was {cap}")
            if not 1 <= cap.window_ns <= self.longest_window_ns:
                raise InputError(
                    f"window of a cap must be 1 to {self.longest_window_ns} ns in this table, was {cap}"
                )
        return np.array(caps, dtype=np.int64).reshape(-1, len(Cap._fields))

    def allows(self, user: int, caps: Sequence[Cap], now_ns: int) -> bool:
        """Whether every cap leaves room for one more impression now; always for the unknown user.

        For single questions. The engine makes the matrix of `caps` once and asks in its own kernel.
        """
        matrix = self.caps(caps)
        refusing = kernels.first_refusal(
            self._users, self._rows, matrix, 0, len(matrix), np.uint64(user), now_ns
        )
        return bool(refusing < 0)

    # -- telling --------------------------------------------------------------------------------------------

    def add(self, user: int, owner: int, at_ns: int) -> None:
        """Adds an exposure, of the log say, and leaves pending bids alone. The caller tells repeats apart."""
        kernels.add_one(*self.arrays, np.uint64(user), owner, at_ns)

    def pend(self, user: int, owner: int, at_ns: int, until_ns: int) -> None:
        """Adds a bid that counts until it is confirmed, released or until_ns has come."""
        kernels.pend_one(*self.arrays, np.uint64(user), owner, at_ns, until_ns)

    def confirm(self, user: int, owner: int, at_ns: int) -> None:
        """Turns the oldest pending bid that counts at at_ns into an exposure, or adds one where none does."""
        kernels.confirm_one(*self.arrays, np.uint64(user), owner, at_ns)

    def release(self, user: int, owner: int) -> None:
        """Removes the oldest pending bid, ended or not: it was lost, or its reservation is over.

        Release each bid once, also one that ended by time, and none that was confirmed: then the oldest is
        the right one, whichever ends first.
        """
        kernels.release_one(*self.arrays, np.uint64(user), owner)

    def add_rows(self, users: Keys, owners: Numbers, at_ns: Numbers) -> None:
        """`add` of each element of uint64[n] and int64[n] arrays, in order."""
        _same_length(users, owners, at_ns)
        kernels.add_rows(*self.arrays, users, owners, at_ns)

    def pend_rows(self, users: Keys, owners: Numbers, at_ns: Numbers, until_ns: Numbers) -> None:
        """`pend` of each element of uint64[n] and int64[n] arrays, in order."""
        _same_length(users, owners, at_ns, until_ns)
        kernels.pend_rows(*self.arrays, users, owners, at_ns, until_ns)

    def confirm_rows(self, users: Keys, owners: Numbers, at_ns: Numbers) -> None:
        """`confirm` of each element of uint64[n] and int64[n] arrays, in order."""
        _same_length(users, owners, at_ns)
        kernels.confirm_rows(*self.arrays, users, owners, at_ns)

    def release_rows(self, users: Keys, owners: Numbers) -> None:
        """`release` of each element of uint64[n] and int64[n] arrays, in order."""
        _same_length(users, owners)
        kernels.release_rows(*self.arrays, users, owners)

    def remark(self) -> None:
        """Takes the marks of pairs that are gone away: marks that stay cost look-ups. Some milliseconds a million."""
        kernels.remark(*self.arrays)

    def clear(self) -> None:
        """Forgets every pair, before the log is read again; the counters stay."""
        self._users[:] = 0
        self._state[STATE:] = 0
        self._state[kernels.S_PAIRS] = 0

    def widened(self, limit: int) -> "FrequencyTable":
        """A table of the same pairs for a higher limit.

        Of a pair that had more than the old limit's exposures the older ones are not known: for a cap above
        the old limit they are missing until its window has passed or the log has been read again.

        Raises:
            InputError: a limit below the table's own, or above 32.
        """
        if limit < self.limit:
            raise InputError(f"limit of a widened frequency table must be >= {self.limit}, was {limit}")
        wide = FrequencyTable(self.capacity, limit, self.longest_window_ns)
        users, rows, state = wide.arrays
        pending, own_pending = FIRST + limit, FIRST + self.limit
        users[:] = self._users
        rows[:, :own_pending] = self._rows[:, :own_pending]
        rows[:, pending : pending + self.limit] = self._rows[:, own_pending:]
        state[:] = self._state
        return wide


def _marks(capacity: int) -> int:
    """Words of marks: a power of two, one for two to four pairs."""
    return 1 << max(0, (capacity // 4).bit_length())


def _same_length(users: Keys, *others: Numbers) -> None:
    """The kernels read without looking where an array ends."""
    for other in others:
        assert len(other) == len(users), f"columns must be as long as users {len(users)}, was {len(other)}"


def warm_frequency() -> None:
    """Compiles every kernel of this module before traffic comes; what other kernels inline is theirs."""
    table = FrequencyTable(1, 1, 1)
    users, owners = np.ones(1, dtype=np.uint64), np.ones(1, dtype=np.int64)
    table.pend_rows(users, owners, owners, owners)
    table.confirm_rows(users, owners, owners)
    table.release_rows(users, owners)
    table.add_rows(users, owners, owners)
    table.recent_rows(users, owners, 1, 1)
    table.pend(1, 1, 1, 1)
    table.confirm(1, 1, 1)
    table.release(1, 1)
    table.add(1, 1, 1)
    table.recent(1, 1, 1, 1)
    table.allows(1, [Cap(1, 1, 1)], 1)
