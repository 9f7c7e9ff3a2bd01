"""The landscape and the calibration on recorded iPinYou prices and clicks, and what a lookup costs.

    CLEARBID_DATA=FOLDER python -m benchmarks.bench_landscape [--json FILE]

**Landscape.** The histogram of 15.4 million market prices (`train_price_histogram.csv`, fen per mille, 0 to 300) is
the truth of each campaign. A million auctions draw a price from it; log-normal bids (sigma 1) are set so that they
win 12, 24 or 47 %. Lost prices are hidden. Estimates from the same auctions: ours on a grid of all whole prices, the
winners' prices alone, and *all prices*, which no bidder has. KL is sum q log(q / p) in nats over the 301 prices, q
the truth, p the estimate, each with a thousandth of its mass spread evenly; *to p99* pools the prices above the 99th
percentile of the bids, where hardly anything was tried. *off* is the largest error of P(win) below 228 fen on the
usual grids of 96 and of 512 points. Published, for other bids and against later prices: Kaplan-Meier .0385, winners
alone .0893, all prices .0237 (Zhang et al., KDD 2016); how they smoothed is not said: only the order compares.

**Calibration.** `auctions.parquet` holds won impressions with the prediction of a published logistic regression. One
half of each source fits an isotonic table and a factor by price, the other measures: predicted over happened, and in
how many tenths by price and by prediction the exact 95 % interval leaves 1 out. `sam` sources are halved in their
order; `rlb_train_episode` are blocks of 1,000 rows that were chosen for holding a click, so their level says nothing,
their predictions are in-sample, and every second block measures.

**Lookups**: nanoseconds a bid, in a loop of compiled code.
"""

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

from models.calibration import calibrate, fit_calibration
from models.landscape.counts import empty_counts
from models.landscape.curves import Landscape, landscape_of
from models.landscape.grid import price_grid, with_jumps
from models.landscape.measure import kl_divergence
from models.landscape.observations import ABOVE, EXACT, Observations
from models.landscape.strata import Strata, Stratum
from models.reliability.factor import fit_price_factor
from models.reliability.ratios import Ratio, by_tenths, ratio_of

ROWS = 1_000_000
PRICES = 301
FEN = 10_000  # micros of a fen, so that a grid of whole micros has room between two prices
WIN_RATES = (0.12, 0.24, 0.47)
ALONE = Strata((), (), (Stratum((), 0, 0),))


def recorded(name: str) -> Path:
    """A recorded file; stops with what to set where it is not there."""
    folder = Path(os.environ.get("CLEARBID_DATA", "../shared/data"))
    if not (folder / "ipinyou" / name).is_file():
        raise SystemExit(
            f"needs recorded data ipinyou/{name}: set CLEARBID_DATA to the folder that holds ipinyou"
        )
    return folder / "ipinyou" / name


def histograms() -> dict[str, np.ndarray]:
    with recorded("train_price_histogram.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "market_price"]
    counts = {name: np.zeros(PRICES) for name in names}
    for row in rows:
        for name in names:
            counts[name][int(row["market_price"])] += float(row[name] or 0)
    return {"all": sum(counts.values()), **counts}


def auctions(truth: np.ndarray, win_rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prices of the truth, and bids that win about the share asked for."""
    random = np.random.default_rng(seed)
    z = random.choice(PRICES, ROWS, p=truth)
    noise = np.exp(random.normal(0.0, 1.0, ROWS))
    low, high = 1e-3, 1e6
    for _ in range(60):
        scale = np.sqrt(low * high)
        low, high = (low, scale) if (z <= scale * noise).mean() > win_rate else (scale, high)
    return z, np.maximum(np.rint(low * noise), 1.0)


def fit(z: np.ndarray, bid: np.ndarray, grid: np.ndarray) -> Landscape:
    """Prices are moved by half a fen, since a price of 0 is none: z counts as z + 0.5."""
    won = z <= bid
    rows = np.arange(len(z))
    beat, offered = (z + 0.5) * FEN, (bid + 0.5) * FEN
    observed = Observations(
        rows, np.where(won, EXACT, ABOVE).astype(np.int8), np.where(won, beat, offered), offered, won,
        np.ones(len(z)), rows, {},
    )  # fmt: skip
    counts = empty_counts(grid, 1)
    counts.update(observed, np.zeros(len(z), dtype=np.int64))
    return landscape_of(counts, ALONE)


def masses(landscape: Landscape) -> np.ndarray:
    """Probability of each whole price; what is left above the last goes to the last."""
    ends = (np.arange(PRICES) + 0.5) * FEN
    won = landscape.win_probability(ends)
    mass = np.diff(won, prepend=0.0)
    mass[-1] += 1.0 - won[-1]
    return mass


def landscapes() -> list[dict[str, float | str]]:
    exact = ((np.arange(PRICES) + 0.5) * FEN).astype(np.int64)
    grids = {points: price_grid(0.5 * FEN, 300.5 * FEN, points) for points in (96, 512)}
    out: list[dict[str, float | str]] = []
    for place, (name, counts) in enumerate(histograms().items()):
        truth = counts / counts.sum()
        for win_rate in WIN_RATES:
            z, bid = auctions(truth, win_rate, seed=100 * place + int(100 * win_rate))
            won = z <= bid
            ours = masses(fit(z, bid, exact))
            winners, everyone = (np.bincount(part, minlength=PRICES) / len(part) for part in (z[won], z))
            reach = int(np.quantile(bid, 0.99)) + 1
            row = {
                "campaign": name,
                "won": float(won.mean()),
                "ours": kl_divergence(truth, ours),
                "winners": kl_divergence(truth, winners),
                "all prices": kl_divergence(truth, everyone),
                "ours to p99": kl_divergence(pooled(truth, reach), pooled(ours, reach)),
                "winners to p99": kl_divergence(pooled(truth, reach), pooled(winners, reach)),
            }
            for points, grid in grids.items():
                known = with_jumps(grid, (z[won] + 0.5) * FEN)
                off = np.abs(np.cumsum(masses(fit(z, bid, known)) - truth)[:228]).max()
                row[f"off, {points}"] = float(off)
            out.append(row)
    return out


def pooled(mass: np.ndarray, reach: int) -> np.ndarray:
    """Prices from `reach` on as one."""
    return np.append(mass[:reach], max(mass[reach:].sum(), 0.0))


def shown(ratio: Ratio) -> str:
    if ratio.ratio is None:
        return "-"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high or float('nan'):.2f})"


def calibrations() -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    table = pq.read_table(recorded("auctions.parquet"))
    campaign, source = table["campaign"].to_numpy(), np.array(table["source"].to_pylist())
    click, price = table["click"].to_numpy().astype(float), table["market_price"].to_numpy().astype(float)
    both = [np.asarray(table[name].to_numpy(), dtype=float) for name in ("pctr_lr_insample", "pctr_lr_sam")]
    prediction = np.where(np.isnan(both[0]), both[1], both[0])
    out: list[dict[str, object]] = []
    block = table["seq_in_source"].to_numpy() // 1000
    for key in sorted(set(zip(campaign.tolist(), source.tolist(), strict=True))):
        rows = np.flatnonzero((campaign == key[0]) & (source == key[1]))
        later = block[rows] % 2 == 1 if "episode" in key[1] else np.arange(len(rows)) >= len(rows) // 2
        name = f"{key[0]} {key[1]}"
        out.append(calibration(name, prediction[rows], click[rows], price[rows] + 0.5, later))
    return out


def calibration(
    name: str, p: np.ndarray, labels: np.ndarray, price: np.ndarray, later: np.ndarray
) -> dict[str, object]:
    p = np.clip(p, 1e-7, 1.0 - 1e-7)
    raw = np.log(p) - np.log1p(-p)
    fitted = calibrate(fit_calibration(raw[~later], labels[~later]), raw)
    factor = fit_price_factor(fitted[~later], labels[~later], price[~later])
    states = {
        "published": p[later],
        "fitted": fitted[later],
        "with factor": factor.apply(fitted[later], price[later]),
    }
    found: dict[str, object] = {"source": name, "rows": int(later.sum()), "clicks": int(labels[later].sum())}
    for state, q in states.items():
        found[state] = shown(ratio_of(q, labels[later]))
        for key, values in (("price", price[later]), ("prediction", p[later])):
            tenths = by_tenths(values, q, labels[later])
            found[f"{state}, off by {key}"] = (
                f"{sum(t.plain.excludes_one() for t in tenths)} of {len(tenths)}"
            )
            found[f"{state}, tenths by {key}"] = [shown(tenth.plain) for tenth in tenths]
    return found


def lookups(bids: int = 1_000_000) -> dict[str, float]:
    random = np.random.default_rng(1)
    z, bid = random.integers(0, PRICES, 20_000), random.integers(1, PRICES, 20_000)
    landscape = fit(z, bid, price_grid(0.5 * FEN, 300.5 * FEN))
    asked, places = random.uniform(0, 301 * FEN, bids), np.zeros(bids, dtype=np.int64)
    out = {}
    for name, ask in (("win_probability", landscape.win_probability), ("mean_price", landscape.mean_price)):
        ask(asked[:10], places[:10])
        times = []
        for _ in range(7):
            begin = time.thread_time_ns()
            ask(asked, places)
            times.append((time.thread_time_ns() - begin) / bids)
        out[name] = float(np.median(times))
    begin = time.thread_time()
    fit(random.integers(0, PRICES, 1_000_000), random.integers(1, PRICES, 1_000_000), landscape.grid)
    return out | {"fit of 1,000,000 bids, s": time.thread_time() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description="Landscape and calibration on recorded data.")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    found = {"machine": platform.processor() or platform.machine(), "load": os.getloadavg()}
    found |= {"landscape": landscapes(), "calibration": calibrations(), "lookup_ns": lookups()}
    say(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def say(found: dict) -> None:
    names = [name for name in found["landscape"][0] if name != "campaign"]
    print("KL to the truth, nats")
    print("campaign  " + "  ".join(f"{name:>15}" for name in names))
    for row in found["landscape"]:
        print(f"{row['campaign']:>8}  " + "  ".join(f"{row[name]:15.4f}" for name in names))
    print("\npredicted over happened on the other half; tenths whose interval leaves 1 out")
    for row in found["calibration"]:
        print(f"{row['source']}: {row['rows']:,} rows, {row['clicks']} clicks")
        for state in ("published", "fitted", "with factor"):
            by = ", ".join(f"by {key} {row[f'{state}, off by {key}']}" for key in ("price", "prediction"))
            print(f"  {state:>12} {row[state]:<18} {by}")
    print("\n" + "; ".join(f"{name} {value:.3g}" for name, value in found["lookup_ns"].items()))


if __name__ == "__main__":
    main()
