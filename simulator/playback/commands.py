"""`clearbid replay` of a history: options to a plan, results to a page or one JSON object."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.playback.run import Plan, Replay

_PRICES = ("log", "first", "second")
_POLICIES = ("engine", "logged")


def play(log: Path, campaigns: Path | None, *, workers: int, json: bool, **options: Any) -> None:
    """Plays a history and prints what came of it.

    Args:
        log: the history. campaigns: the sheet. workers: processes that share the work. json: one JSON object.
        options: see `plan_of`.

    Raises:
        InputError: what is asked for makes no sense, or cannot be read.
    """
    from bidder.errors import InputError
    from simulator.bar import progress_bar
    from simulator.playback.run import replay

    if campaigns is None:
        raise InputError(
            f"replay of history {log} needs --campaigns SHEET, whose bids to make: a CSV as `clearbid campaigns list "
            "--csv` prints it, TOML or JSON"
        )
    plan = plan_of(log, campaigns, **options)
    with progress_bar("replay", quiet=json or workers > 1) as progress:
        done = replay(log, plan, processes=workers, progress=progress)
    if json:
        import msgspec

        text = msgspec.json.encode({**_fields(done), "auctions_per_second": done.auctions_per_second})
        sys.stdout.write(text.decode() + "\n")
    else:
        _print(done)


def plan_of(
    log: Path,
    campaigns: Path,
    *,
    price_rule: str = "log",
    soft_floor: str = "0",
    notice_delay: float | None = None,
    notice_loss: float = 0.0,
    policy: str = "engine",
    seed: int = 0,
) -> "Plan":
    """The plan of a command's options.

    Raises:
        InputError: one that is not allowed, by name.
    """
    from bidder.errors import InputError
    from bidder.money import MICROS_PER_UNIT, parse_decimal
    from bidder.store.sheet import read_sheet
    from simulator.history.file import History
    from simulator.playback.delays import FITTED, fit_delays, stated
    from simulator.playback.market import Market
    from simulator.playback.run import Plan

    for name, was, allowed in (("--price-rule", price_rule, _PRICES), ("--policy", policy, _POLICIES)):
        if was not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}, was {was!r}")
    try:
        soft_floor_nanos = parse_decimal(soft_floor, MICROS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"--soft-floor {error}") from None
    if soft_floor_nanos < 0:
        raise InputError(f"--soft-floor must be 0 or more, was {soft_floor}")
    history = History(log)
    sheet = read_sheet(campaigns, history.meta.currency)
    delays = (
        fit_delays(history.tables(FITTED), stated(lost_share=notice_loss))
        if notice_delay is None
        else stated(notice_delay, notice_delay, notice_loss)
    )
    return Plan(
        sheet.campaigns,
        sheet.advertisers,
        Market(price_rule, soft_floor_nanos),
        delays,
        seed,
        logged=policy == "logged",
    )


def _fields(done: "Replay") -> dict[str, Any]:
    return {name: getattr(done, name) for name in done.__struct_fields__}


def _print(done: "Replay") -> None:
    from rich.console import Console
    from rich.table import Table

    from simulator.report.text import DASH, money, roi_text

    console = Console()
    console.print(
        f"{done.rows:,} opportunities of {done.history}, {done.played:,} played; "
        f"{done.auctions_per_second:,.0f} a second; money in {done.currency}"
    )
    for cause, count in done.refused.items():
        console.print(f"left out: {count:,} {cause}")
    heads = ("budget", "spend", "bids", "impr.", "clicks", "drawn", "conv.", "value", "ROI", "CPA")
    table = Table("line item", *heads, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        # Folded, not cut: a number without its end reads as another.
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for one in done.lines:
        table.add_row(
            one.id, money(one.budget_nanos), money(one.spend_nanos), f"{one.bids:,}", f"{one.impressions:,}",
            f"{one.clicks:,}", f"{one.clicks_drawn:,}", f"{one.conversions:,}", money(one.value_nanos),
            roi_text(one.roi), DASH if one.cpa_nanos is None else money(one.cpa_nanos),
        )  # fmt: skip
    console.print(table)
    console.print("Drawn: clicks by prediction, where the log has none. ROI: (value - spend) / spend.")
    unknown = sum(one.unknown_bids for one in done.lines)
    if unknown:
        bids = sum(one.bids for one in done.lines)
        console.print(
            f"{unknown:,} of {bids:,} bids were where the log cannot say whether they won: they count as lost"
        )
    if done.wins_only:
        console.print("the log has won impressions only: prices above its own bids are not in it")
