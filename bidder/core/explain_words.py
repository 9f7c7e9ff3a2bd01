"""What line items want and requests show, in words. For reading alone: nothing is decided by them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bidder.core.batch import Opportunity as Pending
from bidder.core.campaigns import Creative, Media, Rule
from bidder.core.dimensions import Dimension
from bidder.core.gate import Visitor
from bidder.core.lines import NO_RULE, Line
from bidder.core.opportunity import NS_PER_HOUR
from bidder.core.showing import blocked_of, categories_of, keywords_of
from bidder.core.specs import S, SlotBook
from bidder.core.table import LineTable
from bidder.openrtb.parts import texts_of
from bidder.openrtb.request import BidRequest
from bidder.privacy.permissions import PRECISE_GEO, PROFILE
from bidder.zones import local_hour_of_week, zone_offsets

_MOST_LISTED = 8
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MEDIA = {1: "banner", 2: "video", 3: "audio", 4: "native"}
NOTHING = "nothing"


class Shown(NamedTuple):
    """One opportunity and who is behind it: what words are made of."""

    request: BidRequest
    visitor: Visitor
    pending: Pending
    now_ns: int


def listed(values: Iterable[object], nothing: str = NOTHING) -> str:
    """Values with commas between them, the first few of many."""
    texts = [str(value) for value in values]
    if not texts:
        return nothing
    more = len(texts) - _MOST_LISTED
    return ", ".join(texts[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def instant(at_ns: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{np.datetime64(at_ns // 1_000_000_000, 's')}Z"


def rule_words(rule: Rule) -> str:
    """What a rule includes and excludes."""
    parts = [listed(rule.include)] if rule.include else []
    if rule.exclude:
        parts.append(f"not {listed(rule.exclude)}")
    return "; ".join(parts) or "anything"


def wanted(line: Line, dimension: Dimension) -> str:
    """What a line item wants in a dimension."""
    if dimension is Dimension.FLIGHT:
        return listed(f"{instant(one.start_ns)} to {instant(one.end_ns)}" for one in line.flights)
    if dimension is Dimension.FORMAT:
        return listed(dict.fromkeys(map(creative_format, line.creatives)))
    if dimension is Dimension.BLOCKED:
        return "not to be barred"
    rule = line.rules.get(dimension.name.lower(), NO_RULE)
    if dimension is Dimension.DEAL and not rule.include:
        return rule_words(Rule(("open auction",), rule.exclude))
    return rule_words(rule)


def creative_format(creative: Creative) -> str:
    """Size or medium of a creative."""
    if creative.media is Media.BANNER:
        return f"{creative.w}x{creative.h}" + (" flex" if creative.flex else "")
    seconds = f" of {creative.duration_s} s" if creative.duration_s else ""
    return f"{creative.media.value}{seconds}"


class Words:
    """Says what opportunities show, in the words of requests.

    Args:
        table: of line items. slots: that the opportunities were read with.
    """

    def __init__(self, table: LineTable, slots: SlotBook) -> None:
        self._table = table
        self._slots = slots

    def shown(self, shown: Shown, line: int, dimension: Dimension, part: Sequence[int]) -> str:
        """What an opportunity shows in a dimension; `part` is that in rows."""
        if dimension is Dimension.HOUR:
            return _hour(self._table.lines[line].advertiser.time_zone, shown.now_ns)
        if dimension is Dimension.FORMAT:
            return listed(self._formats(shown.pending))
        if dimension is Dimension.BLOCKED:
            return self._barred(shown.request, line)
        if dimension in (Dimension.CIRCLE, Dimension.EXPRESSION):
            return self._matching(shown, line, dimension, part)
        return _READERS[dimension](shown)

    def _formats(self, pending: Pending) -> list[str]:
        """Sizes and media of all slots."""
        found: list[str] = []
        for slot in pending.slots:
            columns = self._slots.columns[slot.row]
            if slot.media == 1:
                codes = self._slots.lists[columns[S.SIZES] : columns[S.SIZES_END]].tolist()
                found += [f"{code >> 16}x{code & 0xFFFF}" for code in codes if code >= 0] or ["banner"]
            elif slot.media == 4:
                found.append("native")
            else:
                found.append(f"{_MEDIA[slot.media]} of {columns[S.MIN_S]} to {columns[S.MAX_S]} s")
        return found

    def _barred(self, request: BidRequest, line: int) -> str:
        """What of the request's lists names the line item; else how long they are."""
        barred = blocked_of(request)
        own = set(self._table.creatives.full_blocks[line])
        found = [text for text in barred if text in own]
        if found:
            return f"bars {listed(found)}"
        allowed = f"; allows {listed(texts_of('acat', bytes(request.acat))[0])}" if request.acat else ""
        return (f"bars {len(barred)}, none of its own" if barred else "bars nothing") + allowed

    def _matching(self, shown: Shown, line: int, dimension: Dimension, part: Sequence[int]) -> str:
        """Which of the line item's own circles or expressions the opportunity is in."""
        if dimension is Dimension.CIRCLE and not shown.visitor.permitted & PRECISE_GEO:
            return "a place that must not be used"
        rule = self._table.lines[line].rules.get(dimension.name.lower(), NO_RULE)
        values = self._table.values[dimension]
        rows = set(part)
        held = [text for text in (*rule.include, *rule.exclude) if rows.intersection(values.get(text, ()))]
        return listed(held, "none of them")


def _hour(zone: str, now_ns: int) -> str:
    """Hour of the week by the clocks of a zone."""
    day_ns = 24 * NS_PER_HOUR
    hour = local_hour_of_week(zone_offsets(zone, max(0, now_ns - day_ns), now_ns + day_ns), now_ns)
    day, of_day = divmod(hour, 24)
    return f"{hour} ({_DAYS[day]} {of_day:02d}:00 in {zone})"


def _or_nothing(*values: object) -> str:
    return listed(value for value in values if value)


def _inventory(shown: Shown) -> str:
    request = shown.request
    kinds = ("site", request.site), ("app", request.app), ("dooh", request.dooh)
    return _or_nothing(*(name for name, there in kinds if there is not None))


def _geo(shown: Shown) -> str:
    audience = shown.visitor.audience
    return "-".join(text for text in (audience.country, audience.region) if text) or NOTHING


def _device(shown: Shown) -> str:
    device = shown.request.device
    kind = device.devicetype if device is not None else None
    said = f"type {kind}" if kind is not None else None
    return _or_nothing(shown.visitor.audience.agent.device_class, said)


def _os(shown: Shown) -> str:
    audience = shown.visitor.audience
    return _or_nothing(audience.agent.os or audience.os)


def _carrier(shown: Shown) -> str:
    device = shown.request.device
    return _or_nothing(device.carrier.lower() if device is not None and device.carrier else None)


def _connection(shown: Shown) -> str:
    device = shown.request.device
    kind = device.connectiontype if device is not None else None
    return _or_nothing(f"type {kind}" if kind is not None else None)


def _language(shown: Shown) -> str:
    device = shown.request.device
    return _or_nothing(device.language if device is not None else None)


def _content(shown: Shown) -> str:
    categories = dict.fromkeys(category for _, category in categories_of(shown.request))
    return listed(categories) if categories else NOTHING


def _keyword(shown: Shown) -> str:
    return _or_nothing(*keywords_of(shown.request))


def _placement(shown: Shown) -> str:
    imp = shown.pending.imp
    values: list[str] = [value for slot in shown.pending.slots for value in slot.placements]
    marks = (imp.instl and "instl", imp.rwdd and "rewarded", imp.tagid and f"tag:{imp.tagid}")
    return _or_nothing(*values, *marks)


def _viewability(shown: Shown) -> str:
    found = [one.value for one in shown.pending.imp.metric or () if one.type == "viewability"]
    return listed((f"{100 * value:g} %" for value in found[:1]), "not known")


def _segment(shown: Shown) -> str:
    if not shown.visitor.permitted & PROFILE:
        return "segments that must not be used"
    return listed(dict.fromkeys((*shown.visitor.audience.segments, *shown.visitor.segments)))


def _deal(shown: Shown) -> str:
    deal = shown.pending.deal
    if deal is None:
        return "open auction"
    return deal.id + (f", for {listed(deal.wadomain)}" if deal.wadomain else "")


_READERS: dict[Dimension, Callable[[Shown], str]] = {
    Dimension.FLIGHT: lambda shown: instant(shown.now_ns),
    Dimension.EXCHANGE: lambda shown: shown.visitor.audience.exchange,
    Dimension.DEAL: _deal,
    Dimension.INVENTORY: _inventory,
    Dimension.GEO: _geo,
    Dimension.CITY: lambda shown: _or_nothing(shown.visitor.audience.city),
    Dimension.DEVICE: _device,
    Dimension.OS: _os,
    Dimension.BROWSER: lambda shown: _or_nothing(shown.visitor.audience.agent.browser),
    Dimension.CARRIER: _carrier,
    Dimension.CONNECTION: _connection,
    Dimension.LANGUAGE: _language,
    Dimension.DOMAIN: lambda shown: _or_nothing(shown.visitor.audience.domain),
    Dimension.CONTENT: _content,
    Dimension.KEYWORD: _keyword,
    Dimension.PLACEMENT: _placement,
    Dimension.VIEWABILITY: _viewability,
    Dimension.SEGMENT: _segment,
}


def paused(line: Line) -> str:
    """Which of a line item's levels are paused, and whether it has a creative to show."""
    levels: Sequence[tuple[str, str]] = (
        (f"advertiser {line.advertiser.id}", line.advertiser.status),
        (f"campaign {line.campaign.id}", line.campaign.status),
        *(((f"line item {line.item.id}", line.item.status),) if line.item is not None else ()),
    )
    found = [f"{name} {status}" for name, status in levels if status != "active"]
    if not line.creatives:
        found.append("no active creative")
    return listed(found, "active")
