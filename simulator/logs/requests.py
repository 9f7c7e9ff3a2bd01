"""Log rows as OpenRTB 2.6 bid requests: what the exchange puts on the wire.

One impression a request, a banner of one size. Two extensions are ours, where section 3.2 leaves room:
`ext.exchange` of the request names the exchange that sends it, because one topic carries several; and
`imp[0].ext.clearbid` carries an external click probability, `{"campaign": id, "pctr": p}`, where the log has one.
What the row does not know is left out: absent means unknown (section 2.3).
"""

from collections.abc import Mapping
from functools import lru_cache

import orjson

from bidder.core.users import user_key_text
from simulator.logs.rows import LogRow

IMP_ID = "1"
FIRST_PRICE, SECOND_PRICE = 1, 2
_PHONE, _COMPUTER = 4, 2
# AdCOM "Device Types": a phone where the system is a phone's, a personal computer where it is not.
_DEVICE_TYPES = {
    "android": _PHONE, "ios": _PHONE, "windows": _COMPUTER, "macos": _COMPUTER, "mac": _COMPUTER, "linux": _COMPUTER,
}  # fmt: skip


class RequestEncoder:
    """Writes requests.

    Args:
        currency: of floors and bids.
        country: ISO-3166-1 alpha-3 code of all users, or None.
        first_price: names of the exchanges that sell at first price (`at` 1); the others sell at second.
        tmax_ms: time for the answer, network included.
        expiry_s: longest time from auction to billing that the exchange takes (`imp.exp`).
        test: whether to mark requests as test traffic, which is not billable.
    """

    def __init__(
        self,
        currency: str = "USD",
        *,
        country: str | None = None,
        first_price: frozenset[str] = frozenset(),
        tmax_ms: int = 120,
        expiry_s: int = 300,
        test: bool = False,
    ) -> None:
        self.currency = currency
        self.first_price = first_price
        self._country = country
        self._expiry_s = expiry_s
        self._tail: dict[str, object] = {"tmax": tmax_ms, "cur": [currency]} | ({"test": 1} if test else {})

    def auction_type(self, exchange: str) -> int:
        """`at` of an exchange: 1 first price, 2 second price."""
        return FIRST_PRICE if exchange in self.first_price else SECOND_PRICE

    def encode(self, row: LogRow) -> bytes:
        """The request of a row, JSON."""
        request: dict[str, object] = {"id": row.id, "imp": [self._imp(row)]}
        if row.domain is not None or row.page is not None:
            request["site"] = _site(row)
        device = self._device(row)
        if device:
            request["device"] = device
        user = _user(row)
        if user:
            request["user"] = user
        request["at"] = FIRST_PRICE if row.exchange in self.first_price else SECOND_PRICE
        request |= self._tail
        request["source"] = {"tid": row.id}
        request["ext"] = {"exchange": row.exchange}
        return orjson.dumps(request)

    def _imp(self, row: LogRow) -> dict[str, object]:
        w, h = row.w, row.h
        imp: dict[str, object] = {
            "id": IMP_ID,
            "banner": {"w": w, "h": h, "pos": row.position, "format": [{"w": w, "h": h}]},
            "bidfloor": row.floor_cpm_micros / 1e6,
            "bidfloorcur": self.currency,
            "secure": 1,
            "exp": self._expiry_s,
        }
        if row.tag_id is not None:
            imp["tagid"] = row.tag_id
        if row.pctr is not None:
            imp["ext"] = {"clearbid": {"campaign": row.campaign, "pctr": row.pctr}}
        return imp

    def _device(self, row: LogRow) -> dict[str, object]:
        device: dict[str, object] = {}
        if row.ua is not None:
            device["ua"] = row.ua
        if row.ip is not None:
            device["ip"] = row.ip
        if row.os is not None:
            device["os"] = row.os
            kind = _DEVICE_TYPES.get(row.os)
            if kind is not None:
                device["devicetype"] = kind
        geo = _known({"country": self._country, "region": row.region, "city": row.city})
        if geo:
            device["geo"] = geo
        return device


def _site(row: LogRow) -> dict[str, object]:
    site = _known({"domain": row.domain, "page": row.page})
    if row.domain is not None:
        site["publisher"] = {"id": row.domain}
    return site


def _user(row: LogRow) -> dict[str, object]:
    user: dict[str, object] = {} if row.user_id is None else {"id": row.user_id}
    if row.segments:
        user["data"] = [{"id": row.exchange, "segment": _segments(row.segments)}]
    return user


def message_key(row: LogRow) -> bytes:
    """Message key of a request: of its user, so that one worker owns what caps count; else its own."""
    return user_key_text(None, (), None, row.user_id, row.exchange) or row.id.encode()


@lru_cache(maxsize=65_536)
def _segments(ids: tuple[str, ...]) -> list[dict[str, str]]:
    """Segment objects; users come again, and nobody changes these."""
    return [{"id": segment} for segment in ids]


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
