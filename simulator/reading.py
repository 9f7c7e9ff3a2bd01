"""Why a file could not be read or cannot be written, in the words of whoever asked for it."""

import os
from pathlib import Path

from bidder.errors import InputError

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
