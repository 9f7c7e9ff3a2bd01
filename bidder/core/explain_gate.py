"""Everything that a request-level rule has against a request: the gate asked again and again, nothing of it changed.

The engine's gate stops at its first refusal. Here the same gate, of its own memory, is asked; what refuses is noted
and put right, and it is asked once more until nothing refuses. Rates and transaction ids are looked up in the
engine's memory without being counted there.
"""

from copy import copy

import msgspec

from bidder.core.devices import Agent
from bidder.core.engine import Engine
from bidder.core.gate import SECOND_PRICE_AT, Exchange, Gate, Visitor
from bidder.core.networks import NetworkSet
from bidder.core.settings import EngineSettings
from bidder.core.traffic import (
    ADDRESS_RATE,
    CRAWLER,
    DATA_CENTRE,
    IMPOSSIBLE_DEVICE,
    USER_RATE,
    TrafficFilter,
    TrafficRules,
)
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest

_NOT_AT_ALL = TrafficRules(
    crawlers=False, data_centres=False, impossible_devices=False, user_per_minute=0, address_per_minute=0
)
_LONG_AGO_NS = -(2**62)
_SIGNS = {
    CRAWLER: Reason.CRAWLER,
    DATA_CENTRE: Reason.DATA_CENTRE,
    IMPOSSIBLE_DEVICE: Reason.IMPOSSIBLE_DEVICE,
    USER_RATE: Reason.USER_RATE,
    ADDRESS_RATE: Reason.ADDRESS_RATE,
}
"""Signs of invalid traffic in the order in which the filter tells them."""


class _Signs(TrafficFilter):
    """Lets everything pass, and notes which signs the engine's filter would see.

    Args:
        rules: of the engine. networks: of data centres. own: the engine's filter, for rates; it is only read.
    """

    def __init__(self, rules: TrafficRules, networks: NetworkSet, own: TrafficFilter) -> None:
        super().__init__(_NOT_AT_ALL, networks)
        self._own = own
        self.found: list[Reason] = []
        singles = (
            _only(crawlers=rules.crawlers),
            _only(data_centres=rules.data_centres),
            _only(impossible_devices=rules.impossible_devices),
        )
        self._single = [TrafficFilter(single, networks) for single in singles]

    def verdict(
        self,
        agent: Agent,
        ip: str | None,
        ipv6: str | None,
        device_type: int | None,
        os: str | None,
        is_app: bool,
        now_ns: int,
        user_key: int,
        address_key: int,
        count: bool = True,
    ) -> int:
        """0; what the filter would say stands in `found`, each sign for itself."""
        asked = (agent, ip, ipv6, device_type, os, is_app, now_ns, user_key, address_key)
        signs = [single.verdict(*asked, count=False) for single in self._single]
        if count:
            over = self._own.over(user_key, address_key, now_ns)
            signs += [USER_RATE * over[0], ADDRESS_RATE * over[1]]
        self.found = [_SIGNS[sign] for sign in signs if sign]
        return 0


def _only(
    *, crawlers: bool = False, data_centres: bool = False, impossible_devices: bool = False
) -> TrafficRules:
    return TrafficRules(
        crawlers=crawlers,
        data_centres=data_centres,
        impossible_devices=impossible_devices,
        user_per_minute=0,
        address_per_minute=0,
    )


class Judge(Gate):
    """A gate that lets every request pass and notes all that would have refused it.

    Args:
        engine: whose settings, profiles and rates count; nothing of it is changed.

    Attributes:
        refusals: of the request asked last, the engine's own first.
    """

    def __init__(self, engine: Engine) -> None:
        settings: EngineSettings = engine.settings
        # Its own filter counts no rates: the memory of a limiter need not be taken.
        super().__init__(msgspec.structs.replace(settings, traffic=_NOT_AT_ALL, data_centres=()))
        self._engine = engine
        self._rules = settings
        self.profiles = engine.gate.profiles
        networks = NetworkSet.from_lines(settings.data_centres, "data_centres of the settings")
        self._signs = _Signs(settings.traffic, networks, engine.gate.traffic)
        self.traffic = self._signs
        self.refusals: list[Reason] = []

    def exchange(self, name: str) -> Exchange:
        """The exchange of a name, one that lets mended requests pass: `is_strict` tells which does not."""
        found = super().exchange(name)
        found.strict = False
        return found

    def is_strict(self, name: str) -> bool:
        """Whether an exchange's requests must need no mending."""
        return self._rules.rules(name).strict

    def admit(
        self, request: BidRequest, exchange: Exchange, age_ns: int, now_ns: int, test: bool
    ) -> Reason | Visitor:
        """Who asks; what refuses is put right in the request (in place) and noted in `refusals`."""
        self.refusals = []
        self._signs.found = []
        own = copy(exchange)
        while True:
            found = super().admit(request, own, age_ns, now_ns, test)
            if not isinstance(found, Reason):
                break
            if found in self.refusals:  # a rule that is not put right below: it would refuse for ever
                return found
            self.refusals.append(found)
            age_ns = self._put_right(found, request, own, age_ns)
        self.refusals += self._signs.found
        return found

    def _put_right(self, refused: Reason, request: BidRequest, exchange: Exchange, age_ns: int) -> int:
        """Changes what a rule refused; returns the age to go on with."""
        if refused is Reason.AUCTION_TYPE:
            request.at = SECOND_PRICE_AT
        elif refused is Reason.CURRENCY:
            request.cur = [self._rules.currency]
        elif refused is Reason.SEAT:
            request.wseat = request.bseat = None
        elif refused is Reason.EXPIRED:
            return _LONG_AGO_NS
        else:
            exchange.schain = None
        return age_ns

    def offered_before(self, tid: str, request_id: str, now_ns: int) -> bool:
        """Whether the engine has seen an opportunity of this transaction id under another request's id, lately."""
        found = self._engine.gate._offers.get(tid)  # noqa: SLF001 - `seen` would note this request as offered
        return found is not None and found[0] > now_ns and found[1] != request_id
