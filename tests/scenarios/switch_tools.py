"""Ways to switch a rule off: wrap a function of the bidder, change what a kernel is handed, rewrite an answer.

A switch changes the code that enforces a rule, too lax or too strict, for as long as the `MonkeyPatch` it is given
lasts. What only kernels enforce is switched by the columns that they read: nothing is compiled anew.
"""

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

import bidder.core.engine
import bidder.core.gate
import bidder.core.templatebook
from bidder.core.call import Answer, Call
from bidder.core.gate import Gate
from bidder.core.specs import SlotBook
from bidder.openrtb.request import BidRequest
from bidder.openrtb.response import BidTemplate

Switch = Callable[[pytest.MonkeyPatch], None]


def around(owner: Any, name: str, wrapped: Callable[..., Any]) -> Switch:
    """Calls `wrapped(old, *args)` in place of `owner.name`."""

    def switch(patch: pytest.MonkeyPatch) -> None:
        old = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **named: wrapped(old, *args, **named))

    return switch


def instead(owner: Any, name: str, value: Any) -> Switch:
    """Puts `value` in place of `owner.name`."""
    return lambda patch: patch.setattr(owner, name, value)


def both(*switches: Switch) -> Switch:
    """Several switches as one."""

    def switch(patch: pytest.MonkeyPatch) -> None:
        for one in switches:
            one(patch)

    return switch


def kernel(change: Callable[[dict[str, Any]], None]) -> Switch:
    """Changes the arguments of `decide_rows`, by name, before each call."""

    def decide(old: Any, *args: Any) -> None:
        names = inspect.signature(getattr(old, "py_func", old)).parameters
        change(dict(zip(names, args, strict=True)))
        old(*args)

    return around(bidder.core.engine, "decide_rows", decide)


def rows(column: int, change: Callable[[Any], Any]) -> Switch:
    """Changes one column of all opportunities: `change` takes int64[n] and returns what stands there instead."""

    def columns(given: dict[str, Any]) -> None:
        own = given["batch"][: given["n"]]
        own[:, column] = change(own[:, column])

    return kernel(columns)


def creatives(column: int, change: Callable[[Any], Any]) -> Switch:
    """Changes one column of all creatives, likewise."""

    def columns(given: dict[str, Any]) -> None:
        given["creatives"][:, column] = change(given["creatives"][:, column])

    return kernel(columns)


def slots(changes: Callable[[list[int]], None]) -> Switch:
    """Changes the columns of each slot before they are kept."""

    def row(old: Any, book: SlotBook, values: list[int]) -> int:
        changes(values)
        return int(old(book, values))

    return around(SlotBook, "_row", row)


def slot(column: int, value: int) -> Switch:
    """Sets one column of all slots."""

    def change(values: list[int]) -> None:
        values[column] = value

    return slots(change)


def admitted(change: Callable[[BidRequest], Any]) -> Switch:
    """Changes requests before they are judged; where `change` returns something, that is the judgement."""

    def admit(old: Any, gate: Gate, request: BidRequest, *args: Any) -> Any:
        found = change(request)
        return old(gate, request, *args) if found is None else found

    return around(Gate, "admit", admit)


_SIGNALS = ("coppa", "gdpr", "consent", "us_privacy", "gpp", "gpp_sid", "lmt", "dnt", "policy")


def signals(**changes: Any) -> Switch:
    """Changes the privacy signals before permissions are made of them."""

    def permissions(old: Any, *args: Any) -> int:
        given = dict(zip(_SIGNALS, args, strict=True)) | changes
        return int(old(*given.values()))

    return around(bidder.core.gate, "permissions", permissions)


def facts(**changes: Any) -> Switch:
    """Changes what a bid says of its creative."""

    def replaced(old: Any, *args: Any) -> Any:
        return msgspec.structs.replace(old(*args), **changes)

    return around(bidder.core.templatebook, "_facts", replaced)


def bids(change: Callable[[dict[str, Any]], Any]) -> Switch:
    """Rewrites each bid."""

    def bid(old: Any, *args: Any) -> str:
        made = orjson.loads(old(*args))
        change(made)
        return orjson.dumps(made).decode()

    return around(BidTemplate, "bid", bid)


def responses(change: Callable[[dict[str, Any]], Any]) -> Switch:
    """Rewrites each response with bids."""

    def answer(old: Any, call: Call, *args: Any) -> Answer:
        made: Answer = old(call, *args)
        if not made.bid:
            return made
        response = orjson.loads(made.response)
        change(response)
        return made._replace(response=orjson.dumps(response))

    return around(Call, "answer", answer)
