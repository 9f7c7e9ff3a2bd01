"""What an engine remembers of users for frequency caps, and which bids of theirs are still pending.

A bid of a capped line item counts for its caps from the moment that it is made: as an exposure once the bank says
that it was shown, not at all once its money is free again. The purse keeps a number with each such bid, its
*tag*; here stands whose it is.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.exposures import Exposure, ExposureBook
from bidder.core.frequency import FrequencyTable
from bidder.core.settings import NS_PER_SECOND, UserSettings
from bidder.core.table import LineTable

_HOUR_NS = 3_600 * NS_PER_SECOND
_UNCAPPED = 64


class CapBook:
    """Caps of one seat's users.

    Args:
        settings: how much may be remembered.

    Attributes:
        table: exposures and pending bids by user and owner.
        owners: of each line item of the current table the owners that its caps count.
    """

    def __init__(self, settings: UserSettings) -> None:
        self._settings = settings
        self.table = FrequencyTable(_UNCAPPED, 1, _HOUR_NS)
        self._capped = False
        self._exposures = ExposureBook(_HOUR_NS, settings.exposure_ids, self.table)
        self.owners: list[tuple[int, ...]] = []
        self._pending: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._next_tag = 0
        self._before_ns = -1
        self._tidied_hour = -1

    @property
    def exposures(self) -> ExposureBook:
        """Exposures by bid, with its counters."""
        return self._exposures

    @property
    def pending(self) -> int:
        """Bids of capped line items that hold money."""
        return len(self._pending)

    def install(self, table: LineTable) -> None:
        """Goes on with the caps of another table; what is known of users stays."""
        caps = table.caps
        self.owners = [tuple(dict.fromkeys(cap.owner for cap in line.caps)) for line in table.lines]
        if not len(caps):
            return
        limit, window_ns = int(caps[:, 2].max()), int(caps[:, 1].max())
        if not self._capped:
            self.table = FrequencyTable(self._settings.cap_pairs, limit, window_ns)
            self._exposures = ExposureBook(window_ns, self._settings.exposure_ids, self.table)
            self._capped = True
        else:
            if limit > self.table.limit:
                self.table = self.table.widened(limit)
                self._exposures.table = self.table
            self.table.longest_window_ns = max(self.table.longest_window_ns, window_ns)
            self._exposures.keep_longer(window_ns)
        self._exposures.adopt(frozenset(caps[:, 0].tolist()))

    def tidy(self, now_ns: int) -> None:
        """Keeps look-ups few; once an hour."""
        hour = now_ns // _HOUR_NS
        if hour != self._tidied_hour:
            self._tidied_hour = hour
            self.table.remark()

    def tag(self, line: int, user: int) -> int:
        """The tag of a new bid; 0 where nothing of it is counted."""
        owners = self.owners[line]
        if not user or not owners:
            return 0
        self._next_tag += 1
        self._pending[self._next_tag] = (user, owners)
        return self._next_tag

    def won(self, tags: Iterable[int], now_ns: int, until_ns: int) -> None:
        """Bids whose money waits for its billing: they go on to count, at most until `until_ns`."""
        for tag in tags:
            found = self._pending.get(tag)
            if found is not None:
                user, owners = found
                for owner in owners:
                    self.table.release(user, owner)
                    self.table.pend(user, owner, now_ns, until_ns)

    def shown(self, tags: Iterable[int]) -> None:
        """Bids whose money was spent: their exposure comes, or has come, by itself."""
        for tag in tags:
            self._pending.pop(tag, None)

    def freed(self, tags: Sequence[int]) -> None:
        """Bids whose money is free again count no more."""
        for tag in tags:
            found = self._pending.pop(tag, None)
            if found is not None:
                user, owners = found
                for owner in owners:
                    self.table.release(user, owner)

    def take(self, exposures: Sequence[Exposure], now_ns: int) -> None:
        """Counts what was shown; each bid once.

        What was shown before the first bid of this start is of an earlier one: no bid that is pending now is it.
        """
        if not self._next_tag:
            self._before_ns = now_ns
        earlier = [one for one in exposures if one.at_ns <= self._before_ns]
        if earlier:
            self._exposures.take_rows(earlier, now_ns, replayed=True)
        if len(earlier) < len(exposures):
            own = [one for one in exposures if one.at_ns > self._before_ns] if earlier else exposures
            self._exposures.take_rows(own, now_ns)

    def arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """The table as kernels read it."""
        return self.table.arrays
