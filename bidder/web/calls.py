"""One call of a tracking URL: what it says, and how it may end."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_plus

from bidder.core.messages import Conversion, Notice
from bidder.core.token import TokenFields
from bidder.openrtb.macros import is_unexpanded
from bidder.runtime.http import Reply
from bidder.web.conversions import PARAMETERS

NO_CONTENT, BAD, GONE = Reply(204), Reply(400), Reply(410)
_KNOWN = PARAMETERS.union("tpclus")


class Outcome(StrEnum):
    """What became of a call; `Tracker.counts` holds one number for each path and outcome."""

    ACCEPTED = "accepted"
    ACCEPTED_UNPRICED = "accepted_unpriced"
    ACCEPTED_BY_ARRIVAL = "accepted_by_arrival"
    NOT_AN_EVENT = "not_an_event"
    ABOVE_CAP = "above_cap"
    CURRENCY = "currency"
    ZERO = "zero"
    NEGATIVE = "negative"
    EMPTY = "empty"
    AUDIT = "audit"
    UNEXPANDED = "unexpanded"
    ENCRYPTED = "encrypted"
    TAMPERED = "tampered"
    UNENCRYPTED = "unencrypted"
    UNREADABLE = "unreadable"
    BID_WON = "bid_won"
    TEST = "test"
    EXPIRED = "expired"
    MALFORMED = "malformed"
    FORGED = "forged"
    SCOPE = "scope"
    QUERY = "query"
    LANDING = "landing"
    VALUE = "value"
    EVENT_ID = "event_id"
    METHOD = "method"
    NOT_FOUND = "not_found"

    __hash__ = str.__hash__  # that of enums runs in Python, and every call is counted


class Answer(NamedTuple):
    """What to tell the caller, and what to publish before that; `reply` holds only once `notice` is durable."""

    reply: Reply
    notice: Notice | Conversion | None = None


class Refused(Exception):
    """Ends the handling of a call without a notice."""

    def __init__(self, outcome: Outcome, reply: Reply) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.reply = reply


class Call(NamedTuple):
    """One call whose token has been checked."""

    query: dict[str, str]
    token: TokenFields
    now_ns: int


def split(target: str) -> tuple[str, str]:
    """Path and query; the absolute form of a proxy (RFC 9112 section 3.2.2) loses its authority."""
    if not target.startswith("/"):
        _, _, rest = target.partition("://")
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


def parse(query: str) -> dict[str, str]:
    """The parameters we know. One that comes twice has no meaning that both ends agree on: refused."""
    values: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in _KNOWN:
            continue
        if name in values:
            raise Refused(Outcome.QUERY, BAD)
        values[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return values


def is_prefetch(headers: Mapping[bytes, bytes]) -> bool:
    purpose = headers.get(b"sec-purpose") or headers.get(b"purpose") or headers.get(b"x-moz")
    return purpose is not None and b"prefetch" in purpose.lower()


def states_token(query: Mapping[str, str]) -> bool:
    """Whether a call names a bid: a click id that nobody filled in names none."""
    token = query.get("t", "")
    return bool(token) and not is_unexpanded(token)
