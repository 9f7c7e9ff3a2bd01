"""Exposures: impressions that were shown, as the bank tells the worker that owns the user.

The bank publishes one `Exposure` for each booked impression to the topic `exposures`, in the partition of its
request. The log of them is what frequency caps are rebuilt from, so it must be kept for the longest window.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from bidder.core.campaigns import Identifier, Instant
from bidder.core.frequency import FrequencyTable, Level, owner_number
from bidder.core.messages import BidId, Message
from bidder.core.users import UserText, key_of
from bidder.errors import InputError


class Exposure(Message, frozen=True, gc=False, tag="exposure"):
    """One impression that was shown: from the bank to the owner of the user; it may come more than once."""

    bid_id: BidId
    user: UserText
    line_item_id: Identifier
    campaign_id: Identifier
    advertiser: Identifier
    at_ns: Instant


class ExposureBook:
    """Takes each exposure once, by its bid, and counts it for every owner that has a cap.

    Bid ids are kept in two generations: an id is known for at least `keep_ns` from when it was taken, and while
    fewer than capacity / 2 others were taken since, whichever is shorter. A repeat after that would count
    twice, so `keep_ns` must be longer than the bank goes on repeating, and who reads the log anew from an
    earlier place clears the book first. An id costs about 100 bytes.

    Args:
        keep_ns: how long a bid id is remembered.
        capacity: bid ids remembered at most.
        table: where exposures are counted.
        owners: numbers of the owners that have a cap (`bidder.core.frequency.owner_number`), see `adopt`.

    Attributes:
        taken: exposures counted.
        repeated: came again.
        too_old: were older than the longest window when they came, so no cap asks for them.
        unknown: were of the unknown user.
        forgotten: bid ids that were dropped for want of room before their time.

    Raises:
        InputError: a time or a capacity that cannot be.
    """

    def __init__(
        self, keep_ns: int, capacity: int, table: FrequencyTable, owners: Collection[int] = ()
    ) -> None:
        if keep_ns < 1:
            raise InputError(f"time to keep exposures must be >= 1 ns, was {keep_ns}")
        if capacity < 2:
            raise InputError(f"capacity of the exposure book must be >= 2 bids, was {capacity}")
        self.table = table
        self.taken = self.repeated = self.too_old = self.unknown = self.forgotten = 0
        self._keep_ns = keep_ns
        self._half = capacity // 2
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._turned_ns = 0
        self._owners: frozenset[int] = frozenset()
        self.adopt(owners)

    def __len__(self) -> int:
        """Bid ids remembered."""
        return len(self._now) + len(self._before)

    def adopt(self, owners: Collection[int]) -> None:
        """Replaces the owners that have a cap. One that is new counts from now, or from the log read anew."""
        self._owners = frozenset(owners)

    def keep_longer(self, keep_ns: int) -> None:
        """Remembers bid ids at least so long from now on."""
        self._keep_ns = max(self._keep_ns, keep_ns)

    def take(self, exposure: Exposure, now_ns: int, *, replayed: bool = False) -> bool:
        """Counts an exposure and ends a pending bid of its pair; False where it is not to be counted.

        Args:
            exposure: the impression; one of the future is taken as of now.
            now_ns: the time.
            replayed: the log is being read again: bids that are pending now are others, and stay.
        """
        if not self._is_new(exposure, now_ns):
            return False
        user, at_ns = key_of(exposure.user), min(exposure.at_ns, now_ns)
        tell = self.table.add if replayed else self.table.confirm
        for owner in self._owners_of(exposure):
            tell(user, owner, at_ns)
        return True

    def take_rows(self, exposures: Sequence[Exposure], now_ns: int, *, replayed: bool = False) -> int:
        """`take` of each, in order, at a fraction of its cost; returns how many were counted."""
        taken = 0
        users: list[int] = []
        owners: list[int] = []
        times: list[int] = []
        for exposure in exposures:
            if not self._is_new(exposure, now_ns):
                continue
            taken += 1
            user, at_ns = key_of(exposure.user), min(exposure.at_ns, now_ns)
            for owner in self._owners_of(exposure):
                users.append(user)
                owners.append(owner)
                times.append(at_ns)
        if users:
            tell = self.table.add_rows if replayed else self.table.confirm_rows
            tell(
                np.array(users, dtype=np.uint64),
                np.array(owners, dtype=np.int64),
                np.array(times, dtype=np.int64),
            )
        return taken

    def clear(self) -> None:
        """Forgets all bid ids and all that the table knows, before the log is read again."""
        self._now.clear()
        self._before.clear()
        self.table.clear()

    def _is_new(self, exposure: Exposure, now_ns: int) -> bool:
        bid_id = exposure.bid_id
        if bid_id in self._now or bid_id in self._before:
            self.repeated += 1
            return False
        if exposure.at_ns <= now_ns - self.table.longest_window_ns:
            self.too_old += 1
            return False
        if not key_of(exposure.user):
            self.unknown += 1
            return False
        self._turn(now_ns)
        self._now.add(bid_id)
        self.taken += 1
        return True

    def _turn(self, now_ns: int) -> None:
        """Begins a new generation where the youngest bid of the one before may go, or room is needed."""
        due = now_ns - self._turned_ns >= self._keep_ns
        if not due and len(self._now) < self._half:
            return
        if not due:
            self.forgotten += len(self._before)
        self._before, self._now = self._now, set()
        self._turned_ns = now_ns

    def _owners_of(self, exposure: Exposure) -> Iterator[int]:
        for level, name in (
            (Level.LINE_ITEM, exposure.line_item_id),
            (Level.CAMPAIGN, exposure.campaign_id),
            (Level.ADVERTISER, exposure.advertiser),
        ):
            owner = owner_number(level, name)
            if owner in self._owners:
                yield owner
