"""What is remembered of the texts of requests, for the whole process: found again by its text, forgotten together.

Each such memory holds a bounded number of texts, not of bytes. Real texts are short; against bodies made to fill the
memory, whoever reads bodies counts the large ones and forgets all of it now and then, which changes nothing but time.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class _Cached(Protocol):
    @property
    def cache_clear(self) -> Callable[[], None]: ...


_C = TypeVar("_C", bound=_Cached)
_clears: list[Callable[[], Any]] = []


def forgettable(cached: _C) -> _C:
    """Decorates a function that is decorated by `functools.lru_cache`: `forget_texts` empties its memory."""
    _clears.append(cached.cache_clear)
    return cached


def on_forgetting(clear: Callable[[], Any]) -> None:
    """Has `forget_texts` call this too, for ever: of what lives as long as the process."""
    _clears.append(clear)


def forget_texts() -> None:
    """Empties all memories of the process."""
    for clear in _clears:
        clear()
