"""A run of our own as a history: its journals, its decision log and the bank's books, joined as for an export.

A row is a bid that was shown, or of which it is known that it lost: `clearbid export --with-lost` names the rules.
Exchanges tell us no prices that would have won, so a loss is a bound; a win at second price tells the price to beat.
Opportunities without a bid are no rows: nothing is known of their prices, and nothing was predicted.

A bid that exploration moved has the density of its logarithm, given that it was explored. One that it moved to a
bound has none: that it ended there is a probability.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from bidder.core.call import Decision
from bidder.core.campaigns import Advertiser, Goal
from bidder.core.lines import line_of
from bidder.core.messages import ONE_IMPRESSION, NoticeKind
from bidder.core.opportunity import RAW_FEATURES, Raw
from bidder.core.settings import EngineSettings, ShadingSettings
from bidder.store.journal import read_journal
from simulator.export.inputs import journals_of, settings_of
from simulator.export.join import Joined
from simulator.export.outcomes import Event, Outcome
from simulator.export.rows import Tally, settled_bids
from simulator.export.run import Progress, RunBids, Source
from simulator.history.schema import HistoryRow, Known, Meta, known_loss, known_win

_ROUNDED = 0.02
"""By which the logarithm of a density may differ, since the bid that it is of is whole."""
_SHOWN = (NoticeKind.BILLING, NoticeKind.IMPRESSION)


def run_meta(source: Source) -> Meta:
    """What a history of a run says of itself."""
    return Meta(currency=_settings(source).currency, source=f"run {source.folder.name}")


def _settings(source: Source) -> EngineSettings:
    """Of the last start of the run."""
    path = journals_of(source.folder)[-1]
    with closing(read_journal(path)) as journal:
        return settings_of(journal, path)


def run_rows(
    source: Source, drops: Counter[str], *, requests: bool = False, progress: Progress | None = None
) -> Iterator[HistoryRow]:
    """The bids of a run in the order of time.

    Args:
        source: the run. drops: counts bids that are no rows, by cause. requests: keep the bodies too.
        progress: hears of bytes of the journals.

    Raises:
        InputError: a part that is damaged, or nothing is booked.
    """
    tally, law = Tally(left_out=drops), _settings(source).shading
    with RunBids(source, drops, progress=progress) as bids:
        events = bids.events
        found = settled_bids(
            bids.joined(), events.of, bids.losses(), events.known_until_ns, tally, with_lost=True
        )
        for joined, outcome, booked in found:
            row = _row(joined, outcome, booked, law, requests=requests)
            if row is None:
                drops["unpriced"] += 1
            else:
                yield row


class _Goal(NamedTuple):
    worth_nanos: int
    conversion: bool


def _row(
    joined: Joined, outcome: Outcome, events: Sequence[Event], law: ShadingSettings, *, requests: bool
) -> HistoryRow | None:
    bid, glimpse = joined.bid, joined.glimpse
    won = outcome.state == "shown"
    known = (
        _won(bid.bid_cpm_micros, glimpse.floor_cpm_micros, events, first_price=glimpse.first_price)
        if won
        else (known_loss(bid.bid_cpm_micros))
    )
    if known is None:
        return None
    seen = dict(zip(RAW_FEATURES, glimpse.features, strict=True))
    goal, clicked = _goal(joined), outcome.clicked_at_ns is not None
    w, h = _size(seen["size"])
    return HistoryRow(
        id=f"{bid.exchange} {bid.request_id} {bid.imp_id}" + (f" {bid.deal_id}" if bid.deal_id else ""),
        offered_ns=bid.at_ns,
        recorded_ns=max((event.at_ns for event in events), default=None),
        exchange=bid.exchange,
        user=glimpse.user or None,
        domain=_text(seen["domain"]),
        placement=_text(seen["tag_id"]),
        position=_text(seen["position"]),
        w=w,
        h=h,
        os=_text(seen["os"]),
        browser=_text(seen["browser"]),
        device_type=_text(seen["device_type"]),
        region=_text(seen["region"]),
        city=_text(seen["city"]),
        segments=glimpse.segments or None,
        floor_nanos=glimpse.floor_cpm_micros,
        first_price=glimpse.first_price,
        campaign=bid.campaign_id,
        line_item=bid.line_item_id or None,
        creative=bid.creative_id or None,
        bid_id=bid.bid_id,
        click_probability=bid.pctr,
        conversion_probability=bid.pcvr if goal.conversion else None,
        worth_nanos=bid.conversion_value_nanos or goal.worth_nanos,
        multiplier=bid.multiplier,
        bid_nanos=bid.bid_cpm_micros,
        density=density_of(bid, law),
        won=known.won,
        price_kind=known.price_kind,
        price_nanos=known.price_nanos,
        paid_nanos=known.paid_nanos,
        told_ns=_first(events, (NoticeKind.WIN,)),
        shown_ns=_first(events, _SHOWN),
        clicked=clicked if won else None,
        clicked_ns=outcome.clicked_at_ns,
        converted=outcome.conversions > 0 if clicked else None,
        converted_ns=outcome.converted_at_ns,
        value_nanos=outcome.value_nanos,
        known_until_ns=outcome.observed_until_ns,
        request=joined.body if requests else None,
    )


def density_of(bid: Decision, law: ShadingSettings) -> float | None:
    """Of the logarithm of a bid where exploration drew it, given that it did; None where it has none.

    Args:
        bid: as it was logged, with the density times the share of bids that are explored. law: that it was drawn by.
    """
    if bid.explore_factor <= 0.0 or law.explore_share <= 0.0:
        return None
    moved = math.log(bid.explore_factor) / law.explore_sigma
    normal = -(moved**2) / 2.0 - math.log(law.explore_sigma * math.sqrt(2.0 * math.pi))
    given = bid.log_density - math.log(law.explore_share)
    # A bound holds all that would lie beyond it; another law was that of an earlier start.
    return math.exp(given) if abs(given - normal) < _ROUNDED else None


def _won(bid_nanos: int, floor_nanos: int, events: Sequence[Event], *, first_price: bool) -> Known | None:
    """What a win tells, with whole nanos; None where no notice brought a price."""
    priced = [event for event in events if event.price_nanos > 0 and event.impressions > 0]
    if not priced:
        return None
    best = max(priced, key=lambda event: (event.amount_nanos, event.price_nanos))
    paid = best.price_nanos * ONE_IMPRESSION // best.impressions
    return known_win(max(bid_nanos, paid), paid, floor_nanos, first_price=first_price)


def _goal(joined: Joined) -> _Goal:
    campaign, name = joined.campaign, joined.bid.line_item_id
    item = next((each for each in campaign.line_items if each.id == name), None)
    line = line_of(campaign, item, Advertiser(id=campaign.advertiser))
    return _Goal(line.value_nanos, line.goal in (Goal.CONVERSION, Goal.VALUE))


def _first(events: Sequence[Event], kinds: Sequence[NoticeKind]) -> int | None:
    return min((event.at_ns for event in events if event.kind in kinds), default=None)


def _size(text: Raw) -> tuple[int | None, int | None]:
    w, mark, h = str(text or "").partition("x")
    return (int(w), int(h)) if mark and w.isdecimal() and h.isdecimal() else (None, None)


def _text(value: Raw) -> str | None:
    return None if value is None else str(value)
