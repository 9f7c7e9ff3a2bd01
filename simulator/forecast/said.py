"""A forecast on the console, and as plain values for JSON."""

from typing import Any

import numpy as np

from simulator.forecast.backtest import Backtest
from simulator.forecast.flight import Forecast
from simulator.forecast.page import amount, interval, whole
from simulator.named import named
from simulator.report.text import money

_MOST_GROUPS = 10


def plain(found: Forecast) -> dict[str, Any]:
    """A forecast as values that JSON knows: money in nanos, arrays as lists."""
    said: dict[str, Any] = named(found._replace(hours=np.zeros(0)))
    said["hours"] = found.hours.tolist()
    return said


def print_forecast(found: Forecast, name: str, tested: Backtest | None) -> None:
    """Prints what budgets bring, and how a forecast of what is over did."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"{name}: {interval(found.opportunities, whole)} opportunities in {found.days:.1f} days. Of {found.draws} "
        "simulated flights: the median, and from where to where 95 % of them lie."
    )
    for row in found.deliveries:
        console.print(
            f"Budget {money(row.budget_nanos)} at bids up to {amount(row.max_bid_nanos * 1e3)} CPM: delivery "
            f"{row.verdict}, as {row.spent:.0%} of the simulated flights spend it"
        )
        grid = Table.grid(padding=(0, 2))
        for label, value, form in (
            ("spend", row.spend_nanos, amount),
            ("impressions", row.impressions, whole),
            ("clicks", row.clicks, whole),
            ("conversions", row.conversions, whole),
            ("value", row.value_nanos, amount),
            ("users", row.users, whole),
        ):
            if value is not None and value.high > 0:
                grid.add_row(f"  {label}", interval(value, form))
        console.print(grid)
    groups = list(found.deliveries[0].by.items()) if found.deliveries[0].by else []
    if groups:
        console.print(
            f"By group, of the first budget; the {min(len(groups), _MOST_GROUPS)} with most spend of {len(groups)}:"
        )
        grid = Table.grid(padding=(0, 2))
        for group, (spend, wins) in groups[:_MOST_GROUPS]:
            grid.add_row(f"  {escape(group)}", f"spend {amount(spend)}", f"impressions {whole(wins)}")
        console.print(grid)
    if tested is not None:
        inside = sum(row.inside for row in tested.rows)
        console.print(
            f"Tried on the last {tested.days:g} days: {inside} of {len(tested.rows)} figures came as was said"
        )
        for one in tested.rows:
            form = amount if one.is_money else whole
            console.print(f"  {one.name}: said {interval(one.said, form)}, came {form(one.came)}")
