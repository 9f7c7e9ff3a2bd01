"""What a call of a tracking URL may say: prices, worths, times and names, each checked before it is a notice.

The rules in words stand in `web.track`.
"""

from collections.abc import Mapping
from functools import lru_cache

from bidder.core.campaigns import is_identifier
from bidder.core.messages import MAX_COUNT, MAX_IMPRESSIONS, ONE_IMPRESSION, Notice, NoticeKind
from bidder.core.token import TokenFields, bid_id_of
from bidder.money import MAX_NANOS, MICROS_PER_UNIT, NANOS_PER_UNIT, parse_decimal
from bidder.openrtb.encrypted import PriceCipher
from bidder.openrtb.macros import PriceOutcome, is_unexpanded, parse_auction_price
from bidder.web.calls import BAD, GONE, NO_CONTENT, Call, Outcome, Refused
from bidder.web.conversions import stated_ns

_EVENT_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")
_MAX_EVENT_ID = 64
_MONEY_KINDS = {int(kind): kind for kind in (NoticeKind.WIN, NoticeKind.BILLING)}
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


class Amounts:
    """Reads the amounts and times of calls.

    Args:
        currency: of the accounts; a token in another carries its rate.
        conversion_window_ns: how far back a conversion may say that it was.
        ciphers: by exchange, where it encrypts its prices.
    """

    def __init__(self, currency: str, conversion_window_ns: int, ciphers: Mapping[str, PriceCipher]) -> None:
        self._currency = currency
        self._conversion_window_ns = conversion_window_ns
        self._ciphers = ciphers

    def value_nanos(self, query: dict[str, str]) -> int:
        """What a conversion was worth; refuses a call whose worth, currency or ids cannot be taken."""
        for name in ("e", "o"):
            text = query.get(name, "")
            if len(text) > _MAX_EVENT_ID or not _EVENT_ID_CHARACTERS.issuperset(text):
                raise Refused(Outcome.EVENT_ID, BAD)
        check_currency(query, self._currency)
        try:
            value_nanos = parse_decimal(query.get("v") or "0", NANOS_PER_UNIT)
        except ValueError as error:
            raise Refused(Outcome.VALUE, BAD) from error
        if not 0 <= value_nanos <= MAX_NANOS:
            raise Refused(Outcome.VALUE, BAD)
        return value_nanos

    def happened_ns(self, query: dict[str, str], since_ns: int, now_ns: int) -> tuple[int, Outcome]:
        """When a conversion was: as it says, where that can be after `since_ns`, else now."""
        at_ns = stated_ns(query, max(since_ns, now_ns - self._conversion_window_ns), now_ns)
        unsaid = Outcome.ACCEPTED_BY_ARRIVAL if query.get("at") else Outcome.ACCEPTED
        return (now_ns, unsaid) if at_ns is None else (at_ns, Outcome.ACCEPTED)

    def price_nanos(self, call: Call, *, unknown_passes: bool) -> int:
        """What the bid cost as a whole in nanos of the account, in (0, cap]; 0 where unknown and that may pass."""
        text, cipher = call.query.get("p", ""), self._ciphers.get(call.token.exchange)
        outcome, cpm_micros = parse_auction_price(text) if cipher is None else cipher.parse(text)
        if outcome is PriceOutcome.AUDIT:
            raise Refused(Outcome.AUDIT, NO_CONTENT)
        token = call.token
        check_currency(call.query, token.currency)
        if outcome is not PriceOutcome.POSITIVE:
            if unknown_passes and outcome in _UNKNOWN_PRICES:
                return 0
            raise Refused(Outcome(outcome.value), NO_CONTENT)
        # A CPM micro is a nano for one impression: `bidder.money`. Rounded up once, at the end.
        nanos = -(-cpm_micros * token.rate_nanos * token.impressions // (NANOS_PER_UNIT * ONE_IMPRESSION))
        if nanos > token.cap_nanos:
            raise Refused(Outcome.ABOVE_CAP, NO_CONTENT)
        return nanos


def is_expired(call: Call, grace_ns: int) -> bool:
    """Whether a call comes more than `grace_ns` after the end of its bid's liability."""
    return call.now_ns > call.token.liable_until_ns + grace_ns


def check_age(call: Call, grace_ns: int) -> None:
    """Refuses a call that comes too late."""
    if is_expired(call, grace_ns):
        raise Refused(Outcome.EXPIRED, GONE)


def check_currency(query: Mapping[str, str], currency: str) -> None:
    """Refuses a call that says that its amount is in another currency."""
    text = query.get("c", "").strip()
    if text and text.upper() != currency and not is_unexpanded(text):
        raise Refused(Outcome.CURRENCY, NO_CONTENT)


def is_bounded(token: TokenFields) -> bool:
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


def notice_of(
    call: Call,
    kind: NoticeKind,
    price_nanos: int = 0,
    value_nanos: int = 0,
    event_id: str = "",
    order_id: str = "",
) -> Notice:
    """The notice that a call tells of: what its token says, with what was read of the query."""
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
        result_until_ns=token.result_until_ns,
        line_item_id=token.line_item_id,
        creative_id=token.creative_id,
        bid_at_ns=token.bid_at_ns,
        impressions=token.impressions,
        partition=token.partition,
        user=token.user,
        advertiser_id=token.advertiser_id,
        exchange=token.exchange,
        money=_MONEY_KINDS[token.money],
        fees_nanos=fees_nanos(token, price_nanos) if price_nanos and kind == token.money else 0,
    )


def fees_nanos(token: TokenFields, price_nanos: int) -> int:
    """What is owed on top of a price; parts of a nano are owed as a whole one, once for each fee."""
    share = -(-price_nanos * token.fee_ppm // MICROS_PER_UNIT)
    return share - (-token.fee_cpm_micros * token.impressions // ONE_IMPRESSION)
