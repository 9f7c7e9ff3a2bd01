"""Names in messages: a few of many, and which one was meant."""

import difflib
from collections.abc import Sequence


def few(names: Sequence[str], most: int = 5) -> str:
    """Names joined by commas: the first `most`, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def few_said(sentences: Sequence[str], most: int = 5) -> str:
    """Sentences joined by semicolons: the first `most`, and how many more there are."""
    more = len(sentences) - most
    return "; ".join(sentences[:most]) + (f"; and {more:,} more" if more > 0 else "")


def nearest(name: str, allowed: Sequence[str]) -> str:
    """What may have been meant, and all that is allowed: `nearest: max_rounds; allowed: num_leaves, ...`."""
    # A key is often forgotten in part, `rounds` of `max_rounds`, which letters alone do not show.
    inside = [one for one in allowed if len(name) > 2 and (name in one.split("_") or one in name)]
    near = list(dict.fromkeys([*inside, *difflib.get_close_matches(name, allowed, n=3)]))[:3]
    told = f"allowed: {', '.join(allowed)}"
    return f"nearest: {', '.join(near)}; {told}" if near else told
