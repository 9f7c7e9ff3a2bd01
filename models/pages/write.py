"""Pages as files: refused before the work where they can not be written, written as a whole after it."""

from pathlib import Path

from models.errors import TableError
from models.paths import no_place_for_file


def check_page(path: Path | None) -> None:
    """Refuses a page that can not be written, before the work that it shows; None is no page.

    Raises:
        TableError: it is a folder, or can be put into none.
    """
    why = no_place_for_file(path) if path is not None else None
    if why:
        raise TableError(f"--page {path} {why}")


def write_page(path: Path, html: str) -> None:
    """Writes a page; folders above it that are missing are made.

    Raises:
        TableError: it can not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise TableError(f"page {path} must be writable: {error.strerror}; name another file") from error
