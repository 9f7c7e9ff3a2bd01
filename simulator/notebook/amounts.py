"""Money and names as a notebook gives them, checked."""

from collections.abc import Iterable
from decimal import Decimal
from numbers import Integral

from bidder.errors import InputError
from bidder.money import parse_decimal

Amount = int | str | Decimal
"""Money as people write it; a float is no amount, as it is not what was written."""


def nanos_of(amount: Amount, name: str, scale: int) -> int:
    """An amount above 0 as a whole number of `1/scale`.

    Args:
        amount: `12`, `"12.50"` or `Decimal("12.50")`. name: of the argument, for the error. scale: 10**9 for units of
            the account, 10**6 for a CPM (then the result is nanos an impression).

    Raises:
        InputError: it is no such amount, is finer than `1/scale`, or not above 0.
    """
    # Whatever a notebook holds, integers of numpy among it; a truth is a whole number to Python, but no amount.
    given: object = None if isinstance(amount, bool) else amount
    if isinstance(given, Decimal):
        text = format(given, "f")
    elif isinstance(given, str):
        text = given.strip()
    elif isinstance(given, Integral):
        text = str(int(given))
    else:
        raise InputError(
            f"{name} must be a whole number, a text such as '12.50' or a Decimal, so that money stays exact, "
            f"was {amount!r}"
        )
    try:
        nanos = parse_decimal(text, scale)
    except ValueError as error:
        raise InputError(f"{name} {error}") from None
    if nanos <= 0:
        raise InputError(f"{name} must be above 0, was {text}")
    return nanos


def optional_nanos(amount: Amount | None, name: str, scale: int) -> int | None:
    """The same; None stays None."""
    return None if amount is None else nanos_of(amount, name, scale)


def each_nanos(amounts: Iterable[Amount], name: str, scale: int) -> tuple[int, ...]:
    """The same of several.

    Raises:
        InputError: as `nanos_of`, or one amount was given instead of several.
    """
    given: object = amounts
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{name} must be a list of amounts, such as ['100', '200'], was {given!r}")
    return tuple(nanos_of(amount, name, scale) for amount in amounts)


def names_of(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """One name, several or none."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)
