"""`clearbid whatif`: the past with one thing changed, beside the past as it was bid."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.bar import progress_bar
from simulator.named import named

if TYPE_CHECKING:
    from simulator.whatif.compare import Line, WhatIf
    from simulator.whatif.split import Split


def whatif(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="Made by `clearbid history`.", show_default=False)
    ],
    campaign: Annotated[
        str, typer.Option(metavar="ID", help="Whose past it is; the largest campaign by default.")
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            metavar="AMOUNT", help="Budget of both sides, units of the account; by default what was spent."
        ),
    ] = "",
    new_budget: Annotated[
        str,
        typer.Option(
            "--new-budget", metavar="AMOUNT", help="Budget of the other side, units of the account."
        ),
    ] = "",
    worth: Annotated[
        str,
        typer.Option(metavar="AMOUNT", help="Another worth of a click or conversion, units of the account."),
    ] = "",
    goal: Annotated[str, typer.Option(metavar="click", help="Clicks in place of conversions.")] = "",
    max_bid: Annotated[
        str,
        typer.Option("--max-bid", metavar="CPM", help="Another highest bid, money for 1,000 impressions."),
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=A,B",
            help="Bid for these auctions alone; != for all others; again for each condition.",
            show_default=False,
        ),
    ] = None,
    price_factor: Annotated[
        float,
        typer.Option(
            "--price-factor", min=0.1, max=10, metavar="FACTOR", help="Rivals' prices, so many times."
        ),
    ] = 1.0,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another model's click probabilities: Parquet with id and click_probability.",
            show_default=False,
        ),
    ] = None,
    shade: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=1,
            metavar="SHARE",
            help="Another share of the value bid at first price.",
            show_default=False,
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.1, metavar="STEP", help="Another step of pacing.", show_default=False),
    ] = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="The other side is a new line item: an outcome is worth --worth to it."),
    ] = False,
    split: Annotated[
        bool,
        typer.Option(
            "--split", help="As an experiment: each side has half of the users and half of the budget."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything that is drawn.")] = 7,
    draws: Annotated[
        int, typer.Option(min=10, max=1_000, metavar="N", help="Draws that intervals are made of.")
    ] = 60,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What if the budget, worth, bids, prices, targeting or model had been another: with 95 % intervals.

    Rivals are taken not to react. The difference has an interval of its own: both sides meet the same draws.
    """
    import msgspec

    from bidder.errors import InputError
    from simulator.forecast.asked import controller_of
    from simulator.history.conditions import where_of
    from simulator.history.loading import campaigns_in, load_auctions
    from simulator.reading import one_amount
    from simulator.whatif import asked
    from simulator.whatif.change import Change
    from simulator.whatif.compare import what_if
    from simulator.whatif.split import split_test

    if goal not in {"", "click"}:
        raise InputError(f"--goal must be click, was {goal}")

    name = campaign or campaigns_in(history)[0]
    log = load_auctions(history, name)
    change = Change(
        budget_nanos=one_amount(new_budget, "--new-budget", 10**9),
        worth_nanos=one_amount(worth, "--worth", 10**9),
        to_click=goal == "click",
        max_bid_nanos=one_amount(max_bid, "--max-bid", 10**6),
        price_factor=price_factor,
        only=where_of(history, name, where or []),
        click=asked.scores_of(scores, history, name),
        shade=shade,
        eta=eta,
        is_new=new,
    )
    whole = one_amount(budget, "--budget", 10**9) or int(log.paid_nanos.sum())
    controller = controller_of(log, int(log.bid_nanos.max()))
    with progress_bar("draws", quiet=json) as progress:
        if split:
            asked.splittable(change)
            two = change.controller(controller)
            found: WhatIf | Split = split_test(
                log, controller, two, whole, seed=seed, draws=draws, progress=progress
            )
        else:
            found = what_if(log, controller, whole, change, seed=seed, draws=draws, progress=progress)
    if json:
        said = {"campaign": name, "seed": seed, "draws": draws, "split" if split else "whatif": named(found)}
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    else:
        _print(name, found)


def _print(name: str, found: "WhatIf | Split") -> None:
    from rich.console import Console
    from rich.table import Table

    from simulator.whatif.split import Split

    console = Console()
    console.print(f"{name}: {found.verdict}; surplus is greater in {found.better:.0%} of the draws")
    grid = Table(box=None, pad_edge=False)
    for column in ("", "before", "after", "difference (95 % interval)"):
        grid.add_column(column, justify="right" if column else "left", overflow="fold")
    for line in found.lines:
        # A goal of clicks says nothing of conversions.
        if line.name != "conversions" or line.before.point or line.after.point:
            grid.add_row(*_cells(line))
    console.print(grid)
    if isinstance(found, Split):
        console.print(
            f"A difference of {found.detectable:.1%} of the value would be found four times in five."
        )
    else:
        console.print(
            f"{found.extrapolated:.0%} of the spend after it is at prices that the log hides; {found.shared:.0%} of "
            "what it wins was won before too."
        )


def _cells(line: "Line") -> tuple[str, str, str, str]:
    from models.pages.text import count
    from simulator.report.text import money

    is_money = line.name.endswith("_nanos")

    def form(value: float) -> str:
        return money(round(value)) if is_money else count(round(value))

    gap = line.difference
    return (
        line.name.removesuffix("_nanos") + (" (value less spend)" if line.name == "surplus_nanos" else ""),
        form(line.before.point),
        form(line.after.point),
        f"{form(gap.point)} ({form(gap.low)} to {form(gap.high)})",
    )
