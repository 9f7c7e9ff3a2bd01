"""`clearbid portfolio`: an advertiser's money between its campaigns under way, to where the next unit brings more."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption, DbOption, JsonOption, configured, existing_store
from bidder.cli.sample import instant_of
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal, parse_decimal

if TYPE_CHECKING:
    from bidder.core.portfolio_live import LiveRules, Proposal, Standing
    from bidder.store.database import Database
    from bidder.store.portfolio import Wishes

_HOUR_NS = 3_600 * NANOS_PER_UNIT


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("portfolio")(_portfolio)


def _portfolio(  # noqa: PLR0913, PLR0917, each is one option of the command
    advertiser: Annotated[
        str, typer.Argument(metavar="ADVERTISER", help="Whose campaigns.", show_default=False)
    ],
    db: DbOption = None,
    config: ConfigOption = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the budgets; else they are only proposed.")
    ] = False,
    every: Annotated[
        float | None, typer.Option(metavar="HOURS", min=0.001, help="Go on, and look again after so long.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --every, end after so many looks.")
    ] = None,
    window: Annotated[
        float, typer.Option(metavar="HOURS", min=0.1, max=168, help="How far back to look.")
    ] = 24.0,
    step: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.001, max=0.5, help="Share of its money left that a campaign moves at most."
        ),
    ] = 0.1,
    freeze: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A campaign that stays; may be given again.")
    ] = None,
    least: Annotated[
        list[str] | None, typer.Option(metavar="ID=AMOUNT", help="The least budget of a campaign.")
    ] = None,
    most: Annotated[
        list[str] | None, typer.Option(metavar="ID=AMOUNT", help="The largest budget of a campaign.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Look as at that time, such as 2026-03-04T12:00:00Z, by what was booked and told until then, with "
            "budgets as they are now; writes nothing.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Propose moves of money between an advertiser's campaigns, move by move with why, and make them where asked.

    A campaign's multiplier, as its seats tell the bank, says what the next unit of its money brings. Moves are small,
    a campaign that moved is left alone for a while, and each move is in the campaign's history.
    """
    from bidder.core.portfolio_live import LiveRules
    from bidder.store.database import Database
    from bidder.store.portfolio import Wishes

    wishes = Wishes(frozenset(freeze or ()), _amounts(least or (), "--least"), _amounts(most or (), "--most"))
    if rounds is not None and every is None:
        raise InputError("--rounds must stand with --every, was without")
    if at is not None and (apply or every is not None):
        raise InputError("--at must stand without --apply and --every: what is over cannot be moved")
    at_ns = instant_of(at, "--at") if at is not None else None
    window_ns = round(window * _HOUR_NS)
    place = existing_store(configured(config, db=db).store)
    done = 0
    while True:
        with Database(place) as database:
            _look(
                database,
                advertiser,
                at_ns,
                window_ns,
                LiveRules(step=step),
                wishes,
                write=apply,
                as_json=json,
            )
        done += 1
        if every is None or done == rounds:
            return
        time.sleep(every * 3_600)


def _look(
    database: "Database",
    advertiser: str,
    at_ns: int | None,
    window_ns: int,
    rules: "LiveRules",
    wishes: "Wishes",
    *,
    write: bool,
    as_json: bool,
) -> None:
    """One look: reads, proposes, writes where asked, and says so."""
    from bidder.core.portfolio_live import propose
    from bidder.store.portfolio import apply_proposal, standings_of
    from models.pages.text import moment

    now_ns = time.time_ns() if at_ns is None else at_ns
    standings = standings_of(
        database, advertiser, now_ns, window_ns=window_ns, settle_ns=rules.settle_ns, wishes=wishes,
        past=at_ns is not None,
    )  # fmt: skip
    proposal = propose(standings, rules)
    written = (
        apply_proposal(database, standings, proposal, at_ns=now_ns) if write and not proposal.hold else 0
    )
    if as_json:
        _print_json(advertiser, now_ns, standings, proposal, written)
    else:
        _print(standings, proposal, written)
        if not standings:
            typer.echo(
                f"hold: no campaign of {advertiser} is under way on {moment(now_ns)}: --at looks as at another time"
            )


def _amounts(stated: Iterable[str], option: str) -> dict[str, int]:
    """Nanos by campaign of `ID=AMOUNT`."""
    found = {}
    for text in stated:
        campaign_id, _, amount = text.partition("=")
        try:
            found[campaign_id] = parse_decimal(amount.strip(), NANOS_PER_UNIT)
        except ValueError as error:
            raise InputError(
                f"{option} must be ID=AMOUNT such as shoes=50.00, was {text!r}: {error}"
            ) from None
    return found


def _print_json(
    advertiser: str, now_ns: int, standings: "list[Standing]", proposal: "Proposal", written: int
) -> None:
    import msgspec

    budgets = proposal.budgets(standings)
    endless = float("inf")
    typer.echo(
        msgspec.json.encode(
            {
                "advertiser": advertiser,
                "at_ns": now_ns,
                "hold": proposal.hold,
                "gain_nanos": round(proposal.gain),
                "gain_share": proposal.share,
                "written": written,
                "moves": [
                    {
                        "campaign": one.name,
                        "from_nanos": one.budget,
                        "to_nanos": budgets.get(one.name, one.budget),
                        "left_nanos": one.left,
                        "multiplier": one.multiplier,
                        "return_before": None if move.return_before == endless else move.return_before,
                        "return_after": None if move.return_after == endless else move.return_after,
                        "gain_nanos": round(move.gain),
                        "why_no_more": move.stopped,
                    }
                    for one, move in zip(standings, proposal.moves, strict=True)
                ],
            }
        ).decode()
    )


def _print(standings: "list[Standing]", proposal: "Proposal", written: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    heads = ("budget", "new", "left", "return", "then", "gain")
    if not standings:
        return
    table = Table(
        Column("campaign", overflow="fold"), *(Column(head, justify="right", no_wrap=True) for head in heads),
        Column("why no more", min_width=16), box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    budgets = proposal.budgets(standings)
    for one, move in zip(standings, proposal.moves, strict=True):
        table.add_row(
            one.name, _money(one.budget), _money(budgets.get(one.name, one.budget)), _money(one.left),
            _return(one, move.return_before), _return(one, move.return_after), _money(round(move.gain)), move.stopped,
        )  # fmt: skip
    console = Console()
    console.print(table)
    if proposal.hold:
        console.print(f"hold: {proposal.hold}")
        return
    console.print(
        f"expected gain until the flights end: {_money(round(proposal.gain))} ({proposal.share:.2%})"
    )
    console.print(f"{written} budgets changed" if written else "nothing was written: --apply does it")


def _return(one: "Standing", value: float) -> str:
    return "-" if one.multiplier is None or value == float("inf") else f"{value:.4g}"


def _money(nanos: int) -> str:
    """An amount to the cent, rounded towards nothing."""
    cents = abs(nanos) // 10_000_000 * 10_000_000
    return format_decimal(-cents if nanos < 0 else cents, NANOS_PER_UNIT)
