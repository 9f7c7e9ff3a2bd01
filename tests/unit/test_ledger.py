"""The worker's ledger: what each operation does, answers and refuses."""

import pytest

from bidder.core.ledger import Ledger, Result
from bidder.money import MAX_NANOS

KEEP_NS = 1000
RESULT_NS, LIABLE_NS = 100, 300


def ledger(granted: int = 100) -> Ledger:
    made = Ledger(KEEP_NS)
    made.account("c1")
    assert made.grant(0, granted) is (Result.OK if granted else Result.EXISTS)
    return made


def reserve(made: Ledger, bid: bytes = b"b", amount: int = 40, account: int = 0) -> Result:
    return made.reserve(bid, account, amount, RESULT_NS, LIABLE_NS)


def places(made: Ledger, account: int = 0) -> tuple[int, int, int]:
    """Nanos free, reserved and posted."""
    return int(made.available[account]), made.reserved(account), made.posted(account)


def test_reserving_sets_money_aside() -> None:
    made = ledger()
    assert reserve(made) is Result.OK
    assert places(made) == (60, 40, 0)


def test_all_that_is_free_can_be_reserved_and_not_a_nano_more() -> None:
    made = ledger()
    assert reserve(made, b"a", 101) is Result.EXCEEDS
    assert reserve(made, b"a", 100) is Result.OK
    assert reserve(made, b"b", 1) is Result.EXCEEDS
    assert places(made) == (0, 100, 0)


def test_a_refused_reservation_leaves_its_id_free() -> None:
    made = ledger()
    assert reserve(made, b"a", 101) is Result.EXCEEDS
    assert not made.knows(b"a")
    assert reserve(made, b"a", 100) is Result.OK


def test_reserving_again_changes_nothing() -> None:
    made = ledger()
    reserve(made)
    assert reserve(made, amount=1) is Result.EXISTS
    assert places(made) == (60, 40, 0)


def test_posting_frees_the_rest() -> None:
    made = ledger()
    reserve(made)
    assert made.post(b"b", 0, 25, 50) is Result.OK
    assert places(made) == (75, 0, 25)


def test_posting_again_changes_nothing() -> None:
    made = ledger()
    reserve(made)
    made.post(b"b", 0, 25, 50)
    assert made.post(b"b", 0, 30, 51) is Result.EXISTS
    assert places(made) == (75, 0, 25)


def test_posting_above_the_reservation_books_nothing() -> None:
    made = ledger()
    reserve(made)
    assert made.post(b"b", 0, 41, 50) is Result.EXCEEDS
    assert places(made) == (60, 40, 0)
    assert made.post(b"b", 0, 40, 50) is Result.OK


def test_a_loss_frees_all_of_it_once() -> None:
    made = ledger()
    reserve(made)
    assert made.void(b"b", 50) is Result.OK
    assert made.void(b"b", 51) is Result.EXISTS
    assert places(made) == (100, 0, 0)


def test_unknown_bids_are_not_found() -> None:
    made = ledger()
    assert made.void(b"x", 0) is Result.NOT_FOUND
    assert made.win(b"x") is Result.NOT_FOUND


def test_silence_until_the_result_time_frees_the_money() -> None:
    made = ledger()
    reserve(made)
    assert made.expire(RESULT_NS - 1) == 0
    assert places(made) == (60, 40, 0)
    assert made.expire(RESULT_NS) == 1
    assert places(made) == (100, 0, 0)


def test_a_won_bid_waits_for_its_billing() -> None:
    made = ledger()
    reserve(made)
    assert made.win(b"b") is Result.OK
    assert made.win(b"b") is Result.EXISTS
    assert made.expire(LIABLE_NS - 1) == 0
    assert made.expire(LIABLE_NS) == 1
    assert places(made) == (100, 0, 0)


@pytest.mark.parametrize("end", ["post", "void", "expire"])
def test_a_win_after_the_end_changes_nothing(end: str) -> None:
    made = ledger()
    reserve(made)
    if end == "post":
        made.post(b"b", 0, 5, 1)
    elif end == "void":
        made.void(b"b", 1)
    else:
        made.expire(RESULT_NS)
    before = places(made)
    assert made.win(b"b") is Result.EXISTS
    assert made.expire(LIABLE_NS) == 0
    assert places(made) == before


def test_late_win_is_booked_and_flagged() -> None:
    made = ledger()
    reserve(made)
    made.expire(RESULT_NS)
    assert made.post(b"b", 0, 40, RESULT_NS + 1) is Result.LATE
    assert (places(made), made.late(0)) == ((60, 0, 40), 40)
    assert made.post(b"b", 0, 40, RESULT_NS + 2) is Result.EXISTS
    assert made.late(0) == 40


def test_a_win_after_a_loss_is_late() -> None:
    made = ledger()
    reserve(made)
    made.void(b"b", 1)
    assert made.post(b"b", 0, 7, 2) is Result.LATE
    assert places(made) == (93, 0, 7)


def test_a_post_of_an_unknown_bid_is_late_and_then_known() -> None:
    made = ledger()
    assert made.post(b"x", 0, 7, 2) is Result.LATE
    assert made.post(b"x", 0, 7, 3) is Result.EXISTS
    assert reserve(made, b"x") is Result.EXISTS
    assert places(made) == (93, 0, 7)


def test_only_late_wins_overdraw() -> None:
    made = ledger()
    reserve(made, b"a", 100)
    made.expire(RESULT_NS)
    reserve(made, b"b", 100)
    assert made.post(b"a", 0, 100, RESULT_NS) is Result.LATE
    assert places(made) == (-100, 100, 100)
    assert reserve(made, b"c", 1) is Result.EXCEEDS
    assert made.post(b"b", 0, 100, RESULT_NS) is Result.OK
    assert places(made) == (-100, 0, 200)


def test_an_ended_bid_is_known_until_it_is_forgotten() -> None:
    made = ledger()
    reserve(made)
    made.void(b"b", 50)
    made.expire(50 + KEEP_NS - 1)
    assert made.knows(b"b")
    made.expire(50 + KEEP_NS)
    assert not made.knows(b"b")
    assert reserve(made) is Result.OK


def test_an_open_bid_is_not_forgotten_before_it_ends() -> None:
    made = ledger()
    made.reserve(b"b", 0, 40, 10**6, 10**6)
    made.expire(10**5)
    assert made.knows(b"b")


def test_a_late_post_is_remembered_no_longer_than_its_bid_would_have_been() -> None:
    made = ledger()
    reserve(made)
    made.expire(RESULT_NS)
    made.post(b"b", 0, 40, RESULT_NS + 500)
    made.expire(RESULT_NS + KEEP_NS)
    assert not made.knows(b"b")


def test_a_grant_is_absolute() -> None:
    made = ledger(100)
    assert made.grant(0, 100) is Result.EXISTS
    assert made.grant(0, 60) is Result.EXISTS
    assert made.grant(0, 150) is Result.OK
    assert (made.granted(0), places(made)) == (150, (150, 0, 0))


@pytest.mark.parametrize("amount", [-1, MAX_NANOS + 1])
def test_a_grant_beyond_the_bounds_is_a_fault_of_ours(amount: int) -> None:
    with pytest.raises(AssertionError, match="grant must be"):
        ledger().grant(0, amount)


@pytest.mark.parametrize("amount", [0, -1])
def test_amounts_of_nothing_are_a_fault_of_ours(amount: int) -> None:
    made = ledger()
    with pytest.raises(AssertionError, match="a reservation must be"):
        reserve(made, amount=amount)
    with pytest.raises(AssertionError, match="a post must be"):
        made.post(b"b", 0, amount, 0)


def test_the_largest_grant_is_kept_to_the_nano() -> None:
    made = ledger(MAX_NANOS)
    assert reserve(made, b"a", MAX_NANOS - 1) is Result.OK
    assert places(made) == (1, MAX_NANOS - 1, 0)


def test_accounts_are_apart() -> None:
    made = ledger()
    assert made.account("c2") == 1
    assert made.account("c1") == 0
    assert reserve(made, account=1, amount=1) is Result.EXCEEDS
    made.grant(1, 10)
    assert reserve(made, account=1, amount=10) is Result.OK
    assert (places(made), places(made, 1)) == ((100, 0, 0), (0, 10, 0))


def test_a_post_is_booked_where_it_was_reserved() -> None:
    made = ledger()
    made.account("c2")
    reserve(made)
    made.post(b"b", 1, 40, 1)
    assert (places(made), places(made, 1)) == ((60, 0, 40), (0, 0, 0))


def test_open_reservations_are_those_with_money_set_aside() -> None:
    made = ledger()
    for bid in (b"a", b"b", b"c"):
        reserve(made, bid, 10)
    made.win(b"a")
    made.void(b"b", 1)
    assert made.open_reservations == 2
