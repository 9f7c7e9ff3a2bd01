"""Counts what targeting refused, beside the bidders: reads `campaigns` and `matches`, says `funnel`.

A bidder with thousands of line items hands over what it was asked instead of counting (`core.matches`). The tables
that those records are of are made here again from the same changes of campaigns. A record whose table is not known
yet waits until its changes have come. One whose table never comes is counted as left out: while many campaigns change
at once a bidder may adopt some of them first, and it need not be the ones that were read here first.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bidder.core.engine import Engine
from bidder.core.funnel import Recount
from bidder.core.inbox import Inbox
from bidder.core.matches import Match, decode_match, fingerprint
from bidder.core.messages import CAMPAIGNS, FunnelHour, FunnelRow
from bidder.core.settings import EngineSettings
from bidder.core.table import LineTable
from bidder.errors import InputError
from bidder.runtime.hours import HOUR_NS, ROWS_A_PART
from bidder.runtime.transport import Message

_log = logging.getLogger(__name__)

TABLES = 4
"""Tables that are remembered: bidders adopt a change at different times, within seconds of each other."""
PATIENCE_S = 60.0
"""Wall seconds that a record waits for its table."""


@dataclass
class _Hour:
    """Counts of one seat in one hour, by table."""

    counts: dict[int, Recount] = field(default_factory=dict)


class Recounter:
    """Turns records of batches into rows of the funnel. Synchronous; its caller reads and publishes.

    Args:
        settings: as the bidders have them: they decide which dimensions a table has.
        start_id: unique for this start, for whoever reads the parts.

    Attributes:
        records, rows: counted. left_out: opportunities whose table is not known, or whose record cannot be read.
    """

    def __init__(self, settings: EngineSettings, start_id: str) -> None:
        self._settings = settings
        self._start_id = start_id
        self._inbox = Inbox(Engine(settings, bytes(32), None, start_id))
        self._tables: dict[int, LineTable] = {}
        self._changed = False
        self._waiting: deque[tuple[float, str, Match]] = deque()
        self._hours: dict[tuple[str, int], _Hour] = {}
        self._parts = 0
        self.records = self.rows = self.left_out = 0

    @property
    def waiting(self) -> int:
        """Records that wait for their table."""
        return len(self._waiting)

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Takes changes of campaigns, and records of batches; the key of a record is the seat."""
        changes = [(message.topic, message.value) for message in messages if message.topic == CAMPAIGNS]
        if changes:
            if self._changed and self._tables:
                self._make_table()  # a bidder may decide by this one until it has the next
            self._changed |= self._inbox.take(changes, 0)
        for message in messages:
            if message.topic != CAMPAIGNS:
                self._take(message)
        self._count_waiting()

    def _take(self, message: Message) -> None:
        try:
            match = decode_match(message.value)
        except InputError as error:
            self.left_out += 1
            _log.warning("left out: %s", error)
            return
        self._waiting.append((time.monotonic(), (message.key or b"").decode(errors="replace"), match))

    def _count_waiting(self) -> None:
        if self._waiting and self._changed:
            self._make_table()
        now_s = time.monotonic()
        for _ in range(len(self._waiting)):
            came_s, seat, match = self._waiting.popleft()
            table = self._tables.get(match.fingerprint)
            if table is not None:
                self._count(seat, match, table)
            elif now_s - came_s < PATIENCE_S:
                self._waiting.append((came_s, seat, match))
            else:
                self.left_out += match.rows

    def _make_table(self) -> None:
        """The table of the campaigns as they now are, once somebody asks for one."""
        self._changed = False
        prepared = self._inbox.prepare()
        self._tables[fingerprint(prepared.table)] = prepared.table
        while len(self._tables) > TABLES:
            del self._tables[next(iter(self._tables))]

    def _count(self, seat: str, match: Match, table: LineTable) -> None:
        if len(match.spare):
            table.rows = _with_rows(table.rows, match.spare, match.spare_rows)
        hour = self._hours.setdefault((seat, match.at_ns // HOUR_NS * HOUR_NS), _Hour())
        counts = hour.counts.get(match.fingerprint)
        if counts is None:
            counts = hour.counts[match.fingerprint] = Recount(table)
        counts.take(match.record, match.awake, match.rows)
        self.records += 1
        self.rows += match.rows

    def due(self) -> list[FunnelHour]:
        """Everything counted since this was last asked, as parts by seat and hour."""
        hours, self._hours = self._hours, {}
        return [
            part
            for (seat, hour_ns), hour in sorted(hours.items())
            for part in self._said(seat, hour_ns, hour)
        ]

    def _said(self, seat: str, hour_ns: int, hour: _Hour) -> list[FunnelHour]:
        rows = [
            FunnelRow(line_id, counts.asked, refused, {})
            for counts in hour.counts.values()
            for line_id, refused in counts.refused().items()
        ]
        said = []
        for first in range(0, len(rows), ROWS_A_PART):
            part = tuple(rows[first : first + ROWS_A_PART])
            said.append(
                FunnelHour(seat=seat, start_id=self._start_id, part=self._parts, hour_ns=hour_ns, rows=part)
            )
            self._parts += 1
        return said


def _with_rows(
    rows: NDArray[np.uint64], numbers: NDArray[np.int32], bits: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """The table's rows with those that requests made at the bidder."""
    more = int(numbers.max()) + 1 - len(rows)
    if more > 0:
        rows = np.concatenate((rows, np.zeros((more, rows.shape[1]), dtype=np.uint64)))
    rows[numbers] = bits
    return rows
