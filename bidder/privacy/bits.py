"""Bits of a base64url text: as one integer for readers that know where to look, with a cursor for the others.

Consent strings are fields of bits, six to a character, without padding characters. Errors say what was wrong and
where, never the text itself: a consent string belongs to a person.
"""

from binascii import a2b_base64

from bidder.errors import InputError

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_NONE = 255
_SEXTETS = bytes(_ALPHABET.index(c) if c in _ALPHABET else _NONE for c in range(256))
_STANDARD = bytes.maketrans(b"-_+/=", b"+/---")
"""From base64url to base64, whose own two characters and padding become one that it has not."""
_PADS = (b"", b"AAA", b"AA", b"A")
_DROPS = (0, 18, 12, 6)
"""Zero bits that the pad adds, which are taken off again: bits are exact to six, not to a byte."""
_MAX_FIBONACCI_BITS = 24
"""Section ids are small; 24 bits hold numbers to 75,024, and a longer run of bits is no number."""


class ConsentError(InputError):
    """A privacy string that cannot be read whole; whoever asked must take it for no consent at all."""


def sextets_of(text: str) -> bytes:
    """A base64url text as one number of six bits, 0 to 63, for each character.

    Cheaper than `bits_of` for who looks at few places: one pass that also proves every character.

    Raises:
        ConsentError: a character outside the alphabet; padding characters are outside too.
    """
    try:
        found = text.encode().translate(_SEXTETS)
    except UnicodeEncodeError:  # half of a surrogate pair
        raise _foreign() from None
    if _NONE in found:
        raise _foreign()
    return found


def bits_of(text: str) -> int:
    """The bits of a base64url text as one integer of `6 * len(text)` bits, the first bit highest.

    Raises:
        ConsentError: a character outside the alphabet; padding characters are outside too.
    """
    over = len(text) & 3
    try:
        raw = a2b_base64(text.encode().translate(_STANDARD) + _PADS[over], strict_mode=True)
    except ValueError:
        raise _foreign() from None
    return int.from_bytes(raw, "big") >> _DROPS[over]


def _foreign() -> ConsentError:
    return ConsentError("consent string must be base64url without padding, had another character")


class Bits:
    """Reads fields one after the other from `length` bits of a number, the first bit highest.

    Every read raises `ConsentError` where fewer bits are left than it needs.
    """

    __slots__ = ("left", "length", "number")

    def __init__(self, number: int, length: int) -> None:
        self.number = number
        self.length = length
        self.left = length

    def uint(self, width: int) -> int:
        """The next `width` bits as an unsigned number."""
        left = self.left - width
        if left < 0:
            at = self.length - self.left
            raise ConsentError(f"field of {width} bits at bit {at} must end by bit {self.length}: truncated")
        self.left = left
        return self.number >> left & (1 << width) - 1

    def flags(self, width: int) -> tuple[int, ...]:
        """Numbers, from 1, of the bits that are set among the next `width`."""
        bits = self.uint(width)
        return tuple(number for number in range(1, width + 1) if bits >> (width - number) & 1)

    def letters(self) -> str:
        """Two letters of six bits, A is 0; a small letter, as some platforms write it, stands for the capital.

        Raises:
            ConsentError: a number that is no letter.
        """
        code = chr(65 + self.uint(6)) + chr(65 + self.uint(6))
        if not code.isalpha():
            raise ConsentError(f"letters of a code must be A to Z, were {code!r}")
        return code.upper()

    def fibonacci(self) -> int:
        """The next number in Fibonacci coding, which ends with its first two set bits in a row.

        Global Privacy Platform, Consent String Specification, "Fibonacci Encoding".

        Raises:
            ConsentError: no end within 24 bits.
        """
        value, weight, following, before = 0, 1, 2, 0
        for _ in range(_MAX_FIBONACCI_BITS):
            bit = self.uint(1)
            if bit and before:
                return value
            value += weight if bit else 0
            weight, following, before = following, weight + following, bit
        raise ConsentError(f"a Fibonacci number must end within {_MAX_FIBONACCI_BITS} bits, did not")

    def rest_is_zero(self) -> bool:
        """Whether nothing but padding is left."""
        return not self.number & (1 << self.left) - 1
