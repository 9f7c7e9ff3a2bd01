"""A run such as the demo makes, whole and consistent, for tests of what is made of it."""

import random
from typing import Any

from models.evaluate import Metrics
from simulator.report.summary import (
    CampaignResult,
    CurvePoint,
    ExchangeBook,
    Latency,
    RunResult,
    book_of,
)

DAY_NS = 86_400 * 10**9
START_NS = 1_370_649_600 * 10**9  # 2013-06-08 00:00 UTC

_NAMES = (
    ("Spring clearance", "brightgoods", "conversion"),
    ("New tariff, city centres", "northtel", "click"),
    ("Weekend flights", "aerolane", "conversion"),
    ("Running shoes", "stridewell", "click"),
    ("Home insurance quotes", "havenmutual", "conversion"),
    ("Game launch", "pixelforge", "click"),
)


def campaign(number: int, rng: random.Random) -> CampaignResult:
    """One campaign whose counts go down the funnel without a gap."""
    name, advertiser, goal = _NAMES[number % len(_NAMES)]
    bids = rng.randrange(4_000, 12_000)
    wins = int(bids * rng.uniform(0.15, 0.4))
    impressions = wins - rng.randrange(0, 9)
    clicks = int(impressions * rng.uniform(0.004, 0.02))
    conversions = int(clicks * rng.uniform(0.05, 0.2))
    spend_nanos = sum(rng.randrange(400_000, 4_000_000) for _ in range(impressions))
    drops = {
        "no_value": rng.randrange(1_000, 9_000),
        "below_floor": rng.randrange(100, 3_000),
        "outbid": rng.randrange(10, 2_000),
        "budget": rng.randrange(0, 400),
    }
    return CampaignResult(
        id=f"c{number + 1:02d}",
        name=name if number < len(_NAMES) else f"{name} {number}",
        advertiser=advertiser,
        currency="USD",
        goal=goal,
        budget_nanos=int(spend_nanos * rng.uniform(1.0, 1.15)) // 10**7 * 10**7 + 10**7,
        spend_nanos=spend_nanos,
        impressions=impressions,
        clicks=clicks,
        conversions=conversions,
        value_nanos=(conversions * 2_500 if goal == "conversion" else clicks * 160) * 10**6,
        eligible=bids + sum(drops.values()),
        bids=bids,
        wins=wins,
        funnel=drops,
    )


def curve(result: CampaignResult, rng: random.Random, points: int = 240) -> list[CurvePoint]:
    """An uneven climb to the campaign's spend beside an even plan."""
    weights = [rng.uniform(0.2, 1.0) * (2.0 if index > points // 3 else 0.7) for index in range(points)]
    whole, sofar, made = sum(weights), 0.0, []
    for index, weight in enumerate(weights):
        sofar += weight
        made.append(
            CurvePoint(
                at_ns=START_NS + DAY_NS * (index + 1) // points,
                spend_nanos=int(result.spend_nanos * (sofar / whole))
                if index < points - 1
                else result.spend_nanos,
                plan_nanos=result.budget_nanos * (index + 1) // points,
            )
        )
    return made


def run_result(size: int = 6, seed: int = 7, **changes: Any) -> RunResult:
    """A day with `size` campaigns; books agree and counts add up; `changes` replace fields as they are."""
    rng = random.Random(seed)
    made = [campaign(number, rng) for number in range(size)]
    bids, wins = sum(c.bids for c in made), sum(c.wins for c in made)
    reasons = {
        "GEO": 61_204,
        "NO_VALUE": 38_150,
        "BELOW_FLOOR": 9_377,
        "EXPIRED": 214,
        "BUDGET": 96,
    }
    opportunities = bids + sum(reasons.values())
    fields: dict[str, Any] = {
        "requests": opportunities - 1_310,
        "opportunities": opportunities,
        "bids": bids,
        "wins": wins,
        "requests_per_second": 3_481.27,
        "decision_latency_ms": Latency(p50=1.84, p99=7.92),
        "late_wins": 3,
        "campaigns": made,
        "books_agree": True,
        "mismatches": [],
        "reasons": reasons,
        "losses": {"LOST_TO_HIGHER_BID": bids - wins - 37, "BID_CAME_AFTER_THE_DEADLINE": 37},
        "exchange": {"requests": opportunities - 1_310, "bids": bids, "wins": wins, "too_late": 37},
        "exchange_books": {c.id: ExchangeBook(**_fields(book_of(c))) for c in made},
        "duration_s": 71.4,
        "speedup": 1_209.0,
        "transport": "embedded Kafka-protocol broker",
        "log": "synthetic market",
        "seed": 1,
        "models": {
            "ctr": _metrics(52_000, 611, 0.7312, 0.9147, 1.018),
            "cvr": _metrics(611, 71, 0.6421, 0.9755, 0.964),
        },
        "started_at_ns": START_NS,
        "ended_at_ns": START_NS + DAY_NS,
        "generated_at_ns": 1_790_000_000 * 10**9,
        "versions": {"clearbid": "0.1.0", "python": "3.11.9", "lightgbm": "4.7.0", "numba": "0.68.0"},
        "synthetic": [
            "Auctions, users and rival prices come from the seeded market that ships with Clearbid.",
            "Conversions follow a click with a probability of the documented law.",
        ],
        "deadline_ms": 100.0,
        "curves": {c.id: curve(c, rng) for c in made},
    }
    return RunResult(**(fields | changes))


def _fields(book: ExchangeBook) -> dict[str, int]:
    return {name: getattr(book, name) for name in ExchangeBook.__struct_fields__}


def _metrics(rows: int, positives: int, auc: float, normalized_entropy: float, calibration: float) -> Metrics:
    return Metrics(
        rows=rows,
        positives=positives,
        auc=auc,
        log_loss=0.062,
        normalized_entropy=normalized_entropy,
        calibration_ratio=calibration,
        ece=0.00041,
    )
