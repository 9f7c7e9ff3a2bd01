"""How far a landscape can be trusted: bands of its curves, and its errors on later rows.

The errors are those of a landscape fitted to the earlier rows alone. They are:

- *win-rate error*: bids of later rows in ten groups of equal size by predicted P(win | bid); in each, the
  difference of the predicted and the real share of wins; weighted mean and largest;
- *log loss* of win or loss, nats, beside that of always saying the mean;
- *KL*: sum q log(q / p) over the bins of the grid up to the 99th percentile of later bids, and one bin for
  all above; q is the later rows' own curve of all, p the fitted one, both with a thousandth of their mass
  spread evenly. It holds the noise of both, so that it is not 0 even for a perfect fit.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import TrainingTable
from models.errors import TableError
from models.landscape.counts import Counts, empty_counts
from models.landscape.curves import Landscape, fit_landscape, parents_of
from models.landscape.estimate import bin_masses, survival_of
from models.landscape.observations import EXACT, Observations

SMOOTHING = 1e-3
REACH = 0.99
GROUPS = 10

Floats = NDArray[np.float64]
Tell = Callable[[int, int], None]


class WinGroup(msgspec.Struct, frozen=True):
    """Later bids of similar predicted win probability: weight, mean predicted, share that won."""

    bids: float
    predicted: float
    won: float


class LaterRows(msgspec.Struct, frozen=True, kw_only=True):
    """Errors on rows later than all that the curves were fitted to.

    Attributes:
        fitted_rows, rows: how many rows were fitted to, and how many are later.
        win_rate, predicted: shares of wins.
        mean_error, largest_error: of the ten groups, absolute.
        log_loss, log_loss_of_mean: nats a bid.
        kl: nats; None where the later rows know no price.
        groups: the ten groups.
    """

    fitted_rows: int
    rows: int
    win_rate: float
    predicted: float
    mean_error: float
    largest_error: float
    log_loss: float
    log_loss_of_mean: float
    kl: float | None
    groups: tuple[WinGroup, ...]


def on_later_rows(
    table: TrainingTable, seen: Observations, fitted: Landscape, *, share: float = 0.25, min_rows: int
) -> LaterRows:
    """Fits the earlier rows as `fitted` was, and measures on the later ones.

    Args:
        table, seen: what `fitted` was made from.
        fitted: gives grid, levels, half-life and shrinkage.
        share: of the rows that are later; rows of one time stay together.
        min_rows: fewest rows of a stratum.

    Raises:
        TableError: too few rows, or all at one time.
    """
    at = seen.at_ns[min(int(len(seen) * (1.0 - share)), len(seen) - 1)]
    cut = int(np.searchsorted(seen.at_ns, at, side="left"))
    if cut == 0:
        raise TableError(f"table {table.source} must spread over time so that later rows can be held out")
    earlier, later = seen.slice(0, cut), seen.slice(cut, len(seen))
    model = fit_landscape(
        table, fitted.strata.by, grid=fitted.grid, half_life_ns=fitted.counts.half_life_ns,
        shrinkage=fitted.shrinkage, min_rows=min_rows, seen=earlier,
    )  # fmt: skip
    return errors_on(table, later, model, fitted_rows=cut)


def errors_on(
    table: TrainingTable, later: Observations, model: Landscape, *, fitted_rows: int = 0
) -> LaterRows:
    """The errors of a landscape on rows that it was not made from.

    Args:
        table: that the rows are of. later: the rows. model: fitted before them.
        fitted_rows: how many rows it was fitted to, for the report; 0 where not known.
    """
    places = model.strata.encode(table, later.rows)
    p = np.clip(model.win_probability(later.bid_cpm_micros, places), SMOOTHING, 1.0 - SMOOTHING)
    groups = win_groups(p, later.won, later.weight)
    weights = np.array([group.bids for group in groups])
    errors = np.array([abs(group.predicted - group.won) for group in groups])
    mean = float(np.average(later.won, weights=later.weight))
    return LaterRows(
        fitted_rows=fitted_rows,
        rows=len(later),
        win_rate=mean,
        predicted=float(np.average(p, weights=later.weight)),
        mean_error=float(np.average(errors, weights=weights)),
        largest_error=float(errors.max()),
        log_loss=_log_loss(p, later),
        log_loss_of_mean=_log_loss(np.full(len(p), min(max(mean, SMOOTHING), 1.0 - SMOOTHING)), later),
        kl=_kl_of(model, later, places) if (later.kind == EXACT).any() else None,
        groups=groups,
    )


def win_groups(p: Floats, won: NDArray[np.bool_], weight: Floats) -> tuple[WinGroup, ...]:
    """Bids in `GROUPS` groups of equally many rows by predicted win probability."""
    parts = np.array_split(np.argsort(p, kind="stable"), min(GROUPS, len(p)))
    return tuple(
        WinGroup(
            float(weight[part].sum()),
            float(np.average(p[part], weights=weight[part])),
            float(np.average(won[part], weights=weight[part])),
        )
        for part in parts
    )


def kl_divergence(q: Floats, p: Floats, smoothing: float = SMOOTHING) -> float:
    """Sum of q log(q / p), nats, over common bins; some of the mass of each is spread evenly."""
    even = smoothing / len(q)
    q, p = q * (1.0 - smoothing) + even, p * (1.0 - smoothing) + even
    return float((q * np.log(q / p)).sum())


def _log_loss(p: Floats, later: Observations) -> float:
    return float(np.average(-np.where(later.won, np.log(p), np.log1p(-p)), weights=later.weight))


def _kl_of(model: Landscape, later: Observations, places: NDArray[np.int64]) -> float:
    """Of the curve of all auctions: the fitted one, and the later rows' own."""
    counts = empty_counts(model.grid, len(model.strata))
    counts.update(later, places)
    truth = bin_masses(counts, parents_of(model.strata), model.shrinkage, only=())[0]
    # Above nearly all bids a product limit hangs on a handful of rows.
    reached = int(np.searchsorted(model.grid, np.quantile(later.bid_cpm_micros, REACH), side="right"))
    fitted = 1.0 - np.concatenate([model.survival[0], [0.0]])
    mass = np.diff(np.concatenate([[0.0], fitted]))
    return kl_divergence(_up_to(truth, reached), _up_to(mass, reached))


def _up_to(mass: Floats, reached: int) -> Floats:
    head = mass[:reached]
    return np.append(head, max(1.0 - float(head.sum()), 0.0))


def bands(
    landscape: Landscape,
    seen: Observations,
    places: NDArray[np.int64],
    strata: Sequence[int],
    *,
    draws: int,
    seed: int,
    level: float = 0.95,
    tell: Tell = lambda _done, _total: None,
) -> tuple[Floats, Floats]:
    """Percentile bands of P(win | bid) by bootstrap of rows (each drawn a Poisson number of times).

    Args:
        landscape: the fit. seen, places: its rows and their strata.
        strata: which curves to band.
        draws: how many times to fit again. seed: of the draws.
        level: share of the draws between low and high.
        tell: told how many draws are done.

    Returns:
        Two float64[len(strata), G]: low and high win probability at each point.
    """
    random = np.random.default_rng(seed)
    parents = parents_of(landscape.strata)
    needed = _with_parents(parents, strata)
    found = np.empty((draws, len(strata), len(landscape.grid)))
    for draw in range(draws):
        counts = _drawn(landscape, seen, places, random.poisson(1.0, len(seen)).astype(np.float64))
        masses = bin_masses(counts, parents, landscape.shrinkage, needed)
        found[draw] = 1.0 - survival_of(masses)[list(strata)]
        tell(draw + 1, draws)
    low, high = np.quantile(found, [(1.0 - level) / 2, (1.0 + level) / 2], axis=0)
    return low, high


def _drawn(landscape: Landscape, seen: Observations, places: NDArray[np.int64], times: Floats) -> Counts:
    counts = empty_counts(landscape.grid, len(landscape.strata), landscape.counts.half_life_ns)
    counts.update(seen, places, times)
    return counts


def _with_parents(parents: NDArray[np.int64], strata: Sequence[int]) -> set[int]:
    needed = set()
    for place in strata:
        at = int(place)
        while at not in needed:
            needed.add(at)
            at = int(parents[at])
    return needed
