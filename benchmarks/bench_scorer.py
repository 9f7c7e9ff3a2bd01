"""The compiled scorer against LightGBM and compilers of its models: microseconds of CPU a row.

    python -m benchmarks.bench_scorer [--json FILE] [--rounds N] [--shapes 100x31] [--compile-all]
    pytest benchmarks/bench_scorer.py -s

Four models (`scorer_models.py`): 100 x 31 and 300 x 63, native categories and numbers. A batch of n rows is one
request with n candidates: what a bidder scores at once. Everything is called from Python, the call included, one
thread, CPU time. *Ours, whole rows* bins every feature of every row; *ours, factorised* bins and ANDs the request
once, and line items were ANDed when they were loaded. All ways take turns within a round, so that what else the
machine does falls on all of them; a figure is the median of the rounds, a ratio that of the medians. The largest
difference is that of raw scores to Booster.predict.

*One more candidate* is the slope between 8 and 256 candidates. Its *pair features* (of request and line item at once)
are binned and ANDed for each candidate; no feature of the bidder is of that kind yet.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numba import njit

from benchmarks.scorer_models import (
    CAMPAIGN,
    FEATURES,
    REQUEST,
    SHAPES,
    Floats,
    Shape,
    Trained,
    request_rows,
    trained,
)
from benchmarks.scorer_rivals import Rival, rivals
from models import kernels
from models.compile import LeafMaskTable, compile_boosters
from models.scorer import RowScorer, check_table

BATCHES = (1, 32, 512)
PAIRS = 4
"""Features of request and line item together: the last ones of the line item, binned again for each candidate."""
TURN_S = 0.02
REFERENCE = "Booster.predict"


class Cell(msgspec.Struct, frozen=True):
    """Microseconds a row: median, least and greatest of the rounds; the reference's median over this one."""

    us: float
    least_us: float
    greatest_us: float
    ratio: float


class Line(msgspec.Struct, frozen=True):
    """One way to score one model; without cells where it could not be measured, and why."""

    model: str
    way: str
    cells: dict[int, Cell]
    largest_difference: float | None
    why: str = ""


class Candidate(msgspec.Struct, frozen=True):
    """Nanoseconds of one more candidate: slope between few and many."""

    model: str
    plain_ns: float
    with_pairs_ns: float


class Result(msgspec.Struct, frozen=True):
    """A run, and on what machine it was made."""

    machine: str
    load: tuple[float, float, float]
    rounds: int
    lines: list[Line]
    candidates: list[Candidate]


@njit(cache=True)
def score_candidates(
    request, features, pairs, values, n, bins, thresholds, category_rows, masks, leaf_values, own, out
):
    """Raw scores of the first n line items for one request.

    Args:
        request: float64[F]. features: places in `bins` of the request's features. pairs: likewise, binned for each
            candidate from float64[line items, F] `values`; none or four.
        own: [line items, trees], ANDed from their own features.
    """
    rows = np.empty(features.shape[0] + pairs.shape[0], dtype=np.int64)
    for k in range(features.shape[0]):
        u = features[k]
        rows[k] = kernels.bin_one(request[bins[u, 0]], u, bins, thresholds, category_rows)
    left = np.empty(masks.shape[1], dtype=masks.dtype)
    kernels.and_rows(masks, rows, features.shape[0], left)
    both = np.empty(masks.shape[1], dtype=masks.dtype)
    for c in range(n):
        if pairs.shape[0] == 0:
            out[c] = kernels.raw_score(left, own[c], leaf_values, 0, masks.shape[1])
            continue
        for k in range(pairs.shape[0]):
            rows[k] = kernels.bin_one(values[c, bins[pairs[k], 0]], pairs[k], bins, thresholds, category_rows)
        p, q, r, s = rows[0], rows[1], rows[2], rows[3]
        for t in range(both.shape[0]):
            both[t] = left[t] & masks[p, t] & masks[q, t] & masks[r, t] & masks[s, t]
        out[c] = kernels.raw_score(both, own[c], leaf_values, 0, masks.shape[1])


class Factorised:
    """A request's features once, then one AND, count and sum for each candidate.

    Args:
        table: compiled. values: float64[line items, F], rows of one request. pairs: how many of the line items'
            features depend on the request too.
    """

    def __init__(self, table: LeafMaskTable, values: Floats, pairs: int = 0) -> None:
        bins = table.bins()
        used = bins[:, 0].tolist()
        place = {feature: u for u, feature in enumerate(used)}
        line = [feature for feature in CAMPAIGN.tolist() if feature in place]
        fixed, moving = (line[:-pairs], line[-pairs:]) if pairs else (line, [])
        self._request = values[0].copy()
        self._values = values
        self._features = np.array([place[one] for one in REQUEST.tolist() if one in place], dtype=np.int64)
        self._pairs = np.array([place[one] for one in moving], dtype=np.int64)
        arrays = (bins, table.thresholds, table.category_rows)
        self._own = np.empty((len(values), table.n_trees), dtype=table.masks.dtype)
        for row, own in zip(values, self._own, strict=True):
            places = [kernels.bin_one(row[one], place[one], *arrays) for one in fixed]
            kernels.and_rows(table.masks, np.array(places, dtype=np.int64), len(places), own)
        self._arrays = (*arrays, table.masks, table.leaf_values, self._own)

    def score(self, n: int) -> Floats:
        """Raw scores of the first n candidates."""
        out = np.empty(n)
        score_candidates(self._request, self._features, self._pairs, self._values, n, *self._arrays, out)
        return out


def measure(
    shapes: tuple[Shape, ...] = SHAPES,
    rounds: int = 7,
    *,
    compile_all: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
) -> Result:
    """Everything, model by model."""
    lines: list[Line] = []
    candidates: list[Candidate] = []
    for shape in shapes:
        tell(f"{shape.name}: train and compile")
        model = trained(shape)
        table = compile_boosters([model.text], FEATURES)
        check_table(table, [model.text])
        rows = np.ascontiguousarray(model.rows(request_rows(np.random.default_rng(8), max(BATCHES))))
        with tempfile.TemporaryDirectory() as folder:
            small = shape.trees <= 100 and not shape.native
            others = rivals(model, Path(folder), compiled=small or compile_all)
            tell(f"{shape.name}: measure")
            lines += _lines(model, table, rows, others, rounds)
        candidates.append(_candidate(shape.name, table, rows, rounds))
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, LightGBM and Numba "
    machine += " and ".join(_versions())
    return Result(machine, os.getloadavg(), rounds, lines, candidates)


def _versions() -> list[str]:
    from importlib.metadata import version

    return [version("lightgbm"), version("numba")]


def _lines(
    model: Trained, table: LeafMaskTable, rows: Floats, others: list[Rival], rounds: int
) -> list[Line]:
    whole, factorised = RowScorer(table), Factorised(table, rows)
    ways: list[Rival] = [
        Rival("ours, whole rows", lambda given: whole(given)[:, 0]),
        Rival("ours, factorised", lambda given: factorised.score(len(given))),
        *others,
    ]
    able = {one.name: one.score for one in ways if one.score is not None}
    expected = able[REFERENCE](rows)
    times: dict[tuple[str, int], list[float]] = {(name, n): [] for name in able for n in BATCHES}
    batches = {n: np.ascontiguousarray(rows[:n]) for n in BATCHES}
    for _ in range(rounds):
        for n, given in batches.items():
            for name, score in able.items():
                times[name, n].append(_us(score, given) / n)
    medians = {key: statistics.median(found) for key, found in times.items()}
    return [
        Line(
            model.shape.name,
            one.name,
            {
                n: Cell(
                    medians[one.name, n], min(found), max(found), medians[REFERENCE, n] / medians[one.name, n]
                )
                for n in BATCHES
                if (found := times.get((one.name, n)))
            },
            float(np.abs(one.score(rows) - expected).max()) if one.score is not None else None,
            one.why,
        )
        for one in ways
    ]


def _us(call: Callable[..., object], *arguments: Any) -> float:
    """Microseconds of CPU a call, over as many calls as a turn has time for."""
    call(*arguments)
    calls, began = 0, time.thread_time_ns()
    end = began + int(TURN_S * 1e9)
    while (now := time.thread_time_ns()) < end or calls < 3:
        for _ in range(8):
            call(*arguments)
        calls += 8
    return (now - began) / calls / 1e3


def _candidate(name: str, table: LeafMaskTable, rows: Floats, rounds: int) -> Candidate:
    few, many = 8, 256
    plain, pairs = Factorised(table, rows), Factorised(table, rows, PAIRS)
    assert (plain.score(many) == pairs.score(many)).all(), "pair features must not change a score"
    slopes: dict[int, list[float]] = {0: [], PAIRS: []}
    for _ in range(rounds):
        for count, one in ((0, plain), (PAIRS, pairs)):
            slopes[count].append((_us(one.score, many) - _us(one.score, few)) / (many - few) * 1e3)
    return Candidate(name, statistics.median(slopes[0]), statistics.median(slopes[PAIRS]))


# -- what is printed ----------------------------------------------------------------------------------------------


def table_of(result: Result) -> str:
    """The tables of `benchmarks/README.md`, in Markdown."""
    out = [
        f"{result.machine}; load {', '.join(f'{one:.1f}' for one in result.load)}; {result.rounds} rounds",
        "",
    ]
    head = "".join(f" {n} |" for n in BATCHES)
    for model in dict.fromkeys(line.model for line in result.lines):
        out += [
            f"| {model}, us/row (ratio) |{head} largest difference |",
            f"|---|{'---|' * (len(BATCHES) + 1)}",
        ]
        for line in (one for one in result.lines if one.model == model):
            if line.largest_difference is None:
                out.append(f"| {line.way} | {line.why} |{' |' * len(BATCHES)}")
                continue
            cells = "".join(f" {cell.us:.2f} ({cell.ratio:.1f}x) |" for cell in line.cells.values())
            out.append(f"| {line.way} |{cells} {line.largest_difference:.1g} |")
        out.append("")
    out += [f"| one more candidate, ns | plain | with {PAIRS} pair features |", "|---|---|---|"]
    out += [f"| {one.model} | {one.plain_ns:.0f} | {one.with_pairs_ns:.0f} |" for one in result.candidates]
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("native", [True, False])
def test_scorer(native, capsys):
    """The small models, quickly: prints the table, and holds the bits to LightGBM's."""
    result = measure(tuple(one for one in SHAPES if one.trees == 100 and one.native == native), rounds=3)
    with capsys.disabled():
        print("\n\n" + table_of(result))
    ways = {line.way: line for line in result.lines}
    for name in ("ours, whole rows", "ours, factorised", "C API PredictForMat", "C API single-row fast"):
        assert ways[name].largest_difference == 0.0, name


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_scorer", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", default="", help="only models whose name begins so, as 100x31")
    parser.add_argument("--compile-all", action="store_true", help="let compilers of models take an hour")
    given = parser.parse_args()
    shapes = tuple(one for one in SHAPES if one.name.startswith(given.shapes))
    if not shapes or given.rounds < 1:
        parser.error(
            f"--shapes must begin one of {', '.join(one.name for one in SHAPES)}, and --rounds be > 0"
        )
    result = measure(
        shapes, given.rounds, compile_all=given.compile_all, tell=lambda text: print(text, file=sys.stderr)
    )
    print(table_of(result))
    if given.json is not None:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))


if __name__ == "__main__":
    main()
