"""`clearbid faults`: the promises about money, tried with everything that can go wrong, seed by seed."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.faults.report import Report
    from simulator.faults.run import Outcome

_LEAST_AUCTIONS = 500


def faults(
    seed: Annotated[int, typer.Option(min=0, help="The first seed.", metavar="S")] = 0,
    auctions: Annotated[
        int, typer.Option(min=_LEAST_AUCTIONS, help="Auctions of each run.", metavar="N")
    ] = 10_000,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.", metavar="K")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Runs bidders, trackers and banks on virtual time with faults drawn from a seed: exit code 1 on any violation.

    Even seeds have no faults, and their budgets must be spent; odd ones have crashes, repeats, delays, losses,
    skew and outages of broker, database and disks. What is in time is decided by the scheduler's clock, never by the
    books under test. People click and buy, and what their orders must count for is computed a second time from the
    books of the shops. A long run can be cut: `--seed 0 --seeds 50`, then `--seed 50 --seeds 50`.
    """
    from simulator.faults.plan import scenario
    from simulator.faults.report import Report
    from simulator.faults.run import play

    report = Report()
    for each in range(seed, seed + seeds):
        outcome = play(scenario(each, auctions))
        report.add(outcome)
        if not json:
            _say(outcome)
    if json:
        sys.stdout.write(report.json() + "\n")
    else:
        _sum_up(report)
    raise typer.Exit(1 if report.violations else 0)


def _say(outcome: "Outcome") -> None:
    share = outcome.spend_nanos / outcome.feasible_nanos
    sys.stdout.write(
        f"seed {outcome.seed}: {outcome.kind}, {'faults' if outcome.faulty else 'no faults'}, {outcome.bids:,} bids, "
        f"{outcome.wins:,} wins ({outcome.late_wins:,} late), spend {share:.2%} of budget, "
        f"{outcome.conversions:,} of {outcome.orders:,} orders booked, {sum(outcome.faults.values()):,} faults, "
        f"{outcome.auctions / outcome.seconds:,.0f} auctions/s\n"
    )
    for violation in outcome.said:
        sys.stdout.write(f"  VIOLATION {violation.kind} at {violation.at_ns / 1e9:.3f} s: {violation.what}\n")
    if outcome.violations:
        sys.stdout.write(f"  again: clearbid faults --seed {outcome.seed} --auctions {outcome.auctions}\n")
    sys.stdout.flush()


def _sum_up(report: "Report") -> None:
    summary = report.summary()
    sys.stdout.write(
        f"{len(report.outcomes)} seeds, {summary.auctions:,} auctions, {summary.auctions_per_second:,.0f} a second, "
        f"{summary.seconds:,.0f} s of the processor, {summary.stops:,} stops, {summary.spooled:,} notices spooled\n"
        f"faults: {_listed(summary.faults)}\n"
        f"late wins: {summary.late_wins:,}, {summary.late_share:.3%} of spend; it passed {summary.passed:,} of "
        f"{summary.budgets:,} budgets, and where the reserve was measured {summary.judged_passed:,} of "
        f"{summary.judged:,} ({summary.tolerated:,} are tolerated)\n"
        f"{summary.clicks:,} clicks, {summary.orders:,} orders, told again {summary.orders_again:,} times; "
        f"{summary.conversions:,} conversions booked, worth {summary.value_nanos / 1e9:,.2f}\n"
        f"violations: {_listed(summary.violations)}\n"
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"
