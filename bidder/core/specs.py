"""What the slots of impressions take, as rows of numbers that the kernel holds creatives against.

A slot's `banner`, `video`, `audio` and `native` are read once and remembered by their bytes: a placement repeats them
in every request. So are lists of what an impression bars or allows. All of it is in the words of one table's
creatives, and ends with the table.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from struct import pack
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Media
from bidder.core.creatives import ALL_BITS, MTYPE, SKIPPABLE, ratio_code, size_code
from bidder.core.dimensions import Dimension
from bidder.core.rows import bits_of
from bidder.core.table import SPARE_ROWS, LineTable, size_value
from bidder.errors import RequestError
from bidder.money import cpm_micros_from_float
from bidder.openrtb.mending import Step
from bidder.openrtb.native import NativeAsk, answer, native_ask
from bidder.openrtb.parts import AUDIO, BANNER, NATIVE, VIDEO
from bidder.openrtb.request import Banner, DurFloor, Imp, Linear, Native, Video

CAPACITY = 4_096
MAX_LISTED = 65_536
NO_FLOOR = -1
NEVER_S = -1
"""A duration that no creative has."""
_FAR = 2**62
"""Beyond every number that a slot is held to; a sender may write one that fits no column."""
_NO_SIZE = -1


class S(IntEnum):
    """Columns of a slot, int64."""

    MEDIA = 0
    SIZES = 1
    SIZES_END = 2
    ATTR_BLOCKED = 3
    BTYPE_BLOCKED = 4
    MIME_OK = 5
    API_OK = 6
    PROTOCOL_OK = 7
    MIN_S = 8
    MAX_S = 9
    RQD = 10
    RQD_END = 11
    MIN_KBPS = 12
    MAX_KBPS = 13
    LINEARITY = 14
    DELIVERY_OK = 15
    NATIVE_ROW = 16
    PER_SECOND = 17
    FLOORS = 18
    FLOORS_END = 19


class Slot(msgspec.Struct, gc=False):
    """One medium of an impression.

    row: in `SlotBook.columns`. media: its `mtype`. formats: rows of FORMAT that it shows, as parts hold them
    (`core.showing`). placements: values of PLACEMENT that it shows. features: size and position. pod_s: seconds of
    a dynamic pod, 0 where it is none; slots: most ads in it. slotinpod: as asked. ask: what a native slot asks
    for. protocols: that a video or audio slot lists, None for any. floored: whether it has floors by duration.
    repaired: values that had to be mended.
    """

    row: int
    media: int
    formats: bytes
    placements: tuple[str, ...]
    features: tuple[str | None, str | None]
    pod_s: int
    slots: int
    slotinpod: int
    ask: NativeAsk | None
    protocols: tuple[int, ...] | None
    floored: bool
    repaired: int


class Floors(msgspec.Struct, gc=False):
    """Floors by duration in the account's money: nanos a second (or -1), and the range of rows in `durations`."""

    per_second_nanos: int
    begin: int
    end: int


NO_FLOORS = Floors(NO_FLOOR, 0, 0)


class SlotBook:
    """The slots seen so far, in the words of one table.

    Args:
        table: whose creatives they are for.

    Attributes:
        columns: int64[CAPACITY, len(S)]; lists: int32[], see SIZES and RQD; durations: int64[, 3] of least and
            greatest seconds and nanos, see FLOORS; native_ok: uint8[asks, natives].
        crowded: whether all must be forgotten before the next request is read; between batches only.
    """

    def __init__(self, table: LineTable) -> None:
        self._table = table
        self._creatives = table.creatives
        self._formats = table.values[Dimension.FORMAT]
        self.columns: NDArray[np.int64] = np.zeros((CAPACITY, len(S)), dtype=np.int64)
        self.lists: NDArray[np.int32] = np.zeros(MAX_LISTED, dtype=np.int32)
        self.durations: NDArray[np.int64] = np.zeros((CAPACITY, 3), dtype=np.int64)
        self.native_ok: NDArray[np.uint8] = np.zeros(
            (64, max(1, len(table.creatives.natives))), dtype=np.uint8
        )
        self.forgotten = 0
        self._clear()

    def _clear(self) -> None:
        self._slots: dict[tuple[bytes, int], Slot | None] = {}
        self._asks: dict[str, int] = {}
        self._spare: dict[object, int] = {}
        self._count = self._listed = self._floors = 0
        self.crowded = False

    def _weigh(self) -> None:
        """Sees whether there is room left for whatever the next request brings; whenever something was added."""
        self.crowded = (
            self._count > CAPACITY - 1_024
            or len(self._slots) > CAPACITY - 1_024
            or self._listed > MAX_LISTED - 16_384
            or self._floors > CAPACITY - 1_024
            or len(self._asks) > len(self.native_ok) - 32
            or len(self._spare) > SPARE_ROWS - 256
        )

    def forget(self) -> None:
        """Forgets all slots and lists, which changes nothing but time."""
        self._clear()
        self.forgotten += 1

    # -- slots ----------------------------------------------------------------------------------------------

    def media(self, imp: Imp, at: tuple[Step, ...], rate_nanos: int) -> list[Slot]:
        """The slots of the media that an impression offers and that can be bid on; features are of the first.

        Args:
            imp: the impression. at: where it stands in the request.
            rate_nanos: what a unit of its floor's currency is worth in nanos of the account's.

        Raises:
            RequestError: a part that was never read before turns out to be unreadable.
        """
        if imp.banner and not (imp.video or imp.audio or imp.native):
            slot = self.banner(bytes(imp.banner), at)
            return [slot] if slot is not None else []
        every = [
            self.banner(bytes(imp.banner), at) if imp.banner else None,
            self.video(bytes(imp.video), rate_nanos, at) if imp.video else None,
            self.audio(bytes(imp.audio), rate_nanos, at) if imp.audio else None,
            self.native(bytes(imp.native), at) if imp.native else None,
        ]
        return [slot for slot in every if slot is not None]

    def banner(self, raw: bytes, at: tuple[Step, ...]) -> Slot | None:
        """The slot of a banner; None where nothing of it can be bid on. Raises `RequestError`, as all these."""
        key = (raw, 0)
        if key in self._slots:
            return self._slots[key]
        banner, repaired = BANNER.read(raw, at)
        return self._keep(key, self._banner(banner, repaired) if banner is not None else None)

    def video(self, raw: bytes, rate_nanos: int, at: tuple[Step, ...]) -> Slot | None:
        """The slot of a video; `rate_nanos` turns its floors a second into the account's money."""
        key = (raw, rate_nanos)
        if key in self._slots:
            return self._slots[key]
        video, repaired = VIDEO.read(raw, at)
        return self._keep(key, self._linear(video, rate_nanos, repaired) if video is not None else None)

    def audio(self, raw: bytes, rate_nanos: int, at: tuple[Step, ...]) -> Slot | None:
        """The slot of an audio ad."""
        key = (raw, -rate_nanos)
        if key in self._slots:
            return self._slots[key]
        audio, repaired = AUDIO.read(raw, at)
        return self._keep(key, self._linear(audio, rate_nanos, repaired) if audio is not None else None)

    def native(self, raw: bytes, at: tuple[Step, ...]) -> Slot | None:
        """The slot of a native ad."""
        key = (raw, 1)
        if key in self._slots:
            return self._slots[key]
        native, repaired = NATIVE.read(raw, at)
        return self._keep(key, self._native(native, repaired) if native is not None else None)

    def _keep(self, key: tuple[bytes, int], slot: Slot | None) -> Slot | None:
        self._slots[key] = slot
        self._weigh()
        return slot

    def _banner(self, banner: Banner, repaired: int) -> Slot:
        codes, first = _sizes_of(banner)
        values = [0] * len(S)
        values[S.MEDIA] = MTYPE[Media.BANNER]
        values[S.SIZES], values[S.SIZES_END] = self._list(codes)
        self._bars(values, banner.battr, banner.api, banner.mimes)
        for btype in banner.btype or ():
            values[S.BTYPE_BLOCKED] |= 1 << btype if 0 < btype < 62 else 0
        return Slot(
            row=self._row(values),
            media=values[S.MEDIA],
            formats=self._shows(size_value(code) for code in codes),
            placements=(f"pos:{banner.pos}",),
            features=(first, str(banner.pos)),
            pod_s=0,
            slots=0,
            slotinpod=0,
            ask=None,
            protocols=None,
            floored=False,
            repaired=repaired,
        )

    def _linear(self, linear: Linear, rate_nanos: int, repaired: int) -> Slot | None:
        """A video or audio slot; without `mimes`, which section 3.2.7 requires, nothing can be known to fit."""
        if not linear.mimes:
            return None
        values = [0] * len(S)
        media = Media.VIDEO if isinstance(linear, Video) else Media.AUDIO
        values[S.MEDIA] = MTYPE[media]
        self._bars(values, linear.battr, linear.api, linear.mimes)
        if isinstance(linear, Video) and linear.skip:
            values[S.ATTR_BLOCKED] |= self._creatives.attrs.bits((SKIPPABLE,))
        protocols = linear.protocols
        if protocols is None and isinstance(linear, Video) and linear.protocol:
            protocols = [linear.protocol]
        values[S.PROTOCOL_OK] = ALL_BITS if protocols is None else self._creatives.protocols.bits(protocols)
        values[S.MIN_S] = linear.minduration
        # A pod of less than no length is none, and no ad fits into it.
        longest_s = linear.poddur or 2**31
        values[S.MAX_S] = min(linear.maxduration or 2**31, longest_s)
        # Ranges and exact durations exclude each other (section 3.2.7); where both stand, the exact ones rule.
        values[S.RQD], values[S.RQD_END] = self._list(
            [one if one <= longest_s else NEVER_S for one in linear.rqddurs or ()]
        )
        values[S.MIN_KBPS], values[S.MAX_KBPS] = linear.minbitrate or 0, linear.maxbitrate or 2**31
        values[S.LINEARITY] = (linear.linearity or 0) if isinstance(linear, Video) else 0
        values[S.DELIVERY_OK] = (
            sum(1 << way for way in set(linear.delivery) if 0 < way < 62) if linear.delivery else ALL_BITS
        )
        floors = self.floors(linear.mincpmpersec, linear.durfloors, rate_nanos)
        values[S.PER_SECOND], values[S.FLOORS], values[S.FLOORS_END] = (
            floors.per_second_nanos, floors.begin, floors.end,
        )  # fmt: skip
        return Slot(
            row=self._row(values),
            media=values[S.MEDIA],
            formats=self._shows((media.value,)),
            placements=_placements_of(linear),
            features=(None, str(linear.pos) if isinstance(linear, Video) else None),
            pod_s=_near(max(linear.poddur or 0, 0)),
            slots=max(linear.maxseq or 0, 0),
            slotinpod=linear.slotinpod,
            ask=None,
            protocols=tuple(protocols) if protocols is not None else None,
            floored=floors is not NO_FLOORS,
            repaired=repaired,
        )

    def _native(self, native: Native, repaired: int) -> Slot | None:
        ask, _ = native_ask(native.request)
        if ask is None:
            return None
        values = [0] * len(S)
        values[S.MEDIA] = MTYPE[Media.NATIVE]
        self._bars(values, native.battr, native.api, None)
        values[S.NATIVE_ROW], shown = self._ask_row(native.request, ask)
        return Slot(
            row=self._row(values),
            media=values[S.MEDIA],
            formats=shown,
            placements=(),
            features=(None, None),
            pod_s=0,
            slots=0,
            slotinpod=0,
            ask=ask,
            protocols=None,
            floored=False,
            repaired=repaired,
        )

    def _bars(
        self, values: list[int], battr: list[int] | None, api: list[int] | None, mimes: list[str] | None
    ) -> None:
        """What the media have in common: attributes barred, frameworks and types of files allowed."""
        own = self._creatives
        values[S.ATTR_BLOCKED] = own.attrs.bits(battr)
        values[S.API_OK] = own.apis.bits(api)  # one that is not listed is not supported
        values[S.MIME_OK] = ALL_BITS if not mimes else own.mimes.bits(mime.lower() for mime in mimes)
        values[S.PER_SECOND] = NO_FLOOR

    def _ask_row(self, text: str, ask: NativeAsk) -> tuple[int, bytes]:
        """Row of `native_ok`, and the spare row of line items with a creative that answers."""
        row = self._asks.get(text)
        if row is None:
            row = self._asks[text] = len(self._asks)
            self.native_ok = _with_room(self.native_ok, row + 1)
            for number, creative in enumerate(self._creatives.natives):
                native, mime = (
                    self._creatives.owners[creative][1].native,
                    self._creatives.owners[creative][1].mime,
                )
                self.native_ok[row, number] = native is not None and answer(ask, native, mime) is not None
        own = self._creatives
        fits = {creative for number, creative in enumerate(own.natives) if self.native_ok[row, number]}
        spare = self.spare_row(("native", text), lambda line: any(c in fits for c in own.of_line(line)))
        return row, pack("=i", spare)

    def _row(self, values: list[int]) -> int:
        row = self._count
        self._count += 1
        self.columns[row] = [value if -_FAR < value < _FAR else _near(value) for value in values]
        return row

    def _list(self, numbers: Sequence[int]) -> tuple[int, int]:
        begin = self._listed
        self._listed += len(numbers)
        self.lists = _with_room(self.lists, self._listed)
        self.lists[begin : self._listed] = [one if -(2**31) <= one < 2**31 else _NO_SIZE for one in numbers]
        return begin, self._listed

    def _shows(self, values: Iterable[str]) -> bytes:
        found: list[int] = []
        for value in values:
            found += self._formats.get(value, ())
        return pack(f"={len(found)}i", *found)

    def floors(self, per_second: float | None, durations: list[DurFloor] | None, rate_nanos: int) -> Floors:
        """Floors by duration in the account's money, rounded up.

        Raises:
            RequestError: a floor that is no price: what cannot be known must not be bid under.
        """
        if per_second is None and not durations:
            return NO_FLOORS
        begin = self._floors
        self.durations = _with_room(self.durations, begin + len(durations or ()))
        for one in durations or ():
            self.durations[self._floors] = (
                _near(one.mindur),
                _near(one.maxdur) or 2**31,
                _in_account(one.bidfloor, rate_nanos),
            )
            self._floors += 1
        self._weigh()
        seconds = NO_FLOOR if per_second is None else _in_account(per_second, rate_nanos)
        return Floors(seconds, begin, self._floors)

    # -- rows that only requests can state ------------------------------------------------------------------

    def spare_row(self, key: object, holds: Callable[[int], bool]) -> int:
        """A row of the table with the bits of the line items for which `holds`; made once for each key."""
        row = self._spare.get(key)
        if row is None:
            row = self._spare[key] = self._table.first_spare + len(self._spare)
            self._table.rows = _with_room(self._table.rows, row + 1)
            lines = [line for line in range(len(self._table)) if holds(line)]
            self._table.rows[row] = bits_of(np.array(lines, dtype=np.int64), self._table.words)
            self._weigh()
        return row


def _near(number: int) -> int:
    """A number as it was if it is one that matters, else one as far from all that do."""
    return max(-_FAR, min(number, _FAR))


def _with_room(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """The array, twice as long where it has not as many rows: one request may bring more than any before it."""
    if count <= len(rows):
        return rows
    more = max(len(rows), count - len(rows))
    return np.concatenate((rows, np.zeros((more, *rows.shape[1:]), dtype=rows.dtype)))


def _in_account(cpm: float, rate_nanos: int) -> int:
    try:
        micros = cpm_micros_from_float(cpm)
    except ValueError as error:
        raise RequestError(f"floor {error}", "$.imp") from None
    return -(-micros * rate_nanos // 1_000_000_000)


def _sizes_of(banner: Banner) -> tuple[list[int], str | None]:
    """Codes of the sizes that a banner slot takes, in the order of preference, and the first as text.

    OpenRTB 2.6 section 3.2.6: `format` if there, else `w` and `h`. A size takes creatives of its ratio too, if
    they can be stretched; a flex format (section 3.2.10) takes these alone.
    """
    codes: dict[int, None] = {}
    first: str | None = None
    for one in banner.format or ():
        if one.w and one.h:
            if 0 < one.w < 32_768 and 0 < one.h < 32_768:
                codes[size_code(one.w, one.h)] = codes[ratio_code(one.w, one.h)] = None
                first = first or f"{one.w}x{one.h}"
        elif one.wratio and one.hratio and 0 < one.wratio < 32_768 and 0 < one.hratio < 32_768:
            codes[ratio_code(one.wratio, one.hratio)] = None
    w, h = banner.w or 0, banner.h or 0
    if not banner.format and 0 < w < 32_768 and 0 < h < 32_768:
        codes[size_code(w, h)] = codes[ratio_code(w, h)] = None
        first = f"{w}x{h}"
    return list(codes), first


def _placements_of(linear: Linear) -> tuple[str, ...]:
    """PLACEMENT values of a video; `plcmt` has replaced `placement` (section 3.2.7)."""
    if not isinstance(linear, Video):
        return ()
    found = [f"pos:{linear.pos}"]
    if linear.plcmt is not None:
        found.append(f"plcmt:{linear.plcmt}")
    return tuple(found)
