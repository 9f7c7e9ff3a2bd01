"""One HTML page: why one row has its probabilities, or what counts over a whole table."""

from collections.abc import Sequence

from models.explain.attribution import Attribution
from models.explain.charts import DOWN, UP, WHOLE, SpanRow, signed, span_chart
from models.explain.overview import CampaignWeights, Dependence, ModelOverview, Overview, Weight
from models.explain.words import (
    BASE,
    CALIBRATION,
    REST,
    TOTAL,
    added,
    chance,
    label,
    rest_words,
    shuffled_words,
    times,
    verdict,
)
from models.pages.blocks import (
    Column,
    Figure,
    card,
    data_details,
    document,
    figures,
    glossary,
    grid,
    header,
    section,
    table,
)
from models.pages.charts import Bar, BarRow, ChartIds, bar_chart
from models.pages.markup import Content, Markup, el, join
from models.pages.text import DASH, count, counted, moment, percent

_TITLES = {"ctr": "Click model", "cvr": "Conversion model, given a click"}
_FORMULAS = {
    "Contribution": "TreeSHAP value of the feature in log odds: what knowing it adds to the score, averaged over "
    "all orders in which features may become known, where the trees average over what is unknown by their "
    "training rows. Base and contributions add up to the raw score.",
    "Factor on the odds": "exp(contribution). Where the probability is small it multiplies the probability by "
    "nearly as much.",
    "Base": "The score of the average training row.",
    "Calibration": "Log odds of the calibrated probability less the raw score. It is one number for all rows "
    "of one score, and belongs to no feature.",
    "Weight": "Mean over the sampled rows of the absolute contribution. A group's features are added before.",
    "Loss where shuffled": "Mean log loss of the calibrated probability with the group shuffled among labelled "
    "rows, over that without, less 1; the interval is 95 %, from the spread over rows.",
}


# -- one row ------------------------------------------------------------------------------------------------


def row_page(name: str, when: str, attributions: Sequence[Attribution]) -> str:
    """The page of one row.

    Args:
        name: of the row, such as `bid x`. when: which model and table. attributions: one for each model.
    """
    ids = ChartIds()
    both = " and ".join(f"a {one.title} has {chance(one.probability)}" for one in attributions)
    shown = [
        figure
        for one in attributions
        for figure in (
            Figure(f"p({one.title})", chance(one.probability), "calibrated, as it is bid on"),
            Figure(
                "from the base", times(_odds_ratio(one)), f"of {chance(one.base_probability)}, on the odds"
            ),
        )
    ]
    return document(
        f"Why: {name}",
        header(f"Why, {name}", f"{both[:1].upper()}{both[1:]}.", when),
        figures(shown),
        *(_row_section(ids, one) for one in attributions),
        glossary(
            {key: _FORMULAS[key] for key in ("Contribution", "Factor on the odds", "Base", "Calibration")}
        ),
    )


def _odds_ratio(one: Attribution) -> float:
    return one.probability / (1 - one.probability) / (one.base_probability / (1 - one.base_probability))


def _row_section(ids: ChartIds, one: Attribution) -> Markup:
    title = _TITLES.get(one.model, one.model)
    chart = span_chart(
        ids, f"{title}: from the base to the probability", _described(one), _walk(one), one.base
    )
    note = (
        "From the average training row down to this one, in log odds; the line stands at the base. The "
        "probability after a row depends on the order of the rows, its contribution does not."
    )
    return section(title, note, el("div", card(chart), card(_row_table(one)), class_="pair"))


def _described(one: Attribution) -> str:
    most = f"; {label(one.steps[0])} adds most" if one.steps else "; no feature adds anything"
    return f"From {chance(one.base_probability)} to {chance(one.probability)}{most}."


def _walk(one: Attribution) -> list[SpanRow]:
    at = one.base
    rows = [SpanRow(f"{BASE}: average training row", chance(one.base_probability), at, at, WHOLE)]
    for name, amount in _amounts(one):
        rows.append(SpanRow(name, added(amount), at, at + amount, UP if amount > 0 else DOWN))
        at += amount
    rows.append(SpanRow(TOTAL, chance(one.probability), one.base, at, WHOLE))
    return rows


def _amounts(one: Attribution) -> list[tuple[str, float]]:
    rest = [(f"{REST}: {rest_words(one)}", one.rest)] if one.rest_groups else []
    return [*((label(step), step.contribution) for step in one.steps), *rest, (CALIBRATION, one.calibration)]


def _row_table(one: Attribution) -> Markup:
    columns = [
        Column("Feature and what the row shows"),
        Column("Probability after"),
        Column("Contribution", _FORMULAS["Contribution"]),
        Column("On the odds", _FORMULAS["Factor on the odds"]),
    ]
    base = _named(BASE, "average training row")
    rows: list[list[Content]] = [[base, chance(one.base_probability), added(one.base), ""]]
    for step in one.steps:
        amounts = chance(step.probability), added(step.contribution), times(step.odds_factor)
        rows.append([_named(step.name, step.value), *amounts])
    if one.rest_groups:
        rows.append([_named(REST, rest_words(one)), chance(one.raw_probability), added(one.rest), ""])
    rows.append([CALIBRATION, chance(one.probability), added(one.calibration), ""])
    return table(f"Contributions, {one.title}", columns, rows, [TOTAL, chance(one.probability), "", ""])


def _named(name: str, value: str) -> Markup:
    return join(name, el("span", value, class_="id"))


# -- a table ------------------------------------------------------------------------------------------------


def overview_page(found: Overview) -> str:
    """The page of a whole table."""
    ids = ChartIds()
    lead = "; ".join(
        f"{one.model}: {', '.join(weight.name for weight in one.groups[:3]) or 'one number for all'}"
        for one in found.models
    )
    window = " to ".join(moment(at, "%Y-%m-%d %H:%M UTC") for at in found.window_ns)
    asked = f"{count(found.sampled)} of {counted(found.rows, 'row')} asked, seed {found.seed}"
    when = f"Model {found.bundle[:12]}, table {found.table}, {window}; {asked}"
    shown: list[Figure] = []
    for one in found.models:
        shown.append(
            Figure(f"Mean p, {one.model}", chance(one.mean_probability), "calibrated, of the sample")
        )
        mattering = sum(shuffle.matters for shuffle in one.shuffled)
        told = f"{mattering} of {len(one.shuffled)}" if one.shuffled else DASH
        shown.append(Figure(f"Shown to matter, {one.model}", told, "of the heaviest groups"))
    return document(
        "What the models go by",
        header("What the models go by", f"{lead}.", when),
        figures(shown),
        *(part for one in found.models for part in _model_sections(ids, one)),
        glossary({key: _FORMULAS[key] for key in ("Contribution", "Weight", "Base", "Loss where shuffled")}),
    )


def _model_sections(ids: ChartIds, one: ModelOverview) -> list[Markup]:
    title = _TITLES.get(one.model, one.model)
    if not one.groups:
        note = (
            f"It gives every row {chance(one.mean_probability)}: no tree splits, so no feature has a weight."
        )
        return [section(title, note)]
    heavy = one.groups[0].mean_absolute
    bars = [
        BarRow(weight.name, f"{weight.mean_absolute:.4f}", (Bar(weight.mean_absolute / heavy, WHOLE),))
        for weight in one.groups[:10]
    ]
    chart = bar_chart(ids, f"{title}: weight of each group", f"{one.groups[0].name} weighs most.", bars)
    weights = card(
        el("h3", "What counts"),
        chart,
        data_details("All groups", _weights_table("group", one.groups)),
        data_details("All features", _weights_table("feature", one.features)),
    )
    return [
        section(
            title,
            f"Mean absolute contribution to the score, in log odds; the base is {added(one.base)}.",
            el("div", weights, card(el("h3", "Whether it matters"), _shuffled(one)), class_="pair"),
        ),
        _campaigns(one),
        _dependences(ids, one),
    ]


def _weights_table(kind: str, weights: Sequence[Weight]) -> Markup:
    heads = ("Weight", _FORMULAS["Weight"]), ("Mean with its sign", None), ("Share", None)
    columns = [Column(kind.capitalize()), *(Column(*head) for head in heads)]
    rows = [[one.name, f"{one.mean_absolute:.4f}", added(one.mean), percent(one.share)] for one in weights]
    return table(f"Weight of each {kind}", columns, rows)


def _shuffled(one: ModelOverview) -> Markup:
    if one.shuffled_note:
        return el("p", f"Not told: {one.shuffled_note}.", class_="note")
    columns = [
        Column("Shuffled group"), Column("Matters"), Column("Log loss", _FORMULAS["Loss where shuffled"]),
        Column("95 % interval"),
    ]  # fmt: skip
    rows = [
        [
            shuffle.name,
            verdict(shuffle),
            f"{shuffle.loss_increase:+.2%}",
            f"{shuffle.low:+.2%} to {shuffle.high:+.2%}",
        ]
        for shuffle in one.shuffled
    ]
    note = f"Over {shuffled_words(one)}."
    return el("div", el("p", note, class_="note"), table("Loss where a group is shuffled", columns, rows))


def _campaigns(one: ModelOverview) -> Markup:
    if not one.campaigns:
        return section("By campaign", "The model does not know campaigns.")
    names = list(one.campaigns[0].mean_absolute)
    columns = [Column(one.owner.replace("_", " ")), Column("Rows"), Column("Mean p"), *map(Column, names)]

    def row(campaign: CampaignWeights) -> list[Content]:
        weights = [f"{campaign.mean_absolute[name]:.3f}" for name in names]
        return [campaign.name, count(campaign.rows), chance(campaign.mean_probability), *weights]

    body = table(f"Weights by {one.owner}, {one.model}", columns, [row(each) for each in one.campaigns])
    return section(
        f"By {one.owner.replace('_', ' ')}, {one.model}",
        "Mean absolute contribution of each group.",
        card(body),
    )


def _dependences(ids: ChartIds, one: ModelOverview) -> Markup:
    note = "Mean contribution of the feature, in log odds, among the sampled rows that show the value."
    cards = [_dependence(ids, each, one.model) for each in one.dependence]
    return section(f"By value, {one.model}", note, grid(*cards))


def _dependence(ids: ChartIds, one: Dependence, model: str) -> Markup:
    rows = [signed(part.label, added(part.mean_contribution), part.mean_contribution) for part in one.bins]
    most = max(one.bins, key=lambda part: abs(part.mean_contribution))
    chart = span_chart(
        ids,
        f"{one.feature}, {model}",
        f"{most.label} has the largest: {added(most.mean_contribution)}.",
        rows,
        0.0,
    )
    columns = [Column("Value"), Column("Rows"), Column("Contribution"), Column("Mean p")]
    body = table(
        f"{one.feature} by value, {model}",
        columns,
        [
            [part.label, count(part.rows), added(part.mean_contribution), chance(part.mean_probability)]
            for part in one.bins
        ],
    )
    return card(el("h3", one.feature), chart, data_details("Numbers", body))
