"""Replay of a history: rows a CPU second through the engine, beside a plain Python loop; processes; memory.

    python -m benchmarks.bench_replay [--rows 1000000] [--lines 100] [--rounds 3] [--json FILE]

The history is made from a seed: dense traffic (1,200 rows a second), 100 line items with budgets that bind, a
prediction a row. Requests and scores are read once ("prepare"), then any number of budgets is played ("play"). The
rival is what one writes first: a loop over the same rows in memory, one dict a campaign, a bid, a price, a budget; it
knows no targeting, creative, reservation, notice or delay. All is timed in CPU time and in turns. Memory is the peak
of a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.figures import spread
from benchmarks.processes import machine
from bidder.core.campaigns import Campaign, Creative
from simulator.history.file import History, HistoryWriter
from simulator.history.schema import Meta, empty_columns
from simulator.playback.delays import stated
from simulator.playback.prepared import Piece
from simulator.playback.run import Plan, Run, dealt, expected, replay

BEGIN_NS = 1_772_409_600_000_000_000
ROWS_PER_SECOND = 1_200
ADVERTISERS = 10
PIECE = 65_536


def make_history(path: Path, rows: int, lines: int, seed: int = 1) -> None:
    """A history of `rows` opportunities, piece by piece."""
    rng = np.random.default_rng(seed)
    with HistoryWriter(path, Meta(source="made for a benchmark")) as writer:
        for begin in range(0, rows, PIECE):
            writer.add_table(_piece(rng, begin, min(PIECE, rows - begin), lines))


def _piece(rng: np.random.Generator, begin: int, n: int, lines: int) -> pa.Table:
    price, bid = (np.exp(rng.normal(13.5, sigma, n)).astype(np.int64) for sigma in (0.6, 0.5))
    ctr, won = rng.beta(1, 100, n), bid > price
    names = np.array([f"c{line:03d}" for line in range(lines)])
    return empty_columns(
        n,
        {
            "id": pa.array([f"r{number}" for number in range(begin, begin + n)]),
            "offered_ns": pa.array(BEGIN_NS + np.arange(begin, begin + n) * (10**9 // ROWS_PER_SECOND)),
            "exchange": pa.array(np.array(["adx-a", "adx-b"])[rng.integers(0, 2, n)]),
            "placement": pa.array(np.array([f"p{k}" for k in range(20)])[rng.integers(0, 20, n)]),
            "region": pa.array(np.array([f"R{k}" for k in range(5)])[rng.integers(0, 5, n)]),
            "w": pa.array(np.full(n, 300, dtype=np.int32)),
            "h": pa.array(np.full(n, 250, dtype=np.int32)),
            "user": pa.array(rng.integers(1, 10**9, n).astype(np.uint64)),
            "campaign": pa.array(names[rng.integers(0, lines, n)]),
            "click_probability": pa.array(ctr),
            "bid_nanos": pa.array(bid),
            "won": pa.array(won),
            "price_kind": pa.array(np.zeros(n, dtype=np.uint8)),
            "price_nanos": pa.array(np.where(won, price + 1, np.maximum(price, bid) + 1)),
            "paid_nanos": pa.array(np.where(won, price, 0)),
            "clicked": pa.array(rng.random(n) < ctr, mask=~won),
        },
    )


def make_plan(rows: int, lines: int) -> Plan:
    """Line items whose budgets bind after about a third of what they could buy."""
    end_ns = BEGIN_NS + rows * 10**9 // ROWS_PER_SECOND
    return Plan(
        [_campaign(number, rows // lines * 80_000, end_ns) for number in range(lines)], delays=stated()
    )


def _campaign(number: int, budget_nanos: int, end_ns: int) -> Campaign:
    creative = Creative(
        id=f"k{number}",
        w=300,
        h=250,
        image_url="https://cdn.shop.example/b.png",
        landing_url="https://shop.example/",
    )
    return Campaign(
        id=f"c{number:03d}", name="bench", advertiser=f"a{number % ADVERTISERS}", adomain=("shop.example",),
        budget_nanos=budget_nanos, start_ns=BEGIN_NS, end_ns=end_ns, value_nanos=10**8, max_bid_cpm_micros=10**8,
        creatives=(creative,),
    )  # fmt: skip


def plain_loop(rows: list[tuple[str, float, int]], plan: Plan) -> int:
    """The loop that one writes first: campaign, probability and price to beat of each row; gives the spend."""
    books = {
        one.id: {"left": one.budget_nanos, "value": one.value_nanos, "wins": 0} for one in plan.campaigns
    }
    for campaign, probability, price in rows:
        book = books[campaign]
        bid = int(probability * book["value"] * 0.5)
        if bid >= price and book["left"] >= price:
            book["left"] -= price
            book["wins"] += 1
    return sum(one.budget_nanos - books[one.id]["left"] for one in plan.campaigns)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(path: Path, plan: Plan, rounds: int, rows: int) -> dict[str, list[float]]:
    """Rows a CPU second of each, a value a round."""
    first = Run(History(path), plan)
    pieces: list[Piece] = []
    found: dict[str, list[float]] = {"prepare": [], "play": [], "plain python": []}
    found["prepare"].append(rows / cpu(lambda: pieces.extend(first.pieces())))
    names = [one.id for one in plan.campaigns]
    plain = [
        (names[line], p, price)
        for piece in pieces
        for line, p, price in zip(
            piece.facts.line.tolist(),
            piece.facts.click.tolist(),
            piece.facts.price_nanos.tolist(),
            strict=True,
        )
    ]
    first.again(plan).play_pieces(pieces[:1])  # compiles
    for number in range(rounds):
        scale = 1.0 + number / 10
        more = plan._replace(campaigns=[_scaled(one, scale) for one in plan.campaigns])
        found["play"].append(rows / cpu(lambda more=more: first.again(more).play_pieces(pieces)))
        found["plain python"].append(rows / cpu(lambda more=more: plain_loop(plain, more)))
    return found


def _scaled(one: Campaign, factor: float) -> Campaign:
    return msgspec.structs.replace(one, budget_nanos=int(one.budget_nanos * factor))


def peak_mb(path: Path, rows: int, lines: int) -> float:
    """Peak memory of a process that streams a history through the engine."""
    code = f"from benchmarks import bench_replay as b; b.stream({str(path)!r}, {rows}, {lines})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def stream(path: str, rows: int, lines: int) -> None:
    """Plays a history from disk and prints the peak of memory in MB."""
    replay(Path(path), make_plan(rows, lines))
    # Not `ru_maxrss`: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


def scaling(path: Path, plan: Plan) -> dict[str, float]:
    """How much two processes save: *wall*, starts and whoever shares the cores included; *cpu*, once they run.

    The latter is CPU time of the whole over that of the longer of its two parts, played one after the other.
    """
    seconds = []
    for count in (1, 2):
        began = time.perf_counter()
        replay(path, plan, processes=count)
        seconds.append(time.perf_counter() - began)
    plan = plan._replace(pacing=expected(History(path), plan))
    whole, *parts = (
        cpu(lambda one=one: Run(History(path), one).play(None)) for one in (plan, *dealt(plan, 2))
    )
    return {"wall": seconds[0] / seconds[1], "cpu": whole / max(parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clearbid-bench-") as folder:
        small, large = Path(folder) / "small.parquet", Path(folder) / "large.parquet"
        make_history(large, arguments.rows, arguments.lines)
        make_history(small, arguments.rows // 10, arguments.lines)
        plan = make_plan(arguments.rows, arguments.lines)
        figures = measure(large, plan, arguments.rounds, arguments.rows)
        memory = {
            "tenth": peak_mb(small, arguments.rows // 10, arguments.lines),
            "whole": peak_mb(large, arguments.rows, arguments.lines),
        }
        two = scaling(large, plan)
    table = Table("measure", "rows a CPU second", box=None)
    for name, values in figures.items():
        found = spread(values)
        table.add_row(name, f"{found.median:,.0f} ({found.low:,.0f}..{found.high:,.0f})")
    console = Console()
    console.print(table)
    ratio = float(np.median(np.array(figures["play"]) / np.array(figures["plain python"])))
    console.print(
        f"play over plain python: {ratio:.2f}; two processes over one: {two['wall']:.2f} in wall time at load "
        f"{os.getloadavg()[0]:.1f}, {two['cpu']:.2f} in CPU time once they run"
    )
    console.print(
        f"peak memory: {memory['tenth']:.0f} MB for a tenth of the rows, {memory['whole']:.0f} MB for all"
    )
    if arguments.json:
        result = {
            "machine": machine(),
            "rows_per_cpu_second": figures,
            "ratio": ratio,
            "two": two,
            "memory_mb": memory,
        }
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
