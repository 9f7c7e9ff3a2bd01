"""Category taxonomies: which categories a category belongs to.

`bcat`, `acat` and category targeting name parents that cover their children (OpenRTB 2.6 section 3.2.1), in the
taxonomy that `cattax` numbers (AdCOM, list Category Taxonomies):

| cattax | taxonomy | parents |
|---|---|---|
| 1 | IAB Content Category Taxonomy 1.0 | by the form of the id: `IAB1-2` is below `IAB1` |
| 6 | Content Taxonomy 2.2 | `taxonomies.json` |
| 8 | Ad Product Taxonomy 2.0 | `taxonomies.json` |
| 9 | Content Taxonomy 3.1 | `taxonomies.json` |

Ids of every other taxonomy stand for themselves. `taxonomies.json` holds facts only, the parent of each id that
has one, from the taxonomies that IAB Tech Lab publishes under CC BY 3.0 (repository
InteractiveAdvertisingBureau/Taxonomies at b7acdca). Two ids of cattax 8, which name themselves as their parent
there, have none here.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from bidder.errors import InputError

DEFAULT_CATTAX = 1
_MOST_CATTAX_DIGITS = 6


def ancestors(cattax: int, category: str) -> tuple[str, ...]:
    """A category and all that cover it: itself first, then its parent, then that one's parent.

    Args:
        cattax: number of the taxonomy, as a request's `cattax`.
        category: an id of it. One that is unknown gives itself alone.
    """
    if cattax == DEFAULT_CATTAX:
        tier1, dash, _ = category.partition("-")
        return (category, tier1) if dash and tier1.startswith("IAB") else (category,)
    lines = _lines().get(cattax)
    return lines.get(category, (category,)) if lines is not None else (category,)


def covers(cattax: int, parent: str, child: str) -> bool:
    """Whether `parent` is `child` or one of its ancestors."""
    return parent in ancestors(cattax, child)


def qualified(text: str) -> tuple[int, str]:
    """Reads a category as targeting names it: `9:150` of taxonomy 9, `IAB1-2` of taxonomy 1.

    Raises:
        InputError: if the id is empty, or what stands before the first colon is no number of a taxonomy.
    """
    before, colon, after = text.partition(":")
    if not colon and before:
        return DEFAULT_CATTAX, text
    is_number = before.isascii() and before.isdigit() and len(before) <= _MOST_CATTAX_DIGITS
    if not (is_number and int(before) and after):
        raise InputError(
            f"category must be an id such as IAB1-2, or 9:150 with its cattax, was {text[:64]!r}"
        )
    return int(before), after


@lru_cache(maxsize=1)
def _lines() -> dict[int, dict[str, tuple[str, ...]]]:
    """For each taxonomy of the file and each id in it, the id and all its ancestors; read at the first need."""
    parents = json.loads((files("bidder.openrtb") / "taxonomies.json").read_bytes())
    return {int(cattax): {child: _line(of, child) for child in of} for cattax, of in parents.items()}


def _line(parents: Mapping[str, str], category: str) -> tuple[str, ...]:
    """From a category up, as far as there is a parent that was not met yet."""
    line = {category: None}
    while (parent := parents.get(category)) is not None and parent not in line:
        line[parent] = None
        category = parent
    return tuple(line)
