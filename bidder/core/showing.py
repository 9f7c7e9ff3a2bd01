"""What an opportunity shows in each used dimension: the rows of its values, in the words of one table.

A *part* is what one dimension shows: numbers of rows, ended by `END`. The parts of all used dimensions, in their
order, are the record that `core.kernels.eligible` reads. Parts are kept as the bytes of int32 numbers: putting
bytes together costs a tenth of making an array of numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import pack
from typing import Any, TypedDict

import msgspec

from bidder.core.dimensions import OPEN_AUCTION, Dimension
from bidder.core.gate import Visitor
from bidder.core.opportunity import NS_PER_HOUR
from bidder.core.specs import Slot, SlotBook
from bidder.core.table import LineTable, zoned_hour
from bidder.core.targeting_kernels import END
from bidder.core.views import DeviceView, GeoView, remember
from bidder.errors import RequestError
from bidder.memory import forgettable
from bidder.openrtb.parts import CONTENT, texts_of
from bidder.openrtb.request import BidRequest, Device, Imp, Place
from bidder.openrtb.taxonomy import ancestors
from bidder.privacy.permissions import PRECISE_GEO
from bidder.zones import local_hour_of_week, zone_offsets

Part = bytes
_END = pack("=i", END)
NOTHING: Part = _END
(_EXCHANGE, _DEAL, _INVENTORY, _HOUR, _CIRCLE, _PLACEMENT, _VIEWABILITY, _SEGMENT, _EXPRESSION, _BLOCKED) = map(
    int,
    (
        Dimension.EXCHANGE, Dimension.DEAL, Dimension.INVENTORY, Dimension.HOUR, Dimension.CIRCLE,
        Dimension.PLACEMENT, Dimension.VIEWABILITY, Dimension.SEGMENT, Dimension.EXPRESSION, Dimension.BLOCKED,
    ),
)  # fmt: skip
"""Plain numbers: a member of an enumeration costs a call wherever it is a key."""
(_P_EXCHANGE, _P_DEAL, _P_FORMAT, _P_INVENTORY, _P_HOUR, _P_GEO, _P_CIRCLE, _P_DEVICE, _P_PLACE, _P_PLACEMENT,
 _P_VIEWABILITY, _P_SEGMENT, _P_EXPRESSION, _P_BLOCKED) = range(14)  # fmt: skip
_PIECES = 14
"""Pieces of a record, in the order of their dimensions; four are of several dimensions."""
_ALONE = {
    _P_DEAL: _DEAL, _P_HOUR: _HOUR, _P_CIRCLE: _CIRCLE, _P_PLACEMENT: _PLACEMENT, _P_VIEWABILITY: _VIEWABILITY,
    _P_SEGMENT: _SEGMENT, _P_EXPRESSION: _EXPRESSION, _P_BLOCKED: _BLOCKED,
}  # fmt: skip
"""Pieces of one dimension, empty where it is not used and else at least its end."""
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
_QUARTER_NS = NS_PER_HOUR // 4
_ZONE_SPAN_NS = 400 * 24 * NS_PER_HOUR


class Showing:
    """Reads requests in the words of one table.

    The record of an opportunity is put together of pieces: parts of dimensions that follow each other in
    `Dimension` and are found together, such as all that a kind of device shows.

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
        self._open_auction = self._ended[_DEAL].get(OPEN_AUCTION, NOTHING) if self._used[_DEAL] else b""
        self._trees = TreeReader(path for expression, _ in table.expressions for path in expression.paths)
        self._blank = [b""] * _PIECES
        for piece, dimension in _ALONE.items():
            self._blank[piece] = NOTHING if self._used[dimension] else b""
        self._inventories = {kind: self._one(_INVENTORY, kind) for kind in ("site", "app", "dooh", "")}
        self._reads_content = self._used[Dimension.CONTENT] or self._used[Dimension.KEYWORD]
        self._hour_part = NOTHING
        self._hour_until_ns = self._hour_from_ns = 0
        self._forgotten = slots.forgotten
        self._exchanges: dict[str, bytes] = {}
        self._geos: dict[GeoView, bytes] = {}
        self._devices: dict[DeviceView, bytes] = {}
        self._places: dict[tuple[object, ...], bytes] = {}
        self._placements: dict[tuple[object, ...], bytes] = {}
        self._barred: dict[tuple[bytes, bytes, bytes, bytes, int], tuple[Part, list[int]]] = {}

    def forget(self) -> None:
        """Forgets what was met in requests."""
        for known in (
            self._exchanges, self._geos, self._devices, self._places, self._placements, self._barred,
        ):  # fmt: skip
            known.clear()

    # -- of the request -------------------------------------------------------------------------------------

    def of_request(self, visitor: Visitor, now_ns: int) -> list[bytes]:
        """Pieces of a request's record, those of impressions still empty.

        Args:
            visitor: who asks, and what of that may be used. now_ns: the time.
        """
        audience = visitor.audience
        request, used, pieces = audience.request, self._used, self._blank.copy()
        exchange, geo, device = audience.exchange, audience.geo, audience.device
        piece = self._exchanges.get(exchange)
        pieces[_P_EXCHANGE] = piece if piece is not None else self._exchange(exchange)
        kind = "site" if request.site is not None else "app" if request.app is not None else ""
        pieces[_P_INVENTORY] = self._inventories[kind if request.dooh is None else "dooh"]
        if used[_HOUR]:
            pieces[_P_HOUR] = self._hour(now_ns)
        piece = self._geos.get(geo)
        pieces[_P_GEO] = piece if piece is not None else self._geo(geo)
        if used[_CIRCLE] and visitor.permitted & PRECISE_GEO:
            pieces[_P_CIRCLE] = self._circle(request.device)
        piece = self._devices.get(device)
        pieces[_P_DEVICE] = piece if piece is not None else self._device(device)
        key = self._place_key(request, audience.domain)
        piece = self._places.get(key)
        pieces[_P_PLACE] = piece if piece is not None else self._place(key, request, audience.domain)
        if used[_SEGMENT]:
            known, own = self._bytes[_SEGMENT], visitor.segments
            segments = audience.segments + own if own else audience.segments
            pieces[_P_SEGMENT] = b"".join([known[one] for one in segments if one in known]) + _END
        if used[_BLOCKED] and (request.badv or request.bcat or request.bapp or request.acat):
            pieces[_P_BLOCKED] = self._bars(request)[0]
        return pieces

    def _several(self, dimension: int, shown: Iterable[str]) -> Part:
        """The part of a dimension that shows several values; nothing at all where it is not used."""
        if not self._used[dimension]:
            return b""
        values = self._bytes[dimension]
        return b"".join([values[value] for value in shown if value in values]) + _END

    def _one(self, dimension: int, shown: str | None) -> Part:
        """The part of a dimension that shows one value at most."""
        if not self._used[dimension]:
            return b""
        return self._ended[dimension].get(shown, NOTHING) if shown else NOTHING

    def _exchange(self, name: str) -> bytes:
        # The kernel knows what is in flight; the record says nothing there.
        return remember(self._exchanges, name, _END + self._one(_EXCHANGE, name))

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

    def _geo(self, view: GeoView) -> bytes:
        country, region, city = view.country, view.region, view.city
        places = [text for text in (region, country, f"{country}-{region}") if text]
        cities = [city.lower(), f"{country}/{city.lower()}"] if city else []
        piece = self._several(Dimension.GEO, places) + self._several(Dimension.CITY, cities)
        return remember(self._geos, view, piece)

    def _circle(self, device: Device | None) -> Part:
        geo = device.geo if device is not None else None
        if geo is None or geo.lat is None or geo.lon is None:
            return NOTHING
        rows = self._table.circle_rows
        found = [row for circle in self._table.circles.containing(geo.lat, geo.lon) for row in rows[circle]]
        return rows_bytes(found) + _END

    def _device(self, view: DeviceView) -> bytes:
        agent = view.agent
        kind = _DEVICES.get(view.number) if view.number is not None else None
        connection = _CONNECTIONS.get(view.connection) if view.connection is not None else None
        piece = b"".join(
            (
                self._one(Dimension.DEVICE, kind or agent.device_class),
                self._one(Dimension.OS, agent.os or view.os),
                self._one(Dimension.BROWSER, agent.browser),
                self._one(Dimension.CARRIER, view.carrier.lower() if view.carrier else None),
                self._one(Dimension.CONNECTION, connection),
                self._one(Dimension.LANGUAGE, view.language[:2].lower() if view.language else None),
            )
        )
        return remember(self._devices, view, piece)

    def _place_key(self, request: BidRequest, domain: str | None) -> tuple[object, ...]:
        """What the piece of a place depends on."""
        if not self._reads_content:
            return (domain, request.site is None)
        place = place_of(request)
        if place is None:
            return ()
        return (
            domain, request.site is None, bytes(place.cat), bytes(place.sectioncat), bytes(place.pagecat),
            place.cattax, bytes(place.content), place.keywords, bytes(place.kwarray),
        )  # fmt: skip

    def _place(self, key: tuple[object, ...], request: BidRequest, domain: str | None) -> bytes:
        """Rules name registrable domains, requests also the hosts below them; apps are named whole."""
        hosts: Sequence[str] = ()
        if domain is not None:
            whole = request.site is None or len(domain) > _MAX_HOST_LENGTH
            hosts = (domain,) if whole else _hosts(domain)
        piece = self._several(Dimension.DOMAIN, hosts)
        if self._reads_content:
            categories = [one for pair in categories_of(request) for one in _category(*pair)]
            piece += self._several(Dimension.CONTENT, dict.fromkeys(categories))
            piece += self._several(Dimension.KEYWORD, keywords_of(request))
        return remember(self._places, key, piece)

    # -- what is barred -------------------------------------------------------------------------------------

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
            of_creatives = [known[text] for text in texts if text in known]
            found = remember(self._barred, key, (rows_bytes(rows) + _END, of_creatives))
        return found

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
        self, pieces: list[bytes], imp: Imp, slots: Sequence[Slot], personal: bool, body: bytes
    ) -> list[bytes]:
        """The request's pieces with those of one impression in the open auction.

        Args:
            pieces: of the request. imp: one of its impressions. slots: its media.
            personal: whether expressions may read personal fields. body: of the request, for expressions.
        """
        own, used = pieces.copy(), self._used
        own[_P_DEAL] = self._open_auction
        own[_P_FORMAT] = (
            slots[0].formats + _END if len(slots) == 1 else b"".join([slot.formats for slot in slots]) + _END
        )
        if used[_PLACEMENT]:
            own[_P_PLACEMENT] = self._placement(imp, slots)
        if imp.metric and used[_VIEWABILITY]:
            own[_P_VIEWABILITY] = self._several(_VIEWABILITY, _viewabilities(imp))
        if used[_EXPRESSION]:
            own[_P_EXPRESSION] = self._expressions(imp, personal, body)
        return own

    def _placement(self, imp: Imp, slots: Sequence[Slot]) -> Part:
        key = (tuple([slot.placements for slot in slots]), imp.instl, imp.rwdd, imp.tagid)
        piece = self._placements.get(key)
        if piece is None:
            piece = remember(self._placements, key, self._several(_PLACEMENT, _placements(imp, slots)))
        return piece

    def wants(self, deal: str) -> bool:
        """Whether any line item wants a deal."""
        return deal != OPEN_AUCTION and deal in self._ended[_DEAL]

    def for_deal(self, pieces: list[bytes], deal: str, wadomain: tuple[str, ...]) -> list[bytes] | None:
        """An impression's pieces as one of its deals shows them; None where no line item wants the deal."""
        part = self._ended[_DEAL].get(deal)
        if part is None or deal == OPEN_AUCTION:
            return None
        own = pieces.copy()
        own[_P_DEAL] = part
        if wadomain:
            # Stands in the deal's own dimension: the deal is not for advertisers beyond its list.
            own[_P_DEAL] = part[: -len(_END)] + rows_bytes((~self._outsiders(wadomain),)) + _END
        return own

    def _outsiders(self, wadomain: tuple[str, ...]) -> int:
        allowed = {"adv:" + domain.lower() for domain in wadomain}
        owners = self._table.creatives
        return self._slots.spare_row(
            ("wadomain", wadomain),
            lambda line: not all(owners.named(creative, allowed) for creative in owners.of_line(line)),
        )

    def _expressions(self, imp: Imp, personal: bool, body: bytes) -> Part:
        """Rows of the expressions that hold."""
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


def categories_of(request: BidRequest) -> list[tuple[int, str]]:
    """Taxonomy and category of all that a request says of its page, section, site and content."""
    place = place_of(request)
    if place is None:
        return []
    lists = (("cat", place.cat), ("sectioncat", place.sectioncat), ("pagecat", place.pagecat))
    found = [(place.cattax, one) for name, raw in lists if raw for one in texts_of(name, bytes(raw))[0]]
    content = CONTENT.read(bytes(place.content))[0] if place.content else None
    if content is not None:
        found += [(content.cattax, one) for one in content.cat or ()]
    return found


def keywords_of(request: BidRequest) -> list[str]:
    """Keywords of site and content, in small letters, each once."""
    place = place_of(request)
    if place is None:
        return []
    words = (place.keywords or "").split(",")
    if place.kwarray:
        words += texts_of("kwarray", bytes(place.kwarray))[0]
    content = CONTENT.read(bytes(place.content))[0] if place.content else None
    if content is not None:
        words += [*(content.keywords or "").split(","), *(content.kwarray or ())]
    return list(dict.fromkeys(word.strip().lower() for word in words))


def blocked_of(request: BidRequest) -> list[str]:
    """What a request bars, as values of BLOCKED."""
    found: list[str] = []
    if request.badv:
        # `www.` names the same advertiser as what follows it.
        domains = texts_of("badv", bytes(request.badv))[0]
        found += ["adv:" + domain.lower().removeprefix("www.") for domain in domains]
    if request.bcat:
        taxonomy = request.cattax
        found += [f"cat:{taxonomy}:{category}" for category in texts_of("bcat", bytes(request.bcat))[0]]
    if request.bapp:
        found += ["app:" + bundle for bundle in texts_of("bapp", bytes(request.bapp))[0]]
    return found


@forgettable
@lru_cache(maxsize=16_384)
def _hosts(domain: str) -> tuple[str, ...]:
    """A domain and its parents of two labels or more: `news.site.example`, `site.example`."""
    labels = domain.split(".")[-_MAX_LABELS:]
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))


@forgettable
@lru_cache(maxsize=16_384)
def _category(cattax: int, category: str) -> tuple[str, ...]:
    """A category and all above it, as values of CONTENT."""
    return tuple(f"{cattax}:{one}" for one in ancestors(cattax, category))


def _placements(imp: Imp, slots: Sequence[Slot]) -> list[str]:
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
