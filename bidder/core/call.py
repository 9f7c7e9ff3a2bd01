"""One request body on its way through `Engine.decide`, and what comes of it."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bidder.core.gate import Exchange, Gate, Visitor
from bidder.core.settings import EngineSettings
from bidder.errors import RequestError
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import NBR, Reason
from bidder.openrtb.request import BidRequest
from bidder.openrtb.response import json_text, no_bid_response


class Decision(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The log row of one opportunity: how it ended and what was known of it; amounts in CPM micros.

    An opportunity is an impression in the open auction, one of its deals, or one place in its pod.
    `bid_cpm_micros` and `floor_cpm_micros` are in the account's currency, `price_micros` in `currency`, that the bid
    was made in (0 and empty where it is the account's). `line_item_id` is empty where it is the campaign's own.
    `conversion_value_nanos` is what one was taken to be worth where the model was asked, else 0.
    `arm` says how a bid at first price was made, where a landscape knows its auction: `landscape`, or `held` where
    the constant share of its exchange was kept to compare with; then `stratum` is its place in the landscape,
    `worth_cpm_micros` the most that a win is worth after pacing and fees, and `win_probability` the chance to win.
    `explore_factor` is what the bid was moved by, 0 where it was not, and `log_density` the logarithm of the density
    with which this bid was made, 0 where it was certain.
    `error` holds the JSON path and cause of a body that could not be read. No user id stands here.
    """

    at_ns: int
    reason: int
    request_id: str = ""
    imp_id: str = ""
    exchange: str = ""
    deal_id: str = ""
    campaign_id: str = ""
    line_item_id: str = ""
    creative_id: str = ""
    bid_id: str = ""
    bid_cpm_micros: int = 0
    floor_cpm_micros: int = 0
    currency: str = ""
    price_micros: int = 0
    pctr: float = 0.0
    pcvr: float = 0.0
    conversion_value_nanos: int = 0
    multiplier: float = 0.0
    arm: str = ""
    stratum: int = 0
    worth_cpm_micros: int = 0
    win_probability: float = 0.0
    explore_factor: float = 0.0
    log_density: float = 0.0
    table_version: int = 0
    model: str = ""
    test: bool = False
    error: str = ""


class Answer(NamedTuple):
    """What one body got: the response for the exchange (empty where there is nothing to say), log rows."""

    response: bytes
    decisions: bytes
    bid: bool


def outputs_of(answers: Sequence[Answer]) -> list[bytes]:
    """The exact bytes of one `decide`, for a digest: the same inputs must give the same."""
    return [part for answer in answers for part in (answer.response, answer.decisions)]


SOMEWHERE = "$.*"
"""Path of what is wrong in several places, or in one that is not told."""
_MALFORMED = [int(Reason.MALFORMED)]
_encode = msgspec.json.Encoder().encode


def wrong_types(count: int) -> str:
    """What is told of a request with values that had to be mended, where none may be."""
    return f"{count} values are of a wrong type"


class Call:
    """One body: its request where it can be read, the bids on it, and a log row for each opportunity.

    Args:
        body: as it came. age_ns: wall time since the exchange sent it. now_ns: the time.
        settings: of the engine. gate: judges it.

    Attributes:
        request: None where it could not be read or nothing of it can be bid on. visitor: who asks, if not None.
        rows: log rows as JSON, in the order of opportunities; empty until one has ended. reasons: of each row.
        repaired: values that were mended or dropped.
    """

    __slots__ = (
        "bids",
        "body",
        "exchange",
        "first_bid",
        "head",
        "now_ns",
        "reasons",
        "repaired",
        "request",
        "request_id",
        "request_json",
        "rows",
        "test",
        "visitor",
    )

    visitor: Visitor

    def __init__(self, body: bytes, age_ns: int, now_ns: int, settings: EngineSettings, gate: Gate) -> None:
        self.body = body
        self.now_ns = now_ns
        self.bids: list[str] = []
        self.rows: list[str] = []
        self.reasons: list[int] = []
        self.request: BidRequest | None = None
        self.request_id = self.request_json = self.first_bid = self.head = ""
        self.test = False
        self.repaired = 0
        self.exchange: Exchange = gate.exchange(settings.default_exchange)
        try:
            request, self.repaired = decode(body)
            ext = request.ext
            if ext is not None and ext.exchange:
                self.exchange = gate.exchange(ext.exchange)
            self._name(request)
            self.insist()
            found = gate.admit(request, self.exchange, age_ns, now_ns, self.test)
        except RequestError as error:
            self.refuse(error)
            return
        if isinstance(found, Reason):
            for imp in request.imp:
                self.end(self.place(), json_text(imp.id), found)
        else:
            self.visitor = found
            self.request = request

    def _name(self, request: BidRequest) -> None:
        """What all its rows begin with, once for all of them."""
        self.request_id = request.id
        self.test = request.test != 0
        self.request_json = json_text(request.id)
        self.head = f',"request_id":{self.request_json},"imp_id":'

    def insist(self) -> None:
        """Raises `RequestError` where values were mended and the exchange is one that must need none of it."""
        if self.repaired and self.exchange.strict:
            raise RequestError(wrong_types(self.repaired), SOMEWHERE)

    def refuse(self, error: RequestError) -> None:
        """Ends the whole request where it cannot be read, whatever was noted before."""
        self.request = None
        self.bids.clear()
        reason = Reason.MALFORMED if error.path == "$" else Reason.INVALID
        row = Decision(at_ns=self.now_ns, reason=reason, request_id=self.request_id, error=str(error))
        self.rows = [_encode(row).decode()]
        self.reasons = [int(reason)]

    def place(self) -> int:
        """The place of the next opportunity among the rows."""
        self.rows.append("")
        self.reasons.append(0)
        return len(self.rows) - 1

    def end(
        self, place: int, imp_json: str, reason: int, floor_cpm_micros: int = 0, deal_json: str = ""
    ) -> None:
        """Notes that an opportunity got no bid; the same bytes as `Decision` would make."""
        self.reasons[place] = int(reason)
        deal = f',"deal_id":{deal_json}' if deal_json else ""
        floor = f',"floor_cpm_micros":{floor_cpm_micros}' if floor_cpm_micros else ""
        test = ',"test":true' if self.test else ""
        self.rows[place] = (
            f'{{"at_ns":{self.now_ns},"reason":{int(reason)}{self.head}{imp_json},'
            f'"exchange":{self.exchange.json}{deal}{floor}{test}}}'
        )

    def answer(self, buyer_json: str) -> Answer:
        """The response and the log rows, once every opportunity has ended.

        Args:
            buyer_json: JSON text of the seat name that exchanges know us by.
        """
        rows = self.rows
        log = (rows[0] + "\n" if len(rows) == 1 else "\n".join(rows) + "\n").encode()
        if self.bids:
            bids = self.bids[0] if len(self.bids) == 1 else ",".join(self.bids)
            response = (
                f'{{"id":{self.request_json},"bidid":"{self.first_bid}","cur":"{self.visitor.currency}",'
                f'"seatbid":[{{"seat":{buyer_json},"bid":[{bids}]}}]}}'
            ).encode()
            return Answer(response, log, True)
        if not self.request_id or self.reasons == _MALFORMED:
            return Answer(b"", log, False)
        code = NBR[max(self.reasons)]
        return Answer(no_bid_response(self.request_id, code, self.exchange.rules.no_bid), log, False)
