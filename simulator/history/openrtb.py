"""OpenRTB logs as a history: requests, responses and notices, one JSON object a line, in the order of time.

| `kind` | beside `at_ns` (or `at`, RFC 3339) |
|---|---|
| `request` | `body`: the BidRequest |
| `response` | `body`: the BidResponse, answered to the request of its `id` |
| `win`, `billing`, `impression`, `click` | `bid_id`; `price_cpm` where one came, in the currency of the history |
| `loss` | `bid_id`; `min_to_win_cpm` where the exchange told it |
| `conversion` | `bid_id`; `value` in units of the currency |

A bid is known by `seatbid.bid.id`, which must be unique. An impression without a bid is a row too: a history knows
what was on offer. A bid of which nothing was heard for `wait_s` has lost; the end of the log leaves its last bids
open. A prediction is read where the request brings one (`imp.ext.clearbid`); OpenRTB has no other place for it. What
is seen of a request is what our own bidder would see: privacy takes away here what it takes away there.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from bidder.core.hindsight import Hindsight, Sight
from bidder.core.opportunity import RAW_FEATURES, Raw
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, parse_decimal
from simulator.exchange.answers import Bid, price_cpm_micros, read_answer
from simulator.history.file import Progress
from simulator.history.schema import NOTHING, HistoryRow, Known, Meta, known_loss, known_win

WAIT_S = 3_600.0
_NS = 1_000_000_000
_TOLD_BYTES = 1 << 22
_Kind = Literal["request", "response", "win", "loss", "billing", "impression", "click", "conversion"]


class _Line(msgspec.Struct, gc=False):
    kind: _Kind
    at_ns: int = 0
    at: datetime | None = None
    body: msgspec.Raw = msgspec.Raw()
    bid_id: str = ""
    price_cpm: msgspec.Raw = msgspec.Raw()
    min_to_win_cpm: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()


_read = msgspec.json.Decoder(_Line).decode


class _Heard(msgspec.Struct, gc=False):
    """A bid and what was heard of it so far."""

    bid: Bid
    bid_nanos: int
    won: bool = False
    lost: bool = False
    paid_nanos: int | None = None
    min_to_win_nanos: int | None = None
    told_ns: int | None = None
    shown_ns: int | None = None
    clicked_ns: int | None = None
    converted_ns: int | None = None
    value_nanos: int = 0
    recorded_ns: int | None = None


class _Open(NamedTuple):
    at_ns: int
    body: bytes
    sight: Sight
    bids: dict[str, _Heard]


def openrtb_meta(path: Path, currency: str) -> Meta:
    """What a history of OpenRTB logs says of itself."""
    return Meta(currency=currency, source=f"OpenRTB log {path.name}")


def openrtb_rows(
    path: Path,
    drops: Counter[str],
    *,
    currency: str = "USD",
    wait_s: float = WAIT_S,
    requests: bool = False,
    progress: Progress | None = None,
) -> Iterator[HistoryRow]:
    """The opportunities of an OpenRTB log, in the order of their requests.

    Args:
        path: of the log. drops: counts lines and impressions that are left out, by cause.
        currency: of the history; a bid in another one is left out. wait_s: how long a result is waited for.
        requests: keep the bodies too. progress: hears of bytes.

    Raises:
        InputError: the log cannot be read.
    """
    reading = _Reading(drops, currency, round(wait_s * _NS), requests=requests)
    try:
        with path.open("rb") as file:
            yield from reading.rows(_told(file, path.stat().st_size, progress))
    except OSError as error:
        raise InputError(f"log {path} cannot be read: {error.strerror or error}") from error


def _told(lines: Iterable[bytes], total: int, progress: Progress | None) -> Iterator[bytes]:
    done = last = 0
    for line in lines:
        yield line
        done += len(line)
        if progress is not None and (done - last >= _TOLD_BYTES or done == total):
            last = done
            progress(done, total)


class _Reading:
    def __init__(self, drops: Counter[str], currency: str, wait_ns: int, *, requests: bool) -> None:
        self._drops = drops
        self._currency = currency
        self._wait_ns = wait_ns
        self._requests = requests
        self._hindsight = Hindsight(EngineSettings(currency=currency, external_scores=True))
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._of_bid: dict[str, _Heard] = {}

    def rows(self, lines: Iterable[bytes]) -> Iterator[HistoryRow]:
        last_ns = -(2**63)
        for text in lines:
            line = self._line(text)
            if line is None:
                continue
            at_ns = _time(line)
            if at_ns < last_ns:
                self._drops["line behind its time"] += 1
                continue
            last_ns = at_ns
            yield from self._close(at_ns - self._wait_ns)
            self._take(line, at_ns)
        for one in self._open.values():
            yield from self._rows_of(one, over=False)

    def _line(self, text: bytes) -> _Line | None:
        if not text.strip():
            return None
        try:
            return _read(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._drops["line that cannot be read"] += 1
            return None

    def _take(self, line: _Line, at_ns: int) -> None:
        if line.kind == "request":
            self._request(bytes(line.body), at_ns)
        elif line.kind == "response":
            self._response(bytes(line.body))
        else:
            heard = self._of_bid.get(line.bid_id)
            if heard is None:
                self._drops["notice of no bid, or after the wait"] += 1
            elif not _hear(heard, line, at_ns):
                self._drops["notice with a price that is none"] += 1

    def _request(self, body: bytes, at_ns: int) -> None:
        sight = self._hindsight.look(body, at_ns)
        if sight is None:
            self._drops["request that cannot be read or bid on"] += 1
        elif sight.request.id in self._open:
            self._drops["request a second time"] += 1
        else:
            self._open[sight.request.id] = _Open(at_ns, body, sight, {})

    def _response(self, body: bytes) -> None:
        answer = read_answer(body)
        if answer is None:
            self._drops["response that cannot be read"] += 1
            return
        asked = self._open.get(answer.id)
        if asked is None:
            self._drops["response to no request"] += 1
            return
        for bid in (each for seat in answer.seatbid for each in seat.bid):
            cause, nanos = _judge(bid, answer.cur, self._currency, asked, self._of_bid)
            if cause:
                self._drops[cause] += 1
            else:
                heard = _Heard(bid, nanos)
                asked.bids[bid.impid] = self._of_bid[bid.id] = heard

    def _close(self, before_ns: int) -> Iterator[HistoryRow]:
        while self._open and next(iter(self._open.values())).at_ns < before_ns:
            _, one = self._open.popitem(last=False)
            yield from self._rows_of(one, over=True)

    def _rows_of(self, one: _Open, *, over: bool) -> Iterator[HistoryRow]:
        for imp in one.sight.request.imp:
            heard = one.bids.get(imp.id)
            if heard is not None:
                self._of_bid.pop(heard.bid.id, None)
            row = self._row(one, imp.id, heard, over=over)
            if row is not None:
                yield row

    def _row(self, one: _Open, imp_id: str, heard: _Heard | None, *, over: bool) -> HistoryRow | None:
        glimpse = one.sight.glimpse(imp_id)
        if glimpse is None:
            self._drops["impression that cannot be bid on"] += 1
            return None
        seen = dict(zip(RAW_FEATURES, glimpse.features, strict=True))
        size = str(seen["size"] or "").split("x")
        row = HistoryRow(
            id=f"{one.sight.exchange.name} {one.sight.request.id} {imp_id}",
            offered_ns=one.at_ns,
            recorded_ns=one.at_ns,
            exchange=one.sight.exchange.name,
            user=glimpse.user or None,
            w=int(size[0]) if len(size) == 2 else None,
            h=int(size[1]) if len(size) == 2 else None,
            segments=glimpse.segments or None,
            floor_nanos=glimpse.floor_cpm_micros,
            first_price=glimpse.first_price,
            request=one.body if self._requests else None,
            domain=_text(seen["domain"]),
            placement=_text(seen["tag_id"]),
            position=_text(seen["position"]),
            os=_text(seen["os"]),
            browser=_text(seen["browser"]),
            device_type=_text(seen["device_type"]),
            region=_text(seen["region"]),
            city=_text(seen["city"]),
        )
        if heard is None:
            return row
        known = _known(heard, glimpse.floor_cpm_micros, over=over, first_price=glimpse.first_price)
        if known is None:
            self._drops["win without a price"] += 1
            return None
        return _with_bid(row, heard, known, _prediction(one.sight, imp_id, heard.bid.cid))


def _judge(bid: Bid, currency: str, wanted: str, asked: _Open, known: dict[str, _Heard]) -> tuple[str, int]:
    """Why a bid is left out, or nothing, and what it bids in nanos."""
    if currency != wanted:
        return "bid in another currency", 0
    if not bid.id or bid.id in known:
        return "bid without an id of its own", 0
    if bid.impid in asked.bids or not any(imp.id == bid.impid for imp in asked.sight.request.imp):
        return "bid on no impression, or beside another one", 0
    try:
        return "", price_cpm_micros(bytes(bid.price))
    except (ValueError, UnicodeDecodeError):
        return "bid whose price is none", 0


def _hear(heard: _Heard, line: _Line, at_ns: int) -> bool:
    """Takes a notice; False where its price cannot be read."""
    try:
        price = _price(line.price_cpm)
        least = _price(line.min_to_win_cpm)
        value = parse_decimal(_unquoted(line.value), NANOS_PER_UNIT) if line.value else 0
    except (ValueError, UnicodeDecodeError):
        return False
    heard.recorded_ns = at_ns
    if line.kind == "loss":
        heard.lost, heard.min_to_win_nanos = True, least
    else:
        heard.won = True
    if price is not None:
        heard.paid_nanos = price
    if line.kind in ("win", "loss") and heard.told_ns is None:
        heard.told_ns = at_ns
    elif line.kind in ("billing", "impression") and heard.shown_ns is None:
        heard.shown_ns = at_ns
    elif line.kind == "click" and heard.clicked_ns is None:
        heard.clicked_ns = at_ns
    elif line.kind == "conversion" and heard.clicked_ns is not None:
        # Conversions without a click count for nothing, as in an export: no model is of them.
        heard.converted_ns = heard.converted_ns if heard.converted_ns is not None else at_ns
        heard.value_nanos += max(value, 0)
    return True


def _known(heard: _Heard, floor_nanos: int, *, over: bool, first_price: bool) -> Known | None:
    """What is known of the price to beat; None where a win has no price that can be right."""
    if heard.won:
        if heard.paid_nanos is None or heard.paid_nanos > heard.bid_nanos:
            return None
        return known_win(heard.bid_nanos, heard.paid_nanos, floor_nanos, first_price=first_price)
    if heard.lost or over:
        return known_loss(heard.bid_nanos, heard.min_to_win_nanos)
    return NOTHING


def _with_bid(row: HistoryRow, heard: _Heard, known: Known, prediction: float | None) -> HistoryRow:
    bid, clicked = heard.bid, heard.clicked_ns is not None
    return row._replace(
        recorded_ns=heard.recorded_ns or row.recorded_ns,
        campaign=bid.cid or None,
        creative=bid.crid or None,
        bid_id=bid.id,
        click_probability=prediction,
        bid_nanos=heard.bid_nanos,
        **(known if bid.cid else NOTHING)._asdict(),
        told_ns=heard.told_ns,
        shown_ns=heard.shown_ns,
        clicked=clicked if known.won and bid.cid else None,
        clicked_ns=heard.clicked_ns,
        converted=heard.converted_ns is not None if clicked else None,
        converted_ns=heard.converted_ns,
        value_nanos=heard.value_nanos,
    )


def _prediction(sight: Sight, imp_id: str, campaign: str) -> float | None:
    for imp in sight.request.imp:
        if imp.id == imp_id and imp.ext is not None and imp.ext.clearbid is not None:
            own = imp.ext.clearbid
            return min(max(own.pctr, 0.0), 1.0) if own.campaign == campaign else None
    return None


def _time(line: _Line) -> int:
    if line.at is None:
        return line.at_ns
    whole = line.at.replace(microsecond=0)
    return round(whole.timestamp()) * _NS + line.at.microsecond * 1_000


def _price(raw: msgspec.Raw) -> int | None:
    """A price in nanos for one impression, which is micros of CPM; None where there is none."""
    text = _unquoted(raw)
    return price_cpm_micros(text.encode()) if text and text != "null" else None


def _unquoted(raw: msgspec.Raw) -> str:
    return bytes(raw).decode().strip('"')


def _text(value: Raw) -> str | None:
    return None if value is None else str(value)
