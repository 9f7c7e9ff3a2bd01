"""Why not: for one request and one line item, every rule and whether it refuses; and what the engine would do.

The engine stops at the first rule that refuses; here all are asked, each by the engine's own tables and kernels,
one at a time (`core.explain_trial`), so that what is explained is what is decided. Rules stand in the order in which
the engine asks them: the first that refuses is the one that the funnel of the line item counts. Nothing of the
engine changes by asking: no money, no cap, no pace, no rate, and the request is not taken as seen.
"""

import msgspec

from bidder.core.batch import Opportunity as Pending
from bidder.core.brakes import names_of
from bidder.core.call import Call, Decision, wrong_types
from bidder.core.creative_kernels import creative_fault
from bidder.core.decision_columns import KNOWN, R_FLAGS, R_USER
from bidder.core.dimensions import Dimension
from bidder.core.engine import Engine
from bidder.core.explain_gate import Judge
from bidder.core.explain_money import Account, accounts_asked, budget_words, lease_words, least_of, left_out
from bidder.core.explain_price import Price, Pricing
from bidder.core.explain_state import Accounts, Result, State
from bidder.core.explain_trial import Stage
from bidder.core.explain_words import NOTHING, Shown, Words, creative_format, paused, wanted
from bidder.core.frequency import Level, owner_number
from bidder.core.frequency_kernels import first_refusal, recent
from bidder.core.lines import Line
from bidder.core.opportunity import hour_of_week
from bidder.core.table import Column
from bidder.errors import InputError, RequestError
from bidder.openrtb.reasons import Reason
from models.explain.attribution import Attribution

REQUEST, DUPLICATE, INACTIVE, FOREIGN = "request", "duplicate", "inactive", "foreign_price"
"""Rules beside dimensions and stages: the request's, a repeat, a paused level, a price of nothing when changed."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule. `passed` is None where it cannot be asked; `reason` is the `Reason` that it refuses with."""

    name: str
    passed: bool | None
    reason: str = ""
    wants: str = ""
    shows: str = ""


class Fit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One creative, and why it cannot be shown: empty where it can."""

    creative_id: str
    format: str
    fault: str = ""


class CapCount(msgspec.Struct, frozen=True, kw_only=True):
    """One cap, whose it is, and how many impressions count in its window."""

    level: str
    owner: str
    window_s: int
    limit: int
    count: int
    refuses: bool


class Opportunity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One impression in the open auction, one of its deals, or one place of its pod.

    `stage` is the first rule that refuses, `outbid` or `bid`; `reason` is how the whole opportunity would end, with
    whose bid and at which price. `contributions` say why its probabilities are what they are, where that was asked.
    """

    imp_id: str
    stage: str
    reason: str
    deal_id: str = ""
    place: int = 0
    rules: tuple[Rule, ...] = ()
    creatives: tuple[Fit, ...] = ()
    caps: tuple[CapCount, ...] = ()
    accounts: tuple[Account, ...] = ()
    price: Price | None = None
    winner: str = ""
    winner_bid_nanos: int = 0
    contributions: tuple[Attribution, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that was asked of one request for one line item. `refused` holds what is against the request itself."""

    line_item_id: str
    campaign_id: str
    at_ns: int
    request_id: str = ""
    exchange: str = ""
    test: bool = False
    refused: tuple[Rule, ...] = ()
    opportunities: tuple[Opportunity, ...] = ()


def explain(engine: Engine, body: bytes, line_item_id: str, now_ns: int, age_ns: int = 0) -> Explanation:
    """Asks every rule of one line item, and the engine's verdict. Changes nothing.

    Args:
        engine: as it stands. body: an OpenRTB BidRequest, JSON. line_item_id: the campaign's id where it is its own
            line item. now_ns: the time. age_ns: wall nanoseconds since the exchange sent it.

    Raises:
        InputError: no such line item.
    """
    return Explainer(engine).explain(body, line_item_id, now_ns, age_ns)


class Explainer:
    """`explain` of many requests: what depends on the table alone is made once.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._judge = Judge(engine)
        self._stage = Stage(engine, self._judge)
        self._words = Words(self._stage.table, self._stage.slots)

    def explain(self, body: bytes, line_item_id: str, now_ns: int, age_ns: int = 0) -> Explanation:
        """See the function of this name."""
        if self._stage.stale:
            self._stage = Stage(self._engine, self._judge)
            self._words = Words(self._stage.table, self._stage.slots)
        table = self._stage.table
        line = table.index.get(line_item_id)
        if line is None:
            some = ", ".join(table.ids[:10]) + (" ..." if len(table.ids) > 10 else "") or "none"
            raise InputError(f"line item must be one of {some}, was {line_item_id}")
        if self._stage.slots.crowded:
            self._stage.slots.forget()
        return _Asking(self._engine, self._judge, self._stage, self._words, line, now_ns).run(body, age_ns)


class _Asking:
    """One explanation in the making."""

    def __init__(
        self, engine: Engine, judge: Judge, stage: Stage, words: Words, line: int, now_ns: int
    ) -> None:
        self._engine, self._judge, self._stage, self._words = engine, judge, stage, words
        self._line, self._now_ns = line, now_ns
        self._own: Line = stage.table.lines[line]
        self._made: set[bytes] = set()

    def run(self, body: bytes, age_ns: int) -> Explanation:
        """Reads the request, then asks each opportunity in turn."""
        settings = self._engine.settings
        call = Call(body, age_ns, self._now_ns, settings, self._judge)
        refused: list[Rule] = []
        found: list[Pending] = []
        ended: list[Opportunity] = []
        if call.request is not None:
            strict = self._judge.is_strict(call.exchange.name)
            mended = (
                _refusal(Reason.INVALID, wrong_types(call.repaired)) if strict and call.repaired else None
            )
            refused = [_refusal(reason) for reason in self._judge.refusals]
            try:
                found = self._stage.batch.gather(call)
            except RequestError as error:
                call.refuse(error)
            if mended is not None:
                refused.insert(0, mended)
            elif strict and call.repaired:
                # In parts that are read only once the gate has let a request in.
                refused.append(_refusal(Reason.INVALID, wrong_types(call.repaired)))
        if call.request is None:
            row = msgspec.json.decode(call.rows[0], type=Decision)
            refused.append(_refusal(Reason(row.reason), row.error))
        else:
            ended = [
                self._ended(call.rows[place], refused) for place in range(len(call.rows)) if call.rows[place]
            ]
            if found and self._offered_before(call):
                refused.append(_refusal(Reason.SAME_OPPORTUNITY))
        asked = self._ask_all(call, found, refused)
        return Explanation(
            line_item_id=self._own.id,
            campaign_id=self._own.campaign.id,
            at_ns=self._now_ns,
            request_id=call.request_id,
            exchange=call.exchange.name,
            test=call.test,
            refused=tuple(refused),
            opportunities=(*ended, *asked),
        )

    def _offered_before(self, call: Call) -> bool:
        source = call.request.source if call.request is not None else None
        if source is None or not source.tid or not call.exchange.dedupe_ns or call.test:
            return False
        return self._judge.offered_before(source.tid, call.request_id, self._now_ns)

    def _ended(self, row: str, refused: list[Rule]) -> Opportunity:
        """An impression or deal that is no opportunity for anybody."""
        noted = msgspec.json.decode(row, type=Decision)
        reason = Reason(noted.reason).name
        return Opportunity(
            imp_id=noted.imp_id,
            deal_id=noted.deal_id,
            stage=REQUEST,
            reason=refused[0].reason if refused else reason,
            rules=(Rule(name=REQUEST, passed=False, reason=reason),),
        )

    def _ask_all(self, call: Call, found: list[Pending], refused: list[Rule]) -> list[Opportunity]:
        """Each place of a pod against what the places before it took, each opportunity against the ones before."""
        state, accounts = self._stage.begin(self._now_ns)
        asked: list[Opportunity] = []
        begin = 0
        while begin < len(found):
            end = begin + 1
            while end < len(found) and found[end].pod_s and found[end].number:
                end += 1
            asked += self._ask_group(call, found[begin:end], state, accounts, refused)
            begin = end
        return asked

    def _ask_group(
        self, call: Call, group: list[Pending], state: State, accounts: Accounts, refused: list[Rule]
    ) -> list[Opportunity]:
        """The places of one pod, or one opportunity. Changes `state` as the engine would."""
        stage, now_ns, settings = self._stage, self._now_ns, self._engine.settings
        batch = stage.batch
        batch.clear()
        hour = hour_of_week(now_ns)
        for number, pending in enumerate(group):
            bid_id = pending.name(self._engine.epoch, settings.seat)
            batch.add(pending, hour, 0 if pending.pod_s else -1)
            if bid_id in self._made or self._engine.wallet.purse.knows(bid_id):
                batch.columns[number, R_FLAGS] |= KNOWN
        asked: list[Opportunity] = []
        for number, pending in enumerate(group):
            before = state.copied() if len(group) == 1 else self._before(number, state, accounts)
            last = number == len(group) - 1
            after = state if last else state.copied()
            paces, targets = stage.drifted(number, self._line, now_ns, before, accounts)
            result = stage.rehearse(number + 1, now_ns, after, accounts)[number]
            before.paces, before.targets = paces, targets
            asked.append(self._ask(call, pending, number, before, accounts, result, refused))
            if result.line >= 0 and not call.test:
                self._made.add(batch.rows[number].bid_id)
        return asked

    def _before(self, number: int, state: State, accounts: Accounts) -> State:
        """The state after the first `number` places of a pod."""
        before = state.copied()
        if number:
            self._stage.rehearse(number, self._now_ns, before, accounts)
        return before

    # -- one opportunity ------------------------------------------------------------------------------------

    def _ask(
        self,
        call: Call,
        pending: Pending,
        r: int,
        state: State,
        accounts: Accounts,
        result: Result,
        refused: list[Rule],
    ) -> Opportunity:
        rules = [Rule(name=REQUEST, passed=False, reason=refused[0].reason)] if refused else []
        if self._stage.batch.columns[r, R_FLAGS] & KNOWN:
            rules.append(Rule(name=DUPLICATE, passed=False, reason=Reason.DUPLICATE.name))
        rules += self._targeting(call, pending, r)
        rules += self._brake_rule()
        fits = self._fits(r)
        rules.append(_creative_rule(fits))
        if pending.pod_s:
            held = self._stage.has_place(r, self._line)
            rules.append(
                _rule("pod", Reason.POD, not held, "one place in a pod", "has one" if held else NOTHING)
            )
        caps = self._caps(r, state)
        rules += self._cap_rule(r, caps)
        price, price_rules, amount = Pricing(self._stage, self._line, r, self._now_ns, state, accounts).ask(
            fits=any(not one.fault for one in fits), currency=call.visitor.currency
        )
        money = accounts_asked(
            self._stage, self._line, self._now_ns, amount, pending.quantity, state, accounts
        )
        rules.append(_rule("no_lease", Reason.NO_LEASE, *lease_words(money)))
        rules += [_price_rule(*one) for one in price_rules]
        least = least_of(self._stage, self._line, r, state)
        share = left_out(self._stage, self._line, r, state)
        rules.append(_rule("budget", Reason.BUDGET, *budget_words(money, amount, least, share)))
        return self._verdict(pending, tuple(rules), fits, caps, money, price, result)

    def _verdict(
        self,
        pending: Pending,
        rules: tuple[Rule, ...],
        fits: tuple[Fit, ...],
        caps: tuple[CapCount, ...],
        money: tuple[Account, ...],
        price: Price | None,
        result: Result,
    ) -> Opportunity:
        first = next((rule for rule in rules if rule.passed is False), None)
        bid = first is None or first.name not in (REQUEST, DUPLICATE)
        stage = first.name if first is not None else "bid" if result.line == self._line else "outbid"
        if stage == FOREIGN:
            stage = "no_value"
        won = bid and result.line >= 0
        reason = Reason(result.reason).name if bid or first is None else first.reason
        return Opportunity(
            imp_id=pending.imp.id,
            stage=stage,
            reason=reason,
            deal_id=pending.deal.id if pending.deal is not None else "",
            place=pending.number,
            rules=rules,
            creatives=fits,
            caps=caps,
            accounts=money,
            price=price,
            winner=self._stage.table.ids[result.line] if won else "",
            winner_bid_nanos=result.bid_nanos if won else 0,
        )

    def _targeting(self, call: Call, pending: Pending, r: int) -> list[Rule]:
        """Whether it is active, then its dimensions: those where it has a rule, and any that refuses."""
        stage, line, own = self._stage, self._line, self._own
        request = call.request
        assert request is not None, "a call with opportunities has a request"
        shown = Shown(request, call.visitor, pending, self._now_ns)
        active = bool((stage.table.active & stage.only(line)).any())
        rules = [_rule(INACTIVE, Reason.NO_CAMPAIGNS, active, "active", paused(own))]
        for place, (dimension, part) in enumerate(
            zip(stage.table.dimensions, stage.parts_of(r), strict=True)
        ):
            refuses = stage.refuses(line, place, part)
            if not (refuses or _has_rule(own, dimension)):
                continue
            reason = Reason(int(stage.table.refusals[place]))
            shows = self._words.shown(shown, line, dimension, part)
            rules.append(_rule(dimension.name.lower(), reason, not refuses, wanted(own, dimension), shows))
        return rules

    def _brake_rule(self) -> list[Rule]:
        """Worth a word only where it refuses."""
        reason = self._stage.stopped(self._line)
        if not reason:
            return []
        names = [name for name in names_of(self._own) if name in self._engine.brakes.stopped(self._now_ns)]
        return [_rule("stopped", Reason(reason), False, "no brake", ", ".join(names))]

    def _fits(self, r: int) -> tuple[Fit, ...]:
        """Every creative of the line item, held against the slot."""
        stage = self._stage
        owners, own, row = stage.table.creatives, stage.creatives, stage.batch.columns[r]
        seconds, blocks = stage.seconds_left(r), stage.batch.row_blocks()
        found: list[Fit] = []
        for one in owners.of_line(self._line):
            fault = creative_fault(
                row, row[R_FLAGS], one, own.columns, own.blocks, own.slots, own.lists, own.native_ok, blocks, seconds
            )  # fmt: skip
            creative = owners.owners[one][1]
            name = Reason(int(fault)).name if fault else ""
            found.append(Fit(creative_id=creative.id, format=creative_format(creative), fault=name))
        return tuple(found)

    def _caps(self, r: int, state: State) -> tuple[CapCount, ...]:
        """Each cap, with what counts of this user in its window."""
        table, own, now_ns = self._stage.table, self._own, self._now_ns
        names = {
            owner_number(level, name): (level.name.lower(), name)
            for level, name in (
                (Level.ADVERTISER, own.advertiser.id),
                (Level.CAMPAIGN, own.campaign.id),
                (Level.LINE_ITEM, own.line_item_id),
            )
        }
        user = self._stage.batch.columns[r, R_USER].astype("uint64")
        begin = int(table.columns[self._line, Column.CAP_START])
        found: list[CapCount] = []
        for place, cap in enumerate(own.caps, start=begin):
            level, name = names[cap.owner]
            users, rows = state.cap_users, state.cap_rows
            count = int(recent(users, rows, user, cap.owner, now_ns, cap.window_ns))
            refuses = (
                user != 0 and first_refusal(users, rows, table.caps, place, place + 1, user, now_ns) >= 0
            )
            found.append(
                CapCount(
                    level=level,
                    owner=name,
                    window_s=cap.window_ns // 1_000_000_000,
                    limit=cap.limit,
                    count=count,
                    refuses=bool(refuses),
                )
            )
        return tuple(found)

    def _cap_rule(self, r: int, caps: tuple[CapCount, ...]) -> list[Rule]:
        if not caps:
            return []
        wants = ", ".join(f"{cap.limit} in {cap.window_s} s of the {cap.level}" for cap in caps)
        if not self._stage.batch.columns[r, R_USER]:
            passed = not self._stage.table.columns[self._line, Column.REFUSE_UNKNOWN]
            return [_rule("capped", Reason.CAPPED, passed, wants, "a user who is not known")]
        passed = not any(cap.refuses for cap in caps)
        return [_rule("capped", Reason.CAPPED, passed, wants, ", ".join(str(cap.count) for cap in caps))]


def _has_rule(line: Line, dimension: Dimension) -> bool:
    """Whether a dimension is worth a word where it does not refuse."""
    always = dimension in (Dimension.FLIGHT, Dimension.FORMAT, Dimension.BLOCKED)
    return always or dimension.name.lower() in line.rules


def _refusal(reason: Reason, shows: str = "") -> Rule:
    return Rule(name=REQUEST, passed=False, reason=reason.name, shows=shows)


def _rule(name: str, reason: Reason, passed: bool | None, wants: str, shows: str) -> Rule:
    return Rule(
        name=name, passed=passed, reason=reason.name if passed is False else "", wants=wants, shows=shows
    )


def _creative_rule(fits: tuple[Fit, ...]) -> Rule:
    """Refuses with the fault of the creative that came furthest, as the engine does."""
    count = sum(not one.fault for one in fits)
    worst = max((Reason[one.fault] for one in fits if one.fault), default=Reason.NO_CAMPAIGNS)
    return _rule("creative", worst, count > 0, "a creative that fits", f"{count} of {len(fits)} fit")


def _price_rule(name: str, passed: bool | None, wants: str, shows: str) -> Rule:
    reason = Reason.NO_VALUE if name == FOREIGN else Reason[name.upper()]
    return _rule(name, reason, passed, wants, shows)
