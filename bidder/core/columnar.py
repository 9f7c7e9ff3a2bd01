"""The engine fed with columns: opportunities that were read before, decided again and again without a request.

What a request shows is worked out once, by the engine's own batch, as a *template*; rows that show the same share it
and differ in time, floor, user and score. Then a step of rows goes into the very kernel that decides live, its money
into the very purse, and what settles comes back as columns too. What is left out is what rows of a log do not need:
responses, tokens, log rows, repeats by `source.tid`, brakes where `factor` is 0, and the landscape: first price is
bid by the constant share. Scores come with the rows, each for the line item that it names.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.call import Call
from bidder.core.decision_columns import (
    BY_LANDSCAPE,
    LOG_COLUMNS,
    O_AMOUNT,
    O_LINE,
    OUT_COLUMNS,
    R_BLOCKS,
    R_BLOCKS_END,
    R_EXCHANGE,
    R_FLAGS,
    R_QUANTITY,
    R_RESULT_NS,
    R_USER,
    ROW_COLUMNS,
)
from bidder.core.engine import Engine
from bidder.core.messages import ONE_IMPRESSION
from bidder.core.opportunity import hour_of_week
from bidder.core.purse import Result
from bidder.core.showing import Showing
from bidder.core.wallet import tag_of
from bidder.errors import RequestError

MOST_ROWS = 4_096
"""Rows of a step, which is cut where it is longer: that changes nothing."""
_NO_VALUES = np.zeros((0, 0), dtype=np.float64)
_EXCHANGE_SHIFT = np.uint64(48)
_MARK = np.uint64((1 << 48) - 1)
WON, POSTED, VOIDED = 1, 2, 3
"""Kinds of settlements, as `bidder.core.messages.SettlementKind`."""


class Template(NamedTuple):
    """What all opportunities share that show the same.

    Attributes:
        columns: int64[23], by R_ column. record: int32[], what is shown in each used dimension.
        blocks: int32[], single creatives that are barred. wait_ns: how long a bid waits for its result.
        liable_ns: and for its billing, both from the bid on.
    """

    columns: NDArray[np.int64]
    record: NDArray[np.int32]
    blocks: NDArray[np.int32]
    wait_ns: int
    liable_ns: int


class Rows(NamedTuple):
    """Opportunities as columns, n of them, in the order of time.

    Attributes:
        at_ns: int64[n]. columns: int64[n, 23], by R_ column; R_RESULT_NS holds how long a result is waited for.
        liable_ns: int64[n], how long billing is. external: float64[n], probability where R_FLAGS has EXTERNAL.
        ids: uint8[n, 12], of bids on them. record: int32[], and where that of each row begins, int64[n + 1].
        blocks: int32[], as R_BLOCKS and R_BLOCKS_END point into it.
    """

    at_ns: NDArray[np.int64]
    columns: NDArray[np.int64]
    liable_ns: NDArray[np.int64]
    external: NDArray[np.float64]
    ids: NDArray[np.uint8]
    record: NDArray[np.int32]
    starts: NDArray[np.int64]
    blocks: NDArray[np.int32]


class _Step:
    """Some rows as the kernel takes them; its arrays are used again."""

    def __init__(self, levels: int) -> None:
        self._codes: NDArray[np.int32] = np.zeros((MOST_ROWS, levels), dtype=np.int32)
        self.columns: NDArray[np.int64] = np.zeros((MOST_ROWS, ROW_COLUMNS), dtype=np.int64)
        self.external: NDArray[np.float64] = np.zeros(MOST_ROWS, dtype=np.float64)
        self.out: NDArray[np.int64] = np.zeros((MOST_ROWS, OUT_COLUMNS), dtype=np.int64)
        self.logged: NDArray[np.float64] = np.zeros((MOST_ROWS, LOG_COLUMNS), dtype=np.float64)
        self._record: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._blocks: NDArray[np.int32] = np.zeros(1, dtype=np.int32)

    def load(self, rows: Rows, begin: int, end: int, now_ns: int) -> None:
        count = end - begin
        self.columns[:count] = rows.columns[begin:end]
        self.columns[:count, R_RESULT_NS] += now_ns
        self.external[:count] = rows.external[begin:end]
        self._record = rows.record[rows.starts[begin] : rows.starts[end]]
        self._blocks = rows.blocks

    def values(self) -> NDArray[np.float64]:
        return _NO_VALUES

    def record(self) -> NDArray[np.int32]:
        return self._record

    def row_blocks(self) -> NDArray[np.int32]:
        return self._blocks

    def codes(self) -> NDArray[np.int32]:
        return self._codes


class Bids(NamedTuple):
    """The bids of one step, k of them; the arrays are the caller's.

    Attributes:
        rows: int64[k], places in `Rows`. out: int64[k, OUT_COLUMNS], by O_ column. logged: float64[k,
            LOG_COLUMNS], by P_ column. chains: int32[k], budgets that they are charged to.
    """

    rows: NDArray[np.int64]
    out: NDArray[np.int64]
    logged: NDArray[np.float64]
    chains: NDArray[np.int32]


class ColumnarEngine(Engine):
    """The engine, with a second way in for rows that were read before; see `Engine`."""

    _step: _Step | None = None

    def share(self, other: "ColumnarEngine") -> None:
        """Reads what `other` prepared: its templates name slots by numbers, which both must know.

        Args:
            other: an engine of the same line items and creatives; what they are paid or may spend can differ.
        """
        same = self.table.ids == other.table.ids and np.array_equal(
            self.table.creatives.columns, other.table.creatives.columns
        )
        assert same, "engines that share templates must have the same line items and creatives"
        self._slots = other._slots  # noqa: SLF001  # of its own kind
        self._batch.adopt(self.table, self._slots, Showing(self.table, self._slots))

    def template(self, body: bytes, now_ns: int) -> Template | None:
        """What the first opportunity of a request shows; None where it may not be bid on.

        Args:
            body: OpenRTB BidRequest, JSON. now_ns: the time, of which hours of the day follow.
        """
        call = Call(body, 0, now_ns, self.settings, self.gate)
        if call.request is None:
            return None
        batch = self._batch
        batch.clear()
        if batch.crowded(len(body)):
            batch.forget()
        try:
            found = batch.gather(call)
        except RequestError:
            return None
        if not found:
            return None
        found[0].name(self.epoch, self.settings.seat)
        batch.add(found[0], hour_of_week(now_ns), -1)
        columns, record = batch.columns[0].copy(), batch.record().copy()
        begin, end = int(columns[R_BLOCKS]), int(columns[R_BLOCKS_END])
        blocks = batch.row_blocks()[begin:end].copy()
        exchange = call.exchange
        columns[R_RESULT_NS] -= now_ns
        columns[R_FLAGS] &= ~BY_LANDSCAPE
        batch.clear()
        return Template(
            columns, record, blocks, int(columns[R_RESULT_NS]), exchange.result_ns + exchange.billing_ns
        )

    def decide_columns(self, rows: Rows, begin: int, end: int, now_ns: int) -> Bids:
        """Decides rows `begin` to before `end`, at most `MOST_ROWS`, at one time; sets the money of bids aside."""
        if self._step is None:
            self._step = _Step(len(self.shading.levels))
        step, count = self._step, end - begin
        assert 0 < count <= MOST_ROWS, f"rows of a step must be 1 to {MOST_ROWS}, were {count}"
        self._turn(now_ns)
        step.load(rows, begin, end, now_ns)
        ids = rows.ids[begin:end]
        self._choose(step, ids, count, now_ns)
        if self.funnel.counting:
            self.funnel.counted(count)
        self.opportunities += count
        picked = np.flatnonzero(step.out[:count, O_LINE] >= 0)
        out = step.out[picked]
        chains = self.wallet.chains[out[:, O_LINE]]
        if len(picked):
            self._set_aside(rows, begin, picked, ids, out, chains, now_ns)
            if self.table.targets:
                for row, own in zip(picked.tolist(), out, strict=True):
                    self.targets.bid(ids[row].tobytes(), step.columns[row], own, step.logged[row], now_ns)
        return Bids(picked + begin, out, step.logged[picked], chains)

    def _set_aside(
        self,
        rows: Rows,
        begin: int,
        picked: NDArray[np.int64],
        ids: NDArray[np.uint8],
        out: NDArray[np.int64],
        chains: NDArray[np.int32],
        now_ns: int,
    ) -> None:
        assert self._step is not None, "a step was decided"
        columns = self._step.columns[picked]
        lines, amounts = out[:, O_LINE].tolist(), out[:, O_AMOUNT].copy()
        if self.table.caps.size:
            users = columns[:, R_USER].view(np.uint64).tolist()
            exchanges = columns[:, R_EXCHANGE].tolist()
            found = [
                tag_of(self.caps.tag(line, user), exchange)
                for line, user, exchange in zip(lines, users, exchanges, strict=True)
            ]
            tags = np.array(found, dtype=np.uint64)
        else:
            tags = (columns[:, R_EXCHANGE] + 1).astype(np.uint64) << _EXCHANGE_SHIFT
        self.wallet.purse.reserve_rows(
            ids[picked],
            chains,
            amounts,
            columns[:, R_QUANTITY].copy(),
            tags,
            columns[:, R_RESULT_NS].copy(),
            rows.liable_ns[picked + begin] + now_ns,
        )
        if self.settings.brakes.factor:
            for line, amount in zip(lines, amounts.tolist(), strict=True):
                self.brakes.reserve(line, amount, now_ns)
        assert self.wallet.agrees(chains), "kernel and purse disagree"

    def settle_columns(
        self,
        ids: NDArray[np.uint8],
        kinds: NDArray[np.uint8],
        lines: NDArray[np.int64],
        chains: NDArray[np.int32],
        amounts: NDArray[np.int64],
        bid_at_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """`settle` of columns, in order: k bids that won, were posted or voided; of none it is the pacer's release.

        Args:
            ids: uint8[k, 12]. kinds: uint8[k], `WON`, `POSTED` or `VOIDED`. lines: int64[k], of the table.
            chains: int32[k], as `Bids` has them. amounts: int64[k], nanos, 0 but for posts.
            bid_at_ns: int64[k]. now_ns: the time.
        """
        count = len(ids)
        wallet, pacer = self.wallet, self._pacer
        if count:
            self._settle_all(ids, kinds, lines, chains, amounts, bid_at_ns, now_ns)
        pacer.release(wallet.group_books()[:, 0].copy())
        wallet.sync()

    def _settle_all(
        self,
        ids: NDArray[np.uint8],
        kinds: NDArray[np.uint8],
        lines: NDArray[np.int64],
        chains: NDArray[np.int32],
        amounts: NDArray[np.int64],
        bid_at_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None:
        count, wallet, pacer = len(ids), self.wallet, self._pacer
        results, tags = np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.uint64)
        wallet.purse.settle_rows(ids, kinds, chains, amounts, now_ns, results, tags)
        assert not ((kinds == POSTED) & (results == Result.EXCEEDS)).any(), "a price is above its reservation"
        self.late_wins += int((results == Result.LATE).sum())
        posted = np.flatnonzero((kinds == POSTED) & (results != Result.EXISTS))
        own, nanos = lines[posted], amounts[posted]
        wallet.spend(own, nanos, np.full(len(own), ONE_IMPRESSION), bid_at_ns[posted], pacer)
        if self.settings.brakes.factor:
            for line, amount, at_ns in zip(
                own.tolist(), nanos.tolist(), bid_at_ns[posted].tolist(), strict=True
            ):
                self.brakes.spend(line, amount, at_ns)
        if self.table.targets:
            self._tell_targets(ids, kinds, amounts)
        self._tell_caps(kinds, results, (tags & _MARK), now_ns)

    def _tell_targets(
        self, ids: NDArray[np.uint8], kinds: NDArray[np.uint8], amounts: NDArray[np.int64]
    ) -> None:
        for row, (kind, amount) in enumerate(zip(kinds.tolist(), amounts.tolist(), strict=True)):
            if kind == POSTED:
                self.targets.paid(ids[row].tobytes(), amount)
            elif kind == VOIDED:
                self.targets.lost(ids[row].tobytes())

    def _tell_caps(
        self, kinds: NDArray[np.uint8], results: NDArray[np.uint8], marks: NDArray[np.uint64], now_ns: int
    ) -> None:
        known = (marks != 0) & (results == Result.OK)
        if not known.any():
            return
        self.caps.won(_of(marks, known & (kinds == WON)), now_ns, now_ns + self.settings.longest_wait_ns)
        self.caps.shown(_of(marks, known & (kinds == POSTED)))
        self.caps.freed(_of(marks, known & (kinds == VOIDED)))

    def advance(self, now_ns: int) -> None:
        """`tick` without a report: ends what time ends, and solves the plan again."""
        self._turn(now_ns)
        self.caps.freed(self.wallet.expire(now_ns))
        self.targets.expire(now_ns)
        self.caps.tidy(now_ns)
        self._refresh(now_ns)


def _of(marks: NDArray[np.uint64], places: NDArray[np.bool_]) -> Sequence[int]:
    found: list[int] = marks[places].tolist()
    return found
