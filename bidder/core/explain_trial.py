"""The engine's kernels run on the side: the same tables and state, copied where a run would change them.

A *rehearsal* is what the engine would do. A *trial* is one line item alone, with some of its rules taken away, so
that each rule answers for itself and not only the first that refuses.
"""

from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.batch import Batch
from bidder.core.budgets import Budget, accounts_of
from bidder.core.creatives import ALL_BITS, C
from bidder.core.decision_columns import (
    FIXED_PRICE,
    GUARANTEED,
    KNOWN,
    LOG_COLUMNS,
    O_LINE,
    ONE,
    OUT_COLUMNS,
    R_BANNER,
    R_BLOCKS,
    R_BLOCKS_END,
    R_CHOSEN_DEAL,
    R_FLAGS,
    R_FLOOR,
    R_FLOORS,
    R_FLOORS_END,
    R_LANGUAGE_OK,
    R_PER_SECOND,
    R_POD_FIRST,
    R_POD_S,
    R_QUANTITY,
    R_RATE,
    TEST,
)
from bidder.core.engine import Engine
from bidder.core.explain_gate import Judge
from bidder.core.explain_state import Accounts, Bits, Floats, Numbers, Result, State
from bidder.core.funnel import STAGES
from bidder.core.funnel_kernels import SLICES
from bidder.core.kernels import decide_rows
from bidder.core.messages import ONE_IMPRESSION
from bidder.core.pacing_kernels import G_LEAST
from bidder.core.purse import Unit
from bidder.core.score_kernels import whole_row
from bidder.core.shading_kernels import shaded_worth
from bidder.core.showing import Showing
from bidder.core.slot_kernels import in_pod, pod_left
from bidder.core.specs import NO_FLOOR, S, SlotBook
from bidder.core.table import FAR_NS, Column, LineTable
from bidder.core.targeting_kernels import END, eligible
from bidder.core.value_kernels import conversion_value
from bidder.core.valuing import OUTCOMES
from models.kernels import Masks

_PLENTY = 2**62
_HIGH_VALUE_NANOS = 10**17
"""So much that any probability above a billionth is worth a bid."""
_EVERYONE = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class Creatives:
    """Creatives and slots of a trial, as the kernel takes them."""

    columns: Numbers
    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    blocks: NDArray[np.int32]
    shown: Floats
    clicked: Floats
    slots: Numbers
    lists: NDArray[np.int32]
    durations: Numbers
    native_ok: NDArray[np.uint8]


class Offers(NamedTuple):
    """Opportunities as the kernel takes them: columns, model values, outside scores, record, landscape's codes."""

    columns: Numbers
    values: Floats
    external: Floats
    record: NDArray[np.int32]
    codes: NDArray[np.int32]


class Lines(NamedTuple):
    """Line items as the kernel takes them: who may bid, rows of dimensions, columns, creatives, brakes."""

    active: Bits
    base: Bits
    rows: Bits
    columns: Numbers
    creatives: Creatives
    stopped: NDArray[np.int32]


@dataclass(frozen=True)
class Trial:
    """One opportunity, one line item, and what of its rules holds."""

    row: Numbers
    columns: Numbers
    creatives: Creatives


class Stage:
    """Everything that the kernels need, of the engine or copied from it. The engine is only read.

    Args:
        engine: the engine. judge: a gate of our own.
    """

    def __init__(self, engine: Engine, judge: Judge) -> None:
        # Requests write into the table's spare rows, so those and all that numbers them must be our own.
        self.engine = engine
        self.table: LineTable = copy(engine.table)
        self.table.rows = engine.table.rows.copy()
        self.slots = SlotBook(self.table)
        model = engine._model  # noqa: SLF001 - read only; nobody else may look so deep
        self.batch = Batch(
            model.encoder if model is not None else None, engine.settings, judge, engine.shading
        )
        self.batch.adopt(self.table, self.slots, Showing(self.table, self.slots))
        self._of_engine = engine.table
        self._forest = engine._model_arrays  # noqa: SLF001
        self._trees = self._forest.masks.shape[1]
        self.shading = engine.shading
        self._law = engine._law  # noqa: SLF001
        self._line_masks = engine._prepared.line_masks  # noqa: SLF001
        self._values = engine.values
        self._shades = engine._shades  # noqa: SLF001
        self._discrepancies = engine._discrepancies  # noqa: SLF001
        pacer = engine._pacer  # noqa: SLF001
        self.pacer = pacer
        creatives = self.table.creatives
        self.creatives = Creatives(
            creatives.columns, creatives.starts, creatives.rows, creatives.blocks,
            engine._shown.impressions, engine._shown.clicks,  # noqa: SLF001
            self.slots.columns, self.slots.lists, self.slots.durations, self.slots.native_ok,
        )  # fmt: skip
        words, count = self.table.words, len(self.table)
        self._funnel: Numbers = np.zeros((count, len(STAGES)), dtype=np.int64)
        self._counters: Bits = np.zeros((len(self.table.dimensions), SLICES, words), dtype=np.uint64)
        self._free: NDArray[np.int32] = np.zeros(count, dtype=np.int32)
        self._stopped = self._free
        self._left: Bits = np.zeros(words, dtype=np.uint64)
        self._mask: Masks = np.zeros(max(1, self._trees), dtype=self._forest.masks.dtype)
        self._scratch: Numbers = np.zeros(max(1, len(self._forest.request_features)), dtype=np.int64)
        self._no_rows: Bits = np.zeros_like(self.table.rows)
        self._admits: Bits = np.full_like(self.table.base, _EVERYONE)
        self._standing = Creatives(
            _stand_in(), np.zeros(count + 1, dtype=np.int32), np.zeros(1, dtype=np.int32),
            np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.float64), np.zeros(1, dtype=np.float64),
            _open_slot(), np.zeros(1, dtype=np.int32), np.zeros((1, 3), dtype=np.int64),
            np.zeros((1, 1), dtype=np.uint8),
        )  # fmt: skip

    @property
    def stale(self) -> bool:
        """Whether the engine has taken another table or model since."""
        engine = self.engine
        return self._of_engine is not engine.table or self._forest is not engine._model_arrays  # noqa: SLF001

    def begin(self, now_ns: int) -> tuple[State, Accounts]:
        """The engine's state at a time, copied."""
        accounts = self._accounts(now_ns)
        base, _ = self.table.in_flight(now_ns)
        self.base: Bits = self.table.base.copy()
        self.base[0] = base
        self._stopped = self.engine.brakes.reasons_at(now_ns)
        users, rows, caps = self.engine.caps.arrays()
        # What was bid before is not asked here, but has room for as many accounts as may be charged.
        offered = np.zeros(len(accounts.available), dtype=np.int64)
        left = self.engine.explored.left
        targets = self.engine.targets.rows
        state = State(
            accounts.available, self.pacer.rows, self.pacer.counts, targets, offered, left, users, rows, caps
        )  # fmt: skip
        return state.copied(), accounts

    def budgets(self, line: int, now_ns: int) -> tuple[Budget, ...]:
        """The accounts that a bid of a line item would be charged to."""
        own = self.table.lines[line]
        return accounts_of(own.campaign, own.item, own.advertiser, now_ns)

    def _accounts(self, now_ns: int) -> Accounts:
        """Budgets of the day: the wallet's own, unless a day has ended that it has not heard of yet."""
        wallet = self.engine.wallet
        purse = wallet.purse
        if now_ns < wallet._next_day_ns:  # noqa: SLF001
            return Accounts(
                wallet.available, wallet.lease_until, purse.unit, wallet.chains, purse.chain_start,
                purse.chain_accounts,
            )  # fmt: skip
        numbers: dict[str, int] = {}
        units: list[int] = []
        starts, flat = [0], []
        for line in range(len(self.table)):
            for budget in self.budgets(line, now_ns):
                number = numbers.setdefault(budget.account_id, len(numbers))
                if number == len(units):
                    units.append(int(budget.unit))
                flat.append(number)
            starts.append(len(flat))
        available = np.zeros(len(numbers), dtype=np.int64)
        until = np.zeros(len(numbers), dtype=np.int64)
        for account_id, number in numbers.items():
            lease = wallet.leases.get(account_id)
            if lease is not None:
                available[number] = wallet.available[purse.account(account_id, Unit(units[number]))]
                until[number] = lease.bid_until_ns
        return Accounts(
            available, until, np.array(units, dtype=np.uint8), np.arange(len(self.table), dtype=np.int32),
            np.array(starts, dtype=np.int32), np.array(flat, dtype=np.int32),
        )  # fmt: skip

    # -- runs -----------------------------------------------------------------------------------------------

    def rehearse(self, count: int, now_ns: int, state: State, accounts: Accounts) -> list[Result]:
        """The batch's first `count` rows as the engine would decide them; changes `state`."""
        batch = self.batch
        offers = Offers(
            batch.columns[:count],
            batch.values()[:count],
            batch.external[:count],
            batch.record(),
            batch.codes(),
        )
        return self._run(
            now_ns, offers, self._lines(self.table.active), state, accounts, batch.out, batch.logged
        )

    def _lines(self, active: Bits) -> Lines:
        return Lines(active, self.base, self.table.rows, self.table.columns, self.creatives, self._stopped)

    def seconds_left(self, r: int) -> int:
        """Seconds that the pod of row `r` has left, after what the rehearsal gave to the places before."""
        return int(pod_left(self.batch.columns, self.batch.out, self.table.creatives.columns, r))

    def has_place(self, r: int, line: int) -> bool:
        """Whether a line item already has a place in the pod of row `r`."""
        return bool(in_pod(self.batch.columns, self.batch.out, r, line))

    def alone(self, r: int) -> Numbers:
        """int64[1, columns], row `r` as the first place of a pod that is as long as what is left of its own."""
        columns = self.batch.columns[r : r + 1].copy()
        if columns[0, R_POD_FIRST] >= 0:
            columns[0, R_POD_FIRST], columns[0, R_POD_S] = 0, self.seconds_left(r)
        return columns

    def drifted(
        self, r: int, line: int, now_ns: int, state: State, accounts: Accounts
    ) -> tuple[Floats, Floats]:
        """Paces and targets when the kernel comes to a line item in row `r`: those before it may share its own."""
        paces = self.engine.wallet.paces
        earlier = paces.places[: paces.starts[line]]
        if not (self.table.targets or np.isin(earlier, self.engine.wallet.groups_of(line)).any()):
            return state.paces, state.targets
        before = self.table.active.copy()
        word, bit = divmod(line, 64)
        before[word] &= np.uint64((1 << bit) - 1)
        before[word + 1 :] = np.uint64(0)
        for other in self._holders(r):
            before[other // 64] &= ~(np.uint64(1) << np.uint64(other % 64))
        # Without money nothing is bid, so nothing but multipliers and counts of pacing change.
        poor = replace(
            state,
            paces=state.paces.copy(),
            pace_counts=state.pace_counts.copy(),
            targets=state.targets.copy(),
            available=np.full_like(state.available, -1),
        )
        offers = self._offers(r, self.alone(r))
        out, logged = _nothing_out()
        self._run(now_ns, offers, self._lines(before), poor, accounts, out, logged)
        return poor.paces, poor.targets

    def try_line(
        self, r: int, line: int, trial: Trial, now_ns: int, state: State, accounts: Accounts
    ) -> Result:
        """How a line item would end in row `r` if nobody else bid, no dimension, cap, lease or budget refused."""
        paces = state.paces.copy()
        paces[:, G_LEAST] = -1.0  # below nothing: no share of a deal's opportunities is left out either
        rich = replace(state, available=np.full_like(state.available, _PLENTY), paces=paces)
        leased = accounts._replace(lease_until=np.full_like(accounts.lease_until, FAR_NS))
        offers = self._offers(r, trial.row.reshape(1, -1))
        lines = Lines(
            self.only(line), self._admits, self._no_rows, trial.columns, trial.creatives, self._free
        )
        out, logged = _nothing_out()
        return self._run(now_ns, offers, lines, rich, leased, out, logged)[0]

    def only(self, line: int) -> Bits:
        """Bits of one line item."""
        bits: Bits = np.zeros(self.table.words, dtype=np.uint64)
        bits[line // 64] = np.uint64(1) << np.uint64(line % 64)
        return bits

    def refuses(self, line: int, place: int, part: tuple[int, ...]) -> bool:
        """Whether one dimension, by its place among the used ones, refuses a line item that shows it this."""
        end = place + 1
        refused, _ = eligible(
            self.only(line), self.base[place:end], self.table.rows, self.table.refusals[place:end],
            np.array(part, dtype=np.int32), 0, self._left, self._counters, False,
        )  # fmt: skip
        return bool(refused)

    def parts_of(self, r: int) -> list[tuple[int, ...]]:
        """What row `r` shows in each used dimension, each ended by END."""
        width = len(self.table.dimensions)
        record = self.batch.record()
        ends = [-1, *np.flatnonzero(record == END).tolist()]
        return [
            tuple(record[ends[place] + 1 : ends[place + 1] + 1].tolist())
            for place in range(r * width, (r + 1) * width)
        ]

    def record_of(self, r: int) -> NDArray[np.int32]:
        """int32[], the parts of row `r`, one after the other."""
        return np.array([number for part in self.parts_of(r) for number in part], dtype=np.int32)

    def stopped(self, line: int) -> int:
        """The reason with which a brake refuses a line item, 0 where none does."""
        return int(self._stopped[line])

    def discrepancy(self, exchange: int) -> int:
        """Millionths by which an exchange's bill exceeds our count, by `Exchange.index`."""
        return int(self._discrepancies[exchange])

    def shade(self, exchange: int) -> float:
        """Share of the value that is bid at first price, by `Exchange.index`."""
        return float(self._shades[exchange])

    def landscape_bid(self, most: float, otherwise: float, floor: int, stratum: int) -> float:
        """What the landscape makes of a win that is worth `most` nanos, as the kernel asks it."""
        return float(shaded_worth(most, otherwise, floor, stratum, *self.shading.arrays()[6:]))

    def conversion_value(self, r: int, line: int) -> tuple[int, str]:
        """What a conversion is taken to be worth in row `r`, nanos, and what became of what the model says of it."""
        known, forest = self._values.apart(), self._forest
        values, counts = self.batch.values()[r : r + 1], np.zeros(len(OUTCOMES), dtype=np.int64)
        if len(forest.handles):
            whole_row(
                values, 0, forest.request_features, forest.line_features, self._line_masks[line], forest.whole
            )
        nanos = conversion_value(
            values, 0, False, *known.model, known.line_values[line], known.mask, self._scratch,
            forest.handles, forest.whole, self.table.columns[line], counts, 1,
        )  # fmt: skip
        return int(nanos), OUTCOMES[int(counts.argmax())]

    def _holders(self, r: int) -> list[int]:
        """Line items that have a place in the pod of row `r`."""
        first = int(self.batch.columns[r, R_POD_FIRST])
        held = self.batch.out[first:r, O_LINE].tolist() if first >= 0 else []
        return [line for line in held if line >= 0]

    def _offers(self, r: int, columns: Numbers) -> Offers:
        """Row `r` with these columns, as a batch of it alone."""
        batch = self.batch
        one = slice(r, r + 1)
        return Offers(
            columns, batch.values()[one], batch.external[one], self.record_of(r), batch.codes()[one]
        )

    def _run(
        self,
        now_ns: int,
        offers: Offers,
        lines: Lines,
        state: State,
        accounts: Accounts,
        out: Numbers,
        logged: Floats,
    ) -> list[Result]:
        creatives, count = lines.creatives, len(offers.columns)
        table = self.table
        decide_rows(
            now_ns, count,
            offers.values, offers.columns, offers.record, offers.external, self.batch.row_blocks(),
            lines.active, lines.base, lines.rows, table.refusals, lines.columns, table.caps,
            self.engine.wallet.paces.starts, self.engine.wallet.paces.places, table.modifier_rows,
            table.modifier_factors, self._shades, self._discrepancies, lines.stopped, table.aims,
            creatives.columns, creatives.starts, creatives.rows, creatives.blocks, creatives.shown,
            creatives.clicked, creatives.slots, creatives.lists, creatives.durations, creatives.native_ok,
            *self._forest, self._line_masks, *self._values.apart().in_order(),
            self._law, offers.codes, *self.shading.arrays(), state.explorable,
            state.available, accounts.lease_until, accounts.unit, accounts.chains, accounts.chain_start,
            accounts.chain_accounts,
            state.cap_users, state.cap_rows, state.cap_state,
            state.paces, state.pace_counts, state.targets, state.offered, self._funnel, self._counters, False,
            out, logged,
            self._left, self._mask, self._scratch,
        )  # fmt: skip
        return [
            Result(*ended, *scores)
            for ended, scores in zip(out[:count].tolist(), logged[:count].tolist(), strict=True)
        ]

    # -- trials ---------------------------------------------------------------------------------------------

    def trial(self, r: int, line: int, *, fits: bool) -> Trial:
        """A line item's own value, bids and floors; without caps. Where no creative fits, one stands in."""
        columns = self.table.columns.copy()
        columns[line, Column.CAP_START] = columns[line, Column.CAP_END] = 0
        row = self.alone(r)[0]
        row[R_FLAGS] = row[R_FLAGS] & ~KNOWN | TEST
        if fits:
            return Trial(row, columns, self.creatives)
        row[R_BANNER : R_BANNER + 4] = (0, -1, -1, -1)
        row[R_BLOCKS] = row[R_BLOCKS_END] = 0
        row[R_LANGUAGE_OK] = -1
        starts = np.zeros(len(self.table) + 1, dtype=np.int32)
        starts[line + 1 :] = 1
        return Trial(row, columns, replace(self._standing, starts=starts))

    @property
    def trees(self) -> int:
        """Trees of the model; 0 without one."""
        return int(self._trees)


def without_floor(trial: Trial) -> Trial:
    """The same without any floor."""
    row = trial.row.copy()
    row[R_FLOOR] = row[R_FLOORS] = row[R_FLOORS_END] = 0
    row[R_PER_SECOND] = NO_FLOOR
    # As of a deal: then the slot's floors by duration do not count either.
    row[R_CHOSEN_DEAL] = 0
    return replace(trial, row=row)


def without_least(trial: Trial, line: int) -> Trial:
    """The same without a least bid."""
    columns = trial.columns.copy()
    columns[line, Column.MIN_BID_NANOS] = 0
    return replace(trial, columns=columns)


def in_account(trial: Trial) -> Trial:
    """The same, bid in the account's own currency."""
    row = trial.row.copy()
    row[R_RATE] = ONE
    return replace(trial, row=row)


def for_scores(trial: Trial, line: int) -> Trial:
    """What bids at any score above nothing, so that the scores can be seen."""
    found = without_least(in_account(without_floor(trial)), line)
    found.row[R_FLAGS] &= ~(FIXED_PRICE | GUARANTEED)
    found.row[R_QUANTITY] = ONE_IMPRESSION
    found.columns[line, Column.VALUE_LEAST] = found.columns[line, Column.VALUE_MOST] = 0
    found.columns[line, Column.VALUE_NANOS] = _HIGH_VALUE_NANOS
    found.columns[line, Column.MAX_BID_NANOS] = _PLENTY
    found.columns[line, Column.AIM_START] = found.columns[line, Column.AIM_END] = 0
    found.columns[line, Column.FEE_PPM] = found.columns[line, Column.FEE_NANOS] = 0
    found.columns[line, Column.MODIFIER_START] = found.columns[line, Column.MODIFIER_END] = 0
    return found


def _nothing_out() -> tuple[Numbers, Floats]:
    """Room for what becomes of one row."""
    return np.zeros((1, OUT_COLUMNS), dtype=np.int64), np.zeros((1, LOG_COLUMNS), dtype=np.float64)


def _stand_in() -> Numbers:
    """A banner that fits `_open_slot`."""
    columns: Numbers = np.zeros((1, len(C)), dtype=np.int64)
    columns[0, C.MEDIA] = columns[0, C.SECURE] = columns[0, C.MIME] = 1
    columns[0, C.EXCHANGES] = columns[0, C.LANGUAGE] = ALL_BITS
    return columns


def _open_slot() -> Numbers:
    """A slot that takes `_stand_in`: its one size is size 0."""
    columns: Numbers = np.zeros((1, len(S)), dtype=np.int64)
    columns[0, S.MEDIA] = columns[0, S.SIZES_END] = columns[0, S.MIME_OK] = 1
    columns[0, S.PER_SECOND] = NO_FLOOR
    return columns
