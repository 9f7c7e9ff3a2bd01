"""Switches of rules 42 to 50: devices, users, traffic, privacy, supply chains."""

from itertools import count
from typing import Any

import msgspec
import orjson

import bidder.core.gate
import bidder.core.views
import bidder.openrtb.mending
from bidder.core.devices import agent_of, structured_agent
from bidder.core.gate import Gate
from bidder.core.traffic import DATA_CENTRE, TrafficFilter
from bidder.openrtb.parts import REGS
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest, Device
from bidder.privacy.permissions import ALL
from tests.scenarios.switch_tools import Switch, admitted, around, instead, signals

_GATE, _VIEWS = bidder.core.gate, bidder.core.views


# -- 42: user agents ----------------------------------------------------------------------------------------


def _hints_alone(device: Device) -> Any:
    return structured_agent((), None, None, None)


# -- 43: users ----------------------------------------------------------------------------------------------


def _users(change: Any) -> Switch:
    """Changes what a key is made of: buyeruid, eids, ifa, id, exchange."""

    def user_key(old: Any, *args: Any) -> int:
        return int(old(*change(*args)))

    return around(_GATE, "user_key", user_key)


def _first_of(eids: Any) -> Any:
    return eids[:1]


def _zeros_count(old: Any, buyeruid: Any, eids: Any, ifa: Any, *args: Any) -> int:
    return int(old(buyeruid, eids, "x" + ifa if ifa else ifa, *args))


_STRANGERS = count(1)


# -- 44 to 49 -----------------------------------------------------------------------------------------------


def _no_addresses(old: Any, filter_: TrafficFilter, agent: Any, ip: Any, *args: Any) -> int:
    return DATA_CENTRE if ip else int(old(filter_, agent, ip, *args))


class _New:
    """Reads regulations where 2.6 has them and nowhere else."""

    @staticmethod
    def read(raw: bytes) -> Any:
        regs, repaired = REGS.read(raw)
        return (regs and msgspec.structs.replace(regs, ext=None)), repaired


def _own_consent(user: Any) -> Any:
    return (user.consent,) if user.consent else ()


def _all_sections(old: Any, *args: Any) -> int:
    given = list(args)
    given[5] = [7, 8] if given[4] else given[5]
    return int(old(*given))


# -- 50: supply chains --------------------------------------------------------------------------------------


def _first_chain(old: Any, request: BidRequest) -> Any:
    return old(request)[:1]


def _new_chain(old: Any, request: BidRequest) -> Any:
    source = request.source
    return [bytes(source.schain)] if source is not None and source.schain else []


def _complete_alone(request: BidRequest) -> Reason | None:
    raw = bytes(request.source.schain) if request.source is not None and request.source.schain else b"{}"
    return Reason.SCHAIN_INCOMPLETE if orjson.loads(raw).get("complete") == 0 else None


_ALL_GOOD = instead(Gate, "_chain", lambda *args: None)
_NONE_GOOD = around(Gate, "_chain", lambda old, *args: old(*args) or Reason.SCHAIN_INCOMPLETE)

SWITCHES: dict[int, tuple[Switch, ...]] = {
    42: (
        instead(_VIEWS, "agent_of_device", lambda device: agent_of(device.ua)),
        instead(_VIEWS, "agent_of_device", _hints_alone),
    ),
    43: (
        instead(_GATE, "user_key", lambda *args: next(_STRANGERS)),
        _users(
            lambda buyeruid, eids, ifa, id_, exchange: (None if ifa else buyeruid, (), ifa, id_, exchange)
        ),
        _users(lambda buyeruid, eids, ifa, id_, exchange: (buyeruid, eids, ifa, id_, "any")),
        _users(lambda buyeruid, eids, ifa, id_, exchange: (buyeruid, _first_of(eids), ifa, id_, exchange)),
        _users(lambda buyeruid, eids, ifa, id_, exchange: (buyeruid, (), None, id_, exchange)),
        around(_GATE, "user_key", _zeros_count),
        instead(Gate, "_user", lambda *args: 7),
    ),
    44: (
        instead(TrafficFilter, "verdict", lambda *args: 0),
        around(TrafficFilter, "verdict", _no_addresses),
        instead(Gate, "_user", lambda *args: 7),
    ),
    45: (signals(coppa=0), signals(coppa=1)),
    46: (
        signals(gdpr=0),
        signals(gdpr=1),
        instead(_GATE, "REGS", _New),
        instead(bidder.openrtb.mending, "_HARD_PATHS", ()),
    ),
    47: (
        signals(gdpr=0, consent=None),
        signals(gdpr=1, consent=None),
        instead(_GATE, "_consents_of", _own_consent),
    ),
    48: (
        signals(us_privacy=None, gpp=None, gpp_sid=None),
        signals(us_privacy="1YYN"),
        around(_GATE, "permissions", _all_sections),
        instead(_GATE, "REGS", _New),
    ),
    49: (signals(lmt=0, dnt=0), signals(lmt=1), instead(Gate, "_permitted", lambda *args: ALL)),
    50: (
        _ALL_GOOD,
        _NONE_GOOD,
        around(_GATE, "_schains_of", _first_chain),
        around(_GATE, "_schains_of", _new_chain),
        admitted(_complete_alone),
    ),
}
