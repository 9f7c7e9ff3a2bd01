"""What a request bars or allows by lists, read for one bid; part of `tests.support.crosscheck`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import crossread as read

_TAXONOMIES = Path(__file__).resolve().parents[2] / "bidder" / "openrtb" / "taxonomies.json"


@cache
def _parents() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(_TAXONOMIES.read_bytes())
    return found


def _above(taxonomy: int, category: str) -> list[str]:
    """A category and all that it belongs to."""
    if taxonomy == 1:
        return [category, category.split("-", maxsplit=1)[0]]
    line = [category]
    while (parent := _parents().get(str(taxonomy), {}).get(line[-1])) and parent not in line:
        line.append(parent)
    return line


def _under(domain: str, listed: list[str]) -> bool:
    """Whether a domain, or one above it of two labels or more, is in a list."""
    domain = domain.lower()
    return any(
        domain == one or (domain.endswith("." + one) and "." in one)
        for one in (name.lower() for name in listed)
    )


def lists_of(
    request: dict[str, Any], bid: dict[str, Any], campaign: Any, creative: Any, deal: dict[str, Any] | None
) -> list[str]:
    """What `badv`, `bapp`, `bcat`, `acat`, `wlang` and a deal's `wadomain` have against a bid.

    Raises:
        Unreadable: a list that cannot be read.
    """
    found = []
    barred = read.texts(request.get("badv"), "badv")
    if any(_under(domain, barred) for domain in bid["adomain"]):
        found.append(f"badv {bid['adomain']}")
    if bid.get("bundle") in read.texts(request.get("bapp"), "bapp"):
        found.append(f"bapp {bid.get('bundle')}")
    if deal is not None:
        allowed = read.texts(deal.get("wadomain"), "wadomain")
        if allowed and not all(_under(domain, allowed) for domain in bid["adomain"]):
            found.append(f"wadomain {allowed}")
    return found + _categories(request, campaign, creative) + _languages(request, creative)


def _categories(request: dict[str, Any], campaign: Any, creative: Any) -> list[str]:
    taxonomy = read.whole(request.get("cattax"), "cattax")
    taxonomy = 1 if taxonomy is None else taxonomy
    stated = [(1, one) if ":" not in one else (int(one.split(":")[0]), one.split(":", 1)[1])
              for one in creative.cat or campaign.cat]  # fmt: skip
    own = [_above(place, one) for place, one in stated if place == taxonomy]
    barred = set(read.texts(request.get("bcat"), "bcat"))
    found = [f"bcat {line[0]}" for line in own if barred & set(line)]
    if request.get("acat") is not None:
        allowed = set(read.texts(request["acat"], "acat"))
        if allowed and not (own and all(allowed & set(line) for line in own)):
            found.append(f"acat {stated}")
    return found


def _languages(request: dict[str, Any], creative: Any) -> list[str]:
    allowed = read.texts(request.get("wlang"), "wlang") + read.texts(request.get("wlangb"), "wlangb")
    names = {name for one in allowed for name in (one.lower(), one.lower().split("-")[0])}
    return [f"language {creative.language!r}"] if names and creative.language.lower() not in names else []
