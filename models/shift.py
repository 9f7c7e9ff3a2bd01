"""How far two samples of one thing differ, and how far they would by chance.

- *PSI*, the population stability index: sum of (q - p) ln(q / p) over bins, p and q the shares of reference and fresh
  rows, half a row added to every bin, so that an empty one is not infinitely strange. Below 0.1 samples are alike,
  above 0.25 they are not (Siddiqi, Credit Risk Scorecards, 2006). Without drift it is about (1/n + 1/m) times a
  chi-squared with bins - 1 degrees of freedom (Yurdakul, 2018).
- Bins are tenths of the reference for numbers, its most frequent values for texts; missing is a bin of its own.
- *KS*, the largest distance of the two empirical distribution functions (Smirnov, 1948).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BINS, TOP = 10, 20

Floats = NDArray[np.float64]


def psi(reference: Floats, fresh: Floats) -> float:
    """Population stability index of counts float64[bins], half a row added to each."""
    p = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
    q = (fresh + 0.5) / (fresh.sum() + 0.5 * len(fresh))
    return float(((q - p) * np.log(q / p)).sum())


def psi_limit(bins: int, n: int, m: int, alpha: float) -> float:
    """What the index exceeds by chance with probability `alpha`; n and m are the rows on both sides."""
    from scipy.special import chdtri

    return float(chdtri(max(bins - 1, 1), alpha)) * (1.0 / max(n, 1) + 1.0 / max(m, 1))


def ks(reference: Floats, fresh: Floats) -> float:
    """Largest distance of the two empirical distribution functions; 0 where a side is empty."""
    if not len(reference) or not len(fresh):
        return 0.0
    a, b = np.sort(reference), np.sort(fresh)
    points = np.concatenate((a, b))
    gaps = np.searchsorted(a, points, "right") / len(a) - np.searchsorted(b, points, "right") / len(b)
    return float(np.abs(gaps).max())


def ks_limit(n: int, m: int, alpha: float) -> float:
    """Smirnov's limit: what the distance exceeds by chance with probability `alpha`, at most."""
    if not n or not m:
        return 1.0
    return math.sqrt(-math.log(alpha / 2.0) / 2.0 * (n + m) / (n * m))


def number_bins(reference: Floats, fresh: Floats) -> tuple[Floats, Floats]:
    """Counts of two samples of a number by the tenths of the first; the last bin holds what is missing (NaN)."""
    known = reference[~np.isnan(reference)]
    tenths = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.unique(np.quantile(known, tenths)) if len(known) else np.empty(0)

    def counts(sample: Floats) -> Floats:
        seen = sample[~np.isnan(sample)]
        inside = np.bincount(np.searchsorted(edges, seen, "left"), minlength=len(edges) + 1)
        return np.append(inside, len(sample) - len(seen)).astype(np.float64)

    return counts(reference), counts(fresh)


def text_bins(
    reference: Mapping[str, int], fresh: Mapping[str, int], missing: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Counts by the `TOP` most frequent texts of the first sample, all other texts, and what is missing.

    Args:
        reference, fresh: how often each text is there. missing: rows without one, of each.
    """
    top = sorted(reference, key=lambda text: (-reference[text], text))[:TOP]

    def counts(sample: Mapping[str, int], absent: int) -> Floats:
        known = [sample.get(text, 0) for text in top]
        return np.array([*known, sum(sample.values()) - sum(known), absent], dtype=np.float64)

    return counts(reference, missing[0]), counts(fresh, missing[1])


def psi_of_bins(reference: Floats, fresh: Floats) -> float:
    """PSI over the bins that either sample has rows in; 0 where there is only one."""
    used = (reference + fresh) > 0
    return psi(reference[used], fresh[used]) if used.sum() > 1 else 0.0
