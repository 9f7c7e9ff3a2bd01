"""Parts of requests that repeat: read once, remembered by their bytes, bounded.

A placement sends the same `banner`, `video`, `native` and `pmp` a million times, a publisher the same blocklists.
The bytes of such a part are looked up; only bytes never seen are decoded, with the same patience as the rest
(`openrtb.mending`). What a part costs then is a copy and a hash of its bytes.
"""

from typing import Any, Generic, TypeVar

import msgspec

from bidder.memory import on_forgetting
from bidder.openrtb.mending import Step, read_typed
from bidder.openrtb.request import Audio, Banner, Content, Eid, Native, Pmp, Regs, Schain, UserAgent, Video

T = TypeVar("T")
CAPACITY = 8_192
"""Parts remembered of one kind; past that all of the kind are forgotten, which changes nothing but time."""


class Part(Generic[T]):
    """Reads one kind of part.

    Args:
        kind: type of the value.
        name: attribute that holds it, for paths in errors.
    """

    def __init__(self, kind: type[T], name: str) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        self._name = name
        self._known: dict[bytes, tuple[T | None, int]] = {}
        on_forgetting(self._known.clear)

    def read(self, raw: bytes, at: tuple[Step, ...] = ()) -> tuple[T | None, int]:
        """The value and how many values in it had to be mended; None where nothing of it can be read.

        Args:
            raw: JSON of the part, as bytes. at: where its parent stands in the request.

        Raises:
            RequestError: a hard field that cannot be read, with its path.
        """
        found = self._known.get(raw)
        if found is None:
            if raw == b"null":
                return None, 0
            found = self._read(raw, at)
            if len(self._known) >= CAPACITY:
                self._known.clear()
            self._known[raw] = found
        return found

    def _read(self, raw: bytes, at: tuple[Step, ...]) -> tuple[T | None, int]:
        value, repaired = read_typed(self._decoder, raw, (*at, self._name))
        return value, repaired


BANNER: Part[Banner] = Part(Banner, "banner")
VIDEO: Part[Video] = Part(Video, "video")
AUDIO: Part[Audio] = Part(Audio, "audio")
NATIVE: Part[Native] = Part(Native, "native")
PMP: Part[Pmp] = Part(Pmp, "pmp")
REGS: Part[Regs] = Part(Regs, "regs")
SCHAIN: Part[Schain] = Part(Schain, "schain")
SUA: Part[UserAgent] = Part(UserAgent, "sua")
CONTENT: Part[Content] = Part(Content, "content")
_EIDS = msgspec.json.Decoder(list[Eid])
_TEXTS: dict[str, Part[Any]] = {
    name: Part(list[str], name)
    for name in ("acat", "bcat", "badv", "bapp", "cat", "sectioncat", "pagecat", "kwarray")
}


def texts_of(name: str, raw: bytes) -> tuple[list[str], int]:
    """A list of texts, by the name of its attribute such as `badv`; and how many of them were mended."""
    value, repaired = _TEXTS[name].read(raw)
    return value or [], repaired


def eids_of(raw: bytes) -> list[Eid]:
    """Ids of a user; they are of nobody else, so they are not remembered. Raises `RequestError` as `Part.read`."""
    return read_typed(_EIDS, raw, ("user", "eids")).value or []
