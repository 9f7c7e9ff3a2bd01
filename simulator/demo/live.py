"""The live table of the demo: how the run goes, drawn in place in a terminal, as plain lines elsewhere.

It runs inside the event loop of the run that it shows, so it draws at most four times a second, starts no
thread, lays its columns out itself (a fifth of the time that rich's own tables take) and tells by `due()`
whether gathering a snapshot is worth it at all.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from simulator.report import text
from simulator.report.summary import cpa_nanos, ctr, share, win_rate
from simulator.returns import roas

DRAW_SECONDS = 0.25
LINE_SECONDS = 5.0
_MOST_CAMPAIGNS = 20
_BAR_CELLS = 12
_PROGRESS_CELLS = 20
_WIDE, _MIDDLE = 112, 92
_PLAIN_WIDTH = 120
_GAP = "  "
_LONGEST_NAME = 30
"""Cells that a name gets before bars of spend are shown."""
_FULL, _EMPTY = "\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
_ASCII = str.maketrans({_FULL: "#", _EMPTY: "-", text.DASH: "-"})


class CampaignSnapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One campaign as it stands; `plan_nanos` is what its pacing plan had foreseen by now."""

    id: str
    name: str
    budget_nanos: int
    spend_nanos: int
    plan_nanos: int
    impressions: int
    clicks: int
    conversions: int
    value_nanos: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The run as it stands.

    Attributes:
        now_ns: the run's clock. speedup: that clock over the wall clock, as measured.
        progress: how much of the log was replayed, 0 to 1.
        requests, opportunities, bids, wins: since the start.
        late_wins: notices of wins that came after their reservation's end.
        offered, timeouts: auctions of the exchange, and those of them that were not answered within its time.
        requests_per_second: of late, in wall time.
        p50_ms, p99_ms: decision latency in wall time; None before the first decision.
        currency: of all amounts.
        campaigns: in the order to show them in.
    """

    now_ns: int
    speedup: float
    progress: float
    requests: int
    opportunities: int
    bids: int
    wins: int
    late_wins: int
    offered: int
    timeouts: int
    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    currency: str
    campaigns: Sequence[CampaignSnapshot]


class LiveTable:
    """Shows snapshots; a context manager that leaves the last one standing when it ends.

    Args:
        console: where to draw; standard output by default, standard error where that carries data.
        monotonic: seconds of the wall that never go back.
    """

    def __init__(
        self, console: Console | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console()
        self._monotonic = monotonic
        self._interval_s = DRAW_SECONDS if self._console.is_terminal else LINE_SECONDS
        self._phase = ""
        self._last: Snapshot | None = None
        self._drawn_at: float | None = None
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draws the last snapshot once more, whole, and lets it stand."""
        self._phase = f"Stopped by {kind.__name__}" if kind else ""
        if self._live:
            self._redraw(self._live)
            self._live.stop()
        elif self._last:
            self._line("\n".join(line.plain.rstrip() for line in self._lines(_PLAIN_WIDTH)))

    def phase(self, doing: str) -> None:
        """Says what is being done, such as `Training the click model`, until the next snapshot; at once."""
        self._phase = doing
        if self._live:
            self._redraw(self._live)
        else:
            self._line(doing)

    def due(self) -> bool:
        """Whether `update` would draw now."""
        return self._drawn_at is None or self._monotonic() - self._drawn_at >= self._interval_s

    def update(self, snapshot: Snapshot) -> bool:
        """Takes the run as it stands, and draws it if the last drawing is old enough.

        Returns:
            Whether it was drawn; the last snapshot taken is drawn at the end in any case.
        """
        self._last, self._phase = snapshot, ""
        if not self.due():
            return False
        if self._live:
            self._redraw(self._live)
        else:
            self._line(plain_line(snapshot))
        self._drawn_at = self._monotonic()
        return True

    def _redraw(self, live: Live) -> None:
        # One column stays free: some terminals wrap a line that fills the last one.
        picture = Text("\n", no_wrap=True, overflow="crop").join(self._lines(self._console.width - 1))
        live.update(self._encodable(picture), refresh=True)

    def _line(self, line: str) -> None:
        self._console.print(self._encodable(Text(line)), soft_wrap=True)

    def _lines(self, width: int) -> list[Text]:
        lines = [] if self._last is None else [*_run_lines(self._last, width), *_table(self._last, width)]
        if self._phase:
            lines.append(Text(self._phase, style="dim"))
        for line in lines:
            line.truncate(width, overflow="crop")
        return lines

    def _encodable(self, picture: Text) -> Text:
        # A terminal that is not UTF-8 must not end the run: what it cannot show becomes a plain sign.
        encoding = self._console.encoding
        if not encoding.startswith("utf"):
            plain = picture.plain.translate(_ASCII)
            picture.plain = plain.encode(encoding, "replace").decode(encoding)
        return picture


def plain_line(snapshot: Snapshot) -> str:
    """The run in one line, for logs and pipes."""
    total = _total(snapshot, "")
    return _GAP.join(
        (
            f"{text.percent(snapshot.progress):>6}",
            text.moment(snapshot.now_ns, "%Y-%m-%d %H:%M"),
            f"{text.ratio(snapshot.requests_per_second, 0)} requests/s",
            f"bid rate {text.percent(share(snapshot.bids, snapshot.opportunities))}",
            f"win rate {text.percent(win_rate(snapshot.wins, snapshot.bids))}",
            f"spend {text.money(total.spend_nanos)} of {text.money(total.budget_nanos)} {snapshot.currency}",
            f"plan {text.money(total.plan_nanos)}",
            f"CTR {text.percent(ctr(total.clicks, total.impressions), 2)}",
            f"p50 {text.milliseconds(snapshot.p50_ms)}",
            f"p99 {text.milliseconds(snapshot.p99_ms)}",
        )
    )


def spend_bar(spend_nanos: int, plan_nanos: int, budget_nanos: int) -> Text:
    """Spend as part of the budget in twelve cells; a `|` marks where the plan stands."""
    filled = _full_cells(spend_nanos, budget_nanos)
    marked = min(_full_cells(plan_nanos, budget_nanos), _BAR_CELLS - 1)
    bar = Text(_FULL * filled, style="blue").append(_EMPTY * (_BAR_CELLS - filled), style="bright_black")
    return Text.assemble(bar[:marked], ("|", "bold"), bar[marked + 1 :])


def _full_cells(part: int, whole: int) -> int:
    # A cell counts once it is full, in integers: the bar shows the end only when all is spent.
    return min(max(part, 0) * _BAR_CELLS // whole, _BAR_CELLS) if whole else 0


def _run_lines(snapshot: Snapshot, width: int) -> list[Text]:
    done = int(min(max(snapshot.progress, 0.0), 1.0) * _PROGRESS_CELLS)
    late = f", {text.count(snapshot.late_wins)} notices late" if snapshot.late_wins else ""
    # Latency counts from when a request was read: what waited before that shows here alone.
    unanswered = text.percent(share(snapshot.timeouts, snapshot.offered))
    progress = Text.assemble(
        (_FULL * done, "blue"),
        (_EMPTY * (_PROGRESS_CELLS - done), "bright_black"),
        (f" {text.percent(snapshot.progress)}", "bold"),
        f"   {text.moment(snapshot.now_ns)}   speedup {text.ratio(snapshot.speedup, 0)}",
    )
    lines = [progress]
    for name, value in (
        ("Requests/s", text.ratio(snapshot.requests_per_second, 0)),
        ("Bid rate", text.percent(share(snapshot.bids, snapshot.opportunities))),
        ("Win rate", text.percent(win_rate(snapshot.wins, snapshot.bids)) + late),
        *([("Answered too late", unanswered)] if snapshot.timeouts else []),
        ("Decision p50", text.milliseconds(snapshot.p50_ms)),
        ("p99", text.milliseconds(snapshot.p99_ms)),
    ):
        if len(lines) == 1 or len(lines[-1].plain) + len(name) + len(value) + 4 > width:
            lines.append(Text())
        lines[-1].append(f"{name} ", style="dim").append(f"{value}   ", style="bold")
    return lines


class _Column(NamedTuple):
    """One column: its header and its cells, right-aligned where they are figures."""

    header: str
    cells: list[str]


def _table(snapshot: Snapshot, width: int) -> list[Text]:
    """The campaigns and their sum; a narrow terminal loses the columns that can best be missed."""
    shown = list(snapshot.campaigns[:_MOST_CAMPAIGNS])
    hidden = len(snapshot.campaigns) - len(shown)
    beyond = f" ({hidden} not shown)" if hidden else ""
    rows = [*shown, _total(snapshot, f"All {len(snapshot.campaigns)}{beyond}")]
    left, right = _columns(rows, snapshot.currency, width)
    sizes = [max(map(len, (column.header, *column.cells))) for column in (*left, *right)]
    longest = max(cell_len(row.name) for row in rows)
    rest = width - sum(sizes) - len(_GAP) * len(sizes)
    # Of names and bars a narrow terminal keeps the names: "Of plan" says what a bar shows.
    barred = rest >= min(longest, _LONGEST_NAME) + len(_GAP) + _BAR_CELLS
    rest -= (len(_GAP) + _BAR_CELLS) * barred
    names = max(10, min(rest, longest))

    def line(name: str, bar: Text, cells: list[str]) -> Text:
        padded = [cell.rjust(size) for cell, size in zip(cells, sizes, strict=True)]
        first, last = padded[: len(left)], padded[len(left) :]
        label = Text(_fitted(_printable(name), names))
        return Text(_GAP).join([label, *map(Text, first), *([bar] if barred else []), *map(Text, last)])

    headers = [column.header for column in (*left, *right)]
    lines = [line("Campaign", Text("Spend | plan"), headers)]
    lines[0].stylize("dim")
    for index, row in enumerate(rows):
        bar = spend_bar(row.spend_nanos, row.plan_nanos, row.budget_nanos)
        lines.append(line(row.name, bar, [column.cells[index] for column in (*left, *right)]))
    lines[-1].stylize("bold")
    return lines


def _columns(
    rows: Sequence[CampaignSnapshot], currency: str, width: int
) -> tuple[list[_Column], list[_Column]]:
    """Columns before the bar, and after it."""
    left = [_Column(f"Spend ({currency})", [text.money(row.spend_nanos) for row in rows])]
    if width >= _MIDDLE:
        left.append(_Column(f"Budget ({currency})", [text.money(row.budget_nanos) for row in rows]))
    right = [_Column("Of plan", [text.percent(share(row.spend_nanos, row.plan_nanos)) for row in rows])]
    if width >= _WIDE:
        right.append(_Column("Impressions", [text.count(row.impressions) for row in rows]))
    right += [
        _Column("CTR", [text.percent(ctr(row.clicks, row.impressions), 2) for row in rows]),
        _Column("CPA", [text.money(cpa_nanos(row.spend_nanos, row.conversions)) for row in rows]),
        _Column("ROAS", [text.ratio(roas(row.value_nanos, row.spend_nanos)) for row in rows]),
    ]
    return left, right


def _fitted(name: str, cells: int) -> str:
    """A name in so many cells; where it is cut, a mark says so."""
    if cell_len(name) <= cells:
        return set_cell_size(name, cells)
    return set_cell_size(name, cells - 1) + "\N{HORIZONTAL ELLIPSIS}"


def _printable(name: str) -> str:
    # A name is what someone typed in a sheet: an escape sequence in it must not reach the terminal.
    return "".join(character if character.isprintable() else "?" for character in name)


def _total(snapshot: Snapshot, name: str) -> CampaignSnapshot:
    amounts = CampaignSnapshot.__struct_fields__[2:]
    summed = {amount: sum(getattr(row, amount) for row in snapshot.campaigns) for amount in amounts}
    return CampaignSnapshot(id="", name=name, **summed)
