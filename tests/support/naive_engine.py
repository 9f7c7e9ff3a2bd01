"""The slow twin of `bidder.core.engine` from the gate to the price: loops over line items, budgets and times.

It reads bodies as plain dicts and keeps plain dicts and lists. For one candidate, in this order of operations
(floats are compared bit by bit):

    goal    = what is stated, or of a conversion by the model: whole nanos, a tenth to ten times of what is stated
    value   = pctr * value_of_the_goal (* pcvr where the goal is a conversion) * each modifier shown
    paced   = value * multiplier
    left    = paced - fees an impression
    worth   = left / (1 + fees of the price) (* the exchange's shade at first price), for a guaranteed deal at
              least the floor
    bid     = whole nanos of worth, at most the line item's maximum; at a fixed price the floor itself
    whole   = bid * (1 + fees of the price)
    surplus = (left - whole / 2) * bid, (left - whole) * bid at first price, left - whole at a fixed one

The candidate of the highest surplus takes the opportunity, of equals the one whose id sorts first. Laws, traffic,
supply chains and exchange rates have twins of their own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import Any, NamedTuple

from bidder.core.budgets import Unit, accounts_of, day_of
from bidder.core.campaigns import Advertiser, Campaign, Creative, Goal, Media
from bidder.core.currency import RateTable
from bidder.core.draw_kernels import takes_part
from bidder.core.pacing_kernels import power_of_e
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.core.token import bid_id
from bidder.core.users import user_key
from bidder.money import cpm_micros_from_float
from bidder.openrtb.reasons import Reason
from bidder.privacy.permissions import IDENTIFY, MEASURE, PROFILE, permissions
from tests.support.naive_creatives import naive_choice, naive_fault
from tests.support.naive_showing import (
    NAMES,
    NaiveLine,
    Shown,
    as_dict,
    factors,
    first_refusal,
    is_slot,
    naive_lines,
    names_deals,
    reason_of,
)

Scorer = Callable[[NaiveLine, Shown, int], tuple[float, float]]
"""Probabilities of a click, and of a conversion after it, for (line item, opportunity, floor in CPM micros)."""

Valuer = Callable[[NaiveLine, Shown, int], float]
"""Nanos that a conversion is worth by the model, for the same."""

ONE = 1_000_000_000
STAGES = (
    "stopped",
    "creative",
    "pod",
    "capped",
    "no_lease",
    "unscored",
    "no_value",
    "below_floor",
    "budget",
    "outbid",
    "bid",
)


class Outcome(NamedTuple):
    """How one opportunity ended, as the log has it."""

    reason: Reason
    imp_id: str
    deal_id: str = ""
    floor: int = 0
    line_id: str = ""
    creative_id: str = ""
    bid_nanos: int = 0
    currency: str = ""
    price_micros: int = 0
    pctr: float = 0.0
    pcvr: float = 0.0
    multiplier: float = 0.0
    value_nanos: int = 0


@dataclass
class Account:
    """What a budget has free at the seat, and until when it may be bid on."""

    free: int = 0
    lease_until_ns: int = 0


@dataclass
class Pace:
    """What pacing knows of the line items that share a budget."""

    multiplier: float
    drift: float = 1.0
    pull: float = 0.0
    least: float = 0.0
    tied: bool = True
    charge: float = 0.0
    seen: int = 0

    day: int | None = None

    def turn(self, day: int) -> None:
        """Goes on to another day, if it is one."""
        if self.day not in (None, day):
            self.multiplier = min(max(self.multiplier * power_of_e(self.charge), 1e-6), 1.0)
            self.drift, self.pull, self.least, self.charge, self.seen = 1.0, 0.0, 0.0, 0.0, 0
        self.day = day

    def bid(self, amount: int) -> None:
        """Lowers the multiplier for what a bid is expected to cost."""
        charge = min(self.charge + self.pull * amount, 3.0)
        self.multiplier = max(self.multiplier * power_of_e(self.charge - charge), 1e-6)
        self.charge = charge


@dataclass
class Tale:
    """How the opportunities of one line item ended."""

    asked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)


@dataclass(eq=False)
class Chance:
    """One opportunity: what it shows, its floor, and the pod that it is in."""

    shown: Shown
    floor: int
    rate: int
    currency: str
    user: int
    quantity: int
    bid_id: bytes
    test: bool
    pod: "list[tuple[NaiveLine, Creative]] | None" = None

    @property
    def at(self) -> int:
        deal = self.shown.deal or {}
        return deal.get("at") or self.shown.request.get("at", 2)

    @property
    def seconds_left(self) -> float:
        if self.pod is None:
            return inf
        imp = self.shown.imp
        slot = imp.get("video") or imp["audio"]
        return slot["poddur"] - sum(creative.duration_s for _, creative in self.pod)


class Candidate(NamedTuple):
    """A line item that could pay for its bid."""

    line: NaiveLine
    creative: Creative
    surplus: float
    bid: int
    price: int
    amount: int
    logged: tuple[float, float, float, int]


class NaiveEngine:
    """Decides bodies against campaigns, budgets and times of bids.

    Args:
        campaigns, advertisers: as ad-ops stated them. settings: of the engine.
        score: stands for the models, None for none. value: for that of what a conversion is worth.
    """

    def __init__(
        self,
        campaigns: Sequence[Campaign],
        settings: EngineSettings,
        score: Scorer | None = None,
        advertisers: Mapping[str, Advertiser] | None = None,
        epoch: int = 1,
        value: Valuer | None = None,
    ) -> None:
        self.lines = naive_lines(campaigns, advertisers or {})
        self.settings = settings
        self.accounts: dict[str, Account] = {}
        self.paces: dict[tuple[str, Unit, str], Pace] = {}
        self.tales = {line.id: Tale() for line in self.lines}
        self.exposures: list[tuple[int, tuple[str, str], int]] = []
        self.pending: list[tuple[int, tuple[str, str], int]] = []
        self.creative_counts: dict[tuple[str, str], tuple[int, int]] = {}
        self.segments: dict[int, tuple[tuple[str, ...], int]] = {}
        """Our own of each user, and when they expire."""
        self.brakes: dict[str, tuple[Reason, int]] = {}
        """Why each name is stopped, and until when."""
        self._score, self._value = score, value
        self.valued: Counter[str] = Counter()
        self._epoch = epoch
        self._known: set[bytes] = set()
        self._offers: dict[str, tuple[int, str]] = {}
        self._deals = {name for line in self.lines for name in names_deals(line)}
        self._rates = RateTable.parse(settings.rates) if settings.rates else None

    # -- requests -------------------------------------------------------------------------------------------

    def turn(self, now_ns: int) -> None:
        """Follows the days of daily budgets."""
        for line in self.lines:
            for key in pace_keys(line):
                if key[0].endswith("True"):
                    self.paces[key].turn(day_of(line.advertiser.time_zone, now_ns).number)

    def decide(self, bodies: Sequence[bytes], now_ns: int) -> list[Outcome]:
        """An outcome for each opportunity of well-formed bodies, in order."""
        self.turn(now_ns)
        return [outcome for body in bodies for outcome in self._request(as_dict(body), now_ns)]

    def _request(self, request: dict[str, Any], now_ns: int) -> list[Outcome]:
        exchange = request.get("ext", {}).get("exchange", self.settings.default_exchange)
        rules = self.settings.rules(exchange)
        refused = self._refuses(request, rules, now_ns)
        if refused is not None:
            return [Outcome(refused, imp["id"]) for imp in request["imp"]]
        currency, rate = self._currency(request, rules, now_ns) or ("", 0)
        permitted = self._permitted(request)
        user = self._user(request, exchange) if permitted & IDENTIFY else 0
        known, expires_ns = self.segments.get(user, ((), 0)) if user and permitted & PROFILE else ((), 0)
        known = known if now_ns < expires_ns else ()
        user = user if permitted & MEASURE else 0
        found: list[Outcome | Chance] = []
        for imp in request["imp"]:
            shown = Shown(request, imp, exchange, permitted, known, now_ns)
            found += self._impression(shown, rate, currency, user, now_ns)
        if any(isinstance(one, Chance) for one in found) and self._same(request, rules, now_ns):
            return [
                Outcome(Reason.SAME_OPPORTUNITY, one.shown.imp["id"]) if isinstance(one, Chance) else one
                for one in found
            ]
        return [self._decide(one, rules, now_ns) if isinstance(one, Chance) else one for one in found]

    def _refuses(self, request: dict[str, Any], rules: ExchangeRules, now_ns: int) -> Reason | None:
        if request.get("at", 2) not in (1, 2):
            return Reason.AUCTION_TYPE
        if self._currency(request, rules, now_ns) is None:
            return Reason.CURRENCY
        buyer = self.settings.buyer
        if buyer not in request.get("wseat", [buyer]) or buyer in request.get("bseat", ()):
            return Reason.SEAT
        return (
            Reason.EXPIRED if request.get("tmax", rules.default_tmax_ms) <= rules.network_margin_ms else None
        )

    def _currency(self, request: dict[str, Any], rules: ExchangeRules, now_ns: int) -> tuple[str, int] | None:
        listed = request.get("cur") or [rules.currency]
        if self.settings.currency in listed:
            return self.settings.currency, ONE
        rates = [(code, self._rate(code, now_ns)) for code in listed]
        return next(((code, rate) for code, rate in rates if rate), None)

    def _rate(self, currency: str, now_ns: int) -> int | None:
        if currency == self.settings.currency:
            return ONE
        if self._rates is None:
            return None
        theirs, ours = (self._rates.rate_nanos(one, now_ns) for one in (currency, self.settings.currency))
        return theirs * ONE // ours if theirs is not None and ours else None

    def _permitted(self, request: dict[str, Any]) -> int:
        regs, device, user = (request.get(name, {}) for name in ("regs", "device", "user"))
        return permissions(
            regs.get("coppa", 0),
            regs.get("gdpr"),
            user.get("consent"),
            regs.get("us_privacy"),
            None,
            None,
            device.get("lmt", 0),
            device.get("dnt", 0),
            self.settings.privacy,
        )

    def _user(self, request: dict[str, Any], exchange: str) -> int:
        user, device = request.get("user", {}), request.get("device", {})
        return user_key(user.get("buyeruid"), (), device.get("ifa"), user.get("id"), exchange)

    def _same(self, request: dict[str, Any], rules: ExchangeRules, now_ns: int) -> bool:
        """Whether another request offered the same page view lately."""
        tid = request.get("source", {}).get("tid")
        if not tid or not rules.dedupe_seconds or request.get("test"):
            return False
        until_ns, first = self._offers.get(tid, (now_ns, ""))
        if until_ns > now_ns:
            return first != request["id"]
        self._offers[tid] = (now_ns + int(rules.dedupe_seconds * 1e9), request["id"])
        return False

    # -- impressions ------------------------------------------------------------------------------------------

    def _impression(
        self, shown: Shown, rate: int, currency: str, user: int, now_ns: int
    ) -> "list[Outcome | Chance]":
        imp = shown.imp
        media = [medium for medium in Media if medium in imp and is_slot(medium, imp[medium])]
        if not media:
            return [Outcome(Reason.MEDIA_TYPE, imp["id"])]
        quantity = round(imp.get("qty", {}).get("multiplier", 1.0) * 1_000_000)
        if not 0 < quantity <= 10**12:
            return [Outcome(Reason.INVALID, imp["id"])]

        def chance(floor: int, part: str, deal: dict[str, Any] | None = None) -> Chance:
            own = Shown(shown.request, imp, shown.exchange, shown.permitted, shown.segments, now_ns, deal)
            bid = bid_id(
                shown.exchange, shown.request["id"], imp["id"], self._epoch, self.settings.seat, part
            )
            test = bool(shown.request.get("test"))
            return Chance(own, floor, rate, currency, user, quantity, bid, test)

        found: list[Outcome | Chance] = []
        pmp = imp.get("pmp", {})
        deals = [deal for deal in pmp.get("deals", ()) if deal["id"] in self._deals]
        if not pmp.get("private_auction"):
            floor = self._floor(imp, _has_floors(imp), now_ns)
            if isinstance(floor, Reason):
                found.append(Outcome(floor, imp["id"]))
            else:
                pod: list[tuple[NaiveLine, Creative]] = []
                for number in range(_places(imp, media)):
                    one = chance(floor, f"p{number}" if number else "")
                    one.pod = pod if _is_pod(imp, media) else None
                    found.append(one)
        elif not deals:
            found.append(Outcome(Reason.PRIVATE_AUCTION, imp["id"]))
        for deal in deals:
            ended = self._deal_refused(deal, now_ns)
            if ended is not None:
                found.append(Outcome(ended, imp["id"], deal["id"]))
            else:
                floor = self._floor(deal, bool(deal.get("mincpmpersec") or deal.get("durfloors")), now_ns)
                assert isinstance(floor, int)
                found.append(chance(floor, f"d{deal['id']}", deal))
        return found

    def _deal_refused(self, deal: dict[str, Any], now_ns: int) -> Reason | None:
        if deal.get("wseat") and self.settings.buyer not in deal["wseat"]:
            return Reason.SEAT
        if deal.get("at") not in (None, 1, 2, 3):
            return Reason.AUCTION_TYPE
        floored = bool(deal.get("mincpmpersec") or deal.get("durfloors"))
        floor = self._floor(deal, floored, now_ns)
        return floor if isinstance(floor, Reason) else None

    def _floor(self, offer: dict[str, Any], floored: bool, now_ns: int) -> int | Reason:
        cpm = offer.get("bidfloor", 0.0)
        rate = self._rate(offer.get("bidfloorcur", "USD"), now_ns)
        if rate is None:
            return Reason.FLOOR_CURRENCY if cpm or floored else 0
        return _up(cpm, rate)

    # -- one opportunity --------------------------------------------------------------------------------------

    def _decide(self, chance: Chance, rules: ExchangeRules, now_ns: int) -> Outcome:
        imp_id, deal_id = chance.shown.imp["id"], (chance.shown.deal or {}).get("id", "")
        if chance.bid_id in self._known:
            return Outcome(Reason.DUPLICATE, imp_id, deal_id, chance.floor)
        eligible, refused = self._eligible(chance)
        if refused is not None:
            return Outcome(refused, imp_id, deal_id, chance.floor)
        ends = [(line, *self._candidate(line, chance, rules, now_ns)) for line in eligible]
        best: Candidate | None = None
        for _, _, end in ends:
            if isinstance(end, Candidate) and (best is None or end.surplus > best.surplus):
                best = end
        if not chance.test:
            for line, stage, end in ends:
                ended = "bid" if end is best else "outbid" if isinstance(end, Candidate) else stage
                self.tales[line.id].stages.update(["eligible", ended])
        if best is None:
            furthest = max(STAGES.index(stage) for _, stage, _ in ends)
            worst = max(end for _, stage, end in ends if STAGES.index(stage) == furthest)
            return Outcome(worst, imp_id, deal_id, chance.floor)
        self._take(best, chance, rules, now_ns)
        own = self.settings.currency
        return Outcome(
            Reason.BID,
            imp_id,
            deal_id,
            chance.floor,
            best.line.id,
            best.creative.id,
            best.bid,
            chance.currency if chance.currency != own else "",
            best.price if chance.currency != own else 0,
            *best.logged,
        )

    def _eligible(self, chance: Chance) -> tuple[list[NaiveLine], Reason | None]:
        """The line items that targeting leaves; where it leaves none, what refused the last of them."""
        left: list[NaiveLine] = []
        last = -2
        reason = Reason.NO_CAMPAIGNS
        order = ("inactive", "flight", *NAMES)
        for line in self.lines:
            refusal = (
                first_refusal(line, chance.shown, deals=bool(self._deals)) if line.active else "inactive"
            )
            if not chance.test:
                self.tales[line.id].asked += 1
                if refusal is not None:
                    self.tales[line.id].refused[refusal] += 1
            if refusal is None:
                left.append(line)
            elif order.index(refusal) > last:
                last = order.index(refusal)
                reason = Reason.NO_CAMPAIGNS if refusal == "inactive" else reason_of(refusal)
        return left, None if left else reason

    def _candidate(
        self, line: NaiveLine, chance: Chance, rules: ExchangeRules, now_ns: int
    ) -> tuple[str, Reason | Candidate]:
        """The stage that a line item comes to, and its bid or what ended it there."""
        names = (f"l/{line.id}", f"c/{line.campaign.id}", f"a/{line.campaign.advertiser}", "all")
        holding = [self.brakes[name] for name in names if name in self.brakes]
        stopped = sorted(reason for reason, until_ns in holding if now_ns < until_ns)
        if stopped:
            return "stopped", stopped[0]
        creative = self._creative(line, chance)
        if isinstance(creative, Reason):
            return "creative", creative
        if chance.pod is not None and any(other is line for other, _ in chance.pod):
            return "pod", Reason.POD
        if self._capped(line, chance.user, now_ns):
            return "capped", Reason.CAPPED
        budgets = accounts_of(line.campaign, line.item, line.advertiser, now_ns)
        if any(now_ns >= self._account(one.account_id).lease_until_ns for one in budgets):
            return "no_lease", Reason.NO_LEASE
        scores = self._scores(line, chance)
        if scores is None and line.said("goal") in (Goal.VIEW, Goal.COMPLETE):
            scores = (0.0, 0.0)
        if scores is None:
            return "unscored", Reason.UNSCORED
        paces = [self.paces[key] for key in pace_keys(line)]
        multiplier = min(pace.multiplier for pace in paces)
        if not chance.test:
            for pace in paces:
                most = 2.0 * multiplier if len(paces) > 1 and pace.tied else 1.0
                pace.seen += 1
                pace.multiplier = min(most, 1.0, pace.multiplier * pace.drift)
        pctr, pcvr = scores
        worth = self._worth(line, chance)
        value = _chance(line, creative, chance, pctr) * (worth or line.worth)
        if line.conversion:
            value *= pcvr
        for factor in factors(line, chance.shown):
            value *= factor
        by_share = chance.at == 3 and not (chance.shown.deal or {}).get("guar")
        stage, end = self._price(line, creative, chance, rules, value if by_share else value * multiplier)
        if isinstance(end, Reason):
            return stage, end
        if by_share:
            if not takes_part(int.from_bytes(chance.bid_id[:7], "big"), multiplier):
                return "budget", Reason.BUDGET
        elif any(end.amount < pace.least for pace in paces):
            return "budget", Reason.BUDGET
        for one in budgets:
            need = end.amount if one.unit is Unit.MONEY else chance.quantity
            if need > self._account(one.account_id).free:
                return "budget", Reason.BUDGET
        return "bid", end._replace(logged=(pctr, pcvr, multiplier, worth))

    def _price(
        self, line: NaiveLine, creative: Creative, chance: Chance, rules: ExchangeRules, paced: float
    ) -> tuple[str, Reason | Candidate]:
        floor = self._floor_of(creative, chance)
        fees = line.campaign.fees + (line.item.fees if line.item is not None else ())
        ppm = sum(fee.ppm for fee in fees) + rules.discrepancy_ppm
        each = sum(fee.cpm_micros for fee in fees)
        paced -= each
        gross = 1.0 + ppm / 1_000_000
        worth = paced / gross
        if chance.at == 1:
            worth *= rules.first_price_shade
        if chance.shown.deal is not None and chance.shown.deal.get("guar"):
            worth = max(worth, float(max(floor, 1)))
        if not worth >= 1.0:
            return "no_value", Reason.NO_VALUE
        bid = min(int(worth), line.said("max_bid_cpm_micros"))
        if bid < line.said("min_bid_cpm_micros"):
            return "no_value", Reason.NO_VALUE
        if bid < floor:
            return "below_floor", Reason.BELOW_FLOOR
        if chance.at == 3:
            bid = max(floor, 1)
        price = cost = bid
        if chance.rate != ONE:
            bid = min(bid, 9_000_000_000)
            price = bid * ONE // chance.rate
            if price * chance.rate < floor * ONE:
                price += 1
            cost = -(-price * chance.rate // ONE)
            if price < 1 or bid < floor or cost > line.said("max_bid_cpm_micros"):
                return "no_value", Reason.NO_VALUE
        whole = bid * gross
        surplus = (paced - 0.5 * whole) * bid
        if chance.at == 1:
            surplus = (paced - whole) * bid
        elif chance.at == 3:
            surplus = paced - whole
        spent = -(-cost * chance.quantity // 1_000_000)
        amount = spent - (-spent * ppm // 1_000_000) - (-each * chance.quantity // 1_000_000)
        return "bid", Candidate(line, creative, surplus, bid, price, amount, (0.0, 0.0, 0.0, 0))

    def _creative(self, line: NaiveLine, chance: Chance) -> Creative | Reason:
        fitting: list[tuple[int, float, float]] = []
        faults: list[Reason] = []
        for place, creative in enumerate(line.creatives):
            fault = naive_fault(line.campaign, creative, chance.shown, self.settings, chance.seconds_left)
            if fault is not None:
                faults.append(fault)
            else:
                shown, clicked = self.creative_counts.get((line.campaign.id, creative.id), (0, 0))
                fitting.append((place, float(shown), float(clicked)))
        if not fitting:
            return max(faults)
        if len(fitting) == 1:
            return line.creatives[fitting[0][0]]
        return line.creatives[naive_choice(int.from_bytes(chance.bid_id[:7], "big"), fitting)]

    def _floor_of(self, creative: Creative, chance: Chance) -> int:
        """A deal's floor is its own; of an open impression it may go by the duration of what is shown."""
        if creative.media not in (Media.VIDEO, Media.AUDIO):
            return chance.floor
        deal = chance.shown.deal
        offer = deal if deal is not None else chance.shown.imp[creative.media.value]
        currency = (deal if deal is not None else chance.shown.imp).get("bidfloorcur", "USD")
        rate = self._rate(currency, chance.shown.now_ns) or ONE
        floor = chance.floor
        if offer.get("mincpmpersec") is not None:
            floor = _up(offer["mincpmpersec"], rate) * creative.duration_s
        held = [
            _up(one.get("bidfloor", 0.0), rate)
            for one in offer.get("durfloors", ())
            if one.get("mindur", 0) <= creative.duration_s <= (one.get("maxdur") or inf)
        ]
        return max(held, default=floor)

    def _scores(self, line: NaiveLine, chance: Chance) -> tuple[float, float] | None:
        outside = chance.shown.imp.get("ext", {}).get("clearbid")
        if outside is not None and self.settings.external_scores:
            return (min(max(outside["pctr"], 0.0), 1.0), 0.0) if outside["campaign"] == line.id else None
        if self._score is None:
            return None
        pctr, pcvr = self._score(line, chance.shown, chance.floor)
        return pctr, pcvr if line.conversion else 0.0

    def _worth(self, line: NaiveLine, chance: Chance) -> int:
        """Nanos of a conversion where the model is asked, else 0; where it gives no number, what is stated."""
        outside = (
            chance.shown.imp.get("ext", {}).get("clearbid") is not None and self.settings.external_scores
        )
        if line.said("value_source") != "model" or outside or self._score is None:
            return 0
        found = self._value(line, chance.shown, chance.floor) if self._value is not None else nan
        end = "model"
        if not isfinite(found) or found < 0.0:
            found, end = line.worth, "stated"
        least, most = max(1, line.worth // 10), line.worth * 10
        end = "raised" if found < least else "lowered" if found > most else end
        if not chance.test:
            self.valued[end] += 1
        return int(min(max(found, least), most))

    # -- money and users --------------------------------------------------------------------------------------

    def _account(self, account_id: str) -> Account:
        return self.accounts.setdefault(account_id, Account())

    def _capped(self, line: NaiveLine, user: int, now_ns: int) -> bool:
        caps = _caps(line)
        if not caps:
            return False
        if not user:
            return bool(line.said("unknown_user") == "refuse")
        return any(self._count(user, owner, now_ns, window_ns) >= most for owner, window_ns, most in caps)

    def _count(self, user: int, owner: tuple[str, str], now_ns: int, window_ns: int) -> int:
        """Exposures in the window, and bids that are pending."""
        shown = [at for who, whose, at in self.exposures if (who, whose) == (user, owner)]
        pending = [until for who, whose, until in self.pending if (who, whose) == (user, owner)]
        return sum(at > now_ns - window_ns for at in shown) + sum(until > now_ns for until in pending)

    def _take(self, best: Candidate, chance: Chance, rules: ExchangeRules, now_ns: int) -> None:
        """Sets the money of a bid aside; test traffic changes nothing but its own pod."""
        if chance.pod is not None:
            chance.pod.append((best.line, best.creative))
        if chance.test:
            return
        self._known.add(chance.bid_id)
        for key in pace_keys(best.line):
            self.paces[key].bid(best.amount if key[1] is Unit.MONEY else chance.quantity)
        for one in accounts_of(best.line.campaign, best.line.item, best.line.advertiser, now_ns):
            need = best.amount if one.unit is Unit.MONEY else chance.quantity
            self._account(one.account_id).free -= need
        until_ns = now_ns + int(rules.result_seconds * 1e9)
        if chance.user:
            owners = dict.fromkeys(owner for owner, _, _ in _caps(best.line))
            self.pending += [(chance.user, owner, until_ns) for owner in owners]


def _chance(line: NaiveLine, creative: Creative, chance: Chance, pctr: float) -> float:
    """How likely the goal's event is: of a view or a completion as measured of the slot, else a half and .6."""
    goal = line.said("goal")
    if goal not in (Goal.VIEW, Goal.COMPLETE):
        return pctr
    if goal is Goal.COMPLETE and creative.media not in (Media.VIDEO, Media.AUDIO):
        return 0.0
    kind, usual = ("viewability", 0.5) if goal is Goal.VIEW else ("video_completion_rate", 0.6)
    measured = [one["value"] for one in chance.shown.imp.get("metric", ()) if one["type"] == kind]
    found = [one for one in measured if 0.0 <= one <= 1.0]
    return round((found[-1] if found else usual) * 1e6) / 1e6


def pace_keys(line: NaiveLine) -> list[tuple[str, Unit, str]]:
    """The budgets that a line item is paced by, their units, and how they are spent; of a day without the day."""
    mode: str = line.said("pacing").value
    if mode == "asap":
        return [(line.campaign.id, Unit.MONEY, mode)]
    if mode == "ahead":
        mode += f" {line.said('ahead_percent') or 20}"
    mode += f" {line.said('catch_up')}"
    found = []
    for one in accounts_of(line.campaign, line.item, line.advertiser, 0):
        name, _, day = one.account_id.partition("/d")
        if (name.startswith("a/") and not day) or (name.startswith("l/") and line.campaign.shared_pacing):
            continue
        found.append((f"{name} {bool(day)}", one.unit, mode))
    return found


def _caps(line: NaiveLine) -> list[tuple[tuple[str, str], int, int]]:
    """Whose impressions each cap counts, its window and its limit."""
    levels = (("line", line.item), ("campaign", line.campaign), ("advertiser", line.advertiser))
    return [
        ((level, one.id), cap.seconds * 1_000_000_000, cap.impressions)
        for level, one in levels
        if one is not None
        for cap in one.caps
    ]


def _up(cpm: float, rate: int) -> int:
    return -(-cpm_micros_from_float(cpm) * rate // ONE)


def _has_floors(imp: dict[str, Any]) -> bool:
    slots = [imp[medium.value] for medium in (Media.VIDEO, Media.AUDIO) if medium.value in imp]
    slots = [slot for slot in slots if slot.get("mimes")]
    return any(slot.get("mincpmpersec") is not None or slot.get("durfloors") for slot in slots)


def _is_pod(imp: dict[str, Any], media: Sequence[Media]) -> bool:
    return len(media) == 1 and bool(imp[media[0].value].get("poddur"))


def _places(imp: dict[str, Any], media: Sequence[Media]) -> int:
    return min(imp[media[0].value].get("maxseq") or 8, 8) if _is_pod(imp, media) else 1
