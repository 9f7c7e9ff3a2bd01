"""The page of a set of segments: who they are, how they answer, how they were found. No user's key stands in it."""

from collections.abc import Sequence

from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    facts,
    figures,
    header,
    section,
    table,
)
from models.pages.charts import Axis, Bar, BarRow, ChartIds, Series, bar_chart, legend, plane_chart
from models.pages.markup import Content, Markup, el
from models.pages.text import DASH, count, counted, moment, percent, ratio
from models.segments.clusters import APART, STABLE
from models.segments.report import FOUND, Report, Segment
from models.segments.response import Cell, Rate
from models.segments.words import structure_words, taken_trial, value_words

_MOST_CAMPAIGNS = 12
_LIFT = "click rate by that of all other users; interval of 95 %, normal on the log, with users as the unit"
_RATE = "events by trials; Jeffreys interval of 95 % for as many trials as users' likeness leaves"
_VALUE = "units of the account's currency for a thousand impressions, with an interval as that of the lift"
_NANOS_CPM = 1e6  # nanos an impression to units a thousand


def segments_page(report: Report) -> str:
    """One HTML document."""
    ids = ChartIds()
    parts: list[Markup | None] = [
        _top(report),
        figures(
            [
                Figure("Segments", count(len(report.segments)), report.verdict),
                Figure("Users", count(report.users), f"at least {report.smallest} in each segment"),
                Figure("Rows", count(report.rows), f"{count(report.rows_unknown_user)} more have no user"),
                Figure(
                    "Directions",
                    count(report.directions),
                    "of behaviour are more than chance",
                    "principal directions whose variance is above that of shuffled data",
                ),
            ]
        ),
    ]
    if report.segments:
        parts += [_answers(report, ids), _who(report)]
        if report.cells:
            parts.append(_campaigns(report))
    if report.churn is not None:
        parts.append(_churn(report))
    parts += [_how(report, ids), _mind(report)]
    return document(f"Segments in {report.table}", *parts)


def _top(report: Report) -> Markup:
    found = bool(report.segments)
    users = counted(report.users, "user")
    lead = (
        f"{report.segments[0].name}: {report.segments[0].words}"
        if len(report.segments) == 1
        else f"{len(report.segments)} audiences in {users}"
        if report.verdict == FOUND
        else f"{report.verdict.capitalize()} in {users}"
    )
    if found and report.verdict != FOUND:
        lead += f"; {counted(len(report.segments), 'group')} were asked for and cut out of them"
    best = max(report.segments, key=lambda one: one.ctr.lift_low or 0.0, default=None)
    if report.verdict == FOUND and best is not None and (best.ctr.lift_low or 0.0) > 1.0:
        lead += f"; {best.name} clicks most: {best.words}"
    when = f"{report.table}, {' to '.join(map(moment, report.window_ns))}"
    trial, measured = taken_trial(report), structure_words(report)
    if report.verdict != FOUND:
        badge = f"{report.verdict.capitalize()}, do not build on this: {measured}"
        return header("Segments", lead, when, badge, good=False)
    overlap = trial is not None and trial.silhouette < APART
    badge = f"Stable{', but the groups overlap' if overlap else ' under resampling'}: {measured}"
    return header("Segments", lead, when, badge, care=overlap)


def _answers(report: Report, ids: ChartIds) -> Markup:
    shown = [one for one in report.segments if one.ctr.lift is not None]
    most = max((one.ctr.lift or 0.0 for one in shown), default=1.0)
    rows = [
        BarRow(
            one.name,
            f"{one.ctr.lift:.2f} x",
            (Bar((one.ctr.lift or 0.0) / most, "value" if _surely_above(one.ctr) else "drop"),),
        )
        for one in shown
    ]
    columns = [
        Column("Segment"), Column("Users"), Column("Impressions"), Column("CTR", _RATE),
        Column("x others", _LIFT), Column("CVR", _RATE), Column("Value CPM", _VALUE),
    ]  # fmt: skip
    body = table(
        "Segments and their answers", columns, [_answer_row(one) for one in report.segments], stacks=True
    )
    chart = bar_chart(
        ids,
        "Click rate of each segment by that of all other users",
        "The same numbers stand in the table.",
        rows,
    )
    return section(
        "How they answer",
        f"Impressions from {moment(report.response_from_ns)} on. Green: the 95 % interval lies above all others. "
        "Intervals of values and of `x others` are normal on the log, so that none begins below 0.",
        card(chart if rows else None, body),
    )


def _answer_row(one: Segment) -> Sequence[Content]:
    return (
        one.name,
        count(one.users),
        f"{one.ctr.trials:,.0f}",
        _rate(one.ctr),
        _lift(one.ctr),
        _rate(one.cvr),
        _value(one.value_nanos),
    )


def _who(report: Report) -> Markup:
    return section(
        "Who they are",
        "What a segment has that the others have not. The groups were made by these traits, so the intervals say "
        "how well a difference is known, not that it was there before. Nothing is told of fewer than "
        f"{report.smallest} users.",
        el("div", *map(_card, report.segments), class_="pair"),
    )


def _card(one: Segment) -> Markup:
    rows = [
        (
            f"{trait.column}: {value_words(trait.column, trait.value)}",
            percent(trait.share),
            percent(trait.share_others),
            f"{trait.odds:.1f} ({trait.odds_low:.1f} to {trait.odds_high:.1f})",
        )
        for trait in one.traits
    ]
    columns = [
        Column("Trait"),
        Column("Here", "mean share of a user's rows"),
        Column("Others", "the same of all other users"),
        Column("Odds", "odds ratio after an informative prior (Monroe et al. 2008), 95 % interval"),
    ]
    often = f"{percent(one.share)} of all users; {one.rows_each:.1f} rows a user, others {one.rows_each_others:.1f}"
    return card(
        el("h3", one.name),
        el("p", one.words, class_="note"),
        table(f"Traits of {one.name}", columns, rows) if rows else None,
        el("p", often, class_="note"),
    )


def _campaigns(report: Report) -> Markup:
    campaigns = list(report.best)[:_MOST_CAMPAIGNS]
    by_pair = {(cell.segment, cell.campaign): cell for cell in report.cells}
    names = [one.name for one in report.segments]
    rows = [
        (campaign, report.best[campaign] or DASH, *(_cell(by_pair.get((name, campaign))) for name in names))
        for campaign in campaigns
    ]
    columns = [
        Column("Campaign"),
        Column("Best", "of those that hold, the one whose interval begins highest"),
        *(Column(name, _LIFT) for name in names),
    ]
    held = sum(cell.holds for cell in report.cells)
    more = len(report.best) - len(campaigns)
    note = (
        f"Click rate by that of all other users on the same campaign. Marked ●: {held} of "
        f"{counted(len(report.cells), 'pair')} hold after Holm's correction for asking all of them at once; the rest "
        f"may be chance. A dash: too little was expected to say anything."
    )
    if more > 0:
        note += f" {counted(more, 'more campaign')} stand in segments.json."
    return section(
        "Which segment answers which campaign", note, card(table("Segments by campaign", columns, rows))
    )


def _cell(cell: Cell | None) -> str:
    if cell is None or cell.lift is None:
        return DASH
    return f"{cell.lift:.2f}{' ●' if cell.holds else ''}"


def _churn(report: Report) -> Markup:
    churn = report.churn
    assert churn is not None, "asked only where there is one"
    return section(
        "Since the last time",
        "Names stay with their people: old and new segments are matched so that most users keep theirs.",
        card(
            facts(
                [
                    ("Names kept", ", ".join(churn.kept) or DASH),
                    ("New", ", ".join(churn.new) or DASH),
                    ("Retired", ", ".join(churn.retired) or DASH),
                    ("Users who stayed", count(churn.stayed)),
                    ("Users who moved", count(churn.moved)),
                    ("Users who were in none before", count(churn.had_none)),
                    ("Users who joined", count(churn.joined)),
                    ("Users who left", count(churn.left)),
                ]
            )
        ),
    )


def _how(report: Report, ids: ChartIds) -> Markup:
    parts: list[Markup | None] = []
    if len(report.trials) > 1:
        axis = [float(one.asked) for one in report.trials]
        series = [
            Series(
                "stability", tuple((float(t.asked), t.stability) for t in report.trials), "spend", marked=True
            ),
            Series(
                "silhouette",
                tuple((float(t.asked), t.silhouette) for t in report.trials),
                "plan",
            ),
        ]
        parts += [
            legend(series),
            plane_chart(
                ids,
                "Stability and silhouette by number of groups",
                "The same numbers stand in the table.",
                Axis("groups asked for", axis[0], axis[-1], tuple((at, f"{at:.0f}") for at in axis)),
                Axis("", 0.0, 1.0, tuple((at / 4, f"{at / 4:.2f}") for at in range(5))),
                series,
            ),
        ]
    if report.trials:
        rows = [
            (
                str(one.asked),
                str(one.groups),
                count(one.smallest),
                ratio(one.silhouette),
                ratio(one.stability),
                "yes" if one.stable else "no",
            )
            for one in report.trials
        ]
        columns = [
            Column("Asked for"),
            Column("Left", "after groups that are too small were merged into the nearest"),
            Column("Smallest"),
            Column("Silhouette", "how much nearer users are to their own group than to the next, -1 to 1"),
            Column(
                "Stability", "mean adjusted Rand index of groups found again in random halves of the users"
            ),
            Column("Stable"),
        ]
        parts.append(data_details("The numbers", table("Numbers of groups that were tried", columns, rows)))
    columns_told = ", ".join(f"{name} ({values})" for name, values in report.columns.items())
    parts.append(facts([("Behaviour", columns_told), ("Seed", str(report.seed))]))
    return section(
        "How they were found",
        f"Of the numbers of groups with a stability of {STABLE} or more, that with the highest silhouette is taken.",
        card(*parts),
    )


def _mind(report: Report) -> Markup:
    return section("Mind", None, card(el("ul", *(el("li", one) for one in report.cautions), class_="list")))


def _surely_above(rate: Rate) -> bool:
    return rate.lift_low is not None and rate.lift_low > 1.0


def _rate(rate: Rate) -> str:
    if rate.rate is None or rate.low is None or rate.high is None:
        return DASH
    return f"{percent(rate.rate, 2)} ({rate.low * 100:.2f} to {rate.high * 100:.2f})"


def _lift(rate: Rate) -> str:
    return DASH if rate.lift is None else f"{rate.lift:.2f} ({rate.lift_low:.2f} to {rate.lift_high:.2f})"


def _value(rate: Rate | None) -> str:
    if rate is None or rate.rate is None:
        return DASH
    if rate.low is None or rate.high is None:
        return f"{rate.rate / _NANOS_CPM:,.2f}"
    return f"{rate.rate / _NANOS_CPM:,.2f} ({rate.low / _NANOS_CPM:,.2f} to {rate.high / _NANOS_CPM:,.2f})"
