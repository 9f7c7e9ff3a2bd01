"""Numbers of reasons: stable, unlike each other, and what an exchange is told."""

import pytest

from bidder.core import creative_kernels, kernels
from bidder.core.dimensions import REASONS, Dimension
from bidder.openrtb.reasons import EXCHANGE_SPECIFIC, Reason, nbr

NUMBERS = {
    "BID": 0, "MALFORMED": 101, "INVALID": 102, "EXPIRED": 103, "CURRENCY": 104, "SEAT": 105, "AUCTION_TYPE": 106,
    "PRIVATE_AUCTION": 107, "FLOOR_CURRENCY": 108, "MEDIA_TYPE": 109, "DUPLICATE": 110, "CRAWLER": 111,
    "DATA_CENTRE": 112, "IMPOSSIBLE_DEVICE": 113, "USER_RATE": 114, "ADDRESS_RATE": 115, "SCHAIN_INCOMPLETE": 116,
    "SCHAIN_BLOCKED": 117, "SAME_OPPORTUNITY": 118, "NO_CAMPAIGNS": 200, "EXCHANGE": 201, "SIZE": 202, "HOUR": 203,
    "GEO": 204, "DOMAIN": 205, "SEGMENT": 206, "BLOCKED": 207, "DEAL": 208, "INVENTORY": 209, "CITY": 210,
    "CIRCLE": 211, "DEVICE": 212, "OS": 213, "BROWSER": 214, "CARRIER": 215, "CONNECTION": 216, "LANGUAGE": 217,
    "CONTENT": 218, "KEYWORD": 219, "PLACEMENT": 220, "VIEWABILITY": 221, "EXPRESSION": 222, "CREATIVE_SIZE": 230,
    "CREATIVE_APPROVAL": 231, "CREATIVE_SECURE": 232, "CREATIVE_BLOCKED": 233, "CREATIVE_ATTRIBUTE": 234,
    "CREATIVE_TYPE": 235, "CREATIVE_MIME": 236, "CREATIVE_API": 237, "CREATIVE_PROTOCOL": 238,
    "CREATIVE_DURATION": 239, "CREATIVE_DELIVERY": 240, "CREATIVE_LANGUAGE": 241, "CREATIVE_ASSETS": 242,
    "FLIGHT": 301, "UNSCORED": 302, "NO_LEASE": 303, "BELOW_FLOOR": 304, "BUDGET": 305, "NO_VALUE": 306,
    "CAPPED": 307, "POD": 308, "STOPPED": 309, "TRIPPED": 310,
}  # fmt: skip


def test_every_number_is_told_above() -> None:
    assert {reason.name for reason in Reason} == NUMBERS.keys()


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_numbers_stand_in_logs_and_never_change(name: str, number: int) -> None:
    assert Reason[name] == number


@pytest.mark.parametrize("dimension", Dimension)
def test_a_dimension_and_its_reason_have_one_name(dimension: Dimension) -> None:
    name = {"FORMAT": "SIZE"}.get(dimension.name, dimension.name)
    assert REASONS[dimension] is Reason[name]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "BID",
            "DUPLICATE",
            "NO_CAMPAIGNS",
            "UNSCORED",
            "NO_LEASE",
            "BELOW_FLOOR",
            "BUDGET",
            "NO_VALUE",
            "CAPPED",
        ),
        "POD",
    ],
)
def test_the_kernel_has_the_same_numbers(name: str) -> None:
    assert getattr(kernels, f"R_{name}") == Reason[name]


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        *(("SIZE", "SIZE"), ("APPROVAL", "APPROVAL"), ("UNSAFE", "SECURE"), ("BLOCKED", "BLOCKED")),
        *(("ATTRIBUTE", "ATTRIBUTE"), ("TYPE", "TYPE"), ("MIME", "MIME"), ("API", "API")),
        *(("PROTOCOL", "PROTOCOL"), ("DURATION", "DURATION"), ("DELIVERY", "DELIVERY")),
        *(("LANGUAGE", "LANGUAGE"), ("ASSETS", "ASSETS")),
    ],
)
def test_faults_of_creatives_have_the_same_numbers(ours: str, name: str) -> None:
    assert getattr(creative_kernels, ours) == Reason[f"CREATIVE_{name}"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Reason.MALFORMED, 2), (Reason.INVALID, 2), (Reason.AUCTION_TYPE, 2), (Reason.EXPIRED, 15)],
)
def test_standard_codes_are_used_where_there_is_one(reason: Reason, code: int) -> None:
    assert nbr(reason) == code


@pytest.mark.parametrize("reason", [reason for reason in Reason if nbr(reason) >= EXCHANGE_SPECIFIC])
def test_our_own_codes_lie_in_the_exchange_specific_range(reason: Reason) -> None:
    assert nbr(reason) == 500 + reason
