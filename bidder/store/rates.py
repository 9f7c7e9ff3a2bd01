"""A file of exchange rates, TOML or JSON."""

import json
import tomllib
from pathlib import Path
from typing import Any

from bidder.core.currency import MAX_AGE_DAYS, RateTable
from bidder.errors import InputError


def load_rates(path: Path, max_age_days: int = MAX_AGE_DAYS) -> RateTable:
    """Reads a table of dated exchange rates, by the file's suffix `.toml` or `.json`.

        base = "USD"

        [rates.2026-11-01]
        EUR = "1.0842"
        JPY = "0.006512"

    Args:
        path: the file, UTF-8.
        max_age_days: how many days after its date a rate may still be used.

    Raises:
        InputError: if the file cannot be read, or naming it, the date and the currency.
    """
    return _checked(_raw(path), path, max_age_days)


def read_rates(path: Path) -> dict[str, Any]:
    """What such a file says, checked, as `RateTable.parse` takes it.

    Raises:
        InputError: as `load_rates`.
    """
    raw = _raw(path)
    _checked(raw, path, MAX_AGE_DAYS)
    return raw


def _checked(raw: dict[str, Any], path: Path, max_age_days: int) -> RateTable:
    try:
        return RateTable.parse(raw, max_age_days)
    except InputError as error:
        raise InputError(f"{error} ({path})") from None


def _raw(path: Path) -> dict[str, Any]:
    readers = {".toml": tomllib.loads, ".json": json.loads}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"exchange rates {path} must end in .toml or .json, was {path.suffix!r}")
    kind = path.suffix[1:].upper()
    try:
        raw = reader(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"exchange rates {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also TOMLDecodeError, JSONDecodeError, UnicodeDecodeError
        raise InputError(f"exchange rates {path} must be {kind}, was not: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"exchange rates {path} must be a table with base and rates, was {raw!r:.40}")
    return raw
