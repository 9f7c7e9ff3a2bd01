"""Money is int64, from the bid to the ledger; no float ever holds an amount.

One unit rules: the *nano*, a thousand-millionth of a currency unit. A CPM is a price for a thousand
impressions; in micros it is the same number as the price of one impression in nanos:

    bid_cpm_micros = 2_500_000   is 2.50 a thousand impressions,
    price_nanos    = 2_500_000   is 0.0025 for one: 2.50 / 1000 = 0.0025 = 2_500_000 nanos.

So nothing is rounded between bid and ledger. Amounts enter and leave as decimal text.
"""

import re

NANOS_PER_UNIT = 1_000_000_000
MICROS_PER_UNIT = 1_000_000
MAX_NANOS = 9_000_000_000_000_000_000
"""Largest amount we accept: nine thousand million units, below 2**63 so that sums of two do not wrap."""

_DECIMAL = re.compile(r"(-?)(\d{1,13})(?:\.(\d{0,18}))?\Z", re.ASCII)


def parse_decimal(text: str, scale: int) -> int:
    """Reads decimal text as a whole number of `1/scale` units, exactly.

    Args:
        text: digits with an optional sign and fraction, such as `12.5`; no exponent, no thousands mark.
        scale: units in one, a power of ten: `NANOS_PER_UNIT` for money, `MICROS_PER_UNIT` for a CPM.

    Returns:
        The amount in `1/scale` units.

    Raises:
        ValueError: if the text is not such a number or is finer than `1/scale`.
    """
    match = _DECIMAL.match(text)
    if match is None:
        raise ValueError(f"must be a decimal number such as 12.50, was {text[:40]!r}")
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    digits = len(str(scale)) - 1
    if len(fraction) > digits:
        raise ValueError(f"must have at most {digits} decimals, was {text[:40]!r}")
    value = int(whole) * scale + int(fraction.ljust(digits, "0") or "0")
    if value > MAX_NANOS:
        raise ValueError(f"must be at most {MAX_NANOS // scale}, was {text[:40]!r}")
    return -value if sign else value


def format_decimal(amount: int, scale: int) -> str:
    """Writes `amount` of `1/scale` units as exact decimal text without trailing zeros."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, fraction = divmod(amount, scale)
    if not fraction:
        return f"{sign}{whole}"
    digits = len(str(scale)) - 1
    return f"{sign}{whole}.{fraction:0{digits}d}".rstrip("0")


def cpm_micros_from_float(cpm: float) -> int:
    """Least CPM micros not below a JSON number; the one place where a float price enters.

    OpenRTB carries floors as JSON numbers (2.6 section 3.2.4). Of up to six decimals this gives back what the
    sender wrote: dividing by a million rounds to the nearest double, as reading the text did. A finer price
    becomes the next micro above, so that a bid at a floor is never below it.

    Raises:
        ValueError: if the number is not finite, is negative or is above a million units CPM.
    """
    if not 0.0 <= cpm <= 1e6:
        raise ValueError(f"must be a price from 0 to 1000000 CPM, was {cpm!r}")
    nearest = round(cpm * MICROS_PER_UNIT)
    return nearest + (nearest / MICROS_PER_UNIT < cpm)
