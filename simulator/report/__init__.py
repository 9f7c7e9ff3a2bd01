"""What a run came to: one summary, shown as a JSON object and as one self-contained HTML page.

    summary   frozen structs that a run fills, derived metrics, checks that the counts add up, the JSON object
    reasons   reasons in words; the engine's counts as the summary takes them
    text      numbers, money, shares and times as people read them
    markup    elements that escape what they hold
    charts    our own inline SVG
    page      the sections, and `render`

Everything here is a pure function of a `RunResult`: no clock, no files, no network. The page loads nothing.
"""

from simulator.report.page import render
from simulator.report.reasons import drops, no_bids, summed
from simulator.report.summary import (
    CampaignResult,
    CurvePoint,
    ExchangeBook,
    Latency,
    RunResult,
    book_mismatches,
    json_object,
)

__all__ = [
    "CampaignResult",
    "CurvePoint",
    "ExchangeBook",
    "Latency",
    "RunResult",
    "book_mismatches",
    "drops",
    "json_object",
    "no_bids",
    "render",
    "summed",
]
