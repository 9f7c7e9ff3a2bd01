"""From a history on disk to a study: campaign, strata, the controller that the log shows, delays of conversions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.estimate.controller import Controller, value_of
from simulator.estimate.doubly import sigma_of
from simulator.estimate.lateness import Lateness, learned
from simulator.estimate.study import Scenario, Study
from simulator.history.auctions import Auctions
from simulator.history.conditions import where_of
from simulator.history.file import History
from simulator.history.loading import load_auctions
from simulator.history.strata import HOURS, TENTHS

Floats = NDArray[np.float64]

LEVELS = ("placement", "prediction", "hour")
"""Of strata; predictions and time also stand in the reference price, so that placement alone is the default."""
FIRST_BIDS = 20
"""Bids that the multiplier at the begin is read from."""
CAP_FACTOR = 4.0
"""The highest bid over the highest logged one, where no cap is given; beyond the support all is refused."""
TICKS = 1_000_000
_TIMES = ("campaign", "offered_ns", "clicked_ns", "converted_ns", "known_until_ns")


@dataclass(frozen=True)
class Asked:
    """A study of a history, and what it was asked.

    Attributes:
        study: the log. scenarios: what is asked. wins_only: whether the history lacks what was lost.
        currency: of its money. source: of the history.
    """

    study: Study
    scenarios: tuple[Scenario, ...]
    wins_only: bool
    currency: str
    source: str


def ask(
    path: Path,
    campaign: str,
    *,
    budget_shares: Sequence[float] = (),
    bid_factors: Sequence[float] = (),
    strata: Sequence[str] = ("placement",),
    where: Sequence[str] = (),
    max_bid_nanos: int | None = None,
) -> Asked:
    """Reads one campaign of a history and makes it ready.

    Args:
        path: of the history. campaign: its name. budget_shares: budgets as shares of what the log spent.
            bid_factors: of the logged bids.
        strata: levels of the strata, of `LEVELS`. where: conditions of what is bid for, see `conditions`.
        max_bid_nanos: highest bid.

    Raises:
        InputError: no such history or campaign, no prediction in it, nothing spent, or a name that is not there.
    """
    history = History(path)
    log = load_auctions(path, campaign)
    spent = int(log.paid_nanos.sum())
    if not (value_of(log) > 0.0).any():
        raise InputError(
            f"campaign {campaign} of {path} must have click_probability and worth_nanos above 0 to be "
            "bid for again, has no such row"
        )
    if spent <= 0:
        raise InputError(f"campaign {campaign} of {path} must have spent money, has spent nothing")
    log = log._replace(stratum=_levels(log.stratum, strata))
    mask = where_of(path, campaign, where)
    study = Study(log, controller_of(log, max_bid_nanos), lateness_of(history, campaign), mask)
    scenarios = [Scenario(max(1, round(spent * share))) for share in budget_shares]
    scenarios += [Scenario(None, factor) for factor in bid_factors]
    return Asked(study, tuple(scenarios), history.meta.wins_only, history.meta.currency, path.name)


def controller_of(log: Auctions, cap_nanos: int | None = None) -> Controller:
    """The controller that a log shows: first multiplier, shade, exploration; steps are the bidder's default."""
    value = value_of(log)
    bid = np.flatnonzero((log.bid_nanos > 0) & (value > 0.0))
    cap = cap_nanos or int(CAP_FACTOR * max(log.bid_nanos.max(initial=1), log.price_nanos.max(initial=1)))
    if not len(bid):
        return Controller(0.5, cap)
    plain = bid[~np.isfinite(log.density[bid])]
    ratio = log.bid_nanos[bid] / value[bid]
    second = ratio[~log.first_price[bid]]
    # Where both auctions are in the log, what first price bids less is the shade; else it is in the multiplier.
    shade = 1.0
    if len(second) and len(second) < len(bid):
        shade = min(1.0, float(np.median(ratio[log.first_price[bid]]) / np.median(second)))
    begun = plain[:FIRST_BIDS] if len(plain) else bid[:FIRST_BIDS]
    shaded = np.where(log.first_price[begun], shade, 1.0)
    start = float(np.median(log.bid_nanos[begun] / value[begun] / shaded))
    return Controller(
        start=min(start, 1.0),
        cap_nanos=cap,
        shade=shade,
        tick=max(1, log.opportunities // TICKS),
        explored=1.0 - len(plain) / len(bid),
        sigma=sigma_of(log.density[bid]),
    )


def lateness_of(history: History, campaign: str) -> Lateness | None:
    """Delays of conversions as the history shows them; None where it tells no times, or too few."""
    clicked, converted, known = [], [], []
    for table in history.tables(_TIMES):
        own = table.filter(pc.fill_null(pc.equal(table.column("campaign"), campaign), False))
        dated = own.filter(
            pc.and_(pc.is_valid(own.column("converted_ns")), pc.is_valid(own.column("known_until_ns")))
        )
        at = pc.coalesce(dated.column("clicked_ns"), dated.column("offered_ns"))
        clicked.append(at.to_numpy())
        converted.append(dated.column("converted_ns").to_numpy())
        known.append(dated.column("known_until_ns").to_numpy())
    if not known or not sum(map(len, known)):
        return None
    begin, end, until = (np.concatenate(part).astype(np.int64) for part in (clicked, converted, known))
    return learned(end - begin, until - begin, int(until.max()))


def _levels(stratum: NDArray[np.int32], levels: Sequence[str]) -> NDArray[np.int32]:
    """Strata of a history by fewer levels."""
    unknown = [level for level in levels if level not in LEVELS]
    if unknown:
        raise InputError(f"--strata must name levels of {', '.join(LEVELS)}, was {', '.join(unknown)}")
    rest, hour = np.divmod(stratum, HOURS)
    place, tenth = np.divmod(rest, TENTHS + 1)
    parts = {"placement": place, "prediction": tenth, "hour": hour}
    found: NDArray[np.int64] = np.zeros(len(stratum), dtype=np.int64)
    for level in levels:
        found = found * (int(parts[level].max(initial=0)) + 1) + parts[level]
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


def numbers_of(text: str, option: str) -> list[float]:
    """`.5,1,2` as numbers above 0.

    Raises:
        InputError: one is not.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not (0.0 < value < 1e6):
            raise InputError(
                f"{option} must be numbers above 0 with commas between, such as .5,1,2, was {text}"
            )
        found.append(value)
    return found
