"""Touches: what is kept of an advertiser's users, and what gives way."""

from typing import Any

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import Booking
from bidder.core.messages import NoticeKind
from bidder.core.touches import MAX_A_USER, Touches
from bidder.core.users import key_text
from tests.support.banking import S

USER = 2**64 - 5
IMPRESSION, BILLING, CLICK, WIN = (
    NoticeKind.IMPRESSION, NoticeKind.BILLING, NoticeKind.CLICK, NoticeKind.WIN,
)  # fmt: skip


def booking(bid: str, kind: NoticeKind, at_ns: int, user: int = USER, **changes: Any) -> Booking:
    row = Booking(
        bid, int(kind), "", "c1", "s1", 1, 0, 0, 0, at_ns, at_ns, False, False, 100 * HOUR_NS, "c1", "b1", 0,
        1_000_000, "", "x", "acme", 0, key_text(user) if user else "",
    )  # fmt: skip
    return row._replace(**changes)


def take(touches: Touches, row: Booking) -> bool:
    """Keeps a touch for as long as its booking says."""
    return touches.take(row, row.keep_until_ns)


def kept(touches: Touches, kind: NoticeKind, user: int = USER) -> list[tuple[str, int]]:
    return [(touch.bid_id, touch.at_ns) for touch in reversed(touches.of("acme", key_text(user), kind))]


def test_touches_come_the_latest_first_whatever_order_they_were_told_in() -> None:
    touches = Touches()
    for bid, at_ns in (("a", 2 * S), ("c", 3 * S), ("b", 3 * S), ("d", S)):
        assert take(touches, booking(bid, CLICK, at_ns))
    assert kept(touches, CLICK) == [("c", 3 * S), ("b", 3 * S), ("a", 2 * S), ("d", S)]


def test_clicks_and_impressions_are_kept_apart_and_a_win_is_neither() -> None:
    touches = Touches()
    assert [take(touches, booking("a", kind, S)) for kind in (IMPRESSION, CLICK, WIN)] == [True, True, False]
    assert (kept(touches, CLICK), kept(touches, IMPRESSION), len(touches)) == ([("a", S)], [("a", S)], 2)


def test_billing_and_pixel_are_one_impression_at_the_earlier_time() -> None:
    for kinds in ((BILLING, IMPRESSION), (IMPRESSION, BILLING)):
        touches = Touches()
        for kind in kinds:
            take(touches, booking("a", kind, 3 * S if kind is BILLING else 2 * S))
        assert (kept(touches, IMPRESSION), len(touches)) == ([("a", 2 * S)], 1)


def test_of_a_user_who_may_not_be_known_nothing_is_kept() -> None:
    touches = Touches()
    assert not take(touches, booking("a", CLICK, S, user=0))
    assert len(touches) == 0


def test_another_advertiser_does_not_see_them() -> None:
    touches = Touches()
    take(touches, booking("a", CLICK, S, advertiser_id="other"))
    assert kept(touches, CLICK) == []


def test_of_one_user_the_latest_are_kept() -> None:
    touches = Touches()
    for number in range(MAX_A_USER + 3):
        take(touches, booking(f"b{number:02}", CLICK, (number ^ 1) * S))
    assert len(touches) == MAX_A_USER
    assert [at_ns // S for _, at_ns in kept(touches, CLICK)] == [
        19,
        17,
        16,
        15,
        14,
        13,
        12,
        11,
        10,
        9,
        8,
        7,
        6,
        5,
        4,
        3,
    ]


def test_what_ends_first_gives_way_and_is_counted() -> None:
    touches = Touches(most=2)
    take(touches, booking("late", CLICK, S, keep_until_ns=50 * HOUR_NS))
    take(touches, booking("early", CLICK, 2 * S, keep_until_ns=5 * HOUR_NS))
    take(touches, booking("new", CLICK, 3 * S, keep_until_ns=60 * HOUR_NS))
    assert ([bid for bid, _ in kept(touches, CLICK)], touches.forgotten) == (["new", "late"], 1)


def test_they_are_forgotten_with_their_bids() -> None:
    touches = Touches()
    take(touches, booking("a", CLICK, S, keep_until_ns=5 * HOUR_NS))
    take(touches, booking("b", CLICK, S, keep_until_ns=7 * HOUR_NS, user=9))
    touches.evict(6 * HOUR_NS)
    assert (kept(touches, CLICK), kept(touches, CLICK, 9), len(touches)) == ([], [("b", S)], 1)
    touches.evict(8 * HOUR_NS)
    assert (len(touches), touches._heads, touches._ends, len(touches._shared)) == (0, {}, {}, 0)
