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

How a call is read stands in `web.calls`, the rules of its amounts, times and names in `web.rules`.

Nothing here waits or knows a socket. Who publishes the notices answers the caller only then: `web.publish`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from bidder.core import urls
from bidder.core.bankrules import BankRules
from bidder.core.messages import NoticeKind
from bidder.core.token import Scope, TokenError, landing_is_signed, read
from bidder.errors import ConfigError
from bidder.money import NANOS_PER_UNIT
from bidder.openrtb.encrypted import PriceCipher
from bidder.privacy.permissions import PrivacyPolicy
from bidder.runtime.http import Reply
from bidder.web.calls import (
    BAD,
    NO_CONTENT,
    Answer,
    Call,
    Outcome,
    Refused,
    is_prefetch,
    parse,
    split,
    states_token,
)
from bidder.web.conversions import conversion_of
from bidder.web.rules import Amounts, check_age, is_bounded, is_expired, notice_of

DEFAULT_GRACE_NS = BankRules().accept_ns
DEFAULT_CONVERSION_WINDOW_NS = BankRules().conversion_ns

_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_NO_STORE = ("Cache-Control", "no-store")
_NOT_FOUND = Reply(404)
_SHOWN = Reply(200, (("Content-Type", "image/gif"), _NO_STORE), _PIXEL)
_NOT_ALLOWED = Reply(405, (("Allow", "GET, HEAD"),))
_NOT_ALLOWED_POST = Reply(405, (("Allow", "GET, HEAD, POST"),))
_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
_NO_CIPHERS: Mapping[str, PriceCipher] = MappingProxyType({})
_BID_WON = 0  # the list of loss reasons begins with it; a bid that won must keep its reservation


class _Route(NamedTuple):
    """How one path is handled."""

    kind: NoticeKind
    need: Scope
    post: bool
    handle: Callable[[Call], tuple[Outcome, Answer]]


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
        self._amounts = Amounts(currency, conversion_window_ns, ciphers)
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
        path, query = split(text)
        route = self._routes.get(path)
        if route is None:
            # Not the path as it came: whoever calls would choose the keys of our counters.
            self.counts["other", Outcome.NOT_FOUND] += 1
            return Answer(_NOT_FOUND)
        try:
            outcome, answer = self._routed(route, method, query, headers, now_ns)
        except Refused as refused:
            outcome, answer = refused.outcome, Answer(refused.reply)
        self.counts[path, outcome] += 1
        return answer

    def _routed(
        self, route: _Route, method: str, query: str, headers: Mapping[bytes, bytes], now_ns: int
    ) -> tuple[Outcome, Answer]:
        if method not in {"GET", "HEAD"} and not (method == "POST" and route.post):
            raise Refused(Outcome.METHOD, _NOT_ALLOWED_POST if route.post else _NOT_ALLOWED)
        values = parse(query)
        if route.kind is NoticeKind.CONVERSION and "a" in values and not states_token(values):
            return self._conversion_of_a_user(method, values, headers, now_ns)
        try:
            token = read(values.get("t", ""), self._keys, route.need)
        except TokenError as error:
            raise Refused(Outcome(error.reason), BAD) from error
        if not is_bounded(token):
            raise Refused(Outcome.MALFORMED, BAD)
        if token.currency == self._currency and token.rate_nanos != NANOS_PER_UNIT:
            raise Refused(Outcome.CURRENCY, NO_CONTENT)
        outcome, answer = route.handle(Call(values, token, now_ns))
        if answer.notice is not None and (method == "HEAD" or is_prefetch(headers)):
            return Outcome.NOT_AN_EVENT, Answer(answer.reply)
        # A bid on test traffic may cost nothing and counts for nothing (OpenRTB 2.6 section 3.2.1, `test`).
        if answer.notice is not None and token.cap_nanos == 0:
            return Outcome.TEST, Answer(answer.reply)
        return outcome, answer

    # --- one path each

    def _win(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._grace_ns)
        price_nanos = self._amounts.price_nanos(call, unknown_passes=True)
        outcome = Outcome.ACCEPTED if price_nanos else Outcome.ACCEPTED_UNPRICED
        return outcome, Answer(NO_CONTENT, notice_of(call, NoticeKind.WIN, price_nanos=price_nanos))

    def _billing(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._grace_ns)
        price_nanos = self._amounts.price_nanos(call, unknown_passes=False)
        return Outcome.ACCEPTED, Answer(
            NO_CONTENT, notice_of(call, NoticeKind.BILLING, price_nanos=price_nanos)
        )

    def _loss(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._grace_ns)
        text = call.query.get("l", "")
        if text.isascii() and text.isdigit() and len(text) <= 4:
            reason = int(text)
            self.loss_reasons[reason] += 1
            if reason == _BID_WON:
                return Outcome.BID_WON, Answer(NO_CONTENT)
        return Outcome.ACCEPTED, Answer(NO_CONTENT, notice_of(call, NoticeKind.LOSS))

    def _impression(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._grace_ns)
        return Outcome.ACCEPTED, Answer(_SHOWN, notice_of(call, NoticeKind.IMPRESSION))

    def _view(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._grace_ns)
        return Outcome.ACCEPTED, Answer(_SHOWN, notice_of(call, NoticeKind.VIEW))

    def _click(self, call: Call) -> tuple[Outcome, Answer]:
        landing = call.query.get("u", "")
        if not landing_is_signed(landing, call.query.get("s", ""), self._keys):
            raise Refused(Outcome.LANDING, BAD)
        page = landing.replace(urls.CLICK_ID, call.query["t"])
        reply = Reply(302, (("Location", page), _NO_STORE))
        if is_expired(call, self._grace_ns):
            # A person is waiting: an old click leads to its page as any other, it only counts for nothing.
            return Outcome.EXPIRED, Answer(reply)
        return Outcome.ACCEPTED, Answer(reply, notice_of(call, NoticeKind.CLICK))

    def _conversion(self, call: Call) -> tuple[Outcome, Answer]:
        check_age(call, self._conversion_window_ns)
        value_nanos = self._amounts.value_nanos(call.query)
        at_ns, outcome = self._amounts.happened_ns(call.query, call.token.bid_at_ns, call.now_ns)
        order_id = call.query.get("o", "")
        notice = notice_of(
            call._replace(now_ns=at_ns),
            NoticeKind.CONVERSION,
            value_nanos=value_nanos,
            event_id=call.query.get("e") or order_id,
            order_id=order_id,
        )
        return outcome, Answer(NO_CONTENT, notice)

    def _conversion_of_a_user(
        self, method: str, query: dict[str, str], headers: Mapping[bytes, bytes], now_ns: int
    ) -> tuple[Outcome, Answer]:
        value_nanos = self._amounts.value_nanos(query)
        at_ns, outcome = self._amounts.happened_ns(query, 0, now_ns)
        try:
            conversion = conversion_of(query, headers, self._keys, self._privacy, value_nanos, at_ns, now_ns)
        except TokenError as error:
            raise Refused(Outcome(error.reason), BAD) from error
        reply = NO_CONTENT if method == "POST" else _SHOWN
        if method == "HEAD" or is_prefetch(headers):
            return Outcome.NOT_AN_EVENT, Answer(reply)
        return outcome, Answer(reply, conversion)
