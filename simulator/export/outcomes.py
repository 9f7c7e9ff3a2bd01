"""What became of bids, by the bank's books.

A bid was *shown* where its billing, its impression, a click or a conversion was booked, or money for it. It was
*lost* where nothing was booked, and its exchange told so or its reservation is over; until then it is *open*. A bid
that won and was never shown is *unshown*: it is neither an impression nor lost. Late notices are taken for days, so
a later export may know more.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from bidder.core.messages import ONE_IMPRESSION, NoticeKind
from bidder.errors import InputError
from bidder.store.database import Database

_SHOWN = frozenset({NoticeKind.BILLING, NoticeKind.IMPRESSION, NoticeKind.CLICK, NoticeKind.CONVERSION})


class Event(NamedTuple):
    """One booking of a bid: what of `bidder.core.bookings.Booking` tells its outcome."""

    bid_id: str
    kind: int
    price_nanos: int
    amount_nanos: int
    value_nanos: int
    at_ns: int
    impressions: int
    keep_until_ns: int


class Outcome(NamedTuple):
    """What became of a bid; times in nanoseconds, all but `state` unknown or 0 where it was not shown.

    Attributes:
        price_cpm_micros: what was paid; None where no notice brought a price.
        conversions, value_nanos, converted_at_ns: after a click, and when the first was, whether they named the bid
            or its user. Those without a click before them count for nothing: no model is of them.
        observed_until_ns: until when conversions were looked for: the end of the books or of the bid's own time.
    """

    state: Literal["shown", "lost", "open", "unshown"]
    price_cpm_micros: float | None = None
    clicked_at_ns: int | None = None
    conversions: int = 0
    value_nanos: int = 0
    converted_at_ns: int | None = None
    observed_until_ns: int | None = None


LOST, OPEN, UNSHOWN = Outcome("lost"), Outcome("open"), Outcome("unshown")


def outcome_of(events: Sequence[Event], known_until_ns: int, *, over: bool) -> Outcome:
    """What became of one bid.

    Args:
        events: booked of it. known_until_ns: the end of the books. over: whether no more is waited for, as its
            reservation has ended or a loss was told.
    """
    if not any(event.kind in _SHOWN or event.amount_nanos for event in events):
        if not over:
            return OPEN
        return UNSHOWN if events else LOST
    clicked = min((event.at_ns for event in events if event.kind == NoticeKind.CLICK), default=None)
    own = [
        event
        for event in events
        if event.kind == NoticeKind.CONVERSION and clicked is not None and event.at_ns >= clicked
    ]
    return Outcome(
        "shown",
        _price(events),
        clicked,
        len(own),
        sum(event.value_nanos for event in own),
        min((event.at_ns for event in own), default=None),
        min(known_until_ns, max(event.keep_until_ns for event in events)),
    )


def _price(events: Sequence[Event]) -> float | None:
    """For a thousand impressions: of the notice that was paid, else of the dearest that names a price."""
    priced = [event for event in events if event.price_nanos > 0 and event.impressions > 0]
    if not priced:
        return None
    best = max(priced, key=lambda event: (event.amount_nanos, event.price_nanos))
    return best.price_nanos * ONE_IMPRESSION / best.impressions


class Losses:
    """A set of bids that were told to be lost, in 8 bytes a bid: their hashes, which no two of millions share.

    Args:
        bid_ids: texts of their ids.
    """

    def __init__(self, bid_ids: Iterable[str]) -> None:
        self._hashes = array("Q", (xxh3_64_intdigest(one.encode()) for one in bid_ids))
        np.frombuffer(self._hashes, dtype=np.uint64).sort()

    def __contains__(self, bid_id: object) -> bool:
        """Whether a bid is among them."""
        own = xxh3_64_intdigest(str(bid_id).encode())
        place = bisect_left(self._hashes, own)
        return place < len(self._hashes) and self._hashes[place] == own


class BookedEvents:
    """The bookings of a database as they were when this was made; bookings that come later are left out.

    Args:
        database: of the bank.

    Attributes:
        known_until_ns: when the last of them was booked.

    Raises:
        InputError: nothing is booked, so nothing is known of any bid.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading() as connection:
            (last,) = connection.execute("SELECT max(booked_ns) FROM bookings").fetchone()
        if last is None:
            raise InputError(
                f"books {database.path} must have a booking, had none: nothing is known of any bid; "
                "name the bank's database with --db"
            )
        self.known_until_ns: int = last

    def of(self, bid_ids: Iterable[str]) -> dict[str, list[Event]]:
        """By bid, its bookings; a bid without one is left out."""
        wanted = msgspec.json.encode(list(bid_ids)).decode()
        found: dict[str, list[Event]] = {}
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT bid_id, kind, price_nanos, amount_nanos, value_nanos, at_ns, impressions, keep_until_ns
                   FROM json_each(?) JOIN bookings ON bid_id = json_each.value WHERE booked_ns <= ?""",
                (wanted, self.known_until_ns),
            )
            for row in rows:
                event = Event(*row)
                found.setdefault(event.bid_id, []).append(event)
        return found
