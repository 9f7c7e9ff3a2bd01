"""What an opportunity shows in each used dimension: the rows of its values, in the words of one table.

A *part* is what one dimension shows: numbers of rows, ended by `END`. The parts of all used dimensions, in their
order, are the record that `core.kernels.eligible` reads. Parts are kept as the bytes of int32 numbers: putting
bytes together costs a tenth of making an array of numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import pack
from typing import Any, TypedDict, TypeVar

import msgspec

from bidder.core.dimensions import OPEN_AUCTION, Dimension
from bidder.core.kernels import END
from bidder.core.opportunity import NS_PER_HOUR, Audience
from bidder.core.specs import Slot, SlotBook
from bidder.core.table import LineTable, zoned_hour
from bidder.errors import RequestError
from bidder.openrtb.parts import texts_of
from bidder.openrtb.request import BidRequest, Device, Imp, Place
from bidder.openrtb.taxonomy import ancestors
from bidder.privacy.permissions import PRECISE_GEO
from bidder.zones import local_hour_of_week, zone_offsets

_K = TypeVar("_K")
_V = TypeVar("_V")

Part = bytes
_END = pack("=i", END)
NOTHING: Part = _END
(_EXCHANGE, _DEAL, _FORMAT, _HOUR, _CIRCLE, _PLACEMENT, _VIEWABILITY, _SEGMENT, _EXPRESSION, _BLOCKED) = map(
    int,
    (
        Dimension.EXCHANGE, Dimension.DEAL, Dimension.FORMAT, Dimension.HOUR, Dimension.CIRCLE, Dimension.PLACEMENT,
        Dimension.VIEWABILITY, Dimension.SEGMENT, Dimension.EXPRESSION, Dimension.BLOCKED,
    ),
)  # fmt: skip
"""Plain numbers: a member of an enumeration costs a call wherever it is a key."""
_MAX_HOST_LENGTH = 253
"""Of a host by RFC 1035; the parents of a longer text, all dots, would take a minute to write."""
_MAX_LABELS = 8
"""Labels of a host that are looked at: rules name registrable domains, senders may send anything."""
_DEVICES = {2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "console", 7: "box", 8: "dooh"}
"""AdCOM "Device Types" but for 1, which says phone or tablet: the agent knows which."""
_CONNECTIONS = {
    1: "ethernet",
    2: "wifi",
    3: "cellular",
    4: "cellular",
    5: "cellular",
    6: "cellular",
    7: "cellular",
}
_MOST_REMEMBERED = 8_192
_QUARTER_NS = NS_PER_HOUR // 4
_ZONE_SPAN_NS = 400 * 24 * NS_PER_HOUR


class Showing:
    """Reads requests in the words of one table.

    Args:
        table: whose values count. slots: of the same table.
    """

    def __init__(self, table: LineTable, slots: SlotBook) -> None:
        self._table = table
        self._slots = slots
        self._values = table.values
        self._used = [slot >= 0 for slot in table.slot]
        self._bytes = [{value: rows_bytes(rows) for value, rows in values.items()} for values in table.values]
        # Of a dimension that shows one value at most, what it brings can be kept ended.
        self._ended = [{value: rows + _END for value, rows in values.items()} for values in self._bytes]
        self.open_auction = self._ended[_DEAL].get(OPEN_AUCTION, NOTHING)
        self.has_deals = self._used[_DEAL]
        self._trees = TreeReader(path for expression, _ in table.expressions for path in expression.paths)
        self._hour_part = NOTHING
        self._barred: dict[tuple[bytes, bytes, bytes, bytes, int], tuple[Part, list[int]]] = {}
        self._forgotten = slots.forgotten
        self._geos: dict[tuple[str | None, str | None], Part] = {}
        self._domains: dict[str, Part] = {}
        self._hour_until_ns = self._hour_from_ns = 0
        self._where = list(table.slot)
        self._readers = [
            (table.slot[dimension], reader)
            for dimension, reader in (
                (Dimension.INVENTORY, self._inventory),
                (Dimension.GEO, self._geo),
                (Dimension.CITY, self._city),
                (Dimension.DEVICE, self._device),
                (Dimension.OS, self._os),
                (Dimension.BROWSER, self._browser),
                (Dimension.CARRIER, self._carrier),
                (Dimension.CONNECTION, self._connection),
                (Dimension.LANGUAGE, self._language),
                (Dimension.DOMAIN, self._domain),
                (Dimension.CONTENT, self._content),
                (Dimension.KEYWORD, self._keyword),
            )
            if self._used[dimension]
        ]
        self._blank = [NOTHING] * len(table.dimensions)

    # -- of the request -------------------------------------------------------------------------------------

    def of_request(
        self,
        request: BidRequest,
        audience: Audience,
        permitted: int,
        own_segments: tuple[str, ...],
        now_ns: int,
    ) -> list[Part]:
        """Parts of all used dimensions, those of impressions still empty.

        Args:
            request: the request. audience: what its impressions share. permitted: what may be used of it.
            own_segments: that we know of its user. now_ns: the time.
        """
        parts = self._blank.copy()
        where = self._where
        slot = where[_EXCHANGE]
        if slot >= 0:
            parts[slot] = self._ended[_EXCHANGE].get(audience.exchange, NOTHING)
        slot = where[_HOUR]
        if slot >= 0:
            parts[slot] = self._hour(now_ns)
        for place, reader in self._readers:
            parts[place] = reader(audience)
        slot = where[_SEGMENT]
        if slot >= 0:
            segments = audience.segments + own_segments if own_segments else audience.segments
            parts[slot] = self._several(_SEGMENT, segments)
        slot = where[_CIRCLE]
        if slot >= 0 and permitted & PRECISE_GEO:
            parts[slot] = self._circle(request.device)
        slot = where[_BLOCKED]
        if slot >= 0:
            parts[slot] = self._blocked(request)
        return parts

    def _several(self, dimension: int, shown: Iterable[str]) -> Part:
        values = self._bytes[dimension]
        return b"".join([values[value] for value in shown if value in values]) + _END

    def _hour(self, now_ns: int) -> Part:
        """The hour of the week in every zone that a line item goes by; asked anew each quarter of an hour."""
        if not self._hour_from_ns <= now_ns < self._hour_until_ns:
            self._hour_from_ns = now_ns - now_ns % _QUARTER_NS
            self._hour_until_ns = self._hour_from_ns + _QUARTER_NS
            first_ns = max(0, now_ns - now_ns % _ZONE_SPAN_NS)
            shown = [
                zoned_hour(
                    zone, local_hour_of_week(zone_offsets(zone, first_ns, first_ns + _ZONE_SPAN_NS), now_ns)
                )
                for zone in self._table.zones
            ]
            self._hour_part = self._several(_HOUR, shown)
        return self._hour_part

    def _inventory(self, audience: Audience) -> Part:
        kind = (
            "site"
            if audience.request.site is not None
            else "app"
            if audience.request.app is not None
            else None
        )
        kind = "dooh" if audience.request.dooh is not None else kind
        return self._ended[Dimension.INVENTORY].get(kind, NOTHING) if kind is not None else NOTHING

    def _geo(self, audience: Audience) -> Part:
        key = (audience.country, audience.region)
        part = self._geos.get(key)
        if part is None:
            country, region = key
            shown = [text for text in (region, country, f"{country}-{region}") if text]
            part = self._remember(self._geos, key, self._several(Dimension.GEO, shown))
        return part

    def _city(self, audience: Audience) -> Part:
        city = audience.city
        if not city:
            return NOTHING
        name = city.lower()
        return self._several(Dimension.CITY, (name, f"{audience.country}/{name}"))

    def _circle(self, device: Device | None) -> Part:
        geo = device.geo if device is not None else None
        if geo is None or geo.lat is None or geo.lon is None:
            return NOTHING
        rows = self._table.circle_rows
        found = [row for circle in self._table.circles.containing(geo.lat, geo.lon) for row in rows[circle]]
        return rows_bytes(found) + _END

    def _device(self, audience: Audience) -> Part:
        kind = audience.request.device.devicetype if audience.request.device is not None else None
        name = _DEVICES.get(kind) if kind is not None else None
        return self._ended[Dimension.DEVICE].get(name or audience.agent.device_class or "", NOTHING)

    def _os(self, audience: Audience) -> Part:
        return self._ended[Dimension.OS].get(audience.agent.os or audience.os or "", NOTHING)

    def _browser(self, audience: Audience) -> Part:
        return self._ended[Dimension.BROWSER].get(audience.agent.browser or "", NOTHING)

    def _carrier(self, audience: Audience) -> Part:
        carrier = audience.request.device.carrier if audience.request.device is not None else None
        return self._ended[Dimension.CARRIER].get(carrier.lower(), NOTHING) if carrier else NOTHING

    def _connection(self, audience: Audience) -> Part:
        kind = audience.request.device.connectiontype if audience.request.device is not None else None
        name = _CONNECTIONS.get(kind) if kind is not None else None
        return self._ended[Dimension.CONNECTION].get(name, NOTHING) if name is not None else NOTHING

    def _language(self, audience: Audience) -> Part:
        language = audience.request.device.language if audience.request.device is not None else None
        return self._ended[Dimension.LANGUAGE].get(language[:2].lower(), NOTHING) if language else NOTHING

    def _domain(self, audience: Audience) -> Part:
        """Rules name registrable domains, requests also the hosts below them."""
        domain = audience.domain
        if domain is None:
            return NOTHING
        if audience.request.site is None or len(domain) > _MAX_HOST_LENGTH:
            return self._ended[Dimension.DOMAIN].get(domain, NOTHING)
        part = self._domains.get(domain)
        if part is None:
            part = self._remember(self._domains, domain, self._several(Dimension.DOMAIN, _hosts(domain)))
        return part

    def _content(self, audience: Audience) -> Part:
        place = place_of(audience.request)
        if place is None:
            return NOTHING
        shown: dict[str, None] = {}
        for categories in (place.cat, place.sectioncat, place.pagecat):
            for category in categories or ():
                shown.update(dict.fromkeys(_category(place.cattax, category)))
        content = place.content
        if content is not None:
            for category in content.cat or ():
                shown.update(dict.fromkeys(_category(content.cattax, category)))
        return self._several(Dimension.CONTENT, shown)

    def _keyword(self, audience: Audience) -> Part:
        place = place_of(audience.request)
        if place is None:
            return NOTHING
        shown: dict[str, None] = {}
        for one in (place, place.content):
            if one is not None:
                words = [*(one.keywords or "").split(","), *(one.kwarray or ())]
                shown.update(dict.fromkeys(word.strip().lower() for word in words))
        return self._several(Dimension.KEYWORD, shown)

    # -- what is barred -------------------------------------------------------------------------------------

    def _blocked(self, request: BidRequest) -> Part:
        if not (request.badv or request.bcat or request.bapp or request.acat):
            return NOTHING
        return self._bars(request)[0]

    def _bars(self, request: BidRequest) -> tuple[Part, list[int]]:
        """What a request bars of line items and of single creatives; publishers repeat their lists."""
        badv, bcat, bapp, acat = request.badv, request.bcat, request.bapp, request.acat
        key = (bytes(badv), bytes(bcat), bytes(bapp), bytes(acat), request.cattax)
        if self._forgotten != self._slots.forgotten:
            self._barred.clear()
            self._forgotten = self._slots.forgotten
        found = self._barred.get(key)
        if found is None:
            texts = blocked_of(request)
            values, known = self._values[_BLOCKED], self._table.creatives.block_ids
            rows = [row for text in texts if text in values for row in values[text]]
            if acat:
                rows.append(~self._unlike(key[3], request.cattax))
            part = rows_bytes(rows) + _END
            found = self._remember(
                self._barred, key, (part, [known[text] for text in texts if text in known])
            )
        return found

    def _remember(self, known: dict[_K, _V], key: _K, value: _V) -> _V:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[key] = value
        return value

    def _unlike(self, acat: bytes, cattax: int) -> int:
        """Row of the line items with a creative of a category that is not among the allowed ones.

        One without categories in the list's taxonomy cannot be known to be allowed.
        """
        allowed = {f"cat:{cattax}:{category}" for category in texts_of("acat", acat)[0]}
        owners = self._table.creatives
        return self._slots.spare_row(
            (acat, cattax),
            lambda line: (
                not all(owners.covered(creative, allowed, cattax) for creative in owners.of_line(line))
            ),
        )

    def row_blocks(self, request: BidRequest) -> list[int]:
        """What a request bars of single creatives, as numbers in `Creatives.block_ids`."""
        if not (request.badv or request.bcat or request.bapp):
            return []
        return self._bars(request)[1]

    # -- of the impression ----------------------------------------------------------------------------------

    def of_imp(
        self, parts: list[Part], imp: Imp, slots: list[Slot], personal: bool, body: bytes
    ) -> list[Part]:
        """The request's parts with those of one impression.

        Args:
            parts: of the request. imp: one of its impressions. slots: its media.
            personal: whether expressions may read personal fields. body: of the request, for expressions.
        """
        own = parts.copy()
        where = self._where
        own[where[_FORMAT]] = (
            slots[0].formats + _END if len(slots) == 1 else b"".join([slot.formats for slot in slots]) + _END
        )
        place = where[_DEAL]
        if place >= 0:
            own[place] = self.open_auction
        place = where[_PLACEMENT]
        if place >= 0:
            own[place] = self._several(_PLACEMENT, _placements(imp, slots))
        place = where[_VIEWABILITY]
        if place >= 0:
            own[place] = self._several(_VIEWABILITY, _viewabilities(imp))
        place = where[_EXPRESSION]
        if place >= 0:
            own[place] = self._expressions(imp, personal, body)
        return own

    def wants(self, deal: str) -> bool:
        """Whether any line item wants a deal."""
        return deal != OPEN_AUCTION and deal in self._ended[_DEAL]

    def for_deal(self, parts: list[Part], deal: str, wadomain: tuple[str, ...]) -> list[Part] | None:
        """An impression's parts as one of its deals shows them; None where no line item wants the deal."""
        part = self._ended[_DEAL].get(deal)
        if part is None or deal == OPEN_AUCTION:
            return None
        own = parts.copy()
        own[self._where[_DEAL]] = part
        if wadomain:
            # Stands in the deal's own dimension: the deal is not for advertisers beyond its list.
            own[self._where[_DEAL]] = part[: -len(_END)] + rows_bytes((~self._outsiders(wadomain),)) + _END
        return own

    def _outsiders(self, wadomain: tuple[str, ...]) -> int:
        allowed = {"adv:" + domain.lower() for domain in wadomain}
        owners = self._table.creatives
        return self._slots.spare_row(
            ("wadomain", wadomain),
            lambda line: not all(owners.named(creative, allowed) for creative in owners.of_line(line)),
        )

    def _expressions(self, imp: Imp, personal: bool, body: bytes) -> Part:
        """Rows of the expressions that hold; the body is read whole only where a table has any."""
        tree = self._trees.read(body)
        imps = tree["imp"] if isinstance(tree["imp"], list) else [tree["imp"]]
        node: Any = next((one for one in imps if isinstance(one, dict) and _names(one.get("id"), imp.id)), {})
        found = [row for expression, rows in self._table.expressions if expression.matches(tree, node, personal)
                 for row in rows]  # fmt: skip
        return rows_bytes(found) + _END


def rows_bytes(rows: Sequence[int]) -> bytes:
    """Numbers of rows as parts hold them."""
    return pack(f"={len(rows)}i", *rows)


class TreeReader:
    """Reads of a body what a table's expressions ask for, as plain dicts, and skips the rest.

    Args:
        paths: of the expressions.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        wanted: dict[str, set[str]] = {}
        for path in paths:
            first, _, rest = path.partition(".")
            wanted.setdefault(first, set()).add(rest.partition(".")[0])
        fields = {name: _object(name, inner) for name, inner in wanted.items() if name != "imp"}
        imp = _object("imp", {*wanted.get("imp", ()), "id"})
        self._decode = msgspec.json.Decoder(_typed_dict("Request", fields | {"imp": _list_of(imp)})).decode
        self._body = b""
        self._tree: Mapping[str, Any] = {}

    def read(self, body: bytes) -> Mapping[str, Any]:
        """The body's attributes; an object that is none is read as it is. The last one is remembered.

        Raises:
            RequestError: what an expression asks for is no JSON.
        """
        if body is not self._body:
            self._tree = self._read(body)
            self._body = body
        return self._tree

    def _read(self, body: bytes) -> Mapping[str, Any]:
        try:
            try:
                tree: Mapping[str, Any] = self._decode(body)
            except msgspec.ValidationError:
                tree = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            # Nothing but an expression looks there, so it was taken for JSON until now.
            raise RequestError(f"body must be JSON: {error}") from None
        return tree


def _names(value: object, imp_id: str) -> bool:
    """Whether an id as it came is that of an impression, which is text, as `openrtb.mending` makes it of a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) == imp_id


def _object(name: str, attributes: set[str]) -> Any:
    """Type of an object of which some attributes are wanted, or all."""
    return Any if "" in attributes else _typed_dict(name, dict.fromkeys(attributes, Any))


def _list_of(kind: Any) -> Any:
    make: Any = list
    return make[kind]


def _typed_dict(name: str, fields: dict[str, Any]) -> Any:
    make: Any = TypedDict
    return make(name, fields, total=False)


def place_of(request: BidRequest) -> Place | None:
    """The site, app or screen that a request is for."""
    return request.site or request.app or request.dooh


def blocked_of(request: BidRequest) -> list[str]:
    """What a request bars, as values of BLOCKED."""
    found: list[str] = []
    if request.badv:
        found += ["adv:" + domain.lower() for domain in texts_of("badv", bytes(request.badv))[0]]
    if request.bcat:
        taxonomy = request.cattax
        found += [f"cat:{taxonomy}:{category}" for category in texts_of("bcat", bytes(request.bcat))[0]]
    if request.bapp:
        found += ["app:" + bundle for bundle in texts_of("bapp", bytes(request.bapp))[0]]
    return found


@lru_cache(maxsize=16_384)
def _hosts(domain: str) -> tuple[str, ...]:
    """A domain and its parents of two labels or more: `news.site.example`, `site.example`."""
    labels = domain.split(".")[-_MAX_LABELS:]
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


@lru_cache(maxsize=16_384)
def _category(cattax: int, category: str) -> tuple[str, ...]:
    """A category and all above it, as values of CONTENT."""
    return tuple(f"{cattax}:{one}" for one in ancestors(cattax, category))


def _placements(imp: Imp, slots: list[Slot]) -> list[str]:
    shown = [value for slot in slots for value in slot.placements]
    if imp.instl:
        shown.append("instl")
    if imp.rwdd:
        shown.append("rewarded")
    if imp.tagid:
        shown.append("tag:" + imp.tagid)
    return shown


def _viewabilities(imp: Imp) -> list[str]:
    """Thresholds in steps of ten that the measured viewability reaches (section 3.2.5); none where it is unknown."""
    for metric in imp.metric or ():
        if metric.type == "viewability" and 0.0 <= metric.value <= 1.0:
            return [str(step) for step in range(10, int(metric.value * 100 + 1e-9) // 10 * 10 + 1, 10)]
    return []
