"""Writes consent strings, plainly and apart from the readers: numbers to '0' and '1', six of them to a character."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Restriction = tuple[int, int, Sequence[int]]
"""Purpose, kind, vendor ids."""

US_FIELDS: dict[tuple[int, int], str] = {
    (7, 1): "nnnnNN ooo sssssssgssss cc m mmm",
    (7, 2): "nnnnNN ooo sssssssgssssssss ccc m mmm",
    (8, 1): "nnN oo ssgssssss cc m mmm",
    (9, 1): "nnn oo sssssssg c mmm",
    (10, 1): "nnn oo sssssss c mmm",
    (11, 1): "nnnN oo sssssssg c mmm",
    (12, 1): "nnn oo sssssssg ccc mmm",
    (13, 1): "nnn oo sssssssg ccc m mmm",
    (14, 1): "nnn oo sssssssg ccc m mmm",
    (15, 1): "nnn oo ssssssssssg ccc m mmm",
    (16, 1): "nnn oo sssssssg c m mmm",
    (17, 1): "nnn oo ssssssssg ccccc m mmm",
    (18, 1): "nnnN oo sssssssg c mmm",
    (19, 1): "nnn oo sssssssg c m mmm",
    (20, 1): "nnn oo sssssssg ccc m mmm",
    (21, 1): "nnn oo sssssssgss ccccc m mmm",
    (22, 1): "nnn oo sssssssg c m mmm",
    (23, 1): "nnn oo sssssssg c m mmm",
    (24, 1): "mm nnn oo m",
    (25, 1): "mm nnn oo c m",
    (26, 1): "mm nnn oo c m",
    (27, 1): "mm nnn oo c m",
}
"""A letter for each field of two bits of a US section and its version: n notice, N notice on sensitive data, o
opt-out, s sensitive category, g that of precise geolocation, c known child, m another that decides nothing."""


def us_fields(section: int, version: int = 1) -> str:
    return US_FIELDS[section, version].replace(" ", "")


def text_of(bits: str) -> str:
    """Base64url of a text of '0' and '1', padded to whole bytes and then to whole characters, as platforms do."""
    bits += "0" * (-len(bits) % 8)
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def uint(value: int, width: int) -> str:
    assert 0 <= value < 1 << width
    return f"{value:0{width}b}"


def flags(ids: Iterable[int], width: int) -> str:
    found = set(ids)
    assert all(1 <= number <= width for number in found)
    return "".join("1" if number in found else "0" for number in range(1, width + 1))


def letters(code: str) -> str:
    return "".join(uint(ord(letter) - 65, 6) for letter in code)


def fibonacci(value: int) -> str:
    """Fibonacci coding: the largest numbers first, written from the smallest, ended by one more 1."""
    numbers = [1, 2]
    while numbers[-1] <= value:
        numbers.append(numbers[-1] + numbers[-2])
    written = ""
    for number in reversed(numbers):
        if number <= value:
            value -= number
            written = "1" + written
        elif written:
            written = "0" + written
    return written + "1"


def runs(ids: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive ids."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(ids)):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def ranges(ids: Iterable[int]) -> str:
    found = runs(ids)
    entries = (
        "0" + uint(first, 16) if first == last else "1" + uint(first, 16) + uint(last, 16)
        for first, last in found
    )
    return uint(len(found), 12) + "".join(entries)


def fibonacci_ranges(ids: Iterable[int]) -> str:
    found = runs(ids)
    bits = uint(len(found), 12)
    before = 0
    for first, last in found:
        bits += ("0" if first == last else "1") + fibonacci(first - before)
        bits += fibonacci(last - first) if last > first else ""
        before = last
    return bits


def vendor_list(ids: Sequence[int], *, as_ranges: bool) -> str:
    most = max(ids, default=0)
    head = uint(most, 16) + ("1" if as_ranges else "0")
    return head + (ranges(ids) if as_ranges else flags(ids, most))


def restriction_list(restrictions: Sequence[Restriction]) -> str:
    return uint(len(restrictions), 12) + "".join(
        uint(purpose, 6) + uint(kind, 2) + ranges(vendors) for purpose, kind, vendors in restrictions
    )


class Tcf(NamedTuple):
    """Fields of a TC string; `text` writes it."""

    purposes: Sequence[int] = (1, 2, 3, 4, 7)
    interest: Sequence[int] = ()
    vendors: Sequence[int] = (5,)
    vendor_interest: Sequence[int] = ()
    features: Sequence[int] = ()
    restrictions: Sequence[Restriction] = ()
    as_ranges: bool = False
    policy: int = 4
    service_specific: bool = True
    version: int = 2
    cmp_id: int = 31
    created_ms: int = 1_700_000_000_100
    updated_ms: int = 1_700_000_360_000
    cmp_version: int = 7
    screen: int = 3
    language: str = "DE"
    list_version: int = 250
    non_standard_texts: bool = False
    purpose_one_treatment: bool = False
    country: str = "FR"

    @property
    def bits(self) -> str:
        """The core segment."""
        return "".join(
            (
                self._start(),
                "1" if self.service_specific else "0",
                "1" if self.non_standard_texts else "0",
                flags(self.features, 12),
                flags(self.purposes, 24),
                flags(self.interest, 24),
                "1" if self.purpose_one_treatment else "0",
                letters(self.country),
                vendor_list(self.vendors, as_ranges=self.as_ranges),
                vendor_list(self.vendor_interest, as_ranges=self.as_ranges),
                restriction_list(self.restrictions),
            )
        )

    @property
    def text(self) -> str:
        return text_of(self.bits)

    @property
    def canadian(self) -> str:
        """The same as a TCF Canada section: without scope, treatment and country, ranges in Fibonacci coding."""
        return self._in_canada(plain=False)

    @property
    def canadian_plain(self) -> str:
        """As `canadian`, with ranges as in Europe."""
        return self._in_canada(plain=True)

    def _in_canada(self, *, plain: bool) -> str:
        lists = ""
        for ids in (self.vendors, self.vendor_interest):
            written = vendor_list(ids, as_ranges=self.as_ranges)
            lists += written if plain or not self.as_ranges else written[:17] + fibonacci_ranges(ids)
        parts = (
            self._replace(version=1 if self.version == 2 else self.version)._start(),
            "1" if self.non_standard_texts else "0",
            flags(self.features, 12),
            flags(self.purposes, 24),
            flags(self.interest, 24),
            lists,
            restriction_list(self.restrictions),
        )
        return text_of("".join(parts))

    def _start(self) -> str:
        return "".join(
            (
                uint(self.version, 6),
                uint(self.created_ms // 100, 36),
                uint(self.updated_ms // 100, 36),
                uint(self.cmp_id, 12),
                uint(self.cmp_version, 12),
                uint(self.screen, 6),
                letters(self.language),
                uint(self.list_version, 12),
                uint(self.policy, 6),
            )
        )


def disclosed(vendors: Sequence[int]) -> str:
    """A segment of disclosed vendors."""
    return text_of(uint(1, 3) + vendor_list(vendors, as_ranges=True))


def publisher(consent: Sequence[int], interest: Sequence[int]) -> str:
    """A publisher's segment, without purposes of its own."""
    return text_of(uint(3, 3) + flags(consent, 24) + flags(interest, 24) + uint(0, 6))


def us(section: int, values: Sequence[int] = (), *, version: int = 1, gpc: bool | None = None) -> str:
    """A US section: its first fields as given, the others 0."""
    width = len(us_fields(section, version))
    filled = [*values, *[0] * (width - len(values))]
    core = text_of(uint(version, 6) + "".join(uint(value, 2) for value in filled))
    return core if gpc is None else f"{core}.{text_of('01' + ('1' if gpc else '0'))}"


def us_with(section: int, letter: str, value: int, *, version: int = 1) -> list[str]:
    """US sections with one field of a kind set to a value, a section for each such field."""
    kinds = us_fields(section, version)
    at = [index for index, kind in enumerate(kinds) if kind == letter]
    return [us(section, [0] * index + [value], version=version) for index in at]


def header(ids: Iterable[int]) -> str:
    """Header of a GPP string, of which a run of ids is one range."""
    return text_of(uint(3, 6) + uint(1, 6) + fibonacci_ranges(ids))


def gpp(sections: Mapping[int, str]) -> str:
    return "~".join([header(sections), *(sections[number] for number in sorted(sections))])


def vectors(count: int = 60, seed: int = 20_261_122) -> list[Tcf]:
    """Fields of TC strings of all shapes: few vendors and many, bits and ranges, restrictions, policies."""
    rng = random.Random(seed)
    return [_vector(rng, number) for number in range(count)]


def _vector(rng: random.Random, number: int) -> Tcf:
    most = rng.choice((0, 1, 40, 700, 1400))
    share = rng.choice((0.02, 0.5, 0.98))
    return Tcf(
        purposes=_some(rng, 24, 0.6),
        interest=_some(rng, 24, 0.4),
        vendors=_some(rng, most, share),
        vendor_interest=_some(rng, rng.choice((0, most)), share),
        features=_some(rng, 12, 0.3),
        restrictions=[
            (rng.randint(1, 24), rng.randint(0, 2), _some(rng, rng.choice((30, 900)), 0.05))
            for _ in range(rng.choice((0, 0, 1, 6)))
        ],
        as_ranges=number % 2 == 1,
        policy=rng.choice((2, 3, 4, 5)),
        cmp_id=rng.randint(2, 4095),
        created_ms=rng.randrange(1_580_000_000_000, 1_900_000_000_000, 100),
        updated_ms=rng.randrange(1_580_000_000_000, 1_900_000_000_000, 100),
        cmp_version=rng.randrange(4096),
        screen=rng.randrange(64),
        language=rng.choice(("EN", "DE", "ZZ")),
        list_version=rng.randrange(4096),
        non_standard_texts=rng.random() < 0.5,
        purpose_one_treatment=rng.random() < 0.2,
        country=rng.choice(("FR", "AA")),
    )


def _some(rng: random.Random, most: int, share: float) -> list[int]:
    return [number for number in range(1, most + 1) if rng.random() < share]
