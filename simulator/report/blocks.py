"""What only this report is built of: its formulas, amounts with their exact value, numbers of two books."""

from models.pages.blocks import Column, Figure
from models.pages.markup import Markup, el
from simulator.report import text

FORMULAS = {
    "Budget": "What the campaign may spend over its whole flight.",
    "Spend": "Sum of the clearing prices of the impressions won and booked, late notices included.",
    "Spent": "Spend / budget.",
    "Bid rate": "Bids / opportunities.",
    "Win rate": "Wins / bids.",
    "Impressions": "Wins that the exchange says were shown.",
    "eCPM": "Spend / impressions x 1,000: the effective cost of a thousand impressions.",
    "CTR": "Clicks / impressions.",
    "CPC": "Spend / clicks.",
    "CPA": "Spend / conversions.",
    "After a view": "Conversions that count for an impression, as no click of theirs was noticed within its window.",
    "Value": "Sum of what conversions told that they were worth, such as the value of an order, whatever the goal; "
    "a click adds nothing. Estimates count goal events x the worth that bids were made by, which differs.",
    "ROAS": "Value / spend: what came back for each unit spent; 1 is break-even.",
    "Plan": "Spend that the pacing plan had foreseen by then.",
    "Eligible": "Opportunities that the campaign's targeting let through.",
    "Late win notices": "Win notices that came after their reservation had ended; they are owed, and booked.",
    "Decision latency": "Wall time from a request read to its answer ready, without what the request waited before; "
    "p50 is the median, 99 of 100 decisions were faster than p99.",
    "Answered too late": "Requests without an answer within the exchange's time, waits included: those that were "
    "too late when they were read, and those whose bid came after the deadline and cannot win. Where the machine "
    "is too slow for the run's clock, a lower --speedup mends it.",
    "AUC": "Probability that an event was given a higher score than a non-event; 0.5 is chance.",
    "NE": "Normalized entropy: log loss / log loss of always guessing the average rate; below 1 is better.",
    "Calibration": "Events predicted / events that happened; 1 is right on average.",
    "ECE": "Expected calibration error: mean distance between the predicted and the real rate, "
    "over groups of equally many rows.",
}
"""How each figure is computed, for tooltips and for the footnotes."""


def column(header: str, formula: str | None = None) -> Column:
    """A header; `formula` names an entry of `FORMULAS`."""
    return Column(header, FORMULAS[formula] if formula else None)


def figure(name: str, value: str, beside: str, formula: str | None) -> Figure:
    """A large number; `formula` names an entry of `FORMULAS`."""
    return Figure(name, value, beside, FORMULAS[formula] if formula else None)


def amount(nanos: int | None, decimals: int = 2) -> Markup:
    """Money rounded for reading; the element's value is the nanos and its tooltip the exact amount."""
    if nanos is None:
        return el("span", text.DASH, title="Nothing to divide by")
    return el("data", text.money(nanos, decimals), value=nanos, title=text.exact(nanos))


def pair(ours: int, theirs: int, exact: bool = False) -> Markup:
    """A number that both books have, or both numbers where they differ."""
    form = text.exact if exact else text.count
    if ours == theirs:
        return el("data", form(ours), value=ours)
    return el("strong", f"{form(ours)} ≠ {form(theirs)}", class_="bad")
