"""`clearbid stop` and `clearbid go`: the brakes, and `clearbid brakes`: who stopped whom, when and why.

A stop is written to the store; the bank tells it with its next tick, and every bidder obeys with its next batch.
While no bank runs nobody hears of it, and leases end by themselves.
"""

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ByOption, ConfigOption, DbOption, JsonOption, configured, existing_store
from bidder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bidder.core.campaigns import Campaign
    from bidder.core.messages import Brake
    from bidder.store.brakes import BrakeRow

_AllOption = Annotated[bool, typer.Option("--all", help="Everybody.")]
_AdvertiserOption = Annotated[
    str | None, typer.Option("--advertiser", help="All campaigns of an advertiser.", metavar="ID")
]
_CampaignOption = Annotated[str | None, typer.Option("--campaign", help="One campaign.", metavar="ID")]
_LineItemOption = Annotated[str | None, typer.Option("--line-item", help="One line item.", metavar="ID")]
_ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.", metavar="TEXT")]
_LONGEST_TEXT = 500
LEVELS = {"a": "advertiser", "c": "campaign", "l": "line item"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("stop")(_stop)
    app.command("go")(_go)
    app.command("brakes")(_brakes)


def _stop(
    everybody: _AllOption = False,
    advertiser: _AdvertiserOption = None,
    campaign: _CampaignOption = None,
    line_item: _LineItemOption = None,
    reason: _ReasonOption = "",
    by: ByOption = None,
    db: DbOption = None,
    config: ConfigOption = None,
) -> None:
    """Stop all bids at once, or those of an advertiser, a campaign or a line item, until `clearbid go`."""
    name = _named(everybody, advertiser, campaign, line_item)
    typer.echo(_said(name, _write(db, config, name, reason, by, stopped=True)))


def _go(
    everybody: _AllOption = False,
    advertiser: _AdvertiserOption = None,
    campaign: _CampaignOption = None,
    line_item: _LineItemOption = None,
    reason: _ReasonOption = "",
    by: ByOption = None,
    db: DbOption = None,
    config: ConfigOption = None,
) -> None:
    """Let bid again what was stopped by hand or by the breaker; another stop that holds it still does."""
    name = _named(everybody, advertiser, campaign, line_item)
    typer.echo(_said(name, _write(db, config, name, reason, by, stopped=False)))


def _brakes(db: DbOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show each time that somebody was stopped or let go, oldest first, and who is stopped now."""
    import msgspec

    from bidder.store.brakes import BrakeStore
    from bidder.store.database import Database

    with Database(existing_store(configured(config, db=db).store)) as database:
        rows = BrakeStore(database).history()
    if json:
        typer.echo(msgspec.json.encode([row._asdict() for row in rows]).decode())
        return
    _show(rows, time.time_ns())


def _named(everybody: bool, advertiser: str | None, campaign: str | None, line_item: str | None) -> str:
    """The name of the one who is meant."""
    from bidder.core.messages import ALL

    given = [
        f"{level}/{own}" for level, own in zip("acl", (advertiser, campaign, line_item), strict=True) if own
    ]
    if everybody:
        given.append(ALL)
    if len(given) != 1:
        raise InputError(
            "one of --all, --advertiser, --campaign and --line-item must be given, was "
            f"{'none' if not given else ', '.join(given)}"
        )
    return given[0]


def _write(
    db: str | None, config: Path | None, name: str, reason: str, by: str | None, *, stopped: bool
) -> "Brake | None":
    """What was written; None where nothing was stopped that could be let go."""
    from bidder.store.brakes import BrakeStore
    from bidder.store.database import Database

    check_text("--reason", reason)
    check_text("--by", by or "")
    with Database(existing_store(configured(config, db=db).store)) as database:
        store = BrakeStore(database)
        if not stopped and name not in holding(store.all(), time.time_ns()):
            store.check(name)
            return None
        set_brake = store.stop if stopped else store.go
        return set_brake(name, at_ns=time.time_ns(), actor=by or this_user(), reason=reason)


def check_text(option: str, text: str) -> None:
    """Raises `InputError` where a text is too long to be kept with a change."""
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise InputError(
            f"{option} must have at most {_LONGEST_TEXT} characters without NUL, had {len(text)}"
        )


def this_user() -> str:
    """Who does it where nobody is named: the user of this shell."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return "cli"


def _said(name: str, brake: "Brake | None") -> str:
    called = called_of(name)
    if brake is None:
        return f"{called}: nothing was stopped; `clearbid brakes` shows what is"
    if brake.stopped:
        return f"{called}: stopped"
    return f"{called}: may bid again"


def called_of(name: str) -> str:
    """A brake's name in words."""
    level, _, own_id = name.partition("/")
    return f"{LEVELS[level]} {own_id}" if own_id else "all"


def holding(brakes: "Mapping[str, Brake]", now_ns: int) -> "dict[str, Brake]":
    """Brakes that hold at a time, by name."""
    return {
        name: one
        for name, one in brakes.items()
        if one.stopped and (not one.until_ns or now_ns < one.until_ns)
    }


def above(campaign: "Campaign", line_item_id: str | None = None) -> list[str]:
    """Names whose brake holds a campaign, or one of its line items: its own last."""
    from bidder.core.messages import ALL

    own = [] if line_item_id is None else [f"l/{line_item_id}"]
    return [ALL, f"a/{campaign.advertiser}", f"c/{campaign.id}", *own]


def still_held(names: "Sequence[str]", held: "Mapping[str, Brake]") -> str:
    """That brakes still hold, and what lifts them; empty where none of `names` is held."""
    from bidder.core.messages import ALL

    found = [name for name in names if name in held]
    if not found:
        return ""
    options = {"a": "--advertiser", "c": "--campaign", "l": "--line-item"}
    lifts = [
        "clearbid go --all" if name == ALL else f"clearbid go {options[name[0]]} {name[2:]}" for name in found
    ]
    brakes = " and ".join(f"a brake on {called_of(name)}" for name in found)
    hold, it = ("hold", "them") if len(found) > 1 else ("holds", "it")
    return f"{brakes} still {hold}; to lift {it}: {', '.join(lifts)}"


def _show(rows: "Sequence[BrakeRow]", now_ns: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bidder.store.columns_cells import format_instant

    last = {row.name: row.version for row in rows}
    table = Table("at", "who", "what", "by", "why", "now", box=SIMPLE_HEAD)
    for row in rows:
        holds = row.stopped and last[row.name] == row.version and (not row.until_ns or now_ns < row.until_ns)
        until = f" until {format_instant(row.until_ns)}" if row.until_ns else ""
        what = f"stopped{until}" if row.stopped else "let go"
        cells = (
            format_instant(row.at_ns),
            called_of(row.name),
            what,
            row.actor,
            row.reason,
            "stopped" if holds else "",
        )
        table.add_row(*map(Text, cells))
    Console().print(table)
