"""`clearbid allocate`: what to move between campaigns, by their response curves, and how sure that is."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.allocate.curves import CurveSet, Measure
    from simulator.allocate.goals import Wanted
    from simulator.allocate.plan import Plan

_HELP_TARGETS = "Targets"
_SHOWN = (0, 1, 2, 4, 5, 6, 7)
"""Which cells of a move have room in a terminal."""
_MOST_STILL = 40
"""Up to so many campaigns those that keep their budget are shown too."""


def allocate(
    curves: Annotated[
        Path,
        typer.Argument(
            metavar="CURVES",
            help="Response curves, .parquet or .json, as `clearbid estimate --out` writes them.",
            show_default=False,
        ),
    ],
    total: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT", help="Money to place, units of the account; else what the budgets sum to now."
        ),
    ] = None,
    bounds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML of least and most, steps, budgets as they are.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A campaign that stays as it is; may be given again."),
    ] = None,
    measure: Annotated[
        str, typer.Option(metavar="NAME", help="What is to be most: value, conversions, clicks, impressions.")
    ] = "value",
    target_roas: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="Most value with at least this much of it for each unit of money (ROAS).",
            rich_help_panel=_HELP_TARGETS,
        ),
    ] = None,
    target_cpa: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Most conversions at this cost each, at most; units of the account.",
            rich_help_panel=_HELP_TARGETS,
        ),
    ] = None,
    target_mroas: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="Until the last unit of money brings this much value.",
            rich_help_panel=_HELP_TARGETS,
        ),
    ] = None,
    min_spend: Annotated[
        bool,
        typer.Option(
            "--min-spend", help="The result of now for the least money.", rich_help_panel=_HELP_TARGETS
        ),
    ] = False,
    sure: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.0, max=1.0, help="Hold where the move helps in a smaller share of draws."
        ),
    ] = 0.8,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="FILE", help="Store of campaigns to read budgets as they are from."),
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page too.")] = None,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply", metavar="FILE", help="Store of campaigns to write the recommended budgets to."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Share money between campaigns by what their curves bring: moves, proof, gain with its interval.

    Budgets as they are come from --bounds, else from the store of --db or --apply, else from the curves.
    """
    from bidder.errors import InputError
    from models.pages.write import check_page, write_page
    from simulator.allocate.curves import MEASURES, read_curves
    from simulator.allocate.page import render
    from simulator.allocate.plan import Rules, plan
    from simulator.allocate.store import apply_budgets, budgets_in
    from simulator.allocate.terms import asked_of, read_terms

    check_page(page)
    if measure not in MEASURES:
        raise InputError(f"--measure must be one of {', '.join(MEASURES)}, was {measure}")
    wanted, counted = _wanted(total, target_roas, target_cpa, target_mroas, min_spend, measure)
    found_curves = read_curves(curves)
    known = dict(found_curves.current)
    store = db if db is not None else apply
    if store is not None:
        known |= budgets_in(store, found_curves.names)
    asked = asked_of(found_curves.names, known, read_terms(bounds), freeze or ())
    found = plan(found_curves, asked, counted, wanted, Rules(sure=sure))
    if page is not None:
        write_page(page, render(found, found_curves, curves.name))
    _show(found, found_curves, as_json=json)
    if page is not None and not json:
        sys.stdout.write(f"Page: {page}\n")
    if apply is not None:
        written = apply_budgets(apply, found)
        sys.stderr.write(f"{apply}: {written} budgets changed\n")


def _wanted(
    total: str | None,
    target_roas: float | None,
    target_cpa: str | None,
    target_mroas: float | None,
    min_spend: bool,
    measure: str,
) -> "tuple[Wanted, Measure]":
    """The goal that options state, and what it counts."""
    from bidder.errors import InputError
    from simulator.allocate.curves import MEASURES
    from simulator.allocate.goals import Goal, Wanted

    given = {
        "--target-roas": target_roas is not None,
        "--target-cpa": target_cpa is not None,
        "--target-mroas": target_mroas is not None,
        "--min-spend": min_spend,
    }
    named = [name for name, there in given.items() if there]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} must not be given together")
    nanos = None if total is None else _nanos(total, "--total")
    if target_cpa is not None:
        return Wanted(Goal.COST, 1.0 / _nanos(target_cpa, "--target-cpa"), nanos), MEASURES["conversions"]
    for ratio, name, goal in (
        (target_roas, "--target-roas", Goal.RETURN),
        (target_mroas, "--target-mroas", Goal.MARGINAL),
    ):
        if ratio is not None:
            if not 0 < ratio < float("inf"):
                raise InputError(f"{name} must be > 0, was {ratio}")
            if measure != "value":
                raise InputError(f"{name} is of value: --measure must be value, was {measure}")
            return Wanted(goal, ratio, nanos), MEASURES["value"]
    return Wanted(Goal.LEAST if min_spend else Goal.TOTAL, 0.0, nanos), MEASURES[measure]


def _nanos(text: str, name: str) -> int:
    from bidder.errors import InputError
    from bidder.money import NANOS_PER_UNIT, parse_decimal

    try:
        nanos = parse_decimal(text.strip(), NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"{name} {error}") from None
    if nanos <= 0:
        raise InputError(f"{name} must be > 0, was {text}")
    return nanos


def _show(found: "Plan", curves: "CurveSet", *, as_json: bool) -> None:
    from simulator.allocate.words import MOVE_HEADS, facts, move_cells, summary

    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(summary(found, curves)).decode() + "\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    heads = [Column(MOVE_HEADS[0], overflow="fold", min_width=8)]
    heads += [Column(MOVE_HEADS[spot], justify="right", no_wrap=True) for spot in _SHOWN[1:-1]]
    moves = Table(*heads, Column(MOVE_HEADS[_SHOWN[-1]], min_width=16), box=SIMPLE_HEAD, pad_edge=False)
    for place, move in enumerate(found.moves):
        if move.before != move.after or len(found.moves) <= _MOST_STILL:
            cells = move_cells(found, curves, place)
            moves.add_row(*(cells[spot] for spot in _SHOWN))
    console.print(moves)
    grid = Table.grid(padding=(0, 2))
    for name, value in facts(found):
        grid.add_row(name, value)
    console.print(grid)
    console.print(
        "Last and next unit: what the last unit of the new budget brings, and one more would, by the concave curve."
    )
