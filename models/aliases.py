"""Which model of a registry decides: one small file that names it. Read by who loads models; `registry` writes it.

Apart from `registry`, so that a bundle can be loaded through a registry's folder wherever its own would do.
"""

import re
from pathlib import Path

from models.errors import ArtifactError

MARK_FILE = "registry.json"
CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = (CHAMPION, CHALLENGER)
HASH = re.compile(r"[0-9a-f]{64}")


def is_registry(path: Path) -> bool:
    """Whether a folder is a registry."""
    return (path / MARK_FILE).is_file()


def alias_text(path: Path, alias: str) -> str | None:
    """What an alias file of a registry holds; None where there is none that can be read."""
    try:
        return (path / alias).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def hash_at(path: Path, alias: str) -> str | None:
    """The hash that an alias of a registry stands for; None where it is not set.

    Raises:
        ArtifactError: the file is there and holds no hash.
    """
    text = alias_text(path, alias)
    if text is None and not (path / alias).exists():
        return None
    if text is None or not HASH.fullmatch(text):
        raise ArtifactError(
            f"{path / alias} must hold the hash of a model, was {(text or '')[:80]!r}: promote a model again"
        )
    return text


def champion_hash(path: Path) -> str | None:
    """The hash of the model that decides, where `path` is a registry; None where it is none.

    Raises:
        ArtifactError: a registry without a champion.
    """
    if not is_registry(path):
        return None
    found = hash_at(path, CHAMPION)
    if found is None:
        raise ArtifactError(
            f"registry {path} must have a champion, has none: "
            f"promote a model with `clearbid models registry promote {path} HASH`"
        )
    return found
