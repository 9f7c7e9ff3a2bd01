"""A seat's folder: the journal of its inputs and what a replay must know of the run.

    <folder>/journal        inputs of the last start, see `bidder.store.journal`
    <folder>/journal.N      those of starts before it, the first is 1
    <folder>/landscapes/    landscapes that priced, see `bidder.store.landscape`
    <folder>/key            the signing key, hex, readable by the owner only

The key stands apart from the journal, so that a journal can be handed on without it.
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.store.journal import JournalWriter

EXTERNAL_MODEL = "external"
JOURNAL = "journal"
KEY = "key"


def versions() -> dict[str, str]:
    """Versions on which the bytes of decisions depend."""
    found = {name: importlib.metadata.version(name) for name in ("numpy", "numba", "lightgbm", "msgspec")}
    return found | {"python": platform.python_version(), "machine": platform.machine()}


def open_journal(
    folder: Path,
    settings: EngineSettings,
    key: bytes,
    model: Model | None,
    start_id: str,
    landscape: str = "",
) -> JournalWriter:
    """Begins the journal of a start in `folder`, which is made if it is not there; an older one moves aside.

    Args:
        folder: of the seat. settings, key, model, start_id: of its engine. landscape: hash of the one that it has.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _move_aside(folder)
        key_file = folder / KEY
        key_file.touch(mode=0o600)
        key_file.write_text(key.hex())
    except OSError as error:
        raise InputError(f"journal folder {folder} must be writable: {error.strerror}") from error
    meta: Mapping[str, Any] = {
        "settings": msgspec.to_builtins(settings),
        "start_id": start_id,
        "model": model.hash if model is not None else EXTERNAL_MODEL,
        "versions": versions(),
        "landscape": landscape,
    }
    return JournalWriter(folder / JOURNAL, meta)


def _move_aside(folder: Path) -> None:
    """Keeps the journal of an earlier start: a seat that is started again must neither fail nor overwrite."""
    journal = folder / JOURNAL
    if journal.exists():
        number = 1
        while (folder / f"{JOURNAL}.{number}").exists():
            number += 1
        journal.rename(folder / f"{JOURNAL}.{number}")


def read_key(folder: Path) -> bytes:
    """The signing key of a seat's folder.

    Raises:
        InputError: it is not there or is no hex text.
    """
    path = folder / KEY
    try:
        return bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise InputError(f"key file {path} cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"key file {path} must hold hex digits") from None
