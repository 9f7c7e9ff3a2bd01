"""What is asked of a request before its impressions: whether it may be answered at all, and what of it may be used.

Everything here is of the exchange, the law or the traffic, and nothing of line items: a request that does not pass
here gets no bid from anybody.
"""

from collections.abc import Sequence

import msgspec
from xxhash import xxh3_64_intdigest

from bidder.core.currency import RateTable
from bidder.core.devices import Agent
from bidder.core.messages import NoticeKind
from bidder.core.networks import NetworkSet
from bidder.core.opportunity import Audience, audience_of
from bidder.core.profiles import ProfileTable
from bidder.core.settings import GENERAL, NS_PER_SECOND, EngineSettings, ExchangeRules
from bidder.core.traffic import TrafficFilter
from bidder.core.users import user_key
from bidder.core.views import ViewBook, remember
from bidder.openrtb.parts import REGS, SCHAIN, eids_of
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest, Regs, RegsExt, User
from bidder.openrtb.response import Billing, json_text
from bidder.openrtb.schain import SchainFilter
from bidder.privacy.permissions import ALL, IDENTIFY, MEASURE, PROFILE, permissions

FIRST_PRICE_AT, SECOND_PRICE_AT, FIXED_PRICE_AT = 1, 2, 3
_TRAFFIC = (
    None,
    Reason.CRAWLER,
    Reason.DATA_CENTRE,
    Reason.IMPOSSIBLE_DEVICE,
    Reason.USER_RATE,
    Reason.ADDRESS_RATE,
)
_SCHAIN = {16: Reason.SCHAIN_INCOMPLETE, 17: Reason.SCHAIN_BLOCKED}
ACCOUNT_RATE = 1_000_000_000
_RATE_NS = 3_600 * NS_PER_SECOND
_NO_CHAIN = (b"",)
_NO_CHAINS = (None, None, None)
_KNOWN_LAWS = 4_096
_KNOWN_CURRENCIES = 1_024
_KNOWN_OFFERS = 262_144
_LONGEST_LABEL = 120
_MONEY_KINDS = {
    "billing": NoticeKind.BILLING,
    "win": NoticeKind.WIN,
    # Called from the markup, but it is the billing URL that is called.
    "impression": NoticeKind.BILLING,
}
_LONGEST_TID = 256
"""Letters of a transaction id; a longer one is none: they are UUIDs in practice."""


class Exchange:
    """One exchange as the hot path reads it.

    Attributes:
        name: as configured or as requests name it. json: JSON text of it. rules: for it.
        index: of its shade in `Gate.shades`.
        margin_ns, default_tmax_ms, result_ns, billing_ns: see `ExchangeRules`. wait_ns: how long a reservation
            waits for its result, at most `result_ns`, see `core.waits`. exp_s: stated in bids (section
            4.2.3): seconds that we wait between auction and billing. schain: filter of supply chains, or None.
        label: the name as a token can carry it. money: `NoticeKind` that books spend. billing: who calls the billing
            URL, None where it goes by media.
    """

    __slots__ = (
        "billing",
        "billing_ns",
        "currencies",
        "dedupe_ns",
        "default_tmax_ms",
        "exp_s",
        "index",
        "json",
        "label",
        "margin_ms",
        "money",
        "name",
        "result_ns",
        "rules",
        "schain",
        "strict",
        "wait_ns",
    )

    def __init__(self, name: str, rules: ExchangeRules, index: int) -> None:
        self.name = name
        self.json = json_text(name)
        self.label = name if len(name.encode("utf-8", "replace")) <= _LONGEST_LABEL else ""
        self.money = int(_MONEY_KINDS[rules.money_event])
        self.billing: Billing | None = "impression" if rules.money_event == "impression" else None
        self.rules = rules
        self.index = index
        self.margin_ms = rules.network_margin_ms
        self.default_tmax_ms = rules.default_tmax_ms
        self.result_ns = self.wait_ns = int(rules.result_seconds * NS_PER_SECOND)
        self.billing_ns = int(rules.billing_seconds * NS_PER_SECOND)
        self.exp_s = int(rules.result_seconds + rules.billing_seconds)
        self.dedupe_ns = int(rules.dedupe_seconds * NS_PER_SECOND)
        self.currencies = (rules.currency,)
        self.strict = rules.strict
        policy = rules.schain_policy()
        self.schain = SchainFilter(policy) if policy is not None else None


class Visitor(msgspec.Struct, gc=False):
    """What passed: who asks, and what of that may be used.

    currency, rate_nanos: that bids are made in, and what a unit of it is worth in the account's. permitted: see
    `bidder.privacy.permissions`. user: key that impressions are counted by, 0 where not known or not permitted.
    segments: that we know ourselves.
    """

    currency: str
    rate_nanos: int
    permitted: int
    user: int
    audience: Audience
    segments: tuple[str, ...]


class Gate:
    """Judges requests.

    Args:
        settings: of the engine.

    Attributes:
        profiles: of users, for `Visitor.segments`. traffic: the filter, with its counters.
        shades: share of the value bid at first price, by `Exchange.index`. rule_names: the exchange of each index,
            `*` for all without rules of their own.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._account = settings.currency
        self._buyer = settings.buyer
        self._policy = settings.privacy
        networks = NetworkSet.from_lines(settings.data_centres, "data_centres of the settings")
        self.traffic = TrafficFilter(settings.traffic, networks)
        self.profiles = ProfileTable(settings.users.profiles)
        self._rate_table = RateTable.parse(settings.rates) if settings.rates else None
        self._rates: dict[str, int | None] = {}
        self._rates_hour = -1
        self._currencies: dict[tuple[str, ...], tuple[str, int] | None] = {}
        self._laws: dict[tuple[bytes, int], int] = {}
        self._views = ViewBook()
        self._chains: dict[tuple[SchainFilter, bytes], Reason | None] = {}
        self._offers: dict[str, tuple[int, str]] = {}
        self._exchanges: dict[str, Exchange] = {}
        self.shades: list[float] = []
        self._indices: dict[str, int] = {}
        self._waits_ns: dict[int, int] = {}
        for name in ("", *sorted(settings.exchanges.keys() - {GENERAL})):
            self._indices[name] = len(self.shades)
            self.shades.append(settings.rules(name).first_price_shade)
        self.rule_names = tuple(name or GENERAL for name in self._indices)

    def forget(self) -> None:
        """Forgets what was read in requests, but for the transactions that were offered."""
        self._views.forget()
        for known in (self._laws, self._chains, self._currencies, self._rates):
            known.clear()

    def exchange(self, name: str) -> Exchange:
        """The exchange of a name; one without rules of its own is as the general ones say."""
        found = self._exchanges.get(name)
        if found is None:
            index = self._indices.get(name, 0)
            found = Exchange(name, self._settings.rules(name), index)
            found.wait_ns = self._waits_ns.get(index, found.wait_ns)
            if len(self._exchanges) < 4_096:
                self._exchanges[name] = found
        return found

    def wait(self, index: int, wait_ns: int) -> None:
        """Lets the reservations of exchanges of an index wait so long for their result."""
        if self._waits_ns.get(index) == wait_ns:
            return
        self._waits_ns[index] = wait_ns
        for exchange in self._exchanges.values():
            if exchange.index == index:
                exchange.wait_ns = wait_ns

    def waits_ns(self, index: int) -> int:
        """How long the reservations of exchanges of an index wait."""
        rules = self._settings.rules(self.rule_names[index])
        return self._waits_ns.get(index, int(rules.result_seconds * NS_PER_SECOND))

    def admit(
        self, request: BidRequest, exchange: Exchange, age_ns: int, now_ns: int, test: bool
    ) -> Reason | Visitor:
        """Why nothing of a request can be bid on, or who asks."""
        money = self._money(request.cur, exchange, now_ns)
        refused = self._terms(request, exchange, age_ns, money is not None)
        if refused is None and exchange.schain is not None:
            refused = self._chain(request, exchange.schain)
        if refused is not None or money is None:
            return refused or Reason.CURRENCY
        permitted = self._permitted(request)
        audience = audience_of(request, exchange.name, permitted, self._views)
        user = self._user(request, exchange.name) if permitted & IDENTIFY else 0
        refused = self._invalid(request, audience.device.agent, user, now_ns, test)
        if refused is not None:
            return refused
        segments = self.profiles.segments(user, now_ns) if user and permitted & PROFILE else ()
        # Whose impressions may not be measured has none that a cap could count.
        counted = user if permitted & MEASURE else 0
        return Visitor(money[0], money[1], permitted, counted, audience, segments)

    def _terms(self, request: BidRequest, exchange: Exchange, age_ns: int, payable: bool) -> Reason | None:
        """Why the terms of the auction refuse a request; `payable` where a currency of it is known."""
        if request.at not in (FIRST_PRICE_AT, SECOND_PRICE_AT):
            return Reason.AUCTION_TYPE
        if not payable:
            return Reason.CURRENCY
        if (request.wseat and self._buyer not in request.wseat) or (
            request.bseat and self._buyer in request.bseat
        ):
            return Reason.SEAT
        tmax = request.tmax
        left_ms = (tmax if tmax is not None else exchange.default_tmax_ms) - exchange.margin_ms
        return Reason.EXPIRED if age_ns >= left_ms * 1_000_000 else None

    # -- money ----------------------------------------------------------------------------------------------

    def rate(self, currency: str, now_ns: int) -> int | None:
        """What a unit of a currency is worth in nanos of the account's; None where that is not known."""
        if currency == self._account:
            return ACCOUNT_RATE
        if self._rate_table is None:
            return None
        self._turn(now_ns)
        if currency not in self._rates:
            return remember(self._rates, currency, self._rate(currency, now_ns), _KNOWN_CURRENCIES)
        return self._rates[currency]

    def _rate(self, currency: str, now_ns: int) -> int | None:
        """By way of the table's own base, where the account is in another currency."""
        assert self._rate_table is not None
        theirs, ours = (self._rate_table.rate_nanos(one, now_ns) for one in (currency, self._account))
        return theirs * ACCOUNT_RATE // ours if theirs is not None and ours else None

    def _turn(self, now_ns: int) -> None:
        """Forgets rates at each full hour: a new date may have begun."""
        hour = now_ns // _RATE_NS
        if hour != self._rates_hour:
            self._rates_hour = hour
            self._rates.clear()
            self._currencies.clear()

    def _money(self, cur: list[str] | None, exchange: Exchange, now_ns: int) -> tuple[str, int] | None:
        """Currency to bid in and its rate: the account's if it is listed, else the first whose rate is known.

        An absent list means what was agreed with the exchange, USD if nothing was (sections 3.2.1 and 4.2.1).
        """
        listed = cur or exchange.currencies
        if self._account in listed:
            return self._account, ACCOUNT_RATE
        if self._rate_table is None:
            return None
        self._turn(now_ns)
        key = tuple(listed)
        if key not in self._currencies:
            rates = ((code, self.rate(code, now_ns)) for code in key)
            first = next(((code, rate) for code, rate in rates if rate), None)
            return remember(self._currencies, key, first, _KNOWN_CURRENCIES)
        return self._currencies[key]

    # -- law ------------------------------------------------------------------------------------------------

    def _permitted(self, request: BidRequest) -> int:
        """What may be used. Both places of a signal count, that of 2.6 and that of 2.5 (section 2.7)."""
        device, user = request.device, request.user
        marks = 0 if device is None else bool(device.lmt) | bool(device.dnt) << 1
        consents = _consents_of(user) if user is not None else ()
        if not consents:
            raw = bytes(request.regs) if request.regs else b""
            key = (raw, marks)
            found = self._laws.get(key)
            if found is None:
                found = remember(self._laws, key, self._judge(raw, marks, ()), _KNOWN_LAWS)
            return found
        return self._judge(bytes(request.regs) if request.regs else b"", marks, consents)

    def _judge(self, raw: bytes, marks: int, consents: Sequence[str]) -> int:
        regs = (REGS.read(raw)[0] if raw else None) or Regs()
        ext = regs.ext or RegsExt()
        gdpr = regs.gdpr if regs.gdpr is not None else ext.gdpr
        if regs.gdpr is not None and ext.gdpr is not None:
            gdpr = max(regs.gdpr, ext.gdpr)
        # The list of sections in force may stand in the other place than the string that holds them.
        sids = regs.gpp_sid or ext.gpp_sid
        own_sids = sids if regs.gpp or not ext.gpp else None
        permitted = ALL
        for consent in consents or (None,):
            permitted &= permissions(
                regs.coppa, gdpr, consent, regs.us_privacy, regs.gpp, own_sids, marks & 1, marks & 2,
                self._policy,
            )  # fmt: skip
        if ext.us_privacy or ext.gpp:
            permitted &= permissions(
                0, 0, None, ext.us_privacy, ext.gpp, sids if ext.gpp else None, 0, 0, self._policy
            )
        return permitted

    def _user(self, request: BidRequest, exchange: str) -> int:
        user, device = request.user, request.device
        ifa = device.ifa if device is not None else None
        if user is None:
            return user_key(None, (), ifa, None, exchange) if ifa else 0
        if user.buyeruid:
            return user_key(user.buyeruid, (), ifa, user.id, exchange)
        eids = eids_of(bytes(user.eids)) if user.eids else []
        if not eids and user.ext is not None and user.ext.eids:
            eids = eids_of(bytes(user.ext.eids))
        known = [(one.source, [(uid.id, uid.atype) for uid in one.uids or ()]) for one in eids]
        return user_key(None, known, ifa, user.id, exchange)

    # -- traffic --------------------------------------------------------------------------------------------

    def _invalid(
        self, request: BidRequest, agent: Agent, user: int, now_ns: int, test: bool
    ) -> Reason | None:
        device = request.device
        if device is None:
            return None
        address = device.ip or device.ipv6
        key = xxh3_64_intdigest(address.encode()) if address else 0
        found = self.traffic.verdict(
            agent, device.ip, device.ipv6, device.devicetype, device.os, request.app is not None, now_ns, user, key,
            not test,
        )  # fmt: skip
        return _TRAFFIC[found]

    def _chain(self, request: BidRequest, judge: SchainFilter) -> Reason | None:
        """A supply chain may stand in three places (sections 3.2.2, 3.2.25); each that is there must be good."""
        for raw in _schains_of(request) or _NO_CHAIN:
            key = (judge, raw)
            if key not in self._chains:
                remember(self._chains, key, _judge_chain(judge, raw))
            refused = self._chains[key]
            if refused is not None:
                return refused
        return None

    def offered(self, request: BidRequest, exchange: Exchange, now_ns: int) -> bool:
        """Whether another request offered this opportunity lately; notes that this one did."""
        source = request.source
        if source is None or not source.tid or not exchange.dedupe_ns or len(source.tid) > _LONGEST_TID:
            return False
        return self.seen(source.tid, request.id, now_ns, exchange.dedupe_ns)

    def seen(self, tid: str, request_id: str, now_ns: int, dedupe_ns: int) -> bool:
        """Whether an opportunity of this transaction id was offered before under another request's id, lately.

        The same page view comes by several ways (section 3.2.2): bidding on each of them is bidding against
        oneself. The first that comes is taken; its repeats under the same id are told apart by their bid ids.
        """
        found = self._offers.get(tid)
        if found is not None and found[0] > now_ns:
            return found[1] != request_id
        if len(self._offers) >= _KNOWN_OFFERS:
            self._forget_offers(now_ns)
        self._offers[tid] = (now_ns + dedupe_ns, request_id)
        return False

    def _forget_offers(self, now_ns: int) -> None:
        """Keeps what still counts; where that is more than half, the older half of it goes."""
        kept = [(tid, offer) for tid, offer in self._offers.items() if offer[0] > now_ns]
        self._offers = dict(kept[-_KNOWN_OFFERS // 2 :])


def _consents_of(user: User) -> Sequence[str]:
    """TCF strings of both places; two that differ must both permit."""
    own = user.consent
    ext = user.ext.consent if user.ext is not None else None
    if not own and not ext:
        return ()
    return tuple(dict.fromkeys(text for text in (own, ext) if text))


def _judge_chain(judge: SchainFilter, raw: bytes) -> Reason | None:
    """Why a supply chain refuses; empty where there is none."""
    chain = SCHAIN.read(raw)[0] if raw else None
    nodes = [(node.asi, node.sid) for node in chain.nodes or ()] if chain is not None else None
    code = judge.verdict(chain.complete if chain is not None else None, nodes)
    return _SCHAIN[code] if code else None


def _schains_of(request: BidRequest) -> Sequence[bytes]:
    source, ext = request.source, request.ext
    of_source = source.ext if source is not None else None
    places = (
        source.schain if source is not None else None,
        of_source.schain if of_source is not None else None,
        ext.schain if ext is not None else None,
    )
    if places == _NO_CHAINS:
        return ()
    return [raw for raw in (bytes(place) for place in places if place) if raw != b"null"]
