"""Sets of networks: whether an address lies in one of many ranges, such as those of data centres.

Written as text, one network a line: `203.0.113.0/24`, `2001:db8::/32`, or a bare address for that one alone. A `#`
begins a comment. Sockets and their parsers stay out of the core, so the parsing stands here.
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from bidder.errors import InputError

_V4_BITS, _V6_BITS = 32, 128
_MAX_TEXT_LENGTH = 45
"""The longest address: eight groups of four with an IPv4 address in place of the last two."""
_MAPPED = 0xFFFF
"""What stands above the 32 bits of an IPv4 address in an IPv6 one that maps it (RFC 4291 section 2.5.5.2)."""

IN, OUT, NO_ADDRESS = 1, 0, -1
"""What `NetworkSet.find` answers."""


def parse_address(text: str) -> tuple[int, int] | None:
    """Bits (32 or 128) and value of an address; None where the text is none.

    Strict: no leading zeros in IPv4 (some read them as octal), no zone. An IPv4 address that IPv6 maps
    (`::ffff:203.0.113.5`) is that IPv4 address.
    """
    if len(text) > _MAX_TEXT_LENGTH or not text.isascii():
        return None
    if ":" not in text:
        value = _parse_v4(text)
        return None if value is None else (_V4_BITS, value)
    value = _parse_v6(text)
    if value is None:
        return None
    return (_V4_BITS, value & 0xFFFF_FFFF) if value >> _V4_BITS == _MAPPED else (_V6_BITS, value)


def _parse_v4(text: str) -> int | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        if not part.isdigit() or len(part) > 3 or (part[0] == "0" and part != "0"):
            return None
        octet = int(part)
        if octet > 255:
            return None
        value = value << 8 | octet
    return value


def _parse_v6(text: str) -> int | None:
    head, double, tail = text.partition("::")
    first, last = _groups(head), _groups(tail)
    if first is None or last is None or ("." in head and double):
        return None
    left_out = 8 - len(first) - len(last)
    # `::` stands for at least one group.
    if left_out < 1 if double else left_out != 0:
        return None
    value = 0
    for group in (*first, *([0] * left_out), *last):
        value = value << 16 | group
    return value


def _groups(text: str) -> list[int] | None:
    """Groups of 16 bits between colons, the last two perhaps written as an IPv4 address."""
    if not text:
        return []
    parts = text.split(":")
    found: list[int] = []
    if "." in parts[-1]:
        value = _parse_v4(parts.pop())
        if value is None:
            return None
        found = [value >> 16, value & 0xFFFF]
    if not all(1 <= len(part) <= 4 and _HEX.issuperset(part) for part in parts):
        return None
    return [int(part, 16) for part in parts] + found


_HEX = frozenset("0123456789abcdefABCDEF")


def parse_network(text: str) -> tuple[int, int, int]:
    """Bits, first and last address of a network in CIDR notation, or of a bare address.

    Raises:
        ValueError: it is none, or has bits set beyond its prefix; the text says what it must be.
    """
    address, slash, prefix = text.partition("/")
    parsed = parse_address(address)
    if parsed is None:
        raise ValueError(f"must be a network such as 203.0.113.0/24 or 2001:db8::/32, was {text!r}")
    bits, first = parsed
    length = _prefix_length(prefix, bits, ":" in address) if slash else bits
    if length is None:
        raise ValueError(f"must have a prefix length from 0 to {bits}, was {text!r}")
    beyond = (1 << bits - length) - 1
    if first & beyond:
        raise ValueError(f"must have no bits set beyond its prefix, was {text!r}")
    return bits, first, first | beyond


def _prefix_length(text: str, bits: int, written_v6: bool) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        return None
    length = int(text)
    if written_v6 and bits == _V4_BITS:  # mapped: the prefix counts from the front of the IPv6 address
        length -= _V6_BITS - _V4_BITS
    return length if 0 <= length <= bits else None


class NetworkSet:
    """Networks of both kinds as sorted ranges that neither touch nor overlap.

    Answers of the last 65,536 addresses are remembered: users come back within the minute.

    Args:
        networks: bits, first and last address of each, see `parse_network`.
    """

    def __init__(self, networks: Iterable[tuple[int, int, int]] = ()) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {_V4_BITS: [], _V6_BITS: []}
        for bits, first, last in networks:
            ranges[bits].append((first, last))
        merged = {bits: _merged(found) for bits, found in ranges.items()}
        self._firsts = {bits: [first for first, _ in found] for bits, found in merged.items()}
        self._lasts = {bits: [last for _, last in found] for bits, found in merged.items()}
        self._remembered = lru_cache(maxsize=65_536)(self._find)

    @classmethod
    def from_lines(cls, lines: Iterable[str], name: str) -> "NetworkSet":
        """Reads one network a line; empty lines and what follows a `#` are passed over.

        Args:
            lines: of text, with or without their ends.
            name: what errors call the list.

        Raises:
            InputError: a line that is no network, by its number.
        """
        return cls(_parse_lines(lines, name))

    def find(self, ip: str) -> int:
        """`IN` or `OUT`, or `NO_ADDRESS` where the text is no address."""
        return self._remembered(ip) if len(ip) <= _MAX_TEXT_LENGTH else NO_ADDRESS

    def contains(self, ip: str) -> bool:
        """Whether an address lies in one of the networks; False where the text is no address."""
        return self.find(ip) == IN

    def __len__(self) -> int:
        """Ranges left after merging."""
        return sum(map(len, self._firsts.values()))

    def _find(self, ip: str) -> int:
        parsed = parse_address(ip)
        if parsed is None:
            return NO_ADDRESS
        bits, value = parsed
        at = bisect_right(self._firsts[bits], value) - 1
        return IN if at >= 0 and value <= self._lasts[bits][at] else OUT


def _parse_lines(lines: Iterable[str], name: str) -> Iterable[tuple[int, int, int]]:
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield parse_network(text)
            except ValueError as error:
                raise InputError(f"network {error} (line {number}, {name})") from None


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same addresses in the fewest ranges, in order."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
