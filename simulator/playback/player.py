"""Steps of virtual time: settle what is due, solve the plan again, decide the rows of the step and judge the bids.

A step is what a worker takes at once: rows that lie within one part of time of `step_ns`, decided at its end.
What an exchange tells of a bid comes later, by the law of delays, and is settled
in the first step after it. The clock is of all rows of the history, so that which campaigns are played beside one
changes nothing for it. All money is leased to the one seat that there is: the ledger is the seat's own.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.budgets import accounts_of
from bidder.core.columnar import MOST_ROWS, POSTED, VOIDED, WON, Bids, ColumnarEngine
from bidder.core.decision_columns import O_BID, O_LINE, R_USER
from bidder.core.exposures import Exposure
from bidder.core.messages import Lease
from bidder.core.opportunity import NS_PER_HOUR
from bidder.core.token import bid_id_text
from bidder.core.users import key_text
from simulator.playback.delays import NS_PER_SECOND, NoticeDelays
from simulator.playback.market import Market, Verdicts, decide
from simulator.playback.outcomes import outcomes_of
from simulator.playback.pays import Pays
from simulator.playback.prepared import Facts, Piece
from simulator.playback.results import Counts, LineResult, Standing, line_result

_MILLION = 1_000_000
_FAR_NS = 9_000_000_000_000_000_000


class Rules(NamedTuple):
    """How a history is played.

    Attributes:
        market: how exchanges sell. delays: of notices. seed: of all draws. step_ns, tick_ns: of virtual time.
    """

    market: Market
    delays: NoticeDelays
    seed: int = 0
    step_ns: int = NS_PER_SECOND
    tick_ns: int = NS_PER_SECOND


class _Told(NamedTuple):
    """What is told of some bids: settlements as columns, and when each is due."""

    due_ns: NDArray[np.int64]
    ids: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    lines: NDArray[np.int64]
    chains: NDArray[np.int32]
    amounts: NDArray[np.int64]
    bid_at_ns: NDArray[np.int64]
    users: NDArray[np.uint64]

    def part(self, places: NDArray[np.int64] | slice) -> "_Told":
        return _Told(
            self.due_ns[places], self.ids[places], self.kinds[places], self.lines[places], self.chains[places],
            self.amounts[places], self.bid_at_ns[places], self.users[places],
        )  # fmt: skip


_NOTHING = _Told(
    np.zeros(0, dtype=np.int64), np.zeros((0, 12), dtype=np.uint8), np.zeros(0, dtype=np.uint8),
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64),
)  # fmt: skip


class _Draws(NamedTuple):
    """When notices of each row of a piece would come, n rows, if it were won: drawn at once, whoever bids on it."""

    results_ns: NDArray[np.int64]
    bills_ns: NDArray[np.int64]
    lost: NDArray[np.bool_]


_Judged = tuple[NDArray[np.int64], NDArray[np.int64], Verdicts]
"""Rows of a piece that were bid on, the line items that bid, and how it ended."""


class Mailbox:
    """What was told and is not due yet, by parts of time; within one in the order in which it is due."""

    def __init__(self, part_ns: int) -> None:
        self._part_ns = part_ns
        self._parts: dict[int, list[_Told]] = {}
        self._next: list[int] = []

    def put(self, told: _Told) -> None:
        """Keeps it until it is due."""
        parts = told.due_ns // self._part_ns
        if not len(parts):
            return
        if (parts == parts[0]).all():
            self._keep(int(parts[0]), told)
            return
        order = np.argsort(parts, kind="stable")
        cuts = np.flatnonzero(np.diff(parts[order])) + 1
        for places in np.split(order, cuts):
            self._keep(int(parts[places[0]]), told.part(places))

    def _keep(self, number: int, told: _Told) -> None:
        if number not in self._parts:
            self._parts[number] = []
            heapq.heappush(self._next, number)
        self._parts[number].append(told)

    def due(self, now_ns: int) -> Iterator[_Told]:
        """What was due in the parts of time that are over."""
        while self._next and (self._next[0] + 1) * self._part_ns <= now_ns:
            parts = self._parts.pop(heapq.heappop(self._next))
            told = _Told(*(np.concatenate(each) for each in zip(*parts, strict=True)))
            yield told.part(np.argsort(told.due_ns, kind="stable"))


class Player:
    """One replay.

    Args:
        engine: with the campaigns adopted and nothing leased. rules: how to play.
        pays: what the line items pay for; the engine is told the probability of that.
        begin_ns, end_ns: of the history.
    """

    def __init__(
        self,
        engine: ColumnarEngine,
        rules: Rules,
        pays: Pays,
        begin_ns: int,
        end_ns: int,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._counts = Counts(len(engine.table.ids), begin_ns, end_ns)
        self._mail = Mailbox(rules.step_ns)
        self._leased: set[str] = set()
        self._leased_hour = self._ticked_ns = -1
        self._now_ns = begin_ns
        lines = engine.table.lines
        self._pays = pays
        self._fees = np.array([(line.fee_ppm, line.fee_cpm_micros) for line in lines], dtype=np.int64)

    def play(self, pieces: Iterable[Piece]) -> None:
        """Plays pieces in the order of time."""
        step_ns = self._rules.step_ns
        for piece in pieces:
            draws, judged = self._drawn(piece), []
            rows = piece.rows._replace(external=self._pays.scores(piece))
            steps = np.unique(piece.clock_ns // step_ns)
            ends = np.searchsorted(piece.rows.at_ns, (steps + 1) * step_ns, side="left").tolist()
            begin = 0
            for step, end in zip(steps.tolist(), ends, strict=True):
                now_ns = (step + 1) * step_ns - 1
                self._move(now_ns)
                for first in range(begin, end, MOST_ROWS):
                    bids = self._engine.decide_columns(rows, first, min(first + MOST_ROWS, end), now_ns)
                    if len(bids.rows):
                        judged.append(self._judge(piece, bids, draws, now_ns))
                begin = end
            # Counting changes no decision, and a step's few rows are dear to count by columns.
            self._count_all(piece, judged)

    def _drawn(self, piece: Piece) -> _Draws:
        delays, seed, hashes = self._rules.delays, self._rules.seed, piece.facts.draw
        return _Draws(delays.results(hashes, seed), delays.bills(hashes, seed), delays.lost(hashes, seed))

    def _count_all(self, piece: Piece, judged: Sequence[_Judged]) -> None:
        if not judged:
            return
        rows, lines, verdicts = zip(*judged, strict=True)
        whole = Verdicts(*(np.concatenate(part) for part in zip(*verdicts, strict=True)))
        at = np.concatenate(rows)
        self.count(piece.facts, at, piece.rows.at_ns[at], np.concatenate(lines), whole)

    def _move(self, now_ns: int) -> None:
        """Goes on in time: leases of a new day, what is due, what time ends."""
        self._now_ns = now_ns
        if now_ns // NS_PER_HOUR != self._leased_hour:
            self._leased_hour = now_ns // NS_PER_HOUR
            self._lease(now_ns)
        for told in self._mail.due(now_ns):
            self._settle(told)
        self._settle(_NOTHING)
        if now_ns - self._ticked_ns >= self._rules.tick_ns:
            self._ticked_ns = now_ns
            self._engine.advance(now_ns)

    def _settle(self, told: _Told) -> None:
        self._engine.settle_columns(
            told.ids, told.kinds, told.lines, told.chains, told.amounts, told.bid_at_ns, self._now_ns
        )

        if self._engine.table.caps.size and len(told.ids):
            self._expose(told)

    def _expose(self, told: _Told) -> None:
        """Counts what users of capped line items were shown, as the bank would tell it."""
        engine = self._engine
        shown = np.flatnonzero((told.kinds == POSTED) & (told.users != 0))
        exposures = []
        for place in shown.tolist():
            row = int(told.lines[place])
            line = engine.table.lines[row]
            if engine.caps.owners[row]:
                exposures.append(
                    Exposure(
                        bid_id=bid_id_text(told.ids[place].tobytes()),
                        user=key_text(int(told.users[place])),
                        line_item_id=line.id,
                        campaign_id=line.campaign.id,
                        advertiser=line.campaign.advertiser,
                        at_ns=int(told.bid_at_ns[place]),
                    )
                )
        if exposures:
            engine.expose(exposures, self._now_ns)

    def _lease(self, now_ns: int) -> None:
        engine = self._engine
        leases = []
        for line in engine.table.lines:
            for budget in accounts_of(line.campaign, line.item, line.advertiser, now_ns):
                if budget.account_id not in self._leased:
                    self._leased.add(budget.account_id)
                    leases.append(
                        Lease(
                            seat=engine.settings.seat, epoch=1, start_id=engine.start_id,
                            account_id=budget.account_id, granted_nanos=budget.limit, bid_until_ns=_FAR_NS,
                            budget_nanos=budget.limit, spent_nanos=0, seats=1,
                        )
                    )  # fmt: skip
        if leases:
            engine.adopt_leases(leases, now_ns)

    def _judge(self, piece: Piece, bids: Bids, draws: _Draws, now_ns: int) -> _Judged:
        """Decides the auctions of a step's bids, and sends what will be told of them."""
        lines = bids.out[:, O_LINE].copy()
        verdicts = decide(self._rules.market, piece.facts, bids.rows, lines, bids.out[:, O_BID])
        self._tell(piece, bids, verdicts, draws, now_ns)
        return bids.rows, lines, verdicts

    def count(
        self,
        facts: Facts,
        rows: NDArray[np.int64],
        at_ns: NDArray[np.int64],
        lines: NDArray[np.int64],
        verdicts: Verdicts,
    ) -> None:
        """Counts bids of int64[k] `rows` by `lines`, and what followed of those that won."""
        won, places = lines[verdicts.won], rows[verdicts.won]
        worth = self._pays.worth_nanos(facts, places, won)
        outcomes = outcomes_of(facts, places, won, worth, self._rules.seed)
        value = np.where(self._pays.by_conversion[won], outcomes.value_nanos, worth * outcomes.clicked)
        self._counts.add(lines, at_ns, verdicts, outcomes, value)

    def _tell(self, piece: Piece, bids: Bids, verdicts: Verdicts, draws: _Draws, now_ns: int) -> None:
        won = verdicts.won
        due = now_ns + draws.results_ns[bids.rows]
        heard = ~(won & draws.lost[bids.rows])
        told = _Told(
            due,
            piece.rows.ids[bids.rows],
            np.where(won, WON, VOIDED).astype(np.uint8),
            bids.out[:, O_LINE],
            bids.chains,
            np.zeros(len(due), dtype=np.int64),
            np.full(len(due), now_ns, dtype=np.int64),
            piece.rows.columns[bids.rows, R_USER].view(np.uint64),
        )
        billed = told._replace(
            due_ns=due + draws.bills_ns[bids.rows],
            kinds=np.full(len(due), POSTED, dtype=np.uint8),
            amounts=self._with_fees(verdicts.paid_nanos, bids.out[:, O_LINE]),
        )
        self._mail.put(told if heard.all() else told.part(np.flatnonzero(heard)))
        posted = np.flatnonzero(won & heard)
        if len(posted):
            self._mail.put(billed.part(posted))

    def _with_fees(self, paid: NDArray[np.int64], lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the ledger is owed for impressions: their price and the fees on it, rounded as the bank does."""
        ppm, each = self._fees[lines, 0], self._fees[lines, 1]
        whole, part = paid // _MILLION, paid % _MILLION
        owed = paid + whole * ppm + (part * ppm + _MILLION - 1) // _MILLION + each
        return np.asarray(owed, dtype=np.int64)

    def finish(self) -> list[LineResult]:
        """Settles what is still to come, and says how each line item did."""
        for told in self._mail.due(_FAR_NS):
            self._now_ns = max(self._now_ns, int(told.due_ns[-1]))
            self._settle(told)
        engine = self._engine
        assert engine.wallet.agrees(), "kernel and purse disagree"
        return [
            line_result(self._counts, row, standing)
            for row, standing in enumerate(_standings(engine, self._now_ns))
        ]


def _standings(engine: ColumnarEngine, now_ns: int) -> Iterator[Standing]:
    statuses = engine.status(now_ns)
    for line in engine.table.lines:
        status = statuses[line.id]
        yield Standing(
            line.id,
            line.campaign.id,
            line.campaign.budget_nanos,
            status.posted_nanos,
            status.multiplier,
            dict(status.funnel),
        )
