"""Reasons in words, and the engine's own counts as the report takes them."""

import pytest

from bidder.core.dimensions import Dimension
from bidder.core.engine import FUNNEL
from bidder.openrtb.reasons import Reason
from simulator.report.reasons import REFUSALS, WORDS, drops, no_bids, summed, words


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.BID])
def test_every_reason_has_words(reason):
    assert words(reason.name) == WORDS[reason.name]


@pytest.mark.parametrize("name", drops(dict.fromkeys(FUNNEL, 1)))
def test_every_drop_of_a_campaign_has_words(name):
    assert words(name) == WORDS[name.upper()]


def test_no_two_reasons_read_the_same():
    assert len(set(WORDS.values())) == len(WORDS)


def test_a_reason_of_others_is_made_readable():
    assert words("LOST_TO_HIGHER_BID") == "Lost to higher bid"


def test_bids_are_no_reason_for_not_bidding():
    assert no_bids({0: 10, 304: 2, 101: 1}) == {"MALFORMED": 1, "BELOW_FLOOR": 2}


def test_what_entered_and_what_left_a_funnel_is_no_drop():
    assert set(FUNNEL) - set(drops(dict.fromkeys(FUNNEL, 1))) == {"eligible", "bid"}


def test_every_dimension_has_words_for_what_it_refused():
    assert REFUSALS.keys() == {"inactive", *(dimension.name.lower() for dimension in Dimension)}


def test_counts_are_added_name_by_name():
    assert summed([{"geo": 1, "os": 2}, {"geo": 3}, {}]) == {"geo": 4, "os": 2}
