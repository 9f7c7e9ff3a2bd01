"""Random draws that belong to a row, not to the order in which rows happen to come.

Whatever the exchange or an outcome law leaves to chance is a keyed hash of the row's id. So two runs that
see the same rows in another order, or bid on other rows between, draw the same fate for each.
"""

from hashlib import blake2b
from struct import Struct

_FOUR = Struct("<4Q")
_STEP = 2.0**-53


def key_of(seed: int, purpose: str) -> bytes:
    """The hash key of one purpose (`delays`, `click`, ...) under a seed; make it once, not for each row.

    Raises:
        ValueError: if the seed does not fit 64 bits or the purpose is empty or longer than 24 bytes.
    """
    name = purpose.encode()
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be from 0 to 2**64 - 1, was {seed}")
    if not 0 < len(name) <= 24:
        raise ValueError(f"purpose must have 1 to 24 bytes, was {purpose!r}")
    return seed.to_bytes(8, "little") + name


def uniforms(key: bytes, text: str) -> tuple[float, float, float, float]:
    """Four draws from (0, 1), open at both ends so that every quantile function takes them."""
    a, b, c, d = _FOUR.unpack(blake2b(text.encode(), digest_size=32, key=key).digest())
    return (
        ((a >> 11) + 0.5) * _STEP,
        ((b >> 11) + 0.5) * _STEP,
        ((c >> 11) + 0.5) * _STEP,
        ((d >> 11) + 0.5) * _STEP,
    )


def uniform(key: bytes, text: str) -> float:
    """One draw from (0, 1)."""
    return uniforms(key, text)[0]
