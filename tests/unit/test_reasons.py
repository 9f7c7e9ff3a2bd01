"""Numbers of reasons: stable, unlike each other, and what an exchange is told."""

import pytest

from bidder.core import kernels
from bidder.core.table import Dimension
from bidder.openrtb.reasons import EXCHANGE_SPECIFIC, Reason, nbr

NUMBERS = {
    "BID": 0, "MALFORMED": 101, "INVALID": 102, "EXPIRED": 103, "CURRENCY": 104, "SEAT": 105, "AUCTION_TYPE": 106,
    "PRIVATE_AUCTION": 107, "FLOOR_CURRENCY": 108, "MEDIA_TYPE": 109, "DUPLICATE": 110, "NO_CAMPAIGNS": 200,
    "EXCHANGE": 201, "SIZE": 202, "HOUR": 203, "GEO": 204, "DOMAIN": 205, "SEGMENT": 206, "BLOCKED": 207,
    "FLIGHT": 301, "UNSCORED": 302, "NO_LEASE": 303, "BELOW_FLOOR": 304, "BUDGET": 305, "NO_VALUE": 306,
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_numbers_stand_in_logs_and_never_change(name: str, number: int) -> None:
    assert Reason[name] == number


@pytest.mark.parametrize("dimension", Dimension)
def test_a_dimension_and_its_reason_have_one_name(dimension: Dimension) -> None:
    assert Reason(kernels.R_DIMENSION + dimension).name == dimension.name


@pytest.mark.parametrize(
    "name", ["BID", "NO_CAMPAIGNS", "FLIGHT", "UNSCORED", "NO_LEASE", "BELOW_FLOOR", "BUDGET", "NO_VALUE"]
)
def test_the_kernel_has_the_same_numbers(name: str) -> None:
    assert getattr(kernels, f"R_{name}") == Reason[name]


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Reason.MALFORMED, 2), (Reason.INVALID, 2), (Reason.AUCTION_TYPE, 2), (Reason.EXPIRED, 15)],
)
def test_standard_codes_are_used_where_there_is_one(reason: Reason, code: int) -> None:
    assert nbr(reason) == code


@pytest.mark.parametrize("reason", [reason for reason in Reason if nbr(reason) >= EXCHANGE_SPECIFIC])
def test_our_own_codes_lie_in_the_exchange_specific_range(reason: Reason) -> None:
    assert nbr(reason) == 500 + reason
