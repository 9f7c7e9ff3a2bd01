"""What the landscape saves: bids by it beside those that were held out, of one run: `clearbid shading`.

Chance alone decides which opportunity is held out, so both arms meet the same auctions. Sums of an arm are stated for
the whole traffic: divided by the share of it that the arm has. Intervals are 95 % percentiles of a bootstrap over
blocks of time, in which neighbours that have traffic, budgets and rivals in common stay together.

Both arms are paced by one multiplier; a run where all is bid by one of them would have another. So what is compared
is the surplus at that multiplier: what a win was worth after pacing and fees, less its price.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.call import Decision
from bidder.errors import InputError
from bidder.store.database import Database
from bidder.store.journal import read_journal
from models.evaluation.resampling import draws_of
from simulator.export.decisions import FAR_NS, read_bids
from simulator.export.inputs import journals_of, losses_told, settings_of
from simulator.export.outcomes import BookedEvents, Losses, outcome_of
from simulator.export.run import Source

Floats = NDArray[np.float64]

ARMS = ("landscape", "held")
BLOCK_NS = 900 * 10**9
DRAWS = 1_000
MIN_BLOCKS = 10
"""Fewest blocks with bids for an interval."""
_CHUNK = 5_000
BIDS, WINS, SPEND, WORTH = range(4)
"""What is summed up: of wins the nanos that they cost and were worth."""


class Range(msgspec.Struct, frozen=True):
    """A figure and its 95 % interval; None where it is not defined, or blocks are too few for ends."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Arm(msgspec.Struct, frozen=True):
    """One arm.

    share: of the traffic. bids, wins: counted; spend_nanos, worth_nanos: of wins, for one impression each.
    cost_per_win_nanos: mean price. surplus_nanos: worth less price of wins, scaled to the whole traffic; wins_scaled
    and spend_scaled_nanos likewise.
    """

    share: float
    bids: int
    wins: int
    spend_nanos: int
    worth_nanos: int
    cost_per_win_nanos: Range
    surplus_nanos: Range
    wins_scaled: Range
    spend_scaled_nanos: Range


class Compared(msgspec.Struct, frozen=True):
    """Both arms of a run.

    saving: 1 - cost per win of the landscape over that of what was held out. gain_nanos: surplus of the landscape
    less that of what was held out, on the whole traffic. blocks: of time, with bids. explored: bids moved by chance.
    left_out: bids without a known outcome, by cause.
    """

    landscape: Arm
    held: Arm
    saving: Range
    gain_nanos: Range
    blocks: int
    explored: int
    left_out: dict[str, int]


class Outcome(NamedTuple):
    """A bid of an arm: when it was made, whether it won, what it cost then, what a win was worth; CPM micros."""

    at_ns: int
    arm: str
    won: bool
    price: int
    worth: int
    moved: bool


def compare_run(source: Source, *, block_ns: int = BLOCK_NS, draws: int = DRAWS, seed: int = 1) -> Compared:
    """Reads the decision log and the books of a run.

    Args:
        source: the run. block_ns: length of a block of the bootstrap. draws, seed: of it.

    Raises:
        InputError: parts are missing or damaged, settings changed between starts, or an arm has no bid.
    """
    share, wait_ns = _terms(source)
    left_out: Counter[str] = Counter()
    with Database(source.place) as database, source.decisions.open("rb") as log:
        bids = (bid for bid in read_bids(log, left_out, 0, FAR_NS) if bid.arm)
        found = list(outcomes_of(bids, BookedEvents(database), _losses(source), left_out, wait_ns))
    return compared(found, share, +left_out, block_ns=block_ns, draws=draws, seed=seed)


def outcomes_of(
    bids: Iterable[Decision], events: BookedEvents, losses: Losses, left_out: Counter[str], wait_ns: int
) -> Iterator[Outcome]:
    """What became of bids with an arm; those whose outcome is not known yet are counted as `open`.

    Args:
        bids: rows of the log. events, losses: that were told of them. left_out: counts.
        wait_ns: how long after a bid nothing more is waited for.
    """
    bids = iter(bids)
    while chunk := list(islice(bids, _CHUNK)):
        booked = events.of(bid.bid_id for bid in chunk)
        for bid in chunk:
            lost = bid.bid_id in losses
            over = lost or bid.at_ns + wait_ns < events.known_until_ns
            state = outcome_of(booked.get(bid.bid_id, ()), events.known_until_ns, over=over)
            if state.state == "open":
                left_out["open"] += 1
                continue
            won = state.state != "lost"
            paid = bid.bid_cpm_micros if state.price_cpm_micros is None else round(state.price_cpm_micros)
            moved = bid.explore_factor > 0
            yield Outcome(bid.at_ns, bid.arm, won, paid if won else 0, bid.worth_cpm_micros, moved)


def compared(
    found: Sequence[Outcome],
    held_share: float,
    left_out: dict[str, int] | None = None,
    *,
    block_ns: int = BLOCK_NS,
    draws: int = DRAWS,
    seed: int = 1,
) -> Compared:
    """Compares the arms.

    Args:
        found: bids with their outcome. held_share: share of the opportunities that were held out.

    Raises:
        InputError: an arm has no bid.
    """
    counts = Counter(one.arm for one in found)
    if missing := [arm for arm in ARMS if not counts[arm]]:
        raise InputError(
            f"run must have bids of both arms, has none {' and none '.join(missing)}: bid at first price with "
            "landscape_file in [bid] and holdout in [shading] above 0; `clearbid models landscape` makes that file, "
            "of `clearbid export RUN --with-lost`"
        )
    blocks, sums = _by_block(found, block_ns)
    shares = np.array([1.0 - held_share, held_share])
    enough = len(sums) >= MIN_BLOCKS
    drawn = np.array([np.tensordot(times, sums, 1) for times in draws_of(len(sums), draws, seed)])
    whole, spread = _figures(sums.sum(axis=0), shares), _figures(drawn, shares)
    ranges = {name: _range(whole[name], spread[name], enough=enough) for name in whole}
    ours, theirs = (
        _arm(arm, float(share), row, ranges)
        for arm, share, row in zip(ARMS, shares, sums.sum(axis=0), strict=True)
    )
    moved = sum(one.moved for one in found)
    return Compared(ours, theirs, ranges["saving"], ranges["gain"], blocks, moved, dict(left_out or {}))


def _by_block(found: Sequence[Outcome], block_ns: int) -> tuple[int, Floats]:
    """How many blocks have bids, and float64[blocks, arms, 4] sums."""
    at = np.array([one.at_ns for one in found], dtype=np.int64) // block_ns
    _, block = np.unique(at, return_inverse=True)
    arm = np.array([ARMS.index(one.arm) for one in found])
    rows = np.array([(1, one.won, one.price, one.worth if one.won else 0) for one in found], dtype=np.float64)
    count = int(block.max()) + 1
    sums = np.zeros((count, len(ARMS), 4))
    np.add.at(sums, (block, arm), rows)
    return count, sums


def _figures(sums: Floats, shares: Floats) -> dict[str, Floats]:
    """All figures of float64[..., arms, 4] sums; NaN where there is nothing to divide by."""
    scaled = sums / shares[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = sums[..., SPEND] / sums[..., WINS]
        saving = 1.0 - cost[..., 0] / cost[..., 1]
    surplus = scaled[..., WORTH] - scaled[..., SPEND]
    found = {"saving": saving, "gain": surplus[..., 0] - surplus[..., 1]}
    for place, arm in enumerate(ARMS):
        found |= {
            f"cost {arm}": cost[..., place],
            f"surplus {arm}": surplus[..., place],
            f"wins {arm}": scaled[..., place, WINS],
            f"spend {arm}": scaled[..., place, SPEND],
        }
    return found


def _range(value: Floats, draws: Floats, *, enough: bool) -> Range:
    if not np.isfinite(value):
        return Range(None)
    known = draws[np.isfinite(draws)]
    # Where many draws have no figure, those that have are no fair sample of them.
    if not enough or len(known) < 0.95 * len(draws):
        return Range(float(value))
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return Range(float(value), low, high)


def _arm(arm: str, share: float, sums: Floats, ranges: dict[str, Range]) -> Arm:
    bids, wins, spend, worth = (round(float(one)) for one in sums)
    return Arm(
        share, bids, wins, spend, worth,
        *(ranges[f"{name} {arm}"] for name in ("cost", "surplus", "wins", "spend")),
    )  # fmt: skip


def _terms(source: Source) -> tuple[float, int]:
    """The share that was held out and the longest wait for an outcome, by the headers of the run's journals."""
    shares, waits = set(), [0]
    for path in journals_of(source.folder):
        with closing(read_journal(path)) as journal:
            settings = settings_of(journal, path)
        shares.add(settings.shading.holdout)
        waits.append(settings.longest_wait_ns)
    if len(shares) != 1 or not min(shares) > 0:
        raise InputError(
            f"holdout of the starts of {source.folder} must be one share above 0, was "
            f"{', '.join(f'{share:g}' for share in sorted(shares))}: compare a run of one setting"
        )
    return float(shares.pop()), max(waits)


def _losses(source: Source) -> Losses:
    def told() -> Iterator[str]:
        for path in journals_of(source.folder):
            with closing(read_journal(path)) as journal:
                yield from losses_told(journal)

    return Losses(told())
