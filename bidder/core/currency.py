"""Dated exchange rates, and the two conversions that break neither a floor nor a limit.

A table has one base currency, that of the account. A rate is what one unit of another currency is worth in
base units, kept in nanos: 1.0842 is 1_084_200_000. A rate holds from 00:00 UTC of its date until a newer one, and
`max_age_days` at most: money of unknown worth is no money.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, parse_decimal

MAX_AGE_DAYS = 7
NS_PER_DAY = 86_400_000_000_000
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})\Z", re.ASCII)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE_1970 = 719_162
"""Days from 0001-01-01 to 1970-01-01."""


class RateTable:
    """Exchange rates of one base currency, by date; immutable.

    Args:
        base: three capitals; the currency that rates are told in.
        rates: by currency, days since 1970-01-01 and the rate of each in base nanos for one unit.
        max_age_days: how many days after its date a rate may still be used.
    """

    __slots__ = ("_rates", "base", "max_age_days")

    def __init__(
        self, base: str, rates: Mapping[str, Mapping[int, int]], max_age_days: int = MAX_AGE_DAYS
    ) -> None:
        self.base = base
        self.max_age_days = max_age_days
        self._rates = {
            currency: (tuple(sorted(by_day)), tuple(by_day[day] for day in sorted(by_day)))
            for currency, by_day in rates.items()
        }

    @classmethod
    def parse(cls, raw: Mapping[str, Any], max_age_days: int = MAX_AGE_DAYS) -> "RateTable":
        """Reads a table as TOML and JSON have it.

        Args:
            raw: `{"base": "USD", "rates": {"2026-11-01": {"EUR": "1.0842"}}}`; rates are decimal text, above
                zero, with at most nine decimals.
            max_age_days: how many days after its date a rate may still be used, at least 0.

        Raises:
            InputError: naming the date and the currency.
        """
        if max_age_days < 0:
            raise InputError(f"max_age_days of exchange rates must be at least 0, was {max_age_days}")
        for key in raw:
            if key not in {"base", "rates"}:
                raise InputError(f"exchange rates must have base and rates and nothing else, had {key!r}")
        base = _currency(raw.get("base"), "base of exchange rates")
        dates = _table(raw.get("rates"), "rates of exchange rates")
        rates: dict[str, dict[int, int]] = {}
        for date, by_currency in dates.items():
            day = _day(date)
            for currency, text in _table(by_currency, f"exchange rates of {date}").items():
                _currency(currency, f"currency of exchange rates of {date}")
                rate_nanos = _rate_nanos(text, currency, date)
                if currency == base and rate_nanos != NANOS_PER_UNIT:
                    raise InputError(f"exchange rate of the base {base} on {date} must be 1, was {text!r}")
                rates.setdefault(currency, {})[day] = rate_nanos
        return cls(base, rates, max_age_days)

    @property
    def currencies(self) -> tuple[str, ...]:
        """Currencies with a rate on some date, and the base, in alphabetical order."""
        return tuple(sorted({self.base, *self._rates}))

    def rate_nanos(self, currency: str, at_ns: int) -> int | None:
        """Base nanos for one unit of `currency` at an instant, ns since 1970 UTC.

        The rate is that of the newest date not after the instant; None where there is none or it is older than
        `max_age_days`. For the base itself exactly 1_000_000_000, at any time.
        """
        if currency == self.base:
            return NANOS_PER_UNIT
        found = self._rates.get(currency)
        if found is None:
            return None
        days, rates_nanos = found
        today = at_ns // NS_PER_DAY
        newest = bisect_right(days, today) - 1
        if newest < 0 or today - days[newest] > self.max_age_days:
            return None
        return rates_nanos[newest]


def to_base_ceil(amount_micros: int, rate_nanos: int) -> int:
    """Least amount in the base currency that is worth at least `amount_micros` of another.

    For floors. A bid in base at or above the result is, by `from_base_floor`, at or above the amount. Any unit
    may stand for micros, as long as it is the same on both sides.

    Args:
        amount_micros: in the other currency, 0 or more.
        rate_nanos: base nanos for one unit of it, as `RateTable.rate_nanos` gave it.
    """
    return -(-amount_micros * rate_nanos // NANOS_PER_UNIT)


def from_base_floor(amount_micros: int, rate_nanos: int) -> int:
    """Greatest amount in another currency that is worth at most `amount_micros` of the base.

    For bids: what is charged, brought back by `to_base_ceil`, is never above what was reserved.

    Args:
        amount_micros: in the base currency, 0 or more.
        rate_nanos: base nanos for one unit of the other, above 0.
    """
    return amount_micros * NANOS_PER_UNIT // rate_nanos


def _currency(value: object, what: str) -> str:
    if not isinstance(value, str) or not _CURRENCY.match(value):
        raise InputError(f"{what} must be three capitals such as USD, was {value!r:.40}")
    return value


def _table(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} must be a table, was {value!r:.40}")
    return value


def _rate_nanos(value: object, currency: str, date: str) -> int:
    what = f"exchange rate of {currency} on {date}"
    if not isinstance(value, str):
        raise InputError(f'{what} must be decimal text in quotes such as "1.0842", was {value!r:.40}')
    try:
        rate_nanos = parse_decimal(value, NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"{what} {error}") from None
    if rate_nanos <= 0:
        raise InputError(f"{what} must be above 0, was {value!r}")
    return rate_nanos


def _day(date: object) -> int:
    """Days since 1970-01-01 of a date of the Gregorian calendar."""
    match = _DATE.match(date) if isinstance(date, str) else None
    if match is not None:
        year, month, day = int(match[1]), int(match[2]), int(match[3])
        month_days = (31, 28 + _is_leap(year), *_MONTH_DAYS[2:])
        if year and 1 <= month <= 12 and 1 <= day <= month_days[month - 1]:
            past = year - 1
            before = past * 365 + past // 4 - past // 100 + past // 400
            return before + sum(month_days[: month - 1]) + day - 1 - _DAYS_BEFORE_1970
    raise InputError(f"date of exchange rates must be a day such as 2026-11-01, was {date!r:.40}")


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
