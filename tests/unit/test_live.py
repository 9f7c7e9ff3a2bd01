"""The live table: what it says, when it draws, and that it never ends the run it shows."""

import io

import pytest
from rich.console import Console

from simulator.demo.live import CampaignSnapshot, LiveTable, Snapshot, plain_line, spend_bar

EN_DASH = "\N{EN DASH}"


class Wall:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def campaign(number=1, **changes):
    fields = {
        "id": f"c{number}",
        "name": f"Campaign {number}",
        "budget_nanos": 100 * 10**9,
        "spend_nanos": 25 * 10**9,
        "plan_nanos": 50 * 10**9,
        "impressions": 10_000,
        "clicks": 50,
        "conversions": 4,
        "value_nanos": 75 * 10**9,
    }
    return CampaignSnapshot(**(fields | changes))


def snapshot(*campaigns, **changes):
    fields = {
        "now_ns": 1_370_692_800 * 10**9,
        "speedup": 1_200.4,
        "progress": 0.5,
        "requests": 90_000,
        "opportunities": 100_000,
        "bids": 40_000,
        "wins": 10_000,
        "late_wins": 3,
        "offered": 100_000,
        "timeouts": 14_500,
        "requests_per_second": 3_481.2,
        "p50_ms": 1.84,
        "p99_ms": 7.9,
        "currency": "USD",
        "campaigns": campaigns or (campaign(1), campaign(2)),
    }
    return Snapshot(**(fields | changes))


def terminal(width=120, **changes):
    fields = {
        "file": io.StringIO(),
        "force_terminal": True,
        "width": width,
        "height": 40,
        "color_system": None,
    }
    return Console(**(fields | changes))


def shown(console):
    """What was last drawn, without the codes that draw it in place."""
    drawn = console.file.getvalue()
    return drawn[drawn.rindex("\x1b[2K") + 4 :] if "\x1b[2K" in drawn else drawn


def test_the_table_shows_every_figure_of_the_run():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot())
    for figure in (
        "50.0%",
        "2013-06-08 12:00:00 UTC",
        "1,200",
        "3,481",
        "40.0%",
        "25.0%, 3 notices late",
        "Answered too late 14.5%",
        "1.84 ms",
        "7.90 ms",
    ):
        assert figure in shown(console)


def test_nothing_is_said_of_late_answers_where_there_are_none():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(timeouts=0))
    assert "too late" not in shown(console)


def test_a_row_shows_spend_plan_and_return():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(campaign(7)))
    (row,) = (line for line in shown(console).splitlines() if line.startswith("Campaign 7"))
    assert row.replace("|", " ").split()[2:4] == ["25.00", "100.00"]
    assert row.split()[-5:] == ["50.0%", "10,000", "0.50%", "6.25", "3.00"]


def test_the_last_row_sums_the_campaigns():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot())
    (row,) = (line for line in shown(console).splitlines() if line.startswith("All 2"))
    assert row.split()[2:4] == ["50.00", "200.00"]


@pytest.mark.parametrize("width", [60, 80, 92, 100, 112, 140])
def test_no_line_is_wider_than_the_terminal(width):
    console = terminal(width)
    wide = campaign(3, name="\N{CJK UNIFIED IDEOGRAPH-5E83}" * 60)
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(campaign(1), wide))
    assert max(map(len, shown(console).splitlines())) < width


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_loses_bars_before_names(width):
    console = terminal(width)
    long = campaign(3, name="Aurora Shoes, the new season")
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(campaign(1), long))
    drawn = shown(console)
    assert "Aurora Shoes, the new season" in drawn
    assert ("Spend | plan" in drawn) == (width == 120)


def test_a_name_that_is_cut_says_so():
    console = terminal(80)
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(campaign(1), campaign(3, name="A" * 70)))
    assert "AAA\N{HORIZONTAL ELLIPSIS} " in shown(console)


def test_campaigns_beyond_the_rows_are_counted_and_summed():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(*(campaign(number) for number in range(25))))
    assert "All 25 (5 not shown)" in shown(console)
    assert "625.00" in shown(console)
    assert "Campaign 19" in shown(console)
    assert "Campaign 20" not in shown(console)


def test_nothing_to_divide_by_is_a_dash():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(
            snapshot(campaign(1, spend_nanos=0, plan_nanos=0, impressions=0, clicks=0, conversions=0))
        )
    (row,) = (line for line in shown(console).splitlines() if line.startswith("Campaign 1"))
    assert row.split()[-5:] == [EN_DASH, "0", EN_DASH, EN_DASH, EN_DASH]


def test_before_the_first_decision_there_is_no_latency():
    assert plain_line(snapshot(p50_ms=None, p99_ms=None)).endswith(f"p50 {EN_DASH}  p99 {EN_DASH}")


def test_it_draws_at_most_four_times_a_second():
    wall = Wall()
    drawn = 0
    with LiveTable(terminal(), wall) as table:
        for step in range(1_000):
            wall.now_s = step / 100
            drawn += table.update(snapshot())
    assert drawn == 40


def test_due_tells_what_update_would_do():
    wall = Wall()
    with LiveTable(terminal(), wall) as table:
        assert table.due()
        table.update(snapshot())
        assert not table.due()
        wall.now_s = 0.25
        assert table.due()


def test_the_last_snapshot_stands_at_the_end_even_if_it_was_not_due():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(progress=0.5))
        assert not table.update(snapshot(progress=1.0))
    assert "100.0%" in shown(console)


def test_a_phase_is_shown_at_once_and_gone_with_the_next_snapshot():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.phase("Training the click model")
        assert "Training the click model" in shown(console)
        table.update(snapshot())
        assert "Training" not in shown(console)


def test_an_error_leaves_the_table_and_its_name():
    console = terminal()

    def run():
        with LiveTable(console, Wall()) as table:
            table.update(snapshot())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert "Stopped by ZeroDivisionError" in shown(console)
    assert "Campaign 1" in shown(console)


def test_a_pipe_gets_a_plain_line_every_five_seconds_and_the_table_at_the_end():
    wall, console = Wall(), Console(file=io.StringIO(), width=40)
    with LiveTable(console, wall) as table:
        table.phase("Training the click model")
        for second in range(11):
            wall.now_s = second
            table.update(snapshot(progress=second / 10))
    written = console.file.getvalue()
    assert "\x1b" not in written
    lines = written.splitlines()
    assert lines[0] == "Training the click model"
    assert [line.split()[0] for line in lines[1:4]] == ["0.0%", "50.0%", "100.0%"]
    assert lines[-1].startswith("All 2")


def test_a_plain_line_holds_the_run():
    assert plain_line(snapshot()) == (
        " 50.0%  2013-06-08 12:00  3,481 requests/s  bid rate 40.0%  win rate 25.0%  "
        "spend 50.00 of 200.00 USD  plan 100.00  CTR 0.50%  p50 1.84 ms  p99 7.90 ms"
    )


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_that_is_not_utf_8_gets_plain_signs(is_terminal):
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        with LiveTable(terminal(file=file, force_terminal=is_terminal), Wall()) as table:
            table.phase("Caf\N{LATIN SMALL LETTER E WITH ACUTE}")
            table.update(snapshot(campaign(1, conversions=0)))
        file.flush()
        written = raw.getvalue().decode("ascii")
    assert "Caf?" in written
    assert "###---|-----" in written


def test_a_name_cannot_steer_the_terminal():
    console = terminal()
    with LiveTable(console, Wall()) as table:
        table.update(snapshot(campaign(1, name="a\x1b[31mb\nc")))
    assert "\x1b[31m" not in console.file.getvalue()
    assert "a?[31mb?c" in shown(console)


@pytest.mark.parametrize(
    ("spend", "plan", "drawn"),
    [
        (0, 0, "|-----------"),
        (50, 50, "######|-----"),
        (99, 50, "######|####-"),
        (100, 100, "###########|"),
        (300, 300, "###########|"),
        (25, 75, "###------|--"),
    ],
)
def test_the_bar_by_hand(spend, plan, drawn):
    ascii_signs = {"\N{BOX DRAWINGS HEAVY HORIZONTAL}": "#", "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-"}
    assert spend_bar(spend, plan, 100).plain.translate(str.maketrans(ascii_signs)) == drawn


def test_the_bar_of_no_budget_is_empty():
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in spend_bar(5, 5, 0).plain
