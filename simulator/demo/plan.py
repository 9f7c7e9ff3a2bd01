"""What a demo plays: a log in two parts, campaigns, outcomes, and the settings that follow from them."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bidder.core.campaigns import Campaign
from bidder.core.opportunity import HOURS_PER_WEEK, hour_of_week
from bidder.core.settings import ExchangeRules, PacingSettings
from bidder.core.traffic_shape import TrafficShape
from bidder.errors import InputError
from simulator.exchange.outcomes import LoggedOutcomes, Outcomes, SyntheticOutcomes
from simulator.logs.conversions import ConversionLaw
from simulator.logs.ipinyou import CURRENCY, Kind, detect, read_auctions, read_features
from simulator.logs.logged import BUDGET_SHARES, campaigns_of, summarise
from simulator.logs.requests import RequestEncoder
from simulator.logs.rows import LogRow
from simulator.logs.synthetic import SyntheticMarket, default_campaigns
from simulator.logs.world import EXCHANGES, FIRST_PRICE_EXCHANGES

DEFAULT_SEED = 7
DEFAULT_TRAINING_ROWS = 160_000
DEFAULT_ROWS = 80_000
_LOG_TRAINING_SHARE = 0.5
_LONGEST_TRAINING_DAYS = 365
TMAX_MS = 250


@dataclass(frozen=True)
class Plan:
    """One demo, before anything runs.

    Attributes:
        name: of the log, for reports. seed: of all that is drawn.
        training: makes the rows to learn from, or None where scores come with the log.
        rows: makes the rows to play, in order of time. row_count: how many those are.
        start_ns, end_ns: of the part that is played; every flight lies in it.
        campaigns: by id. outcomes: what follows a won impression.
        currency: of all accounts. exchanges: names of those that send requests. first_price: names of those
            that charge the bid.
        pacing: with the traffic's shape and volume, as the training part shows them.
        notes: a sentence for each thing that is made up.
    """

    name: str
    seed: int
    training: Callable[[], Iterator[LogRow]] | None
    rows: Callable[[], Iterator[LogRow]]
    row_count: int
    start_ns: int
    end_ns: int
    campaigns: Mapping[str, Campaign]
    outcomes: Outcomes
    currency: str
    exchanges: tuple[str, ...]
    first_price: frozenset[str]
    pacing: PacingSettings
    notes: tuple[str, ...]

    @property
    def max_open(self) -> int:
        """Auctions open at once: few where the log is short, or the bids under way would lock up its budgets."""
        return min(max(self.row_count // 500, 16), 128)

    @property
    def external_scores(self) -> bool:
        """Whether requests bring their click probability."""
        return self.training is None

    def encoder(self, *, test: bool = False) -> RequestEncoder:
        """Writes the requests of this log."""
        return RequestEncoder(self.currency, first_price=self.first_price, tmax_ms=TMAX_MS, test=test)

    def exchange_rules(self, patience_seconds: float) -> dict[str, ExchangeRules]:
        """The engine's rules, the same for each exchange of the log."""
        # Its clock runs faster than the wall's: a stall of the machine would look like an exchange that is slow.
        rules = ExchangeRules(
            result_seconds=patience_seconds,
            result_time="fixed",
            billing_seconds=patience_seconds,
            default_tmax_ms=TMAX_MS,
        )
        return dict.fromkeys(("default", *self.exchanges), rules)


def synthetic_plan(
    seed: int = DEFAULT_SEED, training_rows: int = DEFAULT_TRAINING_ROWS, rows: int = DEFAULT_ROWS
) -> Plan:
    """The seeded market that we ship: the first part to learn from, the second to bid on, a day long.

    Raises:
        InputError: a day of so few rows would need more than a year to learn from.
    """
    check_rows(training_rows, rows)
    total = training_rows + rows
    market = SyntheticMarket(
        seed, total, training_share=training_rows / total, days=1.0 + training_rows / rows
    )
    shape, weekly = traffic_of((row.at_ns for row in market.training_log()), market.start_ns, market.split_ns)
    return Plan(
        name="synthetic market",
        seed=seed,
        training=market.training_log,
        rows=market.opportunities,
        row_count=market.evaluation_rows,
        start_ns=market.split_ns,
        end_ns=market.end_ns,
        campaigns={campaign.id: campaign for campaign in default_campaigns(market)},
        outcomes=SyntheticOutcomes(market),
        currency="USD",
        exchanges=EXCHANGES,
        first_price=frozenset(FIRST_PRICE_EXCHANGES),
        pacing=PacingSettings(traffic_shape=shape, weekly_opportunities=weekly),
        notes=("Auctions, rivals, clicks and conversions are drawn from a seeded synthetic market.",),
    )


def check_rows(training_rows: int, rows: int) -> None:
    """Raises `InputError` where a day of so few rows would need more than a year to learn from."""
    least = -(-training_rows // _LONGEST_TRAINING_DAYS)
    if rows < least:
        raise InputError(
            f"rows to play must be at least {least} beside {training_rows} to learn from, was {rows}: a day is "
            f"played, and at most {_LONGEST_TRAINING_DAYS} such days come before it; --training-rows makes them fewer"
        )


def log_plan(path: Path, seed: int = DEFAULT_SEED, limit: int | None = None) -> Plan:
    """A log of iPinYou rows: `features` on the full path, `auctions` with the scores that the log brings.

    Args:
        path: Parquet file of either kind.
        seed: of delays and conversions.
        limit: rows to play at most, from the begin of the second part.

    Raises:
        InputError: the file cannot be read, is of neither kind, or holds too little.
    """
    kind = detect(path)
    drops: Counter[str] = Counter()
    rows = [*(read_features if kind is Kind.FEATURES else read_auctions)(path, drops=drops)]
    law = ConversionLaw(seed)
    split = int(len(rows) * _LOG_TRAINING_SHARE) if kind is Kind.FEATURES else 0
    training = [law.annotate(row) for row in rows[:split]]
    played = rows[split:][:limit]
    if len(played) < 2:
        raise InputError(f"log {path} must hold at least two rows to play, had {len(played)}")
    start_ns, end_ns = played[0].at_ns, played[-1].at_ns + 1
    campaigns = campaigns_of(summarise(played), BUDGET_SHARES[kind], start_ns, end_ns)
    shape, weekly = traffic_of((row.at_ns for row in played), start_ns, end_ns)
    notes = [
        "Conversions follow a seeded synthetic law on top of the log's real clicks.",
        "The pacing plan knows volume and hours of the traffic that it plays: the log has no day before.",
    ]
    if kind is Kind.AUCTIONS:
        notes.append("Click probabilities are the log's own; requests carry no features.")
    if drops:
        notes.append(
            "Rows left out: " + ", ".join(f"{count} {cause}" for cause, count in sorted(drops.items())) + "."
        )
    return Plan(
        name=f"iPinYou {kind.value}",
        seed=seed,
        training=(lambda: iter(training)) if training else None,
        rows=lambda: iter(played),
        row_count=len(played),
        start_ns=start_ns,
        end_ns=end_ns,
        campaigns={campaign.id: campaign for campaign in campaigns},
        outcomes=LoggedOutcomes(law),
        currency=CURRENCY,
        exchanges=tuple(sorted({row.exchange for row in played})),
        first_price=frozenset(),
        pacing=PacingSettings(traffic_shape=shape, weekly_opportunities=weekly),
        notes=tuple(notes),
    )


def traffic_of(times_ns: Iterable[int], start_ns: int, end_ns: int) -> tuple[tuple[float, ...], float]:
    """Traffic by hour of the week, every day taken as alike, and opportunities a week."""
    counts = [0] * HOURS_PER_WEEK
    total = 0
    for at_ns in times_ns:
        counts[hour_of_week(at_ns)] += 1
        total += 1
    by_day = [sum(counts[hour::24]) for hour in range(24)]
    days = max((end_ns - start_ns) / (86_400 * 1e9), 1 / 24)
    mean = total / (24 * days)
    shape = tuple(max(by_day[hour % 24] / days, mean * 0.05) for hour in range(HOURS_PER_WEEK))
    begin, end = TrafficShape(shape).weeks(np.array([start_ns, end_ns]))
    return shape, total / max(float(end - begin), 1e-9)


def take(rows: Iterator[LogRow], count: int) -> list[LogRow]:
    """The first `count` rows."""
    return list(itertools.islice(rows, count))
