"""The supply chain of a request: who was paid on the way (OpenRTB 2.6 sections 3.2.25 and 3.2.26).

Blocked is judged before incomplete: what is there to see is certain, what is missing is not.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from bidder.memory import forgettable

INCOMPLETE, BLOCKED = 16, 17
"""No-bid reason codes (AdCOM list "No-Bid Reason Codes")."""

_MAX_DOMAIN_LENGTH = 255
"""What is remembered is bounded; no domain is longer."""

_System = Annotated[str, msgspec.Meta(pattern=r"\A[^/\s]+\Z")]
_Node = Annotated[str, msgspec.Meta(pattern=r"\A[^/\s]+/\S(.*\S)?\Z")]


class SchainPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which supply chains are bought.

    require: refuse requests without a chain, or with one of no nodes. complete: `required` refuses a chain that
    does not say it is complete, has no nodes or has one without its system or seller; `any` takes it.
    blocked_asi: advertising systems, by domain, that may be nowhere in the chain. blocked_nodes: single sellers
    of a system, as `asi/sid`. max_nodes: a longer chain is incomplete, since it is read no further.
    """

    require: bool = False
    complete: Literal["any", "required"] = "any"
    blocked_asi: tuple[_System, ...] = ()
    blocked_nodes: tuple[_Node, ...] = ()
    max_nodes: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 32


class SchainFilter:
    """A policy made ready for many requests.

    Systems are compared in small letters, as domains are; sellers exactly, as in ads.txt.
    """

    def __init__(self, policy: SchainPolicy) -> None:
        self._absent = INCOMPLETE if policy.require else 0
        self._complete = policy.complete == "required"
        self._empty = INCOMPLETE if self._complete else self._absent
        self._systems = frozenset(map(_system, policy.blocked_asi))
        self._nodes = frozenset(map(_node, policy.blocked_nodes))
        self._blocks = bool(self._systems or self._nodes)
        self._most = policy.max_nodes

    def verdict(self, complete: int | None, nodes: Sequence[tuple[str, str]] | None) -> int:
        """0 for a chain that is bought, else `INCOMPLETE` or `BLOCKED`.

        Args:
            complete: `schain.complete`.
            nodes: `asi` and `sid` of each, empty where missing; None where there is no chain.
        """
        if nodes is None:
            return self._absent
        if not nodes:
            return self._empty
        if self._blocks and self._blocked(nodes):
            return BLOCKED
        if len(nodes) > self._most:
            return INCOMPLETE
        return INCOMPLETE if self._complete and (complete != 1 or _has_gap(nodes)) else 0

    def _blocked(self, nodes: Sequence[tuple[str, str]]) -> bool:
        systems, blocked = self._systems, self._nodes
        for asi, sid in nodes[: self._most]:
            system = _system(asi[:_MAX_DOMAIN_LENGTH])
            if system in systems or (blocked and (system, sid.strip()) in blocked):
                return True
        return False


def _has_gap(nodes: Sequence[tuple[str, str]]) -> bool:
    for asi, sid in nodes:  # noqa: SIM110 - `any` of a generator takes twice as long for a chain of two
        if not (asi and sid):
            return True
    return False


def schain_verdict(
    complete: int | None, nodes: Sequence[tuple[str, str]] | None, policy: SchainPolicy
) -> int:
    """`SchainFilter.verdict` of a policy; the filters of the last 64 policies are remembered.

    A filter of one's own is faster where the policy is long: finding it here reads the whole policy.
    """
    return _filter_of(policy).verdict(complete, nodes)


@lru_cache(maxsize=64)
def _filter_of(policy: SchainPolicy) -> SchainFilter:
    return SchainFilter(policy)


@forgettable
@lru_cache(maxsize=4_096)
def _system(asi: str) -> str:
    """A domain as it is compared: in small letters, without the dot that may end it. Remembered: systems are few."""
    return asi.strip().lower().removesuffix(".")


def _node(text: str) -> tuple[str, str]:
    asi, _, sid = text.partition("/")
    return _system(asi), sid.strip()
