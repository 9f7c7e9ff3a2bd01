"""Pages as files: refused before the work where they can not be written, written as a whole after it."""

from pathlib import Path

from models.errors import TableError


def check_page(path: Path | None) -> None:
    """Refuses a page that can not be written, before the work that it shows; None is no page.

    Raises:
        TableError: it is a directory, or its folder is not there.
    """
    if path is None:
        return
    if path.is_dir():
        raise TableError(f"--page {path} must be a file, is a directory: name a file in it")
    if not path.parent.is_dir():
        raise TableError(
            f"--page {path} must be in a folder that exists, {path.parent} does not: make it first"
        )


def write_page(path: Path, html: str) -> None:
    """Writes a page.

    Raises:
        TableError: it can not be written.
    """
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise TableError(f"page {path} must be writable: {error.strerror}; name another file") from error
