"""The worker's purse: what each operation does, answers and refuses."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bidder.core import purse_columns as columns
from bidder.core import purse_index_kernels as index_kernels
from bidder.core.messages import SettlementKind
from bidder.core.purse import ONE_IMPRESSION, Purse, Result, Unit
from bidder.errors import InvariantError
from bidder.money import MAX_NANOS

KEEP_NS = 1000
RESULT_NS, LIABLE_NS = 100, 300
A, B, C = b"a" * 12, b"b" * 12, b"c" * 12


def purse(granted: int = 100) -> Purse:
    """One account of money, and chain 0 of it."""
    made = Purse(KEEP_NS, capacity=2)
    account = made.account("c1")
    assert made.grant(account, granted) is (Result.OK if granted else Result.EXISTS)
    assert made.chain((account,)) == 0
    return made


def two_budgets() -> Purse:
    """Account 0 of money, account 1 of three impressions, chain 0 of both."""
    made = Purse(KEEP_NS, capacity=2)
    made.grant(made.account("c1"), 100)
    made.grant(made.account("i1", Unit.IMPRESSIONS), 3 * ONE_IMPRESSION)
    assert made.chain((0, 1)) == 0
    return made


def reserve(made: Purse, bid: bytes = B, amount: int = 40, chain: int = 0, **more: int) -> Result:
    return made.reserve(bid, chain, amount, RESULT_NS, LIABLE_NS, **more)


def places(made: Purse, account: int = 0) -> tuple[int, int, int]:
    """Free, reserved and posted."""
    return int(made.available[account]), made.reserved(account), made.posted(account)


def ids(*bids: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(bids), np.uint8).reshape(-1, 12).copy()


def batch(*bids: bytes, amounts: tuple[int, ...] | None = None, chain: int = 0) -> dict[str, Any]:
    """Arguments of `reserve_rows`: ten nanos and an impression each unless told."""
    n = len(bids)
    return {
        "ids": ids(*bids),
        "chains": np.full(n, chain, np.int32),
        "amounts": np.array(amounts or (10,) * n, np.int64),
        "impressions": np.full(n, ONE_IMPRESSION, np.int64),
        "tags": np.arange(1, n + 1, dtype=np.uint64),
        "result_until": np.full(n, RESULT_NS, np.int64),
        "liable_until": np.full(n, LIABLE_NS, np.int64),
    }


def settle(made: Purse, *rows: tuple[bytes, int, int, int], now_ns: int = 50) -> list[tuple[Result, int]]:
    """Settles rows of id, kind, chain and amount; result and tag of each."""
    results, tags = np.empty(len(rows), np.uint8), np.empty(len(rows), np.uint64)
    bids, kinds, chains, amounts = zip(*rows, strict=True)
    made.settle_rows(
        ids(*bids), np.array(kinds, np.uint8), np.array(chains, np.int32), np.array(amounts, np.int64), now_ns,
        results, tags,
    )  # fmt: skip
    return [(Result(done), tag) for done, tag in zip(results.tolist(), tags.tolist(), strict=True)]


# -- one account ------------------------------------------------------------------------------------------


def test_reserving_sets_money_aside() -> None:
    made = purse()
    assert reserve(made) is Result.OK
    assert places(made) == (60, 40, 0)


def test_all_that_is_free_can_be_reserved_and_not_a_nano_more() -> None:
    made = purse()
    assert reserve(made, A, 101) is Result.EXCEEDS
    assert reserve(made, A, 100) is Result.OK
    assert reserve(made, B, 1) is Result.EXCEEDS
    assert places(made) == (0, 100, 0)


def test_a_refused_reservation_leaves_its_id_free() -> None:
    made = purse()
    assert reserve(made, A, 101) is Result.EXCEEDS
    assert not made.knows(A)
    assert reserve(made, A, 100) is Result.OK


def test_reserving_again_changes_nothing() -> None:
    made = purse()
    reserve(made)
    assert reserve(made, amount=1) is Result.EXISTS
    assert places(made) == (60, 40, 0)


def test_posting_frees_the_rest() -> None:
    made = purse()
    reserve(made)
    assert made.post(B, 0, 25, 50) is Result.OK
    assert places(made) == (75, 0, 25)


def test_posting_again_changes_nothing() -> None:
    made = purse()
    reserve(made)
    made.post(B, 0, 25, 50)
    assert made.post(B, 0, 30, 51) is Result.EXISTS
    assert places(made) == (75, 0, 25)


def test_posting_above_the_reservation_books_nothing() -> None:
    made = purse()
    reserve(made)
    assert made.post(B, 0, 41, 50) is Result.EXCEEDS
    assert places(made) == (60, 40, 0)
    assert made.post(B, 0, 40, 50) is Result.OK


def test_a_loss_frees_all_of_it_once() -> None:
    made = purse()
    reserve(made)
    assert made.void(B, 50) is Result.OK
    assert made.void(B, 51) is Result.EXISTS
    assert places(made) == (100, 0, 0)


def test_unknown_bids_are_not_found() -> None:
    made = purse()
    assert made.void(A, 0) is Result.NOT_FOUND
    assert made.win(A) is Result.NOT_FOUND


def test_silence_until_the_result_time_frees_the_money() -> None:
    made = purse()
    reserve(made)
    assert made.expire(RESULT_NS - 1) == 0
    assert places(made) == (60, 40, 0)
    assert made.expire(RESULT_NS) == 1
    assert places(made) == (100, 0, 0)


def test_a_won_bid_waits_for_its_billing() -> None:
    made = purse()
    reserve(made)
    assert made.win(B) is Result.OK
    assert made.win(B) is Result.EXISTS
    assert made.expire(LIABLE_NS - 1) == 0
    assert made.expire(LIABLE_NS) == 1
    assert places(made) == (100, 0, 0)


@pytest.mark.parametrize("end", ["post", "void", "expire"])
def test_a_win_after_the_end_changes_nothing(end: str) -> None:
    made = purse()
    reserve(made)
    if end == "post":
        made.post(B, 0, 5, 1)
    elif end == "void":
        made.void(B, 1)
    else:
        made.expire(RESULT_NS)
    before = places(made)
    assert made.win(B) is Result.EXISTS
    assert made.expire(LIABLE_NS) == 0
    assert places(made) == before


def test_late_win_is_booked_and_flagged() -> None:
    made = purse()
    reserve(made)
    made.expire(RESULT_NS)
    assert made.post(B, 0, 40, RESULT_NS + 1) is Result.LATE
    assert (places(made), made.late(0)) == ((60, 0, 40), 40)
    assert made.post(B, 0, 40, RESULT_NS + 2) is Result.EXISTS
    assert made.late(0) == 40


def test_a_win_after_a_loss_is_late() -> None:
    made = purse()
    reserve(made)
    made.void(B, 1)
    assert made.post(B, 0, 7, 2) is Result.LATE
    assert places(made) == (93, 0, 7)


def test_a_post_of_an_unknown_bid_is_late_and_then_known() -> None:
    made = purse()
    assert made.post(A, 0, 7, 2) is Result.LATE
    assert made.post(A, 0, 7, 3) is Result.EXISTS
    assert reserve(made, A) is Result.EXISTS
    assert places(made) == (93, 0, 7)


def test_only_late_wins_overdraw() -> None:
    made = purse()
    reserve(made, A, 100)
    made.expire(RESULT_NS)
    reserve(made, B, 100)
    assert made.post(A, 0, 100, RESULT_NS) is Result.LATE
    assert places(made) == (-100, 100, 100)
    assert reserve(made, C, 1) is Result.EXCEEDS
    assert made.post(B, 0, 100, RESULT_NS) is Result.OK
    assert places(made) == (-100, 0, 200)


def test_an_ended_bid_is_known_until_it_is_forgotten() -> None:
    made = purse()
    reserve(made)
    made.void(B, 50)
    made.expire(50 + KEEP_NS - 1)
    assert made.knows(B)
    made.expire(50 + KEEP_NS)
    assert not made.knows(B)
    assert reserve(made) is Result.OK


def test_an_open_bid_is_not_forgotten_before_it_ends() -> None:
    made = purse()
    made.reserve(B, 0, 40, 10**6, 10**6)
    made.expire(10**5)
    assert made.knows(B)


def test_a_late_post_is_remembered_no_longer_than_its_bid_would_have_been() -> None:
    made = purse()
    reserve(made)
    made.expire(RESULT_NS)
    made.post(B, 0, 40, RESULT_NS + 500)
    made.expire(RESULT_NS + KEEP_NS)
    assert not made.knows(B)


def test_a_grant_is_absolute() -> None:
    made = purse(100)
    assert made.grant(0, 100) is Result.EXISTS
    assert made.grant(0, 60) is Result.EXISTS
    assert made.grant(0, 150) is Result.OK
    assert (made.granted(0), places(made)) == (150, (150, 0, 0))


def test_what_is_reserved_or_spent_cannot_be_taken_back() -> None:
    made = purse(100)
    reserve(made, A, 30)
    reserve(made, B, 20)
    made.post(B, 0, 20, 1)
    assert made.lower(0, 100) is Result.EXISTS
    assert made.lower(0, 60) is Result.OK
    assert made.lower(0, 49) is Result.EXCEEDS
    assert made.lower(0, 50) is Result.EXISTS
    assert (made.granted(0), places(made)) == (50, (0, 30, 20))


def test_of_a_total_below_what_came_late_all_that_is_free_is_taken_back() -> None:
    """A billing behind a false loss posts before the seat hears that its idle money went to another."""
    made = purse(100)
    reserve(made, A, 30)
    made.void(A, 1)
    assert made.post(A, 0, 30, 2) is Result.LATE
    assert made.lower(0, 0) is Result.EXCEEDS
    assert (made.granted(0), places(made)) == (30, (0, 0, 30))


def test_the_largest_grant_is_kept_to_the_nano() -> None:
    made = purse(MAX_NANOS)
    assert reserve(made, A, MAX_NANOS - 1) is Result.OK
    assert places(made) == (1, MAX_NANOS - 1, 0)


def test_open_reservations_are_those_with_money_set_aside() -> None:
    made = purse()
    for bid in (A, B, C):
        reserve(made, bid, 10)
    made.win(A)
    made.void(B, 1)
    assert made.open_reservations == 2


# -- accounts and chains ----------------------------------------------------------------------------------


def test_accounts_and_chains_keep_their_numbers() -> None:
    made = Purse(KEEP_NS)
    assert [made.account(key) for key in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    assert [made.chain(accounts) for accounts in ((0, 1), (2,), (1, 0), (0, 1))] == [0, 1, 2, 0]


def test_chains_lie_in_rows_one_after_another() -> None:
    made = Purse(KEEP_NS)
    for key in "abcdefgh":
        made.account(key)
    wanted = [tuple((first + k) % 8 for k in range(1 + first % 3)) for first in range(8)]
    for accounts in wanted:
        made.chain(accounts)
    start = made.chain_start.tolist()
    rows = [tuple(made.chain_accounts[begin:end].tolist()) for begin, end in pairwise(start)]
    assert rows == wanted
    assert (made.chain_start.dtype, made.chain_accounts.dtype, made.unit.dtype) == (
        np.int32,
        np.int32,
        np.uint8,
    )


def test_many_accounts_keep_what_they_hold() -> None:
    made = Purse(KEEP_NS)
    for number in range(100):
        made.grant(made.account(f"a{number}"), number + 1)
    assert made.available.tolist() == list(range(1, 101))
    assert made.books[:, 0].tolist() == list(range(1, 101))


def test_a_bid_is_charged_to_every_account_of_its_chain_and_to_no_other() -> None:
    made = purse(100)
    for key in ("li", "other"):
        made.grant(made.account(key), 50)
    reserve(made, chain=made.chain((0, 1)))
    assert [places(made, account) for account in range(3)] == [(60, 40, 0), (10, 40, 0), (50, 0, 0)]
    made.post(B, 0, 25, 1)
    assert [places(made, account) for account in range(3)] == [(75, 0, 25), (25, 0, 25), (50, 0, 0)]


def test_the_poorest_account_of_a_chain_decides() -> None:
    made = purse(100)
    made.grant(made.account("li"), 39)
    chain = made.chain((0, 1))
    assert reserve(made, chain=chain) is Result.EXCEEDS
    assert [places(made, account) for account in range(2)] == [(100, 0, 0), (39, 0, 0)]
    made.grant(1, 40)
    assert reserve(made, chain=chain) is Result.OK


def test_a_post_is_booked_where_it_was_reserved() -> None:
    made = purse()
    made.account("c2")
    other = made.chain((1,))
    reserve(made)
    made.post(B, other, 40, 1)
    assert (places(made), places(made, 1)) == ((60, 0, 40), (0, 0, 0))


def test_a_late_post_is_booked_where_it_is_said_to_be_owed() -> None:
    made = purse()
    made.account("c2")
    other = made.chain((1,))
    reserve(made)
    made.void(B, 1)
    made.post(B, other, 40, 2)
    assert (places(made), places(made, 1), made.late(1)) == ((100, 0, 0), (-40, 0, 40), 40)


def test_impressions_post_as_they_were_reserved() -> None:
    made = two_budgets()
    reserve(made, impressions=2_500_000)
    assert places(made, 1) == (500_000, 2_500_000, 0)
    made.post(B, 0, 25, 1)
    assert (places(made), places(made, 1)) == ((75, 0, 25), (500_000, 0, 2_500_000))


def test_a_loss_frees_impressions_too() -> None:
    made = two_budgets()
    reserve(made)
    made.void(B, 1)
    assert places(made, 1) == (3 * ONE_IMPRESSION, 0, 0)


def test_impressions_run_out() -> None:
    made = two_budgets()
    assert [reserve(made, bid, 1) for bid in (A, B, C)] == [Result.OK] * 3
    assert reserve(made, b"d" * 12, 1) is Result.EXCEEDS


@pytest.mark.parametrize(("remembered", "given", "owed"), [
    (False, 0, ONE_IMPRESSION), (False, 700_000, 700_000), (True, 0, 2_500_000), (True, 700_000, 700_000),
])  # fmt: skip
def test_a_late_post_owes_the_impressions_given_or_reserved_or_one(
    remembered: bool, given: int, owed: int
) -> None:
    made = two_budgets()
    if remembered:
        reserve(made, impressions=2_500_000)
        made.void(B, 1)
    assert made.post(B, 0, 7, 2, given) is Result.LATE
    assert (made.posted(1), made.late(1), made.late(0)) == (owed, owed, 7)


# -- batches ----------------------------------------------------------------------------------------------


def test_a_batch_reserves_each_of_its_rows() -> None:
    made = purse()
    made.reserve_rows(**batch(A, B, C, amounts=(10, 20, 30)))
    assert (places(made), made.open_reservations) == ((40, 60, 0), 3)
    assert [made.tag(bid) for bid in (A, B, C)] == [1, 2, 3]


def test_a_batch_settles_each_of_its_rows() -> None:
    made = purse()
    made.reserve_rows(**batch(A, B, C))
    done = settle(made, (A, 1, 0, 0), (A, 2, 0, 7), (B, 3, 0, 0), (B, 2, 0, 5), (C, 2, 0, 11), (C, 1, 0, 0))
    wanted = (Result.OK, Result.OK, Result.OK, Result.LATE, Result.EXCEEDS, Result.OK)
    assert done == list(zip(wanted, (1, 1, 2, 2, 3, 3), strict=True))
    assert (places(made), made.late(0)) == ((78, 10, 12), 5)


def test_the_kinds_of_a_settlement_are_those_of_its_messages() -> None:
    kinds = {
        SettlementKind.WON: columns.K_WON,
        SettlementKind.POSTED: columns.K_POSTED,
        SettlementKind.VOIDED: 3,
    }
    assert all(kind == number for kind, number in kinds.items())
    assert len(SettlementKind) == len(kinds)


def test_results_and_units_have_the_numbers_of_the_kernels() -> None:
    assert [result.name for result in Result] == ["OK", "EXISTS", "NOT_FOUND", "EXCEEDS", "LATE"]
    numbers = columns.OK, columns.EXISTS, columns.NOT_FOUND, columns.EXCEEDS, columns.LATE
    assert tuple(Result) == numbers
    assert tuple(Unit) == (columns.MONEY, columns.IMPRESSION)


def test_known_rows_are_those_open_or_ended_lately() -> None:
    made = purse()
    made.reserve_rows(**batch(A, B))
    made.void(A, 1)
    assert made.known_rows(ids(C, B, A)).tolist() == [False, True, True]


def test_what_expires_is_told_by_its_time_and_then_by_its_id() -> None:
    made = purse()
    rows = batch(C, B, A, b"\xff" * 12)
    rows["result_until"][:] = 90, 90, 95, 80
    made.reserve_rows(**rows)
    tags, chains = made.expire_rows(RESULT_NS)
    assert (tags.tolist(), chains.tolist()) == ([4, 2, 1, 3], [0, 0, 0, 0])


def test_the_tag_of_a_bid_is_known_as_long_as_the_bid_is() -> None:
    made = purse()
    reserve(made, tag=2**64 - 1)
    made.post(B, 0, 1, 50)
    assert made.tag(B) == 2**64 - 1
    made.expire(50 + KEEP_NS)
    assert made.tag(B) == 0


def test_an_empty_batch_changes_nothing() -> None:
    made = purse()
    made.reserve_rows(**batch())
    assert len(made.known_rows(ids())) == 0
    assert places(made) == (100, 0, 0)


# -- faults of ours ---------------------------------------------------------------------------------------


def test_a_repeat_in_a_batch_is_a_fault_and_the_rows_before_it_stand() -> None:
    made = purse()
    with pytest.raises(
        InvariantError, match=r"bid must be new.*row 2, bid 616161616161616161616161, chain 0"
    ):
        made.reserve_rows(**batch(A, B, A, C))
    assert [made.knows(bid) for bid in (A, B, C)] == [True, True, False]
    assert places(made) == (80, 20, 0)


def test_a_batch_beyond_what_is_free_is_a_fault() -> None:
    with pytest.raises(InvariantError, match="every account must have free what is reserved: row 1"):
        purse().reserve_rows(**batch(A, B, amounts=(60, 41)))


@pytest.mark.parametrize(
    "column", ["chains", "amounts", "impressions", "tags", "result_until", "liable_until"]
)
def test_columns_that_are_too_short_are_a_fault(column: str) -> None:
    made, rows = purse(), batch(A, B)
    rows[column] = rows[column][:1].copy()
    with pytest.raises(InvariantError, match="as long as its ids"):
        made.reserve_rows(**rows)
    assert places(made) == (100, 0, 0)


@pytest.mark.parametrize("short", range(6))
def test_settlements_that_are_too_short_are_a_fault(short: int) -> None:
    made = purse()
    dtypes = np.uint8, np.int32, np.int64, np.uint8, np.uint64, np.int64
    kinds, chains, amounts, results, tags, impressions = (
        np.ones(2 - (number == short), dtype) for number, dtype in enumerate(dtypes)
    )
    with pytest.raises(InvariantError, match="as long as its ids"):
        made.settle_rows(ids(A, B), kinds, chains, amounts, 1, results, tags, impressions)


@pytest.mark.parametrize(("column", "value"), [("amounts", 0), ("amounts", -1), ("impressions", 0)])
def test_a_reservation_of_nothing_is_a_fault(column: str, value: int) -> None:
    rows = batch(A)
    rows[column][0] = value
    with pytest.raises(InvariantError, match="must be > 0"):
        purse().reserve_rows(**rows)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_post_of_nothing_is_a_fault(amount: int) -> None:
    with pytest.raises(InvariantError, match="must be > 0"):
        purse().post(A, 0, amount, 1)


@pytest.mark.parametrize("chain", [-1, 1])
def test_a_chain_that_there_is_not_is_a_fault(chain: int) -> None:
    made = purse()
    with pytest.raises(InvariantError, match="chain must be registered"):
        reserve(made, chain=chain)
    with pytest.raises(InvariantError, match="chain must be registered"):
        made.post(A, chain, 1, 1)
    assert not made.knows(A)


def test_a_kind_that_there_is_not_is_a_fault() -> None:
    with pytest.raises(InvariantError, match="kind must be 1"):
        settle(purse(), (A, 4, 0, 0))


@pytest.mark.parametrize("bid", [b"", b"b", bytes(13)])
def test_an_id_of_another_length_is_a_fault(bid: bytes) -> None:
    with pytest.raises(InvariantError, match="must have 12 bytes"):
        purse().knows(bid)


def test_ids_of_another_width_are_a_fault() -> None:
    rows = batch(A)
    rows["ids"] = np.zeros((1, 11), np.uint8)
    with pytest.raises(InvariantError, match="an id 12 bytes"):
        purse().reserve_rows(**rows)
    with pytest.raises(InvariantError, match="an id 12 bytes"):
        purse().known_rows(rows["ids"])


@pytest.mark.parametrize("amount", [-1, MAX_NANOS + 1])
def test_a_grant_beyond_the_bounds_is_a_fault(amount: int) -> None:
    with pytest.raises(InvariantError, match="grant must be"):
        purse().grant(0, amount)
    with pytest.raises(InvariantError, match="grant must be"):
        purse().lower(0, amount)


@pytest.mark.parametrize("account", [-1, 1])
def test_a_grant_to_no_account_is_a_fault(account: int) -> None:
    with pytest.raises(InvariantError, match="account must be below 1"):
        purse().grant(account, 1)
    with pytest.raises(InvariantError, match="account must be below 1"):
        purse().lower(account, 1)


@pytest.mark.parametrize("accounts", [(), (0, 0), (1,), (-1,)])
def test_a_chain_of_no_repeated_or_unknown_accounts_is_a_fault(accounts: tuple[int, ...]) -> None:
    with pytest.raises(InvariantError, match=r"a chain must name|accounts must be below"):
        purse().chain(accounts)


def test_an_account_keeps_its_unit() -> None:
    with pytest.raises(InvariantError, match="unit of account c1 must be MONEY"):
        purse().account("c1", Unit.IMPRESSIONS)


def test_more_spent_than_an_account_can_hold_is_a_fault() -> None:
    made = purse()
    assert made.post(A, 0, MAX_NANOS, 1) is Result.LATE
    with pytest.raises(InvariantError, match=f"what is posted must be at most {MAX_NANOS} in account c1"):
        made.post(B, 0, 1, 1)


@pytest.mark.parametrize("column", [columns.B_GRANTED, columns.B_RESERVED, columns.B_POSTED])
def test_books_that_do_not_add_up_are_a_fault_that_names_the_account(column: int) -> None:
    made = purse()
    reserve(made, A)
    made.books[0, column] += 1
    with pytest.raises(InvariantError, match="must add up to what was granted in account c1"):
        reserve(made, B)
    with pytest.raises(InvariantError, match="must add up to what was granted in account c1"):
        made.void(A, 1)


def test_a_fault_in_the_books_is_found_by_time_too() -> None:
    made = purse()
    reserve(made)
    made.available[0] += 1
    with pytest.raises(InvariantError, match="must add up"):
        made.expire(RESULT_NS)


def test_money_from_nowhere_is_a_fault_where_the_sum_is_right() -> None:
    made = purse()
    reserve(made, A)
    made.books[0, columns.B_RESERVED] -= 100
    made.available[0] += 100
    with pytest.raises(InvariantError, match="must add up"):
        reserve(made, B, 1)


@pytest.mark.parametrize(("keep_ns", "capacity"), [(-1, 1), (0, 0)])
def test_a_purse_of_nothing_is_a_fault(keep_ns: int, capacity: int) -> None:
    with pytest.raises(InvariantError, match="keep_ns must be >= 0 and capacity >= 1"):
        Purse(keep_ns, capacity)


# -- the table and the wheel ------------------------------------------------------------------------------


def many(count: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12), dtype=np.uint8)


def hold(made: Purse, bids: np.ndarray, until_ns: int) -> None:
    """Reserves a nano for each; the tag is its number."""
    n = len(bids)
    made.reserve_rows(
        bids, np.zeros(n, np.int32), np.ones(n, np.int64), np.full(n, ONE_IMPRESSION), np.arange(n, dtype=np.uint64),
        np.full(n, until_ns), np.full(n, until_ns),
    )  # fmt: skip


def test_growing_loses_nothing() -> None:
    made, bids = purse(10**6), many(3000)
    for begin in range(0, 3000, 100):
        hold(made, bids[begin : begin + 100].copy(), 10**6)
    assert made.known_rows(bids).all()
    assert not made.known_rows(many(3000, seed=6)).any()
    assert [made.tag(bids[n].tobytes()) for n in (0, 99, 100, 2999)] == [0, 99, 0, 99]
    assert (made.open_reservations, made.expire(10**6), places(made)) == (3000, 3000, (10**6, 0, 0))


def test_the_room_of_what_was_forgotten_is_used_again() -> None:
    made = Purse(KEEP_NS, capacity=1000)
    made.grant(made.account("c1"), 10**9)
    made.chain((0,))
    room = len(made._records)
    for turn in range(20):
        hold(made, many(900, seed=turn), turn * 10_000)
        made.expire(turn * 10_000)
        made.expire(turn * 10_000 + KEEP_NS)
    assert len(made._records) == room
    assert (np.count_nonzero(made._index), made.open_reservations) == (0, 0)


def test_a_reservation_is_one_line_of_the_cache() -> None:
    made = Purse(KEEP_NS, capacity=1000)
    assert made._records.strides == (64, 8)
    assert made._records.ctypes.data % 64 == 0


@pytest.mark.parametrize("place", [4, 8])
def test_ids_that_share_their_hash_are_told_apart(place: int) -> None:
    """Ids that differ in four bytes, from `place` on: among so many some pairs have one stamp."""
    numbers = np.unique(np.random.default_rng(place).integers(0, 2**32, 300_000))
    words = {4: np.zeros_like(numbers), 8: np.zeros_like(numbers), place: numbers}
    stamps = getattr(index_kernels.stamp_of, "py_func", index_kernels.stamp_of)(
        words[4] * 0, words[4], words[8]
    )
    order = np.argsort(stamps, kind="stable")
    at = int(np.flatnonzero(np.diff(stamps[order]) == 0)[0])
    one, two = (
        bytes(place) + int(number).to_bytes(4, "big") + bytes(8 - place)
        for number in numbers[order[at : at + 2]]
    )
    made = purse()
    reserve(made, one, 10, tag=1)
    assert not made.knows(two)
    reserve(made, two, 20, tag=2)
    assert (made.tag(one), made.tag(two)) == (1, 2)
    made.void(one, 1)
    made.expire(1 + KEEP_NS)
    assert (made.knows(one), made.tag(two)) == (False, 2)


@pytest.mark.parametrize("seed", range(4))
def test_ends_that_come_nearer_leave_the_list_of_their_neighbours_whole(seed: int) -> None:
    keep_ns, far_ns = 10**6, 10**9
    made = Purse(keep_ns, capacity=1)
    made.grant(made.account("c1"), 100)
    made.chain((0,))
    bids = many(40)
    reserve(made, A, 1)
    hold(made, bids[:20], far_ns)
    made.void(A, 0)
    made.expire(keep_ns)
    hold(made, bids[20:], far_ns)  # the first of these is in the place that the forgotten one left
    voided = np.random.default_rng(seed).permutation(40)[:30]
    for number in voided:
        assert made.void(bids[number].tobytes(), keep_ns) is Result.OK
    assert made.known_rows(bids).all()
    assert made.expire(2 * keep_ns) == 0
    assert made.known_rows(bids).nonzero()[0].tolist() == sorted(set(range(40)) - set(voided.tolist()))
    assert made.expire(far_ns - 1) == 0
    assert made.expire(far_ns) == 10


@pytest.mark.parametrize("wait_ns", [1, 16_383, 16_384, 16_385, 50_000, 10**12])
def test_waits_beyond_a_turn_of_the_wheel_end_when_they_should(wait_ns: int) -> None:
    made = purse()
    began_ns = 1_772_409_600_000_000_000
    made.expire(began_ns)
    made.reserve(B, 0, 40, began_ns + wait_ns, began_ns + wait_ns)
    for moment in sorted({began_ns, began_ns + wait_ns // 3, began_ns + wait_ns - 1}):
        assert made.expire(moment) == 0
    assert made.expire(began_ns + wait_ns) == 1
