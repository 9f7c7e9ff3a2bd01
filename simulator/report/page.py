"""The one-page report: what happened in a sentence, the figures, and the sections that back them."""

import math

from models.pages.blocks import document, figures
from models.pages.charts import ChartIds
from models.pages.markup import Markup, el
from simulator.report import text
from simulator.report.accounts import books
from simulator.report.blocks import figure
from simulator.report.conditions import conditions, formulas, models, speed
from simulator.report.delivery import pacing
from simulator.report.funnel import funnel
from simulator.report.returns import returns
from simulator.report.summary import (
    RunResult,
    books_verdict,
    cpa_nanos,
    ctr,
    share,
    sum_checks,
    totals,
    win_rate,
)
from simulator.returns import roas


def render(result: RunResult) -> str:
    """The run as one HTML document that loads nothing, opens from disk and is well-formed XML too.

    Args:
        result: the run; it may be empty or disagree with itself, which the page then says.

    Returns:
        The document as text, to be written as UTF-8; below 500 kB for any number of campaigns.
    """
    ids = ChartIds()
    return document(
        f"Clearbid run report: {result.log}",
        _header(result),
        _figures(result),
        pacing(result, ids),
        returns(result, ids),
        funnel(result, ids),
        speed(result, ids),
        models(result),
        books(result),
        conditions(result),
        formulas(),
    )


def sentence(result: RunResult) -> str:
    """What happened, in the words of the people who pay for it."""
    total, currency = totals(result.campaigns), result.currency
    if not result.campaigns:
        return f"No campaign took part in this run of {text.count(result.requests)} requests."
    number = len(result.campaigns)
    said = (
        f"{_plural(number, 'campaign')} spent {currency} {text.money(total.spend_nanos)} of {currency} "
        f"{text.money(total.budget_nanos)} ({text.percent(share(total.spend_nanos, total.budget_nanos))}) "
        f"on {_plural(total.impressions, 'impression')}"
    )
    back = roas(total.value_nanos, total.spend_nanos)
    if back is None:
        return said + "."
    return (
        f"{said}, which brought {_plural(total.clicks, 'click')} and "
        f"{_plural(total.conversions, 'conversion')} worth {currency} "
        f"{text.money(total.value_nanos)}: {currency} {text.ratio(back)} back for each {currency} 1 spent."
    )


def _header(result: RunResult) -> Markup:
    clock = f"{text.moment(result.started_at_ns)} to {text.moment(result.ended_at_ns)}"
    when = f"{result.log}, {clock} on the run's clock"
    if result.generated_at_ns is not None:
        when += f"; report of {text.moment(result.generated_at_ns)}"
    return el(
        "header",
        el("h1", "Clearbid run report"),
        el("p", sentence(result), class_="lead"),
        el("p", when + ".", class_="when"),
        _verdict(result),
    )


def _verdict(result: RunResult) -> Markup:
    broken = sum(not check.holds for check in sum_checks(result))
    if not books_verdict(result):
        said, tone = "✗ The books do not agree with the exchange's: see Books", "bad"
    elif broken:
        said, tone = f"✗ The books agree, but {_plural(broken, 'sum')} of counts does not: see Books", "bad"
    else:
        said, tone = "✓ The books agree with the exchange's to the nano", "good"
    return el("p", said, class_=f"verdict {tone}")


def _figures(result: RunResult) -> Markup:
    total, currency, latency = totals(result.campaigns), result.currency, result.decision_latency_ms
    spent = text.percent(share(total.spend_nanos, total.budget_nanos))
    won = text.percent(win_rate(result.wins, result.bids))
    late = f", {text.count(result.late_wins)} notices late" if result.late_wins else ""
    answers = f"{text.count(total.clicks)} clicks of {text.count(total.impressions)} impressions"
    rate = (
        text.count(round(result.requests_per_second))
        if math.isfinite(result.requests_per_second)
        else text.DASH
    )
    span = f"{text.count(result.requests)} requests in {text.duration(result.duration_s)}"
    bid_rate = f"{text.percent(share(result.bids, result.opportunities))} of opportunities"
    cost = text.money(cpa_nanos(total.spend_nanos, total.conversions))
    return figures(
        [
            figure(f"Spend ({currency})", text.money(total.spend_nanos), f"{spent} of budget", "Spend"),
            figure("Bids", text.count(result.bids), bid_rate, "Bid rate"),
            figure("Wins", text.count(result.wins), f"win rate {won}{late}", "Win rate"),
            figure("CTR", text.percent(ctr(total.clicks, total.impressions), 2), answers, "CTR"),
            figure(f"CPA ({currency})", cost, _plural(total.conversions, "conversion"), "CPA"),
            figure(
                "ROAS",
                text.ratio(roas(total.value_nanos, total.spend_nanos)),
                f"value {currency} {text.money(total.value_nanos)}",
                "ROAS",
            ),
            figure("Requests a second", rate, span, None),
            figure(
                "Decision latency, median",
                text.milliseconds(latency.p50),
                f"p99 {text.milliseconds(latency.p99)}",
                "Decision latency",
            ),
        ]
    )


def _plural(number: int, noun: str) -> str:
    return f"{text.count(number)} {noun}{'' if number == 1 else 's'}"
