"""Numbers as people read them: money from integers exactly; the rest is `models.pages.text`."""

from bidder.money import NANOS_PER_UNIT
from models.pages.text import DASH, count, duration, milliseconds, moment, percent, plain, ratio

__all__ = [
    "DASH",
    "count",
    "decimals_for",
    "duration",
    "exact",
    "milliseconds",
    "moment",
    "money",
    "percent",
    "plain",
    "ratio",
    "roi_text",
]

_DIGITS = len(str(NANOS_PER_UNIT)) - 1


def money(nanos: int | None, decimals: int = 2) -> str:
    """An amount rounded half up to `decimals` (0 to 9) by integer arithmetic, with thousands marks."""
    if nanos is None:
        return DASH
    step = 10 ** (_DIGITS - decimals)
    steps = (2 * abs(nanos) + step) // (2 * step)
    whole, fraction = divmod(steps, 10**decimals)
    sign = "-" if nanos < 0 and steps else ""
    return f"{sign}{whole:,}" + (f".{fraction:0{decimals}d}" if decimals else "")


def exact(nanos: int) -> str:
    """An amount to the last nano: always nine decimals, so that columns line up and sums can be followed."""
    return money(nanos, _DIGITS)


def decimals_for(amounts: list[int]) -> int:
    """Decimals for a column of amounts: cents, or four places where the largest is below one unit."""
    return 2 if max(map(abs, amounts), default=NANOS_PER_UNIT) >= NANOS_PER_UNIT else 4


def roi_text(value: float | None) -> str:
    """A ROI as people read it, `+150%`; a dash where there is none."""
    return DASH if value is None else f"{value:+,.0%}" if abs(value) >= 1 else f"{value:+.1%}"
