"""Whether a path is what is asked for, a file or a folder, in words that end every command's refusal alike."""

import os
from pathlib import Path


def no_file(path: Path) -> str | None:
    """Why a path cannot be read as a file, in words; None where it is one.

    Args:
        path: what was named.
    """
    if path.is_file():
        return None
    return "is a folder: name a file in it" if path.is_dir() else "is not there"


def no_folder(path: Path) -> str | None:
    """Why a path cannot be read as a folder, in words; None where it is one.

    Args:
        path: what was named.
    """
    if path.is_dir():
        return None
    return "is a file: name the folder that it is in" if path.exists() else "is not there"


def no_place_for_file(path: Path) -> str | None:
    """Why no file can be written there, in words; None where one can. Folders above that are missing are made.

    Args:
        path: of the file, which may be there already.
    """
    if path.is_dir():
        return "must be a file, is a folder: name a file in it"
    return _no_place(path)


def no_place_for_folder(path: Path) -> str | None:
    """Why no folder can be filled there, in words; None where one can. Folders above that are missing are made.

    Args:
        path: of the folder, which may be there already.
    """
    if path.exists() and not path.is_dir():
        return "must be a folder, is a file: name a folder"
    return _no_place(path)


def _no_place(path: Path) -> str | None:
    """Why nothing new can be put there: the nearest thing above it that is there must be a folder one may write."""
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir():
        return f"must be in a folder, {above} is a file: name another place"
    if not os.access(above, os.W_OK):
        return f"must be in a folder that may be written, {above} may not: name another place"
    return None
