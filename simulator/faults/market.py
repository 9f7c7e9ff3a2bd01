"""The exchange: auctions, what it calls of the bids that it took, and its own books.

A call is made again until it is answered; what of it reached the log of notices is what the exchange is owed.
"""

from functools import partial

import msgspec

from bidder.core.messages import BID_REQUESTS, BID_RESPONSES, NOTICES, Notice, NoticeKind, encode
from bidder.core.token import bid_id_text, read
from bidder.money import MICROS_PER_UNIT, format_decimal, parse_decimal
from bidder.runtime.partitioner import Partitioner
from bidder.runtime.transport import Outbound
from bidder.web.calls import Answer
from simulator.faults.broker import Consumer
from simulator.faults.calls import Call, Caller, World, url_in
from simulator.faults.credits import Shown
from simulator.faults.dice import Dice
from simulator.faults.oracle import Bid
from simulator.faults.plan import (
    ACCEPT_NS,
    BILLING_S,
    FULL_PCTR,
    MAX_BID_CPM_MICROS,
    MS,
    TMAX_MS,
    S,
)
from simulator.faults.shops import Shops

_POLL_NS = 50 * MS
_LAST_MOMENT_NS = MS
"""How long before the end of its time a last call is made: it is written after that, and is in time all the same."""
_PRICE, _CURRENCY, _LOSS = "${AUCTION_PRICE}", "${AUCTION_CURRENCY}", "${AUCTION_LOSS}"
_EXPECTED = {
    "above_cap": 204, "zero": 204, "audit": 204, "unexpanded": 204, "currency": 204, "forged": 400, "scope": 400,
}  # fmt: skip
_ROGUES = ("above_cap", "no_price", "unknown_campaign", "malformed")


class _Bid(msgspec.Struct, gc=False):
    price: msgspec.Raw
    nurl: str
    lurl: str
    adm: str
    burl: str = ""


class _SeatBid(msgspec.Struct, gc=False):
    bid: list[_Bid]


class _Response(msgspec.Struct, gc=False):
    id: str
    seatbid: list[_SeatBid] = []


class _Call(Call, gc=False):
    """One call; `expects` is what must come of it: `ok`, or a rule that refuses."""

    expects: str = "ok"


class Market:
    """The exchange.

    Args:
        world: whom it calls, and in which time; the scheduler may read tokens. dice: of the market. shops: whose ads
            are shown.

    Attributes:
        answered: auctions with a bid in time.
    """

    def __init__(self, world: World, dice: Dice, shops: Shops) -> None:
        self._shops = shops
        self._plan, self._scheduler = world.plan, world.scheduler
        self._broker, self._oracle = world.broker, world.oracle
        self._keys, self._counts = (world.key,), world.counts
        self._auctions, self._outcomes, self._faults = (
            dice.fork("auctions"),
            dice.fork("outcomes"),
            dice.fork("calls"),
        )
        self._shown = dice.fork("shown")
        self._calls: Caller[_Call] = Caller(
            world,
            self._faults,
            "call",
            BILLING_S * S,
            taking=self._taking,
            heard=self._heard,
            on_answer=self._answered,
        )
        self._lines = list(world.plan.lines)
        self._exchanges = sorted(world.plan.exchanges)
        self._partitioner = Partitioner()
        self._responses = Consumer(world.broker, (BID_RESPONSES,))
        self._decoder = msgspec.json.Decoder(_Response)
        self._open: dict[str, tuple[int, str]] = {}
        self._begun = self.answered = 0
        self._template: Notice | None = None

    def begin(self) -> None:
        """Plans the first auction, and listens."""
        self._scheduler.after(0, self._auction)
        self._scheduler.after(0, self._listen)
        if self._broker.faults.rogue:
            self._scheduler.after(self._faults.about(self._broker.faults.rogue), self._rogue)

    @property
    def done(self) -> bool:
        """Whether all auctions were begun and all calls answered, those of shops too."""
        return self._begun >= self._plan.auctions and not self._calls.pending and not self._shops.pending

    # -- auctions -------------------------------------------------------------------------------------------

    def _auction(self) -> None:
        dice, now_ns = self._auctions, self._scheduler.now_ns
        self._begun += 1
        name = f"r{self._begun}"
        pctr = FULL_PCTR if dice.chance(0.6) else FULL_PCTR * (0.05 + 0.95 * dice.uniform())
        line = dice.pick(self._lines)
        exchange = dice.pick(self._exchanges)
        person = self._shops.somebody()
        user = f'"user":{{"buyeruid":"{person}"}},' if person else ""
        body = (
            f'{{"id":"{name}","imp":[{{"id":"1","banner":{{"w":300,"h":250}},"ext":{{"clearbid":'
            f'{{"campaign":"{line}","pctr":{pctr:.9f}}}}}}}],"site":{{"domain":"news.example"}},"at":2,'
            f'{user}"tmax":{TMAX_MS},"cur":["USD"],"ext":{{"exchange":"{exchange}"}}}}'
        )
        self._open[name] = (now_ns + TMAX_MS * MS, person)
        self._broker.produce([Outbound(BID_REQUESTS, name.encode(), body.encode())], self._partitioner)
        if self._begun < self._plan.auctions:
            self._scheduler.after(dice.about(self._plan.duration_ns / self._plan.auctions), self._auction)

    def _listen(self) -> None:
        for message in self._responses.poll(10_000):
            response = self._decoder.decode(message.value)
            if response.seatbid:
                self._answer(response.id, response.seatbid[0].bid[0])
        self._scheduler.after(_POLL_NS, self._listen)

    def _answer(self, auction: str, answer: _Bid) -> None:
        """Takes the first bid of an auction that comes in time; of others nothing comes."""
        token = read(_token(answer.nurl), self._keys)
        line = token.line_item_id or token.campaign_id
        accounts = self._plan.accounts(line, token.bid_at_ns)
        self._oracle.offered(token.seat, token.epoch, token.bid_at_ns, line, accounts)
        until_ns, person = self._open.pop(auction, (0, ""))
        if until_ns < self._scheduler.now_ns:
            self._counts["answer_unused"] += 1
            return
        self.answered += 1
        skew_ns = self._oracle.skew_ns(token.seat, token.epoch)
        bid_cpm_micros = parse_decimal(bytes(answer.price).decode(), MICROS_PER_UNIT)
        bid = Bid(
            bid_id_text(token.bid_id),
            line,
            accounts,
            bid_cpm_micros,
            token.result_until_ns - skew_ns,
            token.liable_until_ns - skew_ns,
            token.liable_until_ns,
            {
                NoticeKind.WIN: answer.nurl,
                NoticeKind.BILLING: answer.burl or url_in(answer.adm, "/bill?"),
                NoticeKind.LOSS: answer.lurl,
            },
            self._plan.charge(line, token.exchange),
            (token.seat, token.epoch),
            Shown(
                bid_id_text(token.bid_id),
                line,
                self._plan.lines[line][0].advertiser,
                person,
                token.bid_at_ns,
            ),
        )
        assert token.cap_nanos == bid_cpm_micros, "a CPM micro is a nano an impression"
        self._oracle.bids[bid.id] = bid
        self._decide(bid, answer.adm)

    def _decide(self, bid: Bid, markup: str) -> None:
        dice, kind, now_ns = self._outcomes, self._plan.kind, self._scheduler.now_ns
        rival = dice.between(1, MAX_BID_CPM_MICROS * 11 // 10)
        if kind == "all_win_late_full":
            bid.price_nanos = bid.cap_nanos
            win_ns, bill_ns = bid.result_ns - _LAST_MOMENT_NS, bid.liable_ns - _LAST_MOMENT_NS
        else:
            win_ns = min(now_ns + 20 * MS + dice.about(150 * MS), bid.result_ns - _LAST_MOMENT_NS)
            bill_ns = min(win_ns + 20 * MS + dice.about(400 * MS), bid.liable_ns - _LAST_MOMENT_NS)
            if bid.cap_nanos <= rival:
                self._plan_call(win_ns, bid, NoticeKind.LOSS)
                return
            bid.price_nanos = bid.cap_nanos if kind == "first_price" else rival
        faults, drawn = self._broker.faults, self._faults
        if drawn.chance(faults.false_loss):
            self._counts["false_loss"] += 1
            self._plan_call((now_ns + win_ns) // 2, bid, NoticeKind.LOSS)
        if drawn.chance(faults.very_late):
            self._counts["very_late"] += 1
            bill_ns = bid.liable_ns + drawn.between(0, ACCEPT_NS * 13 // 10)
        self._plan_call(win_ns, bid, NoticeKind.WIN)
        self._shops.shown(bid, markup, min(now_ns + 20 * MS + self._shown.about(150 * MS), win_ns))
        self._plan_call(bill_ns, bid, NoticeKind.BILLING)
        # A win may come without a price; what it would book elsewhere it may not book here.
        if bid.charge.money is NoticeKind.BILLING and drawn.chance(faults.invalid):
            self._plan_invalid(drawn.between(now_ns, bill_ns), bid, markup)

    # -- calls ----------------------------------------------------------------------------------------------

    def _plan_call(self, at_ns: int, bid: Bid, kind: NoticeKind) -> None:
        url = bid.urls[kind].replace(_PRICE, format_decimal(bid.price_nanos, MICROS_PER_UNIT))
        url = url.replace(_CURRENCY, "USD").replace(_LOSS, "102")
        self._calls.plan(at_ns, _Call(kind, url, bid))

    def _plan_invalid(self, at_ns: int, bid: Bid, markup: str) -> None:
        self._counts["invalid_call"] += 1
        rule = self._faults.pick(list(_EXPECTED))
        url = bid.urls[NoticeKind.BILLING]
        price = {
            "above_cap": format_decimal(bid.cap_nanos + 1, MICROS_PER_UNIT), "zero": "0", "audit": "AUDIT",
            "unexpanded": _PRICE,
        }.get(rule, format_decimal(bid.price_nanos, MICROS_PER_UNIT))  # fmt: skip
        url = url.replace(_PRICE, price).replace(_CURRENCY, "EUR" if rule == "currency" else "USD")
        if rule == "forged":
            token = _token(url)
            url = url.replace(token, token[:-30] + ("A" if token[-30] != "A" else "B") + token[-29:])
        elif rule == "scope":
            url = url.replace(_token(url), _token(markup[markup.index("/c?t=") :]))
        self._calls.begin(at_ns, _Call(NoticeKind.BILLING, url, bid, expects=rule))

    def _taking(self, call: _Call, local_ns: int) -> None:
        assert call.bid is not None
        self._oracle.taking(call.bid, call.kind, local_ns)

    def _heard(self, call: _Call, answer: Answer | None, status: int, handled_ns: int) -> None:
        assert call.bid is not None
        self._scheduler.trace(call.bid.id.encode(), b"%d" % status)
        if answer is not None:
            self._check(call, call.bid, answer, status, handled_ns)

    def _answered(self, call: _Call, answer: Answer | None) -> None:
        if answer is not None and isinstance(answer.notice, Notice):
            assert call.bid is not None
            self._template = answer.notice
            on_disk = partial(self._calls.on_disk, encode(answer.notice))
            self._oracle.acknowledged(call.bid, call.kind, on_disk=on_disk)
        self._calls.repeat(call, self._calls.begin)

    def _check(self, call: _Call, bid: Bid, answer: Answer, status: int, handled_ns: int) -> None:
        """What the tracker made of a call must follow from its rules."""
        expired = handled_ns > bid.local_liable_ns + ACCEPT_NS
        wrong = ""
        if call.expects == "ok" and not expired:
            notice = answer.notice
            price = bid.price_nanos if call.kind is not NoticeKind.LOSS else 0
            if not isinstance(notice, Notice) or notice.kind is not call.kind or notice.price_nanos != price:
                wrong = f"a notice of {price} nanos"
        else:
            code = 410 if expired and _EXPECTED.get(call.expects) != 400 else _EXPECTED.get(call.expects, 410)
            if answer.notice is not None or status not in {0, code}:
                wrong = f"no notice and {code}"
        if wrong:
            self._oracle.violated(
                "tracker_rule",
                f"{call.kind.name} ({call.expects}) of {bid.id} must get {wrong}, got {answer}",
            )

    # -- what no tracker of ours writes ---------------------------------------------------------------------

    def _rogue(self) -> None:
        """A notice in the log that must be refused there: the bank trusts no tracker."""
        faults = self._broker.faults
        if not faults.rogue:
            return
        if self._template is not None:
            rule = self._faults.pick(_ROGUES)
            value = _rogue_notice(self._template, rule, self._faults.between(0, 10**8))
            key = self._template.key
            if not self._broker.is_down():
                before = self._written()
                self._broker.produce([Outbound(NOTICES, key, value)], self._partitioner)
                self._oracle.expected[rule] += self._written() - before
                self._counts["rogue_notice"] += 1
        self._scheduler.after(self._faults.about(faults.rogue), self._rogue)

    def _written(self) -> int:
        return sum(self._broker.end(place) for place in self._broker.places((NOTICES,)))


def _rogue_notice(template: Notice, rule: str, number: int) -> bytes:
    if rule == "malformed":
        return b'{"type":"notice","v":1,'
    changes: dict[str, object] = {
        "above_cap": {"price_nanos": template.cap_nanos + 1},
        "no_price": {"price_nanos": 0},
        "unknown_campaign": {"campaign_id": "nobody", "price_nanos": 1},
    }[rule]  # type: ignore[assignment]
    return encode(
        msgspec.structs.replace(
            template,
            kind=NoticeKind.BILLING,
            money=NoticeKind.BILLING,
            bid_id=f"rogue{number:011d}",
            fees_nanos=0,
            **changes,
        )
    )


def _token(url: str) -> str:
    begin = url.index("t=") + 2
    ends = [end for end in (url.find("&", begin), url.find('"', begin)) if end >= 0]
    return url[begin : min(ends, default=len(url))]
