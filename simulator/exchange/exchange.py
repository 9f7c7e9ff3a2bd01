"""The exchange: offers rows, judges the answers, and says what happens when.

Life of a row: `offer` makes its request and keeps it open; `respond` closes it and returns the calls that
follow; the shell makes each call when the clock shows its time and tells `happened`, which is when money and
outcomes are booked; `expire` closes what nobody answered. Delays, clicks and conversions are draws by the row's
id, so that they do not depend on the order in which anything happens.
"""

from typing import NamedTuple
from urllib.parse import quote

from bidder.core.messages import NoticeKind
from bidder.money import NANOS_PER_UNIT, format_decimal
from simulator.exchange.answers import (
    LOSS_CODES,
    LOST_TO_HIGHER_BID,
    Answer,
    Bid,
    Violation,
    fault_of,
    price_cpm_micros,
    read_answer,
    read_id,
)
from simulator.exchange.auction import Verdict, decide
from simulator.exchange.books import Books, Call
from simulator.exchange.delays import Delays
from simulator.exchange.macros import Macros
from simulator.exchange.markup import click_url, pixel_url
from simulator.exchange.outcomes import Outcomes
from simulator.logs.draws import key_of, uniforms
from simulator.logs.requests import FIRST_PRICE, RequestEncoder
from simulator.logs.rows import LogRow

CLOSED_KEPT = 65_536
"""Closed auctions whose ids are remembered, to tell a late or repeated answer from one to no auction of ours."""

_NOT_WON = Verdict(won=False, price_cpm_micros=0, min_to_win_cpm_micros=0)


class _Open(NamedTuple):
    row: LogRow
    deadline_ns: int


class _Candidate(NamedTuple):
    """A bid that keeps all rules."""

    bid: Bid
    seat: str
    bid_cpm_micros: int


class Exchange:
    """One exchange, or several that share a topic (see `LogRow.exchange`).

    Args:
        encoder: makes requests, and knows which exchange sells at first price.
        outcomes: the law of clicks and conversions.
        seed: of delays and loss notices, from 0 to 2**64 - 1.
        delays: how long what follows takes.
        loss_notice_share: share of losing bids that hear of it; real exchanges differ, and some never tell.

    Attributes:
        books: the exchange's own.
    """

    def __init__(
        self,
        encoder: RequestEncoder,
        outcomes: Outcomes,
        *,
        seed: int,
        delays: Delays | None = None,
        loss_notice_share: float = 1.0,
    ) -> None:
        if not 0 <= loss_notice_share <= 1:
            raise ValueError(f"loss_notice_share must be from 0 to 1, was {loss_notice_share}")
        self.books = Books()
        self._encoder = encoder
        self._outcomes = outcomes
        self._delays = Delays() if delays is None else delays
        self._loss_notice_share = loss_notice_share
        self._delay_key = key_of(seed, "exchange delays")
        self._loss_key = key_of(seed, "exchange loss notice")
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, bool] = {}

    @property
    def open_auctions(self) -> int:
        """How many offers wait for an answer."""
        return len(self._open)

    def offer(self, row: LogRow, deadline_ns: int) -> bytes:
        """Opens the auction of a row.

        Args:
            row: what is on offer; its id must not be open.
            deadline_ns: when `expire` gives it up, on whatever clock the shell hands to `expire`; it must
                not go back from one offer to the next.

        Returns:
            The bid request.
        """
        assert row.id not in self._open, f"row {row.id} is on offer already"
        self._open[row.id] = _Open(row, deadline_ns)
        self.books.offered += 1
        return self._encoder.encode(row)

    def respond(self, response: bytes, now_ns: int, *, late: bool = False) -> list[Call]:
        """Decides the auction that a response answers.

        Args:
            response: BidResponse, JSON.
            now_ns: time of the decision, from which all calls are counted.
            late: whether it came after the time was up, by the shell's own measure; it then counts as a timeout.

        Returns:
            What follows, in no order; nothing where there was no bid, or none that counts.
        """
        answer = read_answer(response)
        if answer is None:
            return self._malformed(response, late=late)
        row = self._close(answer.id, late=late)
        if row is None:
            return []
        if not any(seat.bid for seat in answer.seatbid):
            self.books.no_bids += 1
            return []
        candidates, calls = self._judge(answer, row, now_ns)
        if candidates:
            calls += self._decide(answer, row, candidates, now_ns)
        return calls

    def happened(self, call: Call) -> None:
        """Books a call at the moment when it is made."""
        self.books.book(call)

    def expire(self, now_ns: int) -> int:
        """Gives up the auctions whose deadline has come, and says how many."""
        expired = []
        for name, auction in self._open.items():
            if auction.deadline_ns > now_ns:
                break
            expired.append(name)
        for name in expired:
            self._time_out(name)
        return len(expired)

    def _malformed(self, response: bytes, *, late: bool) -> list[Call]:
        """A response that is none closes its auction where one can read which that is."""
        self.books.violations[Violation.MALFORMED] += 1
        name = read_id(response)
        if name is not None and name in self._open:
            self._close(name, late=late)
        return []

    def _close(self, name: str, *, late: bool) -> LogRow | None:
        """Takes an auction out of the open ones; None where its answer does not count."""
        auction = self._open.get(name)
        if auction is None:
            self._count_stray(name)
            return None
        if late:
            self.books.late += 1
            self._time_out(name)
            return None
        del self._open[name]
        self._remember(name, in_time=True)
        self.books.answered += 1
        return auction.row

    def _time_out(self, name: str) -> None:
        del self._open[name]
        self._remember(name, in_time=False)
        self.books.timeouts += 1

    def _remember(self, name: str, *, in_time: bool) -> None:
        closed = self._closed
        if len(closed) >= CLOSED_KEPT:
            del closed[next(iter(closed))]
        closed[name] = in_time

    def _count_stray(self, name: str) -> None:
        """Counts an answer to an auction that is not open; each is late once, and then a repeat."""
        in_time = self._closed.get(name)
        if in_time is None:
            self.books.violations[Violation.UNKNOWN_AUCTION] += 1
        elif in_time:
            self.books.repeats += 1
        else:
            self.books.late += 1
            self._closed[name] = True

    def _judge(self, answer: Answer, row: LogRow, now_ns: int) -> tuple[list[_Candidate], list[Call]]:
        """Sorts the bids of an answer into those that keep all rules and the notices to those that do not."""
        candidates: list[_Candidate] = []
        calls: list[Call] = []
        for seat in answer.seatbid:
            for bid in seat.bid:
                books = self.books.of(bid.cid)
                books.bids += 1
                fault, price = self._fault(answer, bid, row)
                if fault is None:
                    candidates.append(_Candidate(bid, seat.seat, price))
                    continue
                books.rejected += 1
                self.books.violations[fault] += 1
                verdict = decide(0, row.floor_cpm_micros, row.market_cpm_micros, first_price=False)
                macros = Macros(answer, seat.seat, bid, price, verdict, LOSS_CODES[fault])
                calls += self._loss(row, macros, now_ns)
        return candidates, calls

    def _fault(self, answer: Answer, bid: Bid, row: LogRow) -> tuple[Violation | None, int]:
        """The first rule that a bid breaks, and its price in CPM micros, 0 where that cannot be read."""
        try:
            price = price_cpm_micros(bytes(bid.price))
        except ValueError:
            return Violation.PRICE, 0
        if answer.cur != self._encoder.currency:
            return Violation.CURRENCY, price
        return fault_of(bid, price, row), price

    def _decide(self, answer: Answer, row: LogRow, candidates: list[_Candidate], now_ns: int) -> list[Call]:
        """The highest bid against floor and rivals; others of the same answer lose, and set no price."""
        best = max(candidates, key=lambda candidate: candidate.bid_cpm_micros)
        first_price = self._encoder.auction_type(row.exchange) == FIRST_PRICE
        verdict = decide(
            best.bid_cpm_micros, row.floor_cpm_micros, row.market_cpm_micros, first_price=first_price
        )
        # Who lost to the winner beside it would have had to beat that too.
        beaten = best.bid_cpm_micros + 1 if verdict.won else 0
        lost = _NOT_WON._replace(min_to_win_cpm_micros=max(verdict.min_to_win_cpm_micros, beaten))
        calls: list[Call] = []
        for candidate in candidates:
            bid, seat, price = candidate
            won = verdict.won and candidate is best
            books = self.books.of(bid.cid)
            if won:
                books.wins += 1
                macros = Macros(answer, seat, bid, price, verdict, 0)
                calls += self._win(row, macros, now_ns)
            else:
                books.losses += 1
                macros = Macros(answer, seat, bid, price, lost, LOST_TO_HIGHER_BID)
                calls += self._loss(row, macros, now_ns)
        return calls

    def _win(self, row: LogRow, macros: Macros, now_ns: int) -> list[Call]:
        """Win notice, then what the browser does: show (and bill), click, convert.

        A micro of CPM is a nano for one impression, so the clearing price is what the impression costs.
        """
        bid, price = macros.bid, macros.verdict.price_cpm_micros
        expand = macros.expand
        notice, render, click, conversion = uniforms(self._delay_key, row.id)
        delays, name = self._delays, bid.cid
        at_ns = now_ns + delays.notice.draw_ns(notice)
        calls = []
        if bid.nurl:
            calls.append(Call(at_ns, NoticeKind.WIN, expand(bid.nurl), name, price))
        at_ns += delays.render.draw_ns(render)
        calls.append(Call(at_ns, NoticeKind.BILLING, expand(bid.burl), name, price))
        pixel = pixel_url(bid.adm)
        if pixel:
            calls.append(Call(at_ns, NoticeKind.IMPRESSION, expand(pixel), name))
        link = click_url(bid.adm)
        if not link or not self._outcomes.clicked(row, name):
            return calls
        at_ns += delays.click.draw_ns(click)
        calls.append(Call(at_ns, NoticeKind.CLICK, expand(link), name))
        converted, value_nanos = self._outcomes.converted(row, name)
        if converted and bid.conversion_url:
            at_ns += delays.conversion.draw_ns(conversion)
            url = _postback(expand(bid.conversion_url), value_nanos, f"{row.id}-1")
            calls.append(Call(at_ns, NoticeKind.CONVERSION, url, name, 0, value_nanos))
        return calls

    def _loss(self, row: LogRow, macros: Macros, now_ns: int) -> list[Call]:
        bid = macros.bid
        if not bid.lurl:
            return []
        delay, told, _, _ = uniforms(self._loss_key, row.id)
        if told >= self._loss_notice_share:
            return []
        at_ns = now_ns + self._delays.notice.draw_ns(delay)
        return [Call(at_ns, NoticeKind.LOSS, macros.expand(bid.lurl), bid.cid)]


def _postback(url: str, value_nanos: int, event_id: str) -> str:
    """The conversion URL with the worth as decimal units and the id of the event."""
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}v={format_decimal(value_nanos, NANOS_PER_UNIT)}&e={quote(event_id, safe='')}"
