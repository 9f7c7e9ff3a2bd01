"""Creatives as numbers, whether they fit a slot, and which of several is shown."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.campaigns import Approval, Campaign, Creative, Media, Native
from bidder.core.creative_kernels import choose_creative, uniform
from bidder.core.creatives import (
    MAX_BITS,
    C,
    Creatives,
    Vocabulary,
    blocks_of,
    btype_of,
    mime_of,
    ratio_code,
    size_code,
    with_parents,
)
from bidder.core.lines import lines_of
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, campaign, creative
from tests.support.naive_creatives import Random, naive_choice


def creatives(
    *campaigns: Campaign, exchanges: tuple[str, ...] = (), assumed: tuple[str, ...] = ("",)
) -> Creatives:
    return Creatives(lines_of({one.id: one for one in campaigns}, {}), exchanges, frozenset(assumed))


# -- words and numbers ----------------------------------------------------------------------------------------


def test_a_vocabulary_knows_what_our_creatives_have_and_nothing_else() -> None:
    words = Vocabulary("things")
    assert [words.learn(["a", "b"]), words.learn(["b"]), words.learn([])] == [3, 2, 0]
    assert [words.bits(["b", "x"]), words.bits(["x"]), words.bits(None)] == [2, 0, 0]


def test_a_vocabulary_has_room_for_62_values() -> None:
    words = Vocabulary("things")
    assert words.learn(range(MAX_BITS)) == (1 << MAX_BITS) - 1
    with pytest.raises(InputError, match="at most 62 different things"):
        words.learn(["one more"])


@given(st.tuples(*[st.integers(1, 10_000)] * 4))
def test_sizes_and_ratios_are_told_apart(pair: tuple[int, int, int, int]) -> None:
    w, h, v, g = pair
    assert (size_code(w, h) == size_code(v, g)) == ((w, h) == (v, g))
    assert (ratio_code(w, h) == ratio_code(v, g)) == (w * g == v * h)
    assert ratio_code(w, h) < 0 < size_code(w, h) < 2**31


@pytest.mark.parametrize(
    ("changes", "mime", "btype"),
    [
        ({}, "image/png", 2),
        ({"image_url": "https://a.example/x.GIF?v=1.png"}, "image/gif", 2),
        ({"image_url": "https://a.example/x"}, "image/jpeg", 2),
        ({"mime": "Image/WebP"}, "image/webp", 2),
        ({"image_url": "", "html": "<b>"}, "text/html", 3),
        ({"btype": 4}, "image/png", 4),
    ],
)
def test_the_type_of_a_banner_is_seen_where_it_is_not_stated(
    changes: dict[str, Any], mime: str, btype: int
) -> None:
    made = creative(**changes)
    assert (mime_of(made), btype_of(made)) == (mime, btype)


def test_a_domain_has_parents_down_to_two_labels() -> None:
    assert with_parents("a.b.example") == ("a.b.example", "b.example")
    assert with_parents("localhost") == ("localhost",)


def test_a_creative_is_barred_by_what_it_says_itself_before_its_campaign() -> None:
    above = campaign(adomain=("shop.example",), cat=("IAB1",), bundle="com.app")
    assert blocks_of(above, creative()) == {"adv:shop.example", "cat:1:IAB1", "app:com.app"}
    own = creative(adomain=("b.other.example",), cat=("9:150",), bundle="com.own")
    barred = blocks_of(above, own)
    assert {"adv:b.other.example", "adv:other.example", "cat:9:150", "app:com.own"} <= barred
    assert not barred & {"adv:shop.example", "cat:1:IAB1", "app:com.app"}


def test_what_bars_some_creatives_of_a_line_item_stands_with_these() -> None:
    two = (creative("k1", cat=("IAB1",)), creative("k2", cat=("IAB2",)))
    made = creatives(campaign(creatives=two))
    assert made.full_blocks == [("adv:shop.example",)]
    for row, value in enumerate(("cat:1:IAB1", "cat:1:IAB2")):
        begin, end = made.columns[row, [C.BLOCK_START, C.BLOCK_END]]
        assert made.blocks[begin:end].tolist() == [made.block_ids[value]]


@pytest.mark.parametrize(
    ("approvals", "assumed", "allowed"),
    [
        ({}, ("", "one", "two"), {"one", "two", "else"}),
        ({}, ("one",), {"one"}),
        ({"two": Approval.APPROVED}, (), {"two"}),
        ({"two": Approval.PENDING}, ("", "one", "two"), {"one", "else"}),
        ({"one": Approval.REJECTED}, ("", "one", "two"), {"two", "else"}),
        ({"nine": Approval.REJECTED}, ("", "one", "two"), {"one", "two"}),
        ({"nine": Approval.APPROVED}, (), set()),
    ],
)
def test_a_creative_is_shown_where_it_is_approved_or_need_not_be(
    approvals: dict[str, Approval], assumed: tuple[str, ...], allowed: set[str]
) -> None:
    made = creatives(
        campaign(creatives=(creative(approvals=approvals),)), exchanges=("one", "two"), assumed=assumed
    )
    bits = int(made.columns[0, C.EXCHANGES])
    assert {name for name in ("one", "two", "else") if bits & made.bit_of(name)} == allowed


# -- one creative in one slot, by the whole engine ------------------------------------------------------------


def video(**changes: Any) -> Creative:
    fields: dict[str, Any] = {"media": Media.VIDEO, "w": 640, "h": 360, "mime": "video/mp4", "duration_s": 15}
    return creative(image_url="", media_url="https://cdn.shop.example/v", **(fields | changes))


NATIVE = creative(media=Media.NATIVE, w=0, h=0, image_url="", native=Native(title="A sale"))
ASK = '{"assets":[{"id":1,"required":1,"title":{"len":%d}}]}'
VIDEO = {"mimes": ["video/mp4"]}
BANNER = {"w": 300, "h": 250}
STRICT, EASY = {"ext": {"exchange": "strict"}}, {"ext": {"exchange": "easy"}}
SETTINGS = EngineSettings(
    external_scores=True, exchanges={"strict": ExchangeRules(approval="required"), "easy": ExchangeRules()}
)


def fault(own: Creative, imp: dict[str, Any], **more: Any) -> Reason:
    """How an opportunity with one creative and one impression ends."""
    engine = make.engine([campaign(creatives=(own,))], settings=SETTINGS)
    request = {"imp": [{"id": "1", "ext": {"clearbid": {"campaign": "c1", "pctr": 0.001}}, **imp}], **more}
    (row,) = make.decide(engine, make.body(Offer(more=request)))
    return Reason(row["reason"])


@pytest.mark.parametrize(
    ("own", "imp", "more", "reason"),
    [
        (creative(), {"banner": BANNER}, {}, Reason.BID),
        (creative(flex=True), {"banner": {"w": 600, "h": 500}}, {}, Reason.BID),
        (creative(), {"banner": {"w": 600, "h": 500}}, {}, Reason.SIZE),
        (creative(flex=True), {"banner": {"format": [{"wratio": 6, "hratio": 5}]}}, {}, Reason.BID),
        (creative(), {"banner": {"format": [{"wratio": 6, "hratio": 5}]}}, {}, Reason.SIZE),
        (creative(), {"banner": BANNER}, STRICT, Reason.CREATIVE_APPROVAL),
        (creative(approvals={"strict": Approval.APPROVED}), {"banner": BANNER}, STRICT, Reason.BID),
        (creative(approvals={"easy": Approval.PENDING}), {"banner": BANNER}, EASY, Reason.CREATIVE_APPROVAL),
        (creative(image_url="http://a.example/x.png"), {"banner": BANNER, "secure": 1}, {}, Reason.CREATIVE_SECURE),
        (creative(attr=(3,)), {"banner": {**BANNER, "battr": [9, 3]}}, {}, Reason.CREATIVE_ATTRIBUTE),
        (creative(attr=(3,)), {"banner": {**BANNER, "battr": [9]}}, {}, Reason.BID),
        (creative(), {"banner": {**BANNER, "btype": [2]}}, {}, Reason.CREATIVE_TYPE),
        (creative(), {"banner": {**BANNER, "btype": [3]}}, {}, Reason.BID),
        (creative(), {"banner": {**BANNER, "mimes": ["image/gif"]}}, {}, Reason.CREATIVE_MIME),
        (creative(), {"banner": {**BANNER, "mimes": ["IMAGE/PNG"]}}, {}, Reason.BID),
        (creative(api=(5,)), {"banner": BANNER}, {}, Reason.CREATIVE_API),
        (creative(api=(5,)), {"banner": {**BANNER, "api": [3, 5]}}, {}, Reason.BID),
        (creative(), {"banner": BANNER}, {"wlang": ["en"]}, Reason.CREATIVE_LANGUAGE),
        (creative(language="EN"), {"banner": BANNER}, {"wlang": ["en"]}, Reason.BID),
        (creative(language="pt"), {"banner": BANNER}, {"wlangb": ["pt-BR"]}, Reason.BID),
        (creative(language="pt-br"), {"banner": BANNER}, {"wlang": ["pt"]}, Reason.CREATIVE_LANGUAGE),
        (video(), {"video": VIDEO}, {}, Reason.BID),
        (video(), {"video": {**VIDEO, "protocols": [3, 7]}}, {}, Reason.BID),
        (video(), {"video": {**VIDEO, "protocols": [7]}}, {}, Reason.CREATIVE_PROTOCOL),
        (video(), {"video": {**VIDEO, "protocol": 2}}, {}, Reason.CREATIVE_PROTOCOL),
        (video(), {"video": {**VIDEO, "minduration": 16}}, {}, Reason.CREATIVE_DURATION),
        (video(), {"video": {**VIDEO, "maxduration": 14}}, {}, Reason.CREATIVE_DURATION),
        (video(), {"video": {**VIDEO, "minduration": 15, "maxduration": 15}}, {}, Reason.BID),
        (video(), {"video": {**VIDEO, "rqddurs": [10, 30]}}, {}, Reason.CREATIVE_DURATION),
        (video(), {"video": {**VIDEO, "rqddurs": [10, 15], "maxduration": 1}}, {}, Reason.BID),
        (video(bitrate_kbps=900), {"video": {**VIDEO, "maxbitrate": 800}}, {}, Reason.CREATIVE_DELIVERY),
        (video(), {"video": {**VIDEO, "linearity": 2}}, {}, Reason.CREATIVE_DELIVERY),
        (video(), {"video": {**VIDEO, "delivery": [1, 3]}}, {}, Reason.CREATIVE_DELIVERY),
        (video(attr=(16,)), {"video": {**VIDEO, "skip": 1}}, {}, Reason.CREATIVE_ATTRIBUTE),
        (video(attr=(16,)), {"video": VIDEO}, {}, Reason.BID),
        (video(), {"video": {}}, {}, Reason.MEDIA_TYPE),
        (NATIVE, {"native": {"request": ASK % 20}}, {}, Reason.BID),
        (NATIVE, {"native": {"request": ASK % 2}}, {}, Reason.SIZE),
    ],
)  # fmt: skip
def test_a_creative_in_a_slot(
    own: Creative, imp: dict[str, Any], more: dict[str, Any], reason: Reason
) -> None:
    assert fault(own, imp, **more) == reason


def test_the_highest_fault_of_several_creatives_is_the_reason() -> None:
    two = (creative("k1", attr=(3,)), creative("k2", language="de"))
    engine = make.engine([campaign(creatives=two)])
    offer = Offer(battr=(3,), more={"wlang": ["en"]})
    (row,) = make.decide(engine, make.body(offer))
    assert row["reason"] == Reason.CREATIVE_LANGUAGE


def test_an_allow_list_bars_who_says_nothing_of_its_category() -> None:
    for cat, reason in ((("IAB7-39",), Reason.BID), (("IAB3",), Reason.BLOCKED), ((), Reason.BLOCKED)):
        engine = make.engine([campaign(adomain=(), cat=cat)])
        (row,) = make.decide(engine, make.body(Offer(more={"acat": ["IAB7"]})))
        assert row["reason"] == reason


def test_what_bars_one_creative_leaves_the_others() -> None:
    two = (creative("k1", cat=("IAB3",)), creative("k2", cat=("IAB7",)))
    engine = make.engine([campaign(creatives=two)])
    (row,) = make.decide(engine, make.body(Offer(bcat=("IAB3",))))
    assert (row["reason"], row["creative_id"]) == (Reason.BID, "k2")
    (row,) = make.decide(engine, make.body(Offer(id="r2", bcat=("IAB3", "IAB7"))))
    assert row["reason"] == Reason.CREATIVE_BLOCKED


# -- which of several -----------------------------------------------------------------------------------------


def chosen(seed: int, counts: list[tuple[int, int]]) -> int:
    """The kernel's choice among banners of one size that were shown and clicked so often."""
    own = creatives(campaign(creatives=tuple(creative(f"k{n}") for n in range(len(counts)))))
    row = np.zeros(23, dtype=np.int64)
    row[[3, 8, 18]] = own.other_exchange_bit, seed, -1
    row[9:13] = 0, -1, -1, -1
    slots = np.zeros((1, 20), dtype=np.int64)
    slots[0, :3] = 1, 0, 1
    slots[0, [5, 6]] = -1, -1
    lists = np.array([size_code(300, 250)], dtype=np.int32)
    numbers = np.array(counts, dtype=np.float64).reshape(-1, 2)
    return int(
        choose_creative(
            row, 0, 0, own.columns, own.starts, own.rows, own.blocks, slots, lists, np.zeros((1, 1), np.uint8),
            np.zeros(1, np.int32), 2**31, numbers[:, 0].copy(), numbers[:, 1].copy(),
        )
    )  # fmt: skip


@given(
    st.integers(0, 2**56 - 1),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 3_000)), min_size=1, max_size=6),
)
@settings(max_examples=300)
def test_the_choice_equals_a_plain_one(seed: int, counts: list[tuple[int, int]]) -> None:
    fitting = [(place, float(shown), float(clicks)) for place, (shown, clicks) in enumerate(counts)]
    assert chosen(seed, counts) == naive_choice(seed, fitting)


@given(st.integers(0, 2**64 - 1))
def test_draws_equal_those_in_whole_numbers(seed: int) -> None:
    state, random = np.array([seed], dtype=np.uint64), Random(seed)
    assert [float(uniform(state)) for _ in range(5)] == [random.uniform() for _ in range(5)]


def test_the_creative_that_is_clicked_more_is_shown_more_but_not_always() -> None:
    choices = [chosen(seed * 2**40 // 3, [(2_000, 10), (2_000, 20)]) for seed in range(400)]
    assert 0.75 < sum(choices) / 400 < 0.999


def test_creatives_of_which_nothing_is_known_are_shown_alike() -> None:
    choices = [chosen(seed * 2**40 // 3, [(0, 0)] * 3) for seed in range(600)]
    assert all(140 < choices.count(one) < 260 for one in range(3))
