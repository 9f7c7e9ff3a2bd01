"""Answers that a notebook can show: each with a frame, some with a page."""

from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from simulator.allocate import page as plan_page
from simulator.allocate.curves import CurveSet, curves_of
from simulator.allocate.plan import Plan
from simulator.allocate.words import verdict
from simulator.estimate import page as estimate_page
from simulator.estimate.curves import curves_table
from simulator.estimate.report import Report
from simulator.forecast import page as forecast_page
from simulator.forecast.backtest import Backtest
from simulator.forecast.flight import Forecast
from simulator.history.file import History
from simulator.notebook import tables
from simulator.notebook.frames import frame_of
from simulator.sweep.run import Swept
from simulator.sweep.table import sweep_table
from simulator.whatif.compare import WhatIf

PAGE_HEIGHT_PX = 640


class Result:
    """An answer with a frame."""

    def table(self) -> pa.Table:
        """The answer as an Arrow table, whatever is installed; its columns are those of `frame`."""
        raise NotImplementedError

    def frame(self) -> Any:
        """The answer as `polars.DataFrame`, or as `pandas.DataFrame` of Arrow types where polars is not installed.

        Columns, dtypes and units are those of the function of `simulator.notebook.tables` that the class names.

        Raises:
            InputError: neither is installed; it names the extra that brings one.
        """
        return frame_of(self.table())

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the frame; None, and so the plain text, without a library for it."""
        if find_spec("polars") is None and find_spec("pandas") is None:
            return None
        shown: str = self.frame()._repr_html_()
        return shown


class Paged(Result):
    """An answer with a frame and a page."""

    def page(self) -> str:
        """The page that the command writes with `--page`: one HTML document that loads nothing."""
        raise NotImplementedError

    def _repr_html_(self) -> str | None:
        """The page, in a frame of its own so that its style and the notebook's leave each other alone."""
        return (
            f'<iframe srcdoc="{escape(self.page())}" sandbox="" width="100%" height="{PAGE_HEIGHT_PX}" '
            'style="border:0"></iframe>'
        )


class HistoryResult(Result):
    """Rows of a history (`tables.history_table`), read when they are asked for.

    Attributes:
        history: on disk, with what it says of itself. path: of the file.
    """

    def __init__(self, history: History, columns: tuple[str, ...] | None, campaign: str | None) -> None:
        self.history, self.path = history, history.path
        self._columns, self._campaign = columns, campaign

    def table(self) -> pa.Table:
        """The rows, all in memory."""
        return tables.history_table(self.history, self._columns, self._campaign)

    def campaigns(self) -> Any:
        """A frame of the campaigns that bid, the largest first (`tables.campaigns_table`).

        Raises:
            InputError: as `frame`.
        """
        return frame_of(tables.campaigns_table(self.history.tally()))

    def _repr_html_(self) -> str | None:
        """Nothing but the plain text: a history may be larger than what one shows."""
        return None

    def __repr__(self) -> str:
        """Which history, and how many rows it has."""
        return f"history {self.path}: {self.history.rows:,} rows of {self.history.meta.source or 'a log'}"


class EstimateResult(Paged):
    """What budgets would have brought (`tables.estimates_table`).

    Attributes:
        reports: of each campaign, with checks and what is taken for granted.
    """

    def __init__(self, reports: tuple[Report, ...]) -> None:
        self.reports = reports

    def table(self) -> pa.Table:
        """A row a campaign and question."""
        return tables.estimates_table(report.estimates for report in self.reports)

    def page(self) -> str:
        """The page of all campaigns."""
        return estimate_page.render(self.reports)

    def curves_table(self) -> pa.Table:
        """Curves with all bootstrap draws, as `simulator.estimate.curves` has them; without what was refused."""
        return curves_table([report.estimates for report in self.reports])

    def curves(self) -> CurveSet:
        """The same, as `allocate` reads them.

        Raises:
            InputError: every budget was refused.
        """
        source = self.reports[0].source
        return curves_of(self.curves_table(), Path(f"estimate of {source}"))

    def _repr_html_(self) -> str | None:
        """The page of one campaign; of several the frame."""
        return super()._repr_html_() if len(self.reports) == 1 else Result._repr_html_(self)

    def __repr__(self) -> str:
        """Whose, and how many questions."""
        names = ", ".join(report.estimates.campaign for report in self.reports)
        return (
            f"estimates of {names}: {sum(len(report.estimates.points) for report in self.reports)} questions"
        )


class ForecastResult(Paged):
    """What a flight would bring (`tables.deliveries_table`).

    Attributes:
        campaign: whose past. found: all that is said. tested: the same of days that are over, None where not asked.
    """

    def __init__(self, campaign: str, found: Forecast, tested: Backtest | None) -> None:
        self.campaign, self.found, self.tested = campaign, found, tested

    def table(self) -> pa.Table:
        """A row a budget and highest bid."""
        return tables.deliveries_table(self.found)

    def hours(self) -> Any:
        """A frame of expected opportunities by hour (`tables.hours_table`)."""
        return frame_of(tables.hours_table(self.found))

    def win_rates(self) -> Any:
        """A frame of the share of opportunities that a bid wins (`tables.win_rates_table`)."""
        return frame_of(tables.win_rates_table(self.found))

    def groups(self) -> Any:
        """A frame of spend and impressions by group (`tables.groups_table`)."""
        return frame_of(tables.groups_table(self.found))

    def page(self) -> str:
        """The page of the flight."""
        return forecast_page.render(self.found, self.campaign, self.tested)

    def __repr__(self) -> str:
        """Whose, how long, and whether the first budget will be spent."""
        first = self.found.deliveries[0]
        return f"forecast of {self.campaign}, {self.found.days:.1f} days: delivery {first.verdict}"


class WhatIfResult(Result):
    """The past with one thing changed (`tables.whatif_table`).

    Attributes:
        found: verdict, how likely surplus is greater, and on what it rests.
    """

    def __init__(self, found: WhatIf) -> None:
        self.found = found

    def table(self) -> pa.Table:
        """A row a figure."""
        return tables.whatif_table(self.found)

    def __repr__(self) -> str:
        """The verdict."""
        found = self.found
        return f"{found.campaign}: {found.verdict}; surplus is greater in {found.better:.0%} of the draws"


class SweepResult(Result):
    """Many settings on one past, best first (`simulator.sweep.table.sweep_table`).

    Attributes:
        campaign: whose past. points: each setting with its figures.
    """

    def __init__(self, campaign: str, points: tuple[Swept, ...]) -> None:
        self.campaign, self.points = campaign, points

    def table(self) -> pa.Table:
        """A row a point."""
        return sweep_table(self.points)

    def __repr__(self) -> str:
        """How many points, and the best."""
        best = ", ".join(f"{name} {value:g}" for name, value in self.points[0].point.items())
        return f"sweep of {self.campaign}: {len(self.points)} points, the best at {best}"


class PlanResult(Paged):
    """Budgets shared out between campaigns (`tables.plan_table`).

    Attributes:
        plan: the answer with its proof. curves: of which. source: what they are called.
    """

    def __init__(self, plan: Plan, curves: CurveSet, source: str) -> None:
        self.plan, self.curves, self.source = plan, curves, source

    def table(self) -> pa.Table:
        """A row a campaign."""
        return tables.plan_table(self.plan, self.curves)

    def page(self) -> str:
        """The page of the plan."""
        return plan_page.render(self.plan, self.curves, self.source)

    def __repr__(self) -> str:
        """The answer in a sentence."""
        return verdict(self.plan)
