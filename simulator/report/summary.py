"""The summary of one run, the metrics derived from it, and the checks that its counts add up.

`RunResult` without its curves is also the object that `clearbid demo --json` prints, so the names of the
fields and their order are an interface: those that scripts rely on come first, new ones go to the end.
Amounts are int64 nanos (`bidder.money`), times are nanoseconds since the epoch on the run's shared clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from models.evaluate import Metrics


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time of a decision in milliseconds: median and 99th percentile; None where nothing was timed."""

    p50: float | None
    p99: float | None


class CampaignResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one campaign was given, did and brought, by our own books.

    Attributes:
        id: campaign id. name, advertiser: as ad-ops wrote them.
        budget_nanos: of the whole flight. spend_nanos: booked, late wins included. uncovered_nanos: the part of
            it for which no grant had room, the only way to pass a budget.
        value_nanos: sum of what its conversions told that they were worth, whatever the goal.
        currency: ISO 4217 code of all its amounts. goal: `click` or `conversion`.
        eligible: opportunities that its targeting let through.
        bids, wins: bids sent for it and bids won. view_conversions: conversions without a click of theirs.
        funnel: what dropped an eligible opportunity before a bid, by reason (`report.reasons.drops`);
            sums to `eligible - bids`.
        asked: opportunities held against its targeting, once for each of its line items. refused: those that
            targeting refused, by dimension; sums to `asked - eligible`. 0 and empty where nobody counted.
    """

    id: str
    budget_nanos: int
    spend_nanos: int
    impressions: int
    clicks: int
    conversions: int
    value_nanos: int
    name: str
    advertiser: str
    currency: str
    goal: str
    eligible: int
    bids: int
    wins: int
    uncovered_nanos: int = 0
    view_conversions: int = 0
    funnel: Mapping[str, int] = {}
    asked: int = 0
    refused: Mapping[str, int] = {}


class ExchangeBook(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange has of one campaign in its own books, counted apart from ours."""

    wins: int
    impressions: int
    clicks: int
    conversions: int
    spend_nanos: int
    value_nanos: int


class CurvePoint(msgspec.Struct, frozen=True):
    """One moment of a campaign: money spent since its start, and what its plan had foreseen by then."""

    at_ns: int
    spend_nanos: int
    plan_nanos: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run, whole. The first eight fields are the JSON object's fixed part.

    Attributes:
        requests: bid requests read. opportunities: impressions on offer in them.
        bids, wins: over all campaigns. requests_per_second: requests over wall time of the replay.
        late_wins: win notices after their reservation's end; booked all the same.
        books_agree: our books are the exchange's, to the nano. mismatches: one line where they are not.
        reasons: opportunities without a bid by reason (`report.reasons.no_bids`); sums to
            `opportunities - bids`.
        losses: bids without a win by reason; sums to `bids - wins`. Empty where nobody told.
        exchange: the exchange's own counts of the run, by name.
        exchange_books: the exchange's own books by campaign id.
        duration_s: wall time of the replay. speedup: shared clock over wall clock.
        started_at_ns, ended_at_ns: on the shared clock. generated_at_ns: wall time of the report.
        log: name of the log, not its path. seed: of everything drawn at random.
        models: quality by model name (`ctr`, `cvr`), on rows later than those it learned from.
        synthetic: a sentence for each thing in the run that was made up, and by which law.
        versions: of the libraries and of the code, by name.
        deadline_ms: the answer time that the exchange allowed.
        curves: spend against plan by campaign id; kept out of the JSON object.
    """

    requests: int
    opportunities: int
    bids: int
    wins: int
    requests_per_second: float
    decision_latency_ms: Latency
    late_wins: int
    campaigns: Sequence[CampaignResult]
    books_agree: bool
    mismatches: Sequence[str] = ()
    reasons: Mapping[str, int] = {}
    losses: Mapping[str, int] = {}
    exchange: Mapping[str, int] = {}
    exchange_books: Mapping[str, ExchangeBook] = {}
    duration_s: float
    speedup: float
    transport: str
    log: str
    seed: int | None = None
    models: Mapping[str, Metrics] = {}
    started_at_ns: int
    ended_at_ns: int
    generated_at_ns: int | None = None
    versions: Mapping[str, str] = {}
    synthetic: Sequence[str] = ()
    deadline_ms: float | None = None
    curves: Mapping[str, Sequence[CurvePoint]] = {}

    def __post_init__(self) -> None:
        ids = [campaign.id for campaign in self.campaigns]
        if len(set(ids)) != len(ids):
            raise ValueError(f"campaign ids must be unique, were {sorted(ids)}")
        currencies = {campaign.currency for campaign in self.campaigns}
        if len(currencies) > 1:
            raise ValueError(f"campaigns must share one currency, were in {sorted(currencies)}")

    @property
    def currency(self) -> str:
        """The one currency of all amounts; empty where there is no campaign."""
        return self.campaigns[0].currency if self.campaigns else ""


class Totals(NamedTuple):
    """Sums over all campaigns."""

    budget_nanos: int
    spend_nanos: int
    impressions: int
    clicks: int
    conversions: int
    view_conversions: int
    value_nanos: int
    eligible: int
    bids: int
    wins: int


class Check(NamedTuple):
    """Two numbers that must be the same: `left` is the whole, `right` the sum of its parts."""

    what: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Whether they are."""
        return self.left == self.right


def json_object(result: RunResult) -> bytes:
    """The run as one line of JSON: every field but the curves, in the order of the struct."""
    fields = {name: getattr(result, name) for name in result.__struct_fields__ if name != "curves"}
    return msgspec.json.encode(fields)


def totals(campaigns: Sequence[CampaignResult]) -> Totals:
    """Sums over `campaigns`, exactly."""
    return Totals(*(sum(getattr(campaign, name) for campaign in campaigns) for name in Totals._fields))


# --- Metrics. None means that there is nothing to divide by: the metric does not exist, it is not zero. ---


def share(part: int, whole: int) -> float | None:
    """`part / whole` as a fraction: spend of budget, bids of opportunities."""
    return part / whole if whole else None


def win_rate(wins: int, bids: int) -> float | None:
    """Bids won of bids sent, a fraction."""
    return share(wins, bids)


def ctr(clicks: int, impressions: int) -> float | None:
    """Click-through rate: clicks of impressions, a fraction."""
    return share(clicks, impressions)


def cpc_nanos(spend_nanos: int, clicks: int) -> int | None:
    """Cost per click in nanos, rounded to the nearest."""
    return _divide(spend_nanos, clicks)


def cpa_nanos(spend_nanos: int, conversions: int) -> int | None:
    """Cost per action (conversion) in nanos, rounded to the nearest."""
    return _divide(spend_nanos, conversions)


def ecpm_nanos(spend_nanos: int, impressions: int) -> int | None:
    """Effective cost of a thousand impressions in nanos, rounded to the nearest."""
    return _divide(spend_nanos * 1000, impressions)


def _divide(amount: int, count: int) -> int | None:
    return (2 * amount + count) // (2 * count) if count else None


# --- Checks. ---


class Booked(Protocol):
    """Our books of one campaign, in whatever form: a result of the run, or the bank's own report."""

    @property
    def id(self) -> str:
        """Campaign id; the numbers are read by the names of `ExchangeBook`."""
        ...


def book_mismatches(campaigns: Iterable[Booked], exchange_books: Mapping[str, ExchangeBook]) -> list[str]:
    """One line for each number of a campaign that is not the same in our books and in the exchange's.

    A campaign that only one side knows counts as zeros on the other, so that a campaign without a win needs
    no entry.
    """
    ours = {campaign.id: book_of(campaign) for campaign in campaigns}
    lines = []
    for campaign_id in sorted(ours.keys() | exchange_books.keys()):
        left, right = ours.get(campaign_id, EMPTY_BOOK), exchange_books.get(campaign_id, EMPTY_BOOK)
        for name in ExchangeBook.__struct_fields__:
            was, must = getattr(left, name), getattr(right, name)
            if was != must:
                lines.append(f"{name} of campaign {campaign_id} must be the exchange's {must}, was {was}")
    return lines


def book_of(campaign: Booked) -> ExchangeBook:
    """Our side of the comparison with the exchange."""
    return ExchangeBook(**{name: getattr(campaign, name) for name in ExchangeBook.__struct_fields__})


def books_verdict(result: RunResult) -> bool:
    """Whether the run says that the books agree and nothing it shows speaks against it."""
    if not result.books_agree or result.mismatches:
        return False
    return not result.exchange_books or not book_mismatches(result.campaigns, result.exchange_books)


def sum_checks(result: RunResult) -> list[Check]:
    """Every sum in the run that can be checked: wholes against their parts, the run against its campaigns."""
    total = totals(result.campaigns)
    checks = [
        Check(
            "opportunities = bids + no-bids by reason",
            result.opportunities,
            result.bids + _sum(result.reasons),
        ),
        Check("bids = sum over campaigns", result.bids, total.bids),
        Check("wins = sum over campaigns", result.wins, total.wins),
        Check(
            "eligible = bids + drops by reason, all campaigns",
            total.eligible,
            total.bids + sum(_sum(campaign.funnel) for campaign in result.campaigns),
        ),
    ]
    if any(campaign.asked for campaign in result.campaigns):
        checks.append(
            Check(
                "asked = eligible + refusals by dimension, all campaigns",
                sum(campaign.asked for campaign in result.campaigns),
                total.eligible + sum(_sum(campaign.refused) for campaign in result.campaigns),
            )
        )
    if result.losses:
        checks.insert(
            1, Check("bids = wins + losses by reason", result.bids, result.wins + _sum(result.losses))
        )
    return checks


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


EMPTY_BOOK = ExchangeBook(wins=0, impressions=0, clicks=0, conversions=0, spend_nanos=0, value_nanos=0)
"""The books of a campaign of which a side has heard nothing."""
