"""Creatives as the kernel reads them: one row of numbers each, with what an exchange may bar as bits.

Whether a creative may be shown in a slot is decided number by number (`core.kernels.creative_fault`) against the
slot's `core.specs` row. Sets become bits through vocabularies of what our own creatives have: what none of them
has cannot matter.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from math import gcd

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Approval, Campaign, Creative, Media
from bidder.core.lines import Line
from bidder.core.templatebook import writable_protocols
from bidder.errors import InputError
from bidder.openrtb.taxonomy import ancestors, qualified

MAX_BITS = 62
"""Different values in one vocabulary: bits of an int64 without its sign, and one to spare."""
ALL_BITS = (1 << MAX_BITS) - 1
MTYPE = {Media.BANNER: 1, Media.VIDEO: 2, Media.AUDIO: 3, Media.NATIVE: 4}
SKIPPABLE = 16
"""AdCOM "Creative Attributes": the viewer can skip it."""
_IMAGE_BTYPE, _SCRIPT_BTYPE = 2, 3
_IMAGE_MIMES = {"png": "image/png", "gif": "image/gif", "webp": "image/webp", "svg": "image/svg+xml"}


class C(IntEnum):
    """Columns of a creative, int64."""

    MEDIA = 0
    SIZE = 1
    ATTR = 2
    BTYPE = 3
    MIME = 4
    API = 5
    PROTOCOL = 6
    DURATION_S = 7
    BITRATE_KBPS = 8
    LINEARITY = 9
    DELIVERY = 10
    SECURE = 11
    LANGUAGE = 12
    EXCHANGES = 13
    BLOCK_START = 14
    BLOCK_END = 15
    NATIVE = 16
    FLEX = 17


class Vocabulary:
    """Values to bits, in the order in which they are first met.

    Args:
        what: names the values in errors.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._bits: dict[object, int] = {}

    def learn(self, values: Iterable[object]) -> int:
        """The bits of our own values; new ones get bits of their own.

        Raises:
            InputError: more than 62 different ones.
        """
        found = 0
        for value in values:
            bit = self._bits.get(value)
            if bit is None:
                if len(self._bits) >= MAX_BITS:
                    raise InputError(
                        f"there must be at most {MAX_BITS} different {self._what} among the creatives, "
                        f"{value!r} is one more"
                    )
                bit = self._bits[value] = 1 << len(self._bits)
            found |= bit
        return found

    def bits(self, values: Iterable[object] | None) -> int:
        """The bits of an exchange's values; what none of ours has has none."""
        known = self._bits
        found = 0
        for value in values or ():
            found |= known.get(value, 0)
        return found


class Words:
    """The words of all campaigns together: a table that needs more than there are bits for cannot be made.

    It only learns, so that campaigns that were taken one by one make a table.
    """

    _NAMES = ("creative attributes", "API frameworks", "MIME types", "protocols", "languages")

    def __init__(self) -> None:
        self._known: tuple[set[object], ...] = tuple(set() for _ in self._NAMES)

    def learn(self, campaign: Campaign) -> None:
        """Takes the words of a campaign.

        Raises:
            InputError: there would be too many; none of them is taken then.
        """
        own: tuple[set[object], ...] = tuple(set() for _ in self._NAMES)
        for creative in campaign.creatives:
            own[0].update(creative.attr)
            own[1].update(creative.api)
            own[2].add(mime_of(creative))
            own[3].update(writable_protocols(creative))
            own[4].update([creative.language.lower()] if creative.language else [])
        together = tuple(known | more for known, more in zip(self._known, own, strict=True))
        for name, words in zip(self._NAMES, together, strict=True):
            if len(words) > MAX_BITS:
                raise InputError(
                    f"there must be at most {MAX_BITS} different {name} among all creatives, those of campaign "
                    f"{campaign.id} make it {len(words)}"
                )
        self._known = together


def size_code(w: int, h: int) -> int:
    """A size in one number."""
    return w << 16 | h


def ratio_code(w: int, h: int) -> int:
    """A ratio in one number that no size has: negative."""
    common = gcd(w, h) or 1
    return -(w // common << 16 | h // common)


class Creatives:
    """All creatives of a table.

    Args:
        lines: the table's line items. exchanges: names of exchanges that have rules of their own; the last bit
            stands for all others. assumed: of these names (`""` for all others), the ones where a creative
            without a word on its approval may be shown.

    Attributes:
        owners: campaign and creative of each row.
        columns: int64[creatives, len(C)].
        starts: int32[lines + 1]; rows: int32[], creatives of each line item.
        blocks: int32[], from BLOCK_START on: numbers in `block_ids` that bar this creative and not the line item.
        block_ids: value text -> number, of what bars some creatives of a line item and not all.
        full_blocks: for each line item, values that bar all its creatives.
        natives: rows of native creatives, by their NATIVE number.
    """

    def __init__(self, lines: Sequence[Line], exchanges: Sequence[str], assumed: frozenset[str]) -> None:
        self.attrs = Vocabulary("creative attributes")
        self.apis = Vocabulary("API frameworks")
        self.mimes = Vocabulary("MIME types")
        self.protocols = Vocabulary("protocols")
        self.languages = Vocabulary("languages")
        self.exchange_bits = {name: 1 << place for place, name in enumerate(exchanges[: MAX_BITS - 1])}
        self.other_exchange_bit = 1 << MAX_BITS - 1
        self._assumed = assumed
        self.owners: list[tuple[Campaign, Creative]] = []
        self.natives: list[int] = []
        self.block_ids: dict[str, int] = {}
        self.full_blocks: list[tuple[str, ...]] = []
        self._index: dict[tuple[str, str], int] = {}
        self._values: list[list[int]] = []
        self._block_sets: list[frozenset[str]] = []
        starts, rows = [0], []
        for line in lines:
            rows += [self._row(line.campaign, creative) for creative in line.creatives]
            starts.append(len(rows))
        self.starts: NDArray[np.int32] = np.array(starts, dtype=np.int32)
        self.rows: NDArray[np.int32] = np.array(rows, dtype=np.int32)
        self.blocks = self._blocks()
        self.columns: NDArray[np.int64] = np.array(self._values, dtype=np.int64).reshape(-1, len(C))

    def __len__(self) -> int:
        return len(self.owners)

    def index(self, campaign_id: str, creative_id: str) -> int:
        """Row of a creative, or -1."""
        return self._index.get((campaign_id, creative_id), -1)

    def bit_of(self, exchange: str) -> int:
        """The bit of an exchange in EXCHANGES."""
        return self.exchange_bits.get(exchange, self.other_exchange_bit)

    def of_line(self, line: int) -> list[int]:
        """Creative rows of a line item."""
        return [int(row) for row in self.rows[self.starts[line] : self.starts[line + 1]]]

    def covered(self, creative: int, allowed: set[str], taxonomy: int) -> bool:
        """Whether each category of a creative, or one above it, is in an allow list of this taxonomy (`acat`)."""
        campaign, own = self.owners[creative]
        categories = [qualified(category) for category in own.cat or campaign.cat]
        named = [category for place, category in categories if place == taxonomy]
        return bool(named) and all(
            any(f"cat:{taxonomy}:{above}" in allowed for above in ancestors(taxonomy, category))
            for category in named
        )

    def named(self, creative: int, allowed: set[str]) -> bool:
        """Whether each advertiser domain of a creative, or one above it, is in an allow list (`wadomain`)."""
        campaign, own = self.owners[creative]
        return all(
            any("adv:" + name in allowed for name in with_parents(domain.lower()))
            for domain in own.adomain or campaign.adomain
        )

    def _row(self, campaign: Campaign, creative: Creative) -> int:
        key = (campaign.id, creative.id)
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self.owners)
            self.owners.append((campaign, creative))
            self._values.append(self._columns(creative))
            self._block_sets.append(blocks_of(campaign, creative))
            if creative.media is Media.NATIVE:
                self.natives.append(found)
        return found

    def _columns(self, creative: Creative) -> list[int]:
        values = [0] * len(C)
        values[C.MEDIA] = MTYPE[creative.media]
        values[C.SIZE] = size_code(creative.w, creative.h)
        values[C.FLEX] = ratio_code(creative.w, creative.h) if creative.flex else 0
        values[C.ATTR] = self.attrs.learn(creative.attr)
        values[C.BTYPE] = btype_of(creative)
        values[C.MIME] = self.mimes.learn([mime_of(creative)])
        values[C.API] = self.apis.learn(creative.api)
        values[C.PROTOCOL] = self.protocols.learn(writable_protocols(creative))
        values[C.DURATION_S] = creative.duration_s
        values[C.BITRATE_KBPS] = creative.bitrate_kbps
        values[C.LINEARITY] = creative.linearity
        values[C.DELIVERY] = creative.delivery
        values[C.SECURE] = creative.secure
        values[C.LANGUAGE] = self.languages.learn([creative.language.lower()]) if creative.language else 0
        values[C.EXCHANGES] = self._allowed_exchanges(creative)
        values[C.NATIVE] = len(self.natives)
        return values

    def _allowed_exchanges(self, creative: Creative) -> int:
        """Exchanges where it may be shown, as bits."""
        found = 0
        for name, bit in (*self.exchange_bits.items(), ("", self.other_exchange_bit)):
            stated = creative.approvals.get(name)
            allowed = stated is Approval.APPROVED if stated is not None else name in self._assumed
            found |= bit if allowed else 0
        # Exchanges without rules share one bit: a rejection by any of them bars the creative from all of these.
        others = [approval for name, approval in creative.approvals.items() if name not in self.exchange_bits]
        if any(approval is not Approval.APPROVED for approval in others):
            found &= ~self.other_exchange_bit
        return found

    def _blocks(self) -> NDArray[np.int32]:
        """Splits what bars creatives into what bars whole line items and what bars some of their creatives."""
        partial: list[set[str]] = [set() for _ in self.owners]
        for line in range(len(self.starts) - 1):
            own = self.of_line(line)
            sets = [self._block_sets[row] for row in own]
            full = frozenset.intersection(*sets) if sets else frozenset()
            self.full_blocks.append(tuple(sorted(full)))
            for row in own:
                partial[row] |= self._block_sets[row] - full
        flat: list[int] = []
        for row, values in enumerate(partial):
            self._values[row][C.BLOCK_START] = len(flat)
            flat += [self.block_ids.setdefault(value, len(self.block_ids)) for value in sorted(values)]
            self._values[row][C.BLOCK_END] = len(flat)
        return np.array(flat or [0], dtype=np.int32)


def btype_of(creative: Creative) -> int:
    """AdCOM "Banner Ad Types" of a banner; 0 for what is none."""
    if creative.media is not Media.BANNER:
        return 0
    return creative.btype or (_SCRIPT_BTYPE if creative.html else _IMAGE_BTYPE)


def mime_of(creative: Creative) -> str:
    """MIME type of what is shown: as stated, else by the ending of the image."""
    if creative.mime:
        return creative.mime.lower()
    if creative.html:
        return "text/html"
    ending = creative.image_url.split("?", 1)[0].rsplit(".", 1)[-1].lower()
    return _IMAGE_MIMES.get(ending, "image/jpeg")


def blocks_of(campaign: Campaign, creative: Creative) -> frozenset[str]:
    """What a request may block that bars this creative.

    An advertiser domain is barred by itself and by any parent of two labels or more (`badv`, section 3.2.1), a
    category by itself and by all above it in its taxonomy (`bcat`, `cattax`), an app by its store id (`bapp`).
    """
    found: set[str] = set()
    for domain in creative.adomain or campaign.adomain:
        found.update("adv:" + name for name in with_parents(domain.lower()))
    for category in creative.cat or campaign.cat:
        taxonomy, plain = qualified(category)
        found.update(f"cat:{taxonomy}:{above}" for above in ancestors(taxonomy, plain))
    bundle = creative.bundle or campaign.bundle
    if bundle:
        found.add("app:" + bundle)
    return frozenset(found)


def with_parents(domain: str) -> tuple[str, ...]:
    """A domain and its parents of two labels or more: `news.site.example`, `site.example`."""
    labels = domain.split(".")
    return tuple(".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))
