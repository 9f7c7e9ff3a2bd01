"""The landscape that a bidder prices by: a file of `clearbid models landscape`, and copies of those that decided.

<folder>/landscapes/<sha256>    beside a seat's journal: each landscape that decided, for a replay
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bidder.core.shading import Shading
from bidder.errors import InputError

KEPT = "landscapes"


def landscape_mark(path: Path) -> str | None:
    """Tells states of the file apart without reading it; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"


def load_shading(path: Path) -> Shading:
    """Reads a landscape, checks every byte of it, and makes it ready to price by.

    Raises:
        ArtifactError: the file is missing, cut short, altered, or no landscape.
        InputError: its strata need what no request has.
    """
    # Reading tables takes a second to import: only who has a landscape pays for it.
    from models.landscape.store import read_landscape

    return Shading.of(*read_landscape(path))


def load_and_keep(path: Path, folder: Path | None) -> Shading:
    """As `load_shading`, with a copy in the folder of a seat's journal, where there is one: the file is replaced."""
    shading = load_shading(path)
    if folder is not None:
        keep_landscape(path, folder, shading)
    return shading


def keep_landscape(path: Path, folder: Path, shading: Shading) -> None:
    """Keeps a copy of a landscape, by its hash.

    Raises:
        InputError: the folder cannot be written, or the file has changed since it was read.
    """
    kept = folder / KEPT / shading.hash
    if kept.exists():
        return
    part = kept.with_suffix(".part")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, part)
        if load_shading(part).hash != shading.hash:
            part.unlink()
            raise InputError(f"landscape {path} was replaced while it was read: it is read again")
        part.replace(kept)
    except OSError as error:
        raise InputError(f"landscapes cannot be kept in {kept.parent}: {error.strerror}") from error


class Landscapes:
    """Those that a replay may need, by hash; read when the first is asked for.

    Args:
        folder: of the run, with its kept landscapes. named: files that are elsewhere.
    """

    def __init__(self, folder: Path, named: Sequence[Path] = ()) -> None:
        self._folder, self._named = folder, named

    def named(self, wanted: str) -> Shading:
        """The landscape of a hash.

        Raises:
            InputError: it is not there. ArtifactError: a file is broken.
        """
        for path in (self._folder / KEPT / wanted, *self._named):
            if path.exists() and (found := load_shading(path)).hash == wanted:
                return found
        raise InputError(
            f"landscape {wanted[:12]} of the journal must be in {self._folder / KEPT}, is not; name it with "
            "--landscape"
        )
