"""Bids with their outcomes as the rows of a training table. Pure."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from bidder.core.users import key_text
from models.extras import NUMBERS, TEXTS, TIMES
from simulator.export.columns import FEATURES, LABELS, extra_field, feature_values
from simulator.export.join import Joined
from simulator.export.outcomes import Event, Outcome, outcome_of

SCHEMA = pa.schema([*FEATURES, *LABELS, *(extra_field(name) for name in (*TEXTS, *NUMBERS, *TIMES))])
"""Features, labels, and all columns of `models.extras`."""
ALWAYS_NULL = ("min_to_win_cpm_micros",)
"""What no row has: the books keep no losses, so nothing is known of the prices that would have won."""
_CHUNK = 5_000
EventsOf = Callable[[Iterable[str]], Mapping[str, Sequence[Event]]]


@dataclass
class Tally:
    """What was written; amounts in nanos.

    Attributes:
        users: rows with a user's key. first_ns, last_ns: times of the first and the last bid.
        models: rows by the model that scored them. left_out: bids that are no rows, by cause.
    """

    impressions: int = 0
    lost: int = 0
    clicks: int = 0
    conversions: int = 0
    value_nanos: int = 0
    users: int = 0
    first_ns: int = 0
    last_ns: int = 0
    models: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Impressions and lost bids."""
        return self.impressions + self.lost


def table_rows(
    bids: Iterable[Joined],
    events_of: EventsOf,
    losses: Container[str],
    known_until_ns: int,
    tally: Tally,
    *,
    with_lost: bool = False,
) -> Iterator[tuple[object, ...]]:
    """Rows of `SCHEMA`, in the order of the bids; arguments are those of `settled_bids`."""
    for joined, outcome, _ in settled_bids(
        bids, events_of, losses, known_until_ns, tally, with_lost=with_lost
    ):
        yield _row(joined, outcome)


def settled_bids(
    bids: Iterable[Joined],
    events_of: EventsOf,
    losses: Container[str],
    known_until_ns: int,
    tally: Tally,
    *,
    with_lost: bool = False,
) -> Iterator[tuple[Joined, Outcome, Sequence[Event]]]:
    """Bids that were shown, or lost too, with what became of them and what was booked of them.

    A table with lost bids must not end with winners alone, of which one hears first. So a winner is a row of it only
    where a loser would be: where its reservation is over, or its exchange is one that tells of losses.

    Args:
        bids: joined with their bodies.
        events_of: bookings by bid id, see `BookedEvents.of`. losses: ids of bids that were told to be lost.
        known_until_ns: the end of the books. tally: counts.
        with_lost: bids that lost are rows too, else they are left out as `lost`.
    """
    bids = iter(bids)
    telling: set[str] = set()
    while chunk := list(islice(bids, _CHUNK)):
        booked = events_of(joined.bid.bid_id for joined in chunk)
        told = [joined.bid.bid_id in losses for joined in chunk]
        telling.update(joined.bid.exchange for joined, lost in zip(chunk, told, strict=True) if lost)
        for joined, lost in zip(chunk, told, strict=True):
            over = joined.reserved_until_ns < known_until_ns
            events = booked.get(joined.bid.bid_id, ())
            outcome = outcome_of(events, known_until_ns, over=over or lost)
            state = outcome.state
            if with_lost and state == "shown" and not (over or joined.bid.exchange in telling):
                state = "open"
            if state == "shown" or (with_lost and state == "lost"):
                _count(joined, outcome, tally)
                yield joined, outcome, events
            else:
                tally.left_out[state] += 1


def _row(joined: Joined, outcome: Outcome) -> tuple[object, ...]:
    bid, glimpse = joined.bid, joined.glimpse
    shown, clicked = outcome.state == "shown", outcome.clicked_at_ns is not None
    return (
        *feature_values(glimpse, joined.campaign, bid.line_item_id),
        bid.at_ns,
        int(clicked) if shown else None,
        int(outcome.conversions > 0) if clicked else None,
        bid.bid_id,
        key_text(glimpse.user) if glimpse.user else None,
        bid.arm or None,
        int(shown),
        int(glimpse.first_price),
        1.0,
        bid.bid_cpm_micros,
        outcome.price_cpm_micros,
        None,
        bid.pctr,
        bid.pcvr or None,  # asked for only where the goal is a conversion
        bid.conversion_value_nanos or None,
        bid.multiplier,
        bid.worth_cpm_micros or None,
        bid.explore_factor or None,
        bid.log_density,
        outcome.value_nanos,
        outcome.clicked_at_ns,
        outcome.converted_at_ns,
        outcome.observed_until_ns,
    )


def _count(joined: Joined, outcome: Outcome, tally: Tally) -> None:
    bid = joined.bid
    shown = outcome.state == "shown"
    tally.first_ns = bid.at_ns if not tally.rows else min(tally.first_ns, bid.at_ns)
    tally.last_ns = max(tally.last_ns, bid.at_ns)
    tally.impressions += shown
    tally.lost += not shown
    tally.clicks += outcome.clicked_at_ns is not None
    tally.conversions += outcome.conversions
    tally.value_nanos += outcome.value_nanos
    tally.users += joined.glimpse.user != 0
    tally.models[bid.model] += 1
