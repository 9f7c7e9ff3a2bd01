"""Lists of networks in files, such as the operator's list of data centres.

A text file, UTF-8: one network a line in CIDR notation, IPv4 or IPv6, or a bare address; `#` begins a comment.

    # hosting
    203.0.113.0/24
    2001:db8::/32     # the whole provider
    198.51.100.7
"""

from pathlib import Path

from bidder.core.networks import NetworkSet
from bidder.errors import InputError


def load_networks(path: Path) -> NetworkSet:
    """Reads a list of networks; a file without one is an empty set.

    Raises:
        InputError: the file cannot be read or is not UTF-8, or a line is no network; it names the line.
    """
    return NetworkSet.from_lines(network_lines(path), str(path))


def network_lines(path: Path) -> tuple[str, ...]:
    """The lines of a list of networks as they are, not checked.

    Raises:
        InputError: the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"list of networks {path} must be UTF-8 text, was not at byte {error.start}"
        ) from None
    except OSError as error:
        raise InputError(f"list of networks {path} cannot be read: {error.strerror}") from None
    return tuple(text.split("\n"))
