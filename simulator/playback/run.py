"""One replay: a history, campaigns and rules in, what each line item would have got out."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.columnar import ColumnarEngine
from bidder.core.lines import Line, lines_of
from bidder.core.settings import (
    GENERAL,
    BrakeSettings,
    EngineSettings,
    ExchangeRules,
    PacingSettings,
    TargetSettings,
)
from bidder.errors import InputError
from simulator.history.checking import numbers
from simulator.history.file import History, Progress
from simulator.playback.delays import FITTED, NS_PER_SECOND, NoticeDelays, fit_delays, stated
from simulator.playback.idle import idle_of
from simulator.playback.market import Market, decide
from simulator.playback.pays import by_outcome, check_targets, pays_of
from simulator.playback.player import Player, Rules
from simulator.playback.prepared import NEEDED, Piece, Preparer
from simulator.playback.results import LineResult

_KEY = b"replays sign no token that leaves"
_START_ID = "replay"
_WEEK_S = 7 * 86_400.0
_LEAST_WAIT_S = 60.0
_BY_PREDICTION = TargetSettings(prior_outcomes=1_000_000, click_delay_seconds=_WEEK_S)
"""Nobody tells a replay of outcomes, which must not be taken for none: its targets go by predictions."""
_NO_CAMPAIGN = "of no campaign of the sheet"


class Plan(NamedTuple):
    """What to play.

    Attributes:
        campaigns, advertisers: of the sheet. market: how exchanges sell. delays: of notices, None as in the log.
        seed: of draws. step_s: of virtual time, seconds; None is as
            long as a batch fills in, see `step_of`. pacing: settings of it; None expects the log's own traffic,
            as a live bidder would after some weeks.
        logged: whether the log's own bids are made, and not the engine's: budgets bind nothing then.
    """

    campaigns: Sequence[Campaign]
    advertisers: Sequence[Advertiser] = ()
    market: Market = Market()
    delays: NoticeDelays | None = None
    seed: int = 0
    step_s: float | None = None
    pacing: PacingSettings | None = None
    logged: bool = False


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a replay.

    Attributes:
        history, currency: as it says. rows: read. played: those that somebody may bid on. refused: the others, by
            cause.
        wins_only: whether the log has no lost bids, so that nothing is known of higher bids.
        policy: `engine` or `logged`. lines: results. seconds: wall time. auctions_per_second: rows over that.
    """

    history: str
    currency: str
    rows: int
    played: int
    refused: dict[str, int]
    wins_only: bool
    policy: str
    seed: int
    lines: list[LineResult]
    seconds: float

    @property
    def auctions_per_second(self) -> float:
        """Rows of the history a second of wall time."""
        return self.rows / self.seconds if self.seconds else 0.0


def replay(path: Path, plan: Plan, *, processes: int = 1, progress: Progress | None = None) -> Replay:
    """Plays a history again.

    Args:
        path: of the history. plan: what to play. progress: hears of rows.
        processes: to share the work: advertisers are dealt out to them, which changes nothing but time, as rows are
            bid on by their own campaign alone and no budget is of two advertisers. Each reads the whole history and
            keeps all steps of its time, and all but this one must be started: it pays from some millions of rows on,
            and the more so the more rows a step has.

    Raises:
        InputError: the history cannot be read, no campaign of the sheet is of it, or a target cannot be kept there.
    """
    began_s = time.monotonic()
    history = History(path)
    _check(history, plan)
    # Said before the work is dealt out: every part expects what the whole does.
    plan = plan._replace(pacing=plan.pacing or expected(history, plan))
    parts = dealt(plan, processes)
    if len(parts) == 1:
        found = [Run(history, plan).play(progress)]
    else:
        with ProcessPoolExecutor(len(parts) - 1, mp_context=get_context("spawn")) as pool:
            others = pool.map(_play_part, [path] * (len(parts) - 1), parts[1:])
            # This process has all that it takes in memory, which a fresh one must load first.
            found = [Run(history, parts[0]).play(progress), *others]
    refused: Counter[str] = Counter()
    for one in found:
        refused.update(one.refused)
    played = sum(one.played for one in found)
    # Each part knows its own campaigns alone: what is left belongs to none.
    refused[_NO_CAMPAIGN] = history.rows - played - refused.total()
    return Replay(
        history=str(path),
        currency=history.meta.currency,
        rows=history.rows,
        played=played,
        refused=dict(+refused),
        wins_only=history.meta.wins_only,
        policy="logged" if plan.logged else "engine",
        seed=plan.seed,
        lines=sorted((line for one in found for line in one.lines), key=lambda line: line.id),
        seconds=time.monotonic() - began_s,
    )


class _Part(NamedTuple):
    played: int
    refused: dict[str, int]
    lines: list[LineResult]


def _play_part(path: Path, plan: Plan) -> _Part:
    return Run(History(path), plan).play(None)


def dealt(plan: Plan, processes: int) -> list[Plan]:
    """The plan in as many parts as there are processes, at most one an advertiser."""
    names = sorted({campaign.advertiser for campaign in plan.campaigns})
    count = max(1, min(processes, len(names)))
    if count == 1:
        return [plan]
    groups = [frozenset(names[number::count]) for number in range(count)]
    return [
        plan._replace(campaigns=[one for one in plan.campaigns if one.advertiser in group])
        for group in groups
    ]


def _check(history: History, plan: Plan) -> None:
    foreign = sorted({one.currency for one in plan.campaigns if one.currency != history.meta.currency})
    if foreign:
        raise InputError(
            f"campaigns must be in {history.meta.currency}, the currency of history {history.path}; some are in "
            f"{', '.join(foreign)}"
        )
    first, last = history.span()
    apart = [one for one in plan.campaigns if one.end_ns <= first or one.start_ns > last]
    if not plan.logged and len(apart) == len(plan.campaigns):
        raise InputError(
            f"flights of the sheet must meet history {history.path}, which is of {first} to {last} ns; none does: "
            "set start and end to its days"
        )
    if not plan.logged:
        check_targets(_lines(plan))


def _lines(plan: Plan) -> tuple[Line, ...]:
    advertisers = {one.id: one for one in plan.advertisers}
    return lines_of({one.id: one for one in plan.campaigns}, advertisers)


def expected(history: History, plan: Plan) -> PacingSettings:
    """Settings of pacing that expect as many opportunities a line item as the log has, on the mean."""
    first, last = history.span()
    weeks = max(last - first, 1) / (_WEEK_S * NS_PER_SECOND)
    each = history.rows / max(len(plan.campaigns), 1)
    return PacingSettings(weekly_opportunities=max(each / weeks, 1.0))


class Run:
    """One process's part of a replay; its pieces can be played again with other budgets.

    Args:
        history: to play. plan: what to play.
    """

    def __init__(self, history: History, plan: Plan) -> None:
        self._history = history
        self._plan = plan
        self._names = pa.array(sorted(one.id for one in plan.campaigns), pa.string())
        advertisers = {one.id: one for one in plan.advertisers}
        self._pays = pays_of(_lines(plan))
        self._delays = plan.delays or fit_delays(history.tables(FITTED), stated())
        self._begin_ns, self._end_ns = history.span()
        self._engine = self._made(advertisers)
        self._preparer = Preparer(self._engine, self._pays.by_conversion, history.meta.currency)

    def _made(self, advertisers: dict[str, Advertiser]) -> ColumnarEngine:
        """An engine of the plan's campaigns, all of them paid for the outcome whose probability a row brings."""
        result_s = max(_LEAST_WAIT_S, 2 * int(self._delays.result.quantiles_ns[-1]) / NS_PER_SECOND)
        billing_s = max(_LEAST_WAIT_S, 2 * int(self._delays.bill.quantiles_ns[-1]) / NS_PER_SECOND)
        rules = ExchangeRules(
            result_seconds=min(result_s, _WEEK_S), billing_seconds=min(billing_s, _WEEK_S), result_time="fixed",
            dedupe_seconds=0.0, no_bid="none",
        )  # fmt: skip
        settings = EngineSettings(
            currency=self._history.meta.currency,
            external_scores=True,
            pacing=self._plan.pacing or expected(self._history, self._plan),
            brakes=BrakeSettings(factor=0),
            targets=_BY_PREDICTION,
            exchanges={GENERAL: rules},
        )
        engine = ColumnarEngine(settings, _KEY, None, _START_ID)
        campaigns = {one.id: by_outcome(one) for one in self._plan.campaigns}
        engine.adopt_campaigns(campaigns, 1, self._begin_ns, advertisers)
        return engine

    def again(self, plan: Plan) -> "Run":
        """The same line items with other budgets, values or bids: takes the pieces that this one made."""
        other = Run(self._history, plan._replace(delays=plan.delays or self._delays))
        other._engine.share(self._engine)  # of its own kind
        return other

    def play_pieces(self, pieces: Iterable[Piece]) -> list[LineResult]:
        """Plays pieces that were made before, by this run or by one of the same line items."""
        player = self._player()
        player.play(pieces)
        return player.finish()

    def play(self, progress: Progress | None) -> _Part:
        player = self._player()
        played = 0
        for piece in self.pieces(progress):
            played += piece.size - self._idle_in(piece)
            if self._plan.logged:
                play_logged(player, piece, self._plan.market)
            else:
                player.play([piece])
        return _Part(played, dict(self._preparer.refused), player.finish())

    def _idle_in(self, piece: Piece) -> int:
        """Counts the rows of a piece that nobody bids on."""
        found = idle_of(piece, self._engine.table.lines, logged=self._plan.logged)
        self._preparer.refused.update(found)
        return found.total()

    def _player(self) -> Player:
        step_ns = step_of(self._history.rows, self._end_ns - self._begin_ns, self._plan.step_s)
        rules = Rules(self._plan.market, self._delays, self._plan.seed, step_ns)
        return Player(self._engine, rules, self._pays, self._begin_ns, self._end_ns)

    def pieces(self, progress: Progress | None = None) -> Iterator[Piece]:
        """The rows of the plan's campaigns, a piece a row group; what another campaign bid on is left out."""
        for table in self._history.tables(NEEDED, progress=progress):
            kept = table.filter(pc.is_in(table.column("campaign"), value_set=self._names))
            if kept.num_rows:
                yield self._preparer.piece(kept, numbers(table, "offered_ns", 0).copy())


def step_of(rows: int, span_ns: int, step_s: float | None = None) -> int:
    """A step in nanoseconds: what is asked for, else the time in which 64 rows come, from a second to a minute."""
    if step_s is not None:
        return max(1, round(step_s * NS_PER_SECOND))
    return min(max(64 * span_ns // max(rows, 1), NS_PER_SECOND), 60 * NS_PER_SECOND)


def play_logged(player: Player, piece: Piece, market: Market) -> None:
    """Makes the log's own bids again and counts what comes of them: no engine, no budget."""
    facts = piece.facts
    rows: NDArray[np.int64] = np.flatnonzero((facts.bid_nanos > 0) & (facts.line >= 0))
    lines = facts.line[rows]
    verdicts = decide(market, facts, rows, lines, facts.bid_nanos[rows])
    player.count(facts, rows, piece.rows.at_ns[rows], lines, verdicts)
