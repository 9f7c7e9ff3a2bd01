"""A request with all of its parts read, as whoever bids on all of it would meet it."""

from typing import Any

import msgspec

from bidder.openrtb import parts
from bidder.openrtb.codec import decode
from bidder.openrtb.mending import Step
from bidder.openrtb.request import BidRequest

_PARTS = {
    "banner": parts.BANNER,
    "video": parts.VIDEO,
    "audio": parts.AUDIO,
    "native": parts.NATIVE,
    "pmp": parts.PMP,
    "regs": parts.REGS,
    "schain": parts.SCHAIN,
    "sua": parts.SUA,
    "content": parts.CONTENT,
}


class Whole:
    """Reads every part of a body.

    Attributes:
        request: as decoded. repaired: values that were mended or dropped, those of its parts included.

    Raises:
        RequestError: the body or a part of it cannot be read.
    """

    def __init__(self, body: bytes) -> None:
        self.request: BidRequest
        self.request, self.repaired = decode(body)
        self._parts: dict[tuple[Step, ...], Any] = {}
        self._read(self.request, ())

    def _read(self, value: Any, at: tuple[Step, ...]) -> None:
        if isinstance(value, list):
            for place, each in enumerate(value):
                self._read(each, (*at, place))
        elif isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                inner = getattr(value, name)
                if isinstance(inner, msgspec.Raw):
                    inner = self._part(name, inner, at)
                self._read(inner, (*at, name))

    def _part(self, name: str, raw: msgspec.Raw, at: tuple[Step, ...]) -> Any:
        if not raw:
            return None
        if name == "eids":
            return parts.eids_of(bytes(raw))
        if name in _PARTS:
            found, repaired = _PARTS[name].read(bytes(raw), at)
        else:
            found, repaired = parts.texts_of(name, bytes(raw))
        self.repaired += repaired
        self._parts[(*at, name)] = found
        return found

    def at(self, path: str) -> Any:
        """The value at a path such as `imp.0.banner.w`."""
        value: Any = self.request
        steps: tuple[Step, ...] = ()
        for text in path.split("."):
            step: Step = int(text) if text.isdigit() else text
            steps = (*steps, step)
            inner = value[step] if isinstance(step, int) else getattr(value, step)
            value = self._parts.get(steps, inner)
        return value
