"""What a command was given, read and checked: amounts, and why a file could not be read or cannot be written."""

import os
from pathlib import Path

from bidder.errors import InputError
from bidder.money import parse_decimal

_MOST = 200


def why(error: Exception) -> str:
    """The reason alone, in one line: an error of the system names its file again, and one of a library its insides.

    Args:
        error: what was raised.
    """
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, OSError) and error.errno:
        said = os.strerror(error.errno)
        return said[:1].lower() + said[1:]
    return str(error).partition("\n")[0].strip()[:_MOST]


def why_unwritten(error: Exception) -> str:
    """The same of a file that could not be written."""
    return "its folder is not there" if isinstance(error, FileNotFoundError) else why(error)


def check_out(path: Path | None, option: str) -> None:
    """Refuses a place that no file can be written to, before the work that it is for; None is no file.

    Args:
        path: of the file. option: that names it.

    Raises:
        InputError: it is a folder, or its folder is not there.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option} must be a file to write, was the folder {path}")
    if not path.parent.is_dir():
        raise InputError(f"{option} must be a file to write, was {path}: folder {path.parent} is not there")


def amounts(text: str, option: str, scale: int) -> tuple[int, ...]:
    """Amounts of a list parted by commas; none of an empty text.

    Raises:
        InputError: one is no decimal number above 0.
    """
    found = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(parse_decimal(each, scale))
        except ValueError as error:
            raise InputError(f"{option} {error}") from None
        if found[-1] <= 0:
            raise InputError(f"{option} must be above 0, was {each}")
    return tuple(found)


def one_amount(text: str, option: str, scale: int) -> int | None:
    """One amount; None of an empty text.

    Raises:
        InputError: several, or no decimal number above 0.
    """
    found = amounts(text, option, scale)
    if len(found) > 1:
        raise InputError(f"{option} must be one amount, was {text}")
    return found[0] if found else None
