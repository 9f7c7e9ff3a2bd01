"""The tracking endpoints: a called URL becomes a `Notice`, or a counted refusal.

| path | calls it | says | gives |
|---|---|---|---|
| /win | exchange (nurl) | the auction was won; not spend | WIN, price 0 where it is unknown |
| /bill | exchange (burl) | the impression is owed | BILLING, only with a price in (0, cap] |
| /loss | exchange (lurl) | the bid lost, and why | LOSS |
| /i | browser | the markup was shown | IMPRESSION |
| /view | browser | half of it was in view, for a second (video: two) | VIEW |
| /c | browser | it was clicked | CLICK, and a redirect to a landing page that we signed |
| /v | advertiser | something came of it | CONVERSION with its worth; without a token a `Conversion` |

Query: `t` token, `p` price as CPM, `c` currency, `l` loss reason, `u` and `s` landing page and its signature,
`v` worth in currency units, `e` id of the event, `o` of the order, `at` when it was. What else stands there is
ignored. A conversion without a usable `t` may name an advertiser's pixel, `a`, and its user: `web.conversions`. In a
landing page `${CLICK_ID}` becomes the token of the click, which the advertiser may give back as `t`.

Rules (OpenRTB 2.6 sections 4.3, 4.4 and 7.8, 7.16 of its implementation guide):

- No notice without a token of ours that gives the right to it: 400.
- No spend on unknown money: empty, unexpanded, encrypted, negative, above the cap, other currency. All of that
  is counted and answered 204, as an exchange that gets an error sends the same again.
- A price is of one impression in the currency of the bid. The bank hears of the whole bid in the currency of the
  accounts, at the rate and for the quantity in the token; the cap is of that too. What is worth part of a nano is
  owed as a whole one.
- Where an exchange has price keys only an encrypted price of its signature is one. Without keys an encrypted
  price is unknown.
- AUDIT means that a creative is being reviewed: neither won nor billed.
- The currency macro only confirms; where it was not expanded the bid's own currency holds. The worth of a
  conversion is in the currency of the accounts.
- Told more than `grace_ns` after the end of liability (conversions: `conversion_window_ns`): 410.
- Nothing is kept of who calls: no address, no agent. A server that calls for a browser may say whose with
  `X-Forwarded-For` and `X-Device-*`; none of our rules asks for it.
- A HEAD or a prefetch is no event: the same answer, no notice.
- Repeats pass: the bank tells them apart by bid id.

Nothing here waits or knows a socket. Who publishes the notices answers the caller only then: `web.publish`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote_plus

from bidder.core import urls
from bidder.core.bankrules import BankRules
from bidder.core.campaigns import is_identifier
from bidder.core.messages import (
    MAX_COUNT,
    MAX_IMPRESSIONS,
    ONE_IMPRESSION,
    Conversion,
    Notice,
    NoticeKind,
)
from bidder.core.token import Scope, TokenError, TokenFields, bid_id_of, landing_is_signed, read
from bidder.errors import ConfigError
from bidder.money import MAX_NANOS, MICROS_PER_UNIT, NANOS_PER_UNIT, parse_decimal
from bidder.openrtb.encrypted import PriceCipher
from bidder.openrtb.macros import PriceOutcome, is_unexpanded, parse_auction_price
from bidder.privacy.permissions import PrivacyPolicy
from bidder.runtime.http import Reply
from bidder.web.conversions import PARAMETERS, conversion_of, stated_ns

DEFAULT_GRACE_NS = BankRules().accept_ns
DEFAULT_CONVERSION_WINDOW_NS = BankRules().conversion_ns

_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_NO_STORE = ("Cache-Control", "no-store")
_NO_CONTENT, _BAD, _NOT_FOUND, _GONE = Reply(204), Reply(400), Reply(404), Reply(410)
_SHOWN = Reply(200, (("Content-Type", "image/gif"), _NO_STORE), _PIXEL)
_NOT_ALLOWED = Reply(405, (("Allow", "GET, HEAD"),))
_NOT_ALLOWED_POST = Reply(405, (("Allow", "GET, HEAD, POST"),))
_KNOWN = PARAMETERS.union("tpclus")
_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
_NO_CIPHERS: Mapping[str, PriceCipher] = MappingProxyType({})
_EVENT_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")
_MAX_EVENT_ID = 64
_MONEY_KINDS = {int(kind): kind for kind in (NoticeKind.WIN, NoticeKind.BILLING)}
_BID_WON = 0  # the list of loss reasons begins with it; a bid that won must keep its reservation


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


class _Refused(Exception):
    """Ends the handling of a call without a notice."""

    def __init__(self, outcome: Outcome, reply: Reply) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.reply = reply


class _Call(NamedTuple):
    """One call whose token has been checked."""

    query: dict[str, str]
    token: TokenFields
    now_ns: int


class _Route(NamedTuple):
    """How one path is handled."""

    kind: NoticeKind
    need: Scope
    post: bool
    handle: Callable[[_Call], tuple[Outcome, Answer]]


# What a price that is none means for a win, which is not spend: unknown ones are taken, wrong ones are not.
_UNKNOWN_PRICES = frozenset(
    {
        PriceOutcome.EMPTY,
        PriceOutcome.UNEXPANDED,
        PriceOutcome.ENCRYPTED,
        PriceOutcome.UNENCRYPTED,
        PriceOutcome.UNREADABLE,
    }
)


class Tracker:
    """Checks calls of tracking URLs; holds no state but its counters.

    Args:
        keys: every signing key that is still good, newest first; each at least 16 bytes.
        currency: of the accounts; a token in another carries its rate.
        grace_ns: how long after the end of liability a notice is still taken.
        conversion_window_ns: the same for conversions, which come days after the click.
        ciphers: by exchange, where it encrypts its prices.
        privacy: our place under the privacy laws, for conversions that name their user.

    Raises:
        ConfigError: if there is no key.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        currency: str,
        grace_ns: int = DEFAULT_GRACE_NS,
        conversion_window_ns: int = DEFAULT_CONVERSION_WINDOW_NS,
        ciphers: Mapping[str, PriceCipher] = _NO_CIPHERS,
        privacy: PrivacyPolicy | None = None,
    ) -> None:
        if not keys:
            raise ConfigError("keys of the tracker must hold at least one, were none")
        self._keys = tuple(keys)
        self._currency = currency
        self._grace_ns = grace_ns
        self._conversion_window_ns = conversion_window_ns
        self._ciphers = ciphers
        self._privacy = privacy or PrivacyPolicy()
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.loss_reasons: Counter[int] = Counter()
        exchange, browser = Scope.EXCHANGE, Scope.BROWSER
        self._routes = {
            urls.WIN: _Route(NoticeKind.WIN, exchange, True, self._win),
            urls.BILLING: _Route(NoticeKind.BILLING, exchange, True, self._billing),
            urls.LOSS: _Route(NoticeKind.LOSS, exchange, True, self._loss),
            urls.IMPRESSION: _Route(NoticeKind.IMPRESSION, browser, False, self._impression),
            urls.VIEW: _Route(NoticeKind.VIEW, browser, False, self._view),
            urls.CLICK: _Route(NoticeKind.CLICK, browser, False, self._click),
            urls.CONVERSION: _Route(NoticeKind.CONVERSION, browser, True, self._conversion),
        }

    def handle(
        self, method: str, target: str | bytes, headers: Mapping[bytes, bytes] = _NO_HEADERS, now_ns: int = 0
    ) -> Answer:
        """Answers one call.

        Args:
            method: GET, HEAD or POST; anything else is refused.
            target: path and query as sent, or a whole URL.
            headers: lower-case names; only the marks of a prefetch are read.
            now_ns: the time now; becomes the notice's `at_ns`.
        """
        text = target if isinstance(target, str) else target.decode("latin-1")
        path, query = _split(text)
        route = self._routes.get(path)
        if route is None:
            # Not the path as it came: whoever calls would choose the keys of our counters.
            self.counts["other", Outcome.NOT_FOUND] += 1
            return Answer(_NOT_FOUND)
        try:
            outcome, answer = self._routed(route, method, query, headers, now_ns)
        except _Refused as refused:
            outcome, answer = refused.outcome, Answer(refused.reply)
        self.counts[path, outcome] += 1
        return answer

    def _routed(
        self, route: _Route, method: str, query: str, headers: Mapping[bytes, bytes], now_ns: int
    ) -> tuple[Outcome, Answer]:
        if method not in {"GET", "HEAD"} and not (method == "POST" and route.post):
            raise _Refused(Outcome.METHOD, _NOT_ALLOWED_POST if route.post else _NOT_ALLOWED)
        values = _parse(query)
        if route.kind is NoticeKind.CONVERSION and "a" in values and not _stated_token(values):
            return self._conversion_of_a_user(method, values, headers, now_ns)
        try:
            token = read(values.get("t", ""), self._keys, route.need)
        except TokenError as error:
            raise _Refused(Outcome(error.reason), _BAD) from error
        if not _is_bounded(token):
            raise _Refused(Outcome.MALFORMED, _BAD)
        if token.currency == self._currency and token.rate_nanos != NANOS_PER_UNIT:
            raise _Refused(Outcome.CURRENCY, _NO_CONTENT)
        outcome, answer = route.handle(_Call(values, token, now_ns))
        if answer.notice is not None and (method == "HEAD" or _is_prefetch(headers)):
            return Outcome.NOT_AN_EVENT, Answer(answer.reply)
        # A bid on test traffic may cost nothing and counts for nothing (OpenRTB 2.6 section 3.2.1, `test`).
        if answer.notice is not None and token.cap_nanos == 0:
            return Outcome.TEST, Answer(answer.reply)
        return outcome, answer

    # --- one path each

    def _win(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._grace_ns)
        price_nanos = self._price_nanos(call, unknown_passes=True)
        outcome = Outcome.ACCEPTED if price_nanos else Outcome.ACCEPTED_UNPRICED
        return outcome, Answer(_NO_CONTENT, _notice(call, NoticeKind.WIN, price_nanos=price_nanos))

    def _billing(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._grace_ns)
        price_nanos = self._price_nanos(call, unknown_passes=False)
        return Outcome.ACCEPTED, Answer(
            _NO_CONTENT, _notice(call, NoticeKind.BILLING, price_nanos=price_nanos)
        )

    def _loss(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._grace_ns)
        text = call.query.get("l", "")
        if text.isascii() and text.isdigit() and len(text) <= 4:
            reason = int(text)
            self.loss_reasons[reason] += 1
            if reason == _BID_WON:
                return Outcome.BID_WON, Answer(_NO_CONTENT)
        return Outcome.ACCEPTED, Answer(_NO_CONTENT, _notice(call, NoticeKind.LOSS))

    def _impression(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._grace_ns)
        return Outcome.ACCEPTED, Answer(_SHOWN, _notice(call, NoticeKind.IMPRESSION))

    def _view(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._grace_ns)
        return Outcome.ACCEPTED, Answer(_SHOWN, _notice(call, NoticeKind.VIEW))

    def _click(self, call: _Call) -> tuple[Outcome, Answer]:
        landing = call.query.get("u", "")
        if not landing_is_signed(landing, call.query.get("s", ""), self._keys):
            raise _Refused(Outcome.LANDING, _BAD)
        page = landing.replace(urls.CLICK_ID, call.query["t"])
        reply = Reply(302, (("Location", page), _NO_STORE))
        if _is_expired(call, self._grace_ns):
            # A person is waiting: an old click leads to its page as any other, it only counts for nothing.
            return Outcome.EXPIRED, Answer(reply)
        return Outcome.ACCEPTED, Answer(reply, _notice(call, NoticeKind.CLICK))

    def _conversion(self, call: _Call) -> tuple[Outcome, Answer]:
        self._check_age(call, self._conversion_window_ns)
        value_nanos = self._value_nanos(call.query)
        at_ns, outcome = self._happened_ns(call.query, call.token.bid_at_ns, call.now_ns)
        order_id = call.query.get("o", "")
        notice = _notice(
            call._replace(now_ns=at_ns),
            NoticeKind.CONVERSION,
            value_nanos=value_nanos,
            event_id=call.query.get("e") or order_id,
            order_id=order_id,
        )
        return outcome, Answer(_NO_CONTENT, notice)

    def _conversion_of_a_user(
        self, method: str, query: dict[str, str], headers: Mapping[bytes, bytes], now_ns: int
    ) -> tuple[Outcome, Answer]:
        value_nanos = self._value_nanos(query)
        at_ns, outcome = self._happened_ns(query, 0, now_ns)
        try:
            conversion = conversion_of(query, headers, self._keys, self._privacy, value_nanos, at_ns, now_ns)
        except TokenError as error:
            raise _Refused(Outcome(error.reason), _BAD) from error
        reply = _NO_CONTENT if method == "POST" else _SHOWN
        if method == "HEAD" or _is_prefetch(headers):
            return Outcome.NOT_AN_EVENT, Answer(reply)
        return outcome, Answer(reply, conversion)

    def _value_nanos(self, query: dict[str, str]) -> int:
        """What a conversion was worth; refuses a call whose worth, currency or ids cannot be taken."""
        for name in ("e", "o"):
            text = query.get(name, "")
            if len(text) > _MAX_EVENT_ID or not _EVENT_ID_CHARACTERS.issuperset(text):
                raise _Refused(Outcome.EVENT_ID, _BAD)
        _check_currency(query, self._currency)
        try:
            value_nanos = parse_decimal(query.get("v") or "0", NANOS_PER_UNIT)
        except ValueError as error:
            raise _Refused(Outcome.VALUE, _BAD) from error
        if not 0 <= value_nanos <= MAX_NANOS:
            raise _Refused(Outcome.VALUE, _BAD)
        return value_nanos

    def _happened_ns(self, query: dict[str, str], since_ns: int, now_ns: int) -> tuple[int, Outcome]:
        """When a conversion was: as it says, where that can be after `since_ns`, else now."""
        at_ns = stated_ns(query, max(since_ns, now_ns - self._conversion_window_ns), now_ns)
        unsaid = Outcome.ACCEPTED_BY_ARRIVAL if query.get("at") else Outcome.ACCEPTED
        return (now_ns, unsaid) if at_ns is None else (at_ns, Outcome.ACCEPTED)

    # --- rules

    def _price_nanos(self, call: _Call, *, unknown_passes: bool) -> int:
        """What the bid cost as a whole in nanos of the account, in (0, cap]; 0 where unknown and that may pass."""
        text, cipher = call.query.get("p", ""), self._ciphers.get(call.token.exchange)
        outcome, cpm_micros = parse_auction_price(text) if cipher is None else cipher.parse(text)
        if outcome is PriceOutcome.AUDIT:
            raise _Refused(Outcome.AUDIT, _NO_CONTENT)
        token = call.token
        _check_currency(call.query, token.currency)
        if outcome is not PriceOutcome.POSITIVE:
            if unknown_passes and outcome in _UNKNOWN_PRICES:
                return 0
            raise _Refused(Outcome(outcome.value), _NO_CONTENT)
        # A CPM micro is a nano for one impression: `bidder.money`. Rounded up once, at the end.
        nanos = -(-cpm_micros * token.rate_nanos * token.impressions // (NANOS_PER_UNIT * ONE_IMPRESSION))
        if nanos > token.cap_nanos:
            raise _Refused(Outcome.ABOVE_CAP, _NO_CONTENT)
        return nanos

    def _check_age(self, call: _Call, grace_ns: int) -> None:
        if _is_expired(call, grace_ns):
            raise _Refused(Outcome.EXPIRED, _GONE)


def _stated_token(query: Mapping[str, str]) -> bool:
    """Whether a call names a bid: a click id that nobody filled in names none."""
    token = query.get("t", "")
    return bool(token) and not is_unexpanded(token)


def _check_currency(query: Mapping[str, str], currency: str) -> None:
    """Refuses a call that says that its amount is in another currency."""
    text = query.get("c", "").strip()
    if text and text.upper() != currency and not is_unexpanded(text):
        raise _Refused(Outcome.CURRENCY, _NO_CONTENT)


def _is_bounded(token: TokenFields) -> bool:
    """Whether a notice of this bid would be one that the bank can read (the bounds of `Notice`)."""
    return (
        0 <= token.epoch <= MAX_COUNT
        and 0 <= token.cap_nanos <= MAX_NANOS
        and 0 <= token.liable_until_ns <= MAX_NANOS
        and 0 <= token.bid_at_ns <= MAX_NANOS
        and token.rate_nanos > 0
        and 0 < token.impressions <= MAX_IMPRESSIONS
        and token.partition >= -1
        and 0 <= token.fee_cpm_micros <= MAX_NANOS // MAX_IMPRESSIONS
        and token.money in _MONEY_KINDS
        and _are_names(
            token.campaign_id,
            token.line_item_id,
            token.creative_id,
            token.advertiser_id,
            token.exchange,
            token.seat,
        )
    )


@lru_cache(maxsize=16_384)
def _are_names(
    campaign_id: str, line_item_id: str, creative_id: str, advertiser_id: str, exchange: str, seat: str
) -> bool:
    """Whether the bank can read these names; few differ among many bids."""
    return (
        is_identifier(campaign_id)
        and all(not name or is_identifier(name) for name in (line_item_id, creative_id, advertiser_id))
        and len(exchange) <= 120
        and "\0" not in exchange
        and seat != ""
        and "\0" not in seat
    )


def _is_expired(call: _Call, grace_ns: int) -> bool:
    return call.now_ns > call.token.liable_until_ns + grace_ns


def _notice(
    call: _Call,
    kind: NoticeKind,
    price_nanos: int = 0,
    value_nanos: int = 0,
    event_id: str = "",
    order_id: str = "",
) -> Notice:
    token = call.token
    return Notice(
        kind=kind,
        bid_id=bid_id_of(call.query["t"]),
        campaign_id=token.campaign_id,
        seat=token.seat,
        epoch=token.epoch,
        cap_nanos=token.cap_nanos,
        price_nanos=price_nanos,
        value_nanos=value_nanos,
        event_id=event_id,
        order_id=order_id,
        at_ns=call.now_ns,
        liable_until_ns=token.liable_until_ns,
        line_item_id=token.line_item_id,
        creative_id=token.creative_id,
        bid_at_ns=token.bid_at_ns,
        impressions=token.impressions,
        partition=token.partition,
        user=token.user,
        advertiser_id=token.advertiser_id,
        exchange=token.exchange,
        money=_MONEY_KINDS[token.money],
        fees_nanos=_fees_nanos(token, price_nanos) if price_nanos and kind == token.money else 0,
    )


def _fees_nanos(token: TokenFields, price_nanos: int) -> int:
    """What is owed on top of a price; parts of a nano are owed as a whole one, once for each fee."""
    share = -(-price_nanos * token.fee_ppm // MICROS_PER_UNIT)
    return share - (-token.fee_cpm_micros * token.impressions // ONE_IMPRESSION)


def _split(target: str) -> tuple[str, str]:
    """Path and query; the absolute form of a proxy (RFC 9112 section 3.2.2) loses its authority."""
    if not target.startswith("/"):
        _, _, rest = target.partition("://")
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


def _parse(query: str) -> dict[str, str]:
    """The parameters we know. One that comes twice has no meaning that both ends agree on: refused."""
    values: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in _KNOWN:
            continue
        if name in values:
            raise _Refused(Outcome.QUERY, _BAD)
        values[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return values


def _is_prefetch(headers: Mapping[bytes, bytes]) -> bool:
    purpose = headers.get(b"sec-purpose") or headers.get(b"purpose") or headers.get(b"x-moz")
    return purpose is not None and b"prefetch" in purpose.lower()
