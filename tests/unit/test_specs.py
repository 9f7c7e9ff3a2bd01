"""What slots take, read once: rows of numbers, floors by duration, and what a hostile sender may write."""

from typing import Any

import orjson
import pytest

from bidder.core import specs
from bidder.core.campaigns import Creative, Media, Native, Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.specs import NO_FLOORS, S, SlotBook
from bidder.core.table import SPARE_ROWS, LineTable
from bidder.errors import RequestError
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import DurFloor
from tests.support import factories as make
from tests.support.factories import Offer, campaign, creative

RATE = 1_000_000_000


def video(**changes: Any) -> Creative:
    fields: dict[str, Any] = {"media": Media.VIDEO, "w": 640, "h": 360, "mime": "video/mp4", "duration_s": 15}
    return creative("v", image_url="", media_url="https://cdn.shop.example/v", **(fields | changes))


NATIVE = creative("n", media=Media.NATIVE, w=0, h=0, image_url="", native=Native(title="Sale"))
EVERY = (creative(attr=(3,)), video(), NATIVE)


def book(*creatives: Creative) -> SlotBook:
    return SlotBook(LineTable({"c1": campaign(creatives=creatives or EVERY)}, 1))


def banner(made: SlotBook, **fields: Any) -> dict[str, Any]:
    slot = made.banner(orjson.dumps(fields), ("imp", 0))
    assert slot is not None
    return {column.name: int(made.columns[slot.row, column]) for column in S}


# -- rows -----------------------------------------------------------------------------------------------------


def test_a_slot_is_read_once_and_known_by_its_bytes() -> None:
    made = book()
    one, two = (made.banner(b'{"w":300,"h":250}', ()) for _ in range(2))
    assert one is two
    assert made.banner(b'{"w":300, "h":250}', ()) is not one


def test_a_video_slot_in_another_currency_is_another() -> None:
    made = book()
    raw = b'{"mimes":["video/mp4"],"mincpmpersec":0.1}'
    one, two = made.video(raw, RATE, ()), made.video(raw, 2 * RATE, ())
    assert one is not None
    assert two is not None
    floors = [int(made.columns[slot.row, S.PER_SECOND]) for slot in (one, two)]
    assert floors == [100_000, 200_000]


@pytest.mark.parametrize("raw", [b"{}", b'{"mimes":[]}', b'{"mimes":null}', b"null"])
def test_without_mimes_nothing_can_be_known_to_fit_a_video(raw: bytes) -> None:
    assert book().video(raw, RATE, ()) is None


@pytest.mark.parametrize("request_text", ["", "{", "[]", '{"assets":[]}'])
def test_a_native_slot_that_cannot_be_read_is_none(request_text: str) -> None:
    assert book().native(orjson.dumps({"request": request_text}), ()) is None


def test_attributes_that_none_of_ours_has_bar_nothing() -> None:
    assert banner(book(), w=1, h=1, battr=[1, 2])["ATTR_BLOCKED"] == 0
    assert banner(book(), w=1, h=1, battr=[1, 3])["ATTR_BLOCKED"] != 0


def test_what_is_mended_is_counted_with_the_slot() -> None:
    slot = book().banner(b'{"w":"300","h":250,"pos":"x"}', ())
    assert slot is not None
    assert (slot.repaired, slot.features) == (2, ("300x250", "0"))


def test_a_hard_field_of_a_slot_refuses_with_its_path() -> None:
    with pytest.raises(RequestError) as raised:
        book().banner(b'{"battr":["x"]}', ("imp", 3))
    assert raised.value.path == "$.imp[3].banner.battr[0]"


# -- floors ---------------------------------------------------------------------------------------------------


def test_floors_are_in_the_accounts_money_rounded_up() -> None:
    made = book()
    floors = made.floors(0.000001, [DurFloor(5, 10, 1.5), DurFloor(11, 0, 0.0)], RATE // 3)
    assert (floors.per_second_nanos, floors.end - floors.begin) == (1, 2)
    assert made.durations[floors.begin : floors.end].tolist() == [[5, 10, 500_000], [11, 2**31, 0]]


def test_without_floors_by_duration_there_are_none() -> None:
    assert book().floors(None, [], RATE) is NO_FLOORS


@pytest.mark.parametrize("cpm", [-0.01, 1e7])
def test_a_floor_that_is_no_price_refuses(cpm: float) -> None:
    with pytest.raises(RequestError, match="floor must be a price"):
        book().floors(cpm, None, RATE)
    with pytest.raises(RequestError, match="floor must be a price"):
        book().floors(None, [DurFloor(bidfloor=cpm)], RATE)


# -- forgetting -----------------------------------------------------------------------------------------------


def test_forgetting_empties_the_book() -> None:
    made = book()
    before = made.banner(b'{"w":1,"h":1}', ())
    made.forget()
    again = made.banner(b'{"w":1,"h":1}', ())
    assert again is not before
    assert (made.forgotten, again is not None and again.row) == (1, 0)


def test_a_book_is_crowded_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "CAPACITY", 1_026)
    made = book()
    for number in range(3):
        assert not made.crowded
        made.banner(b'{"w":%d,"h":1}' % number, ())
    assert made.crowded


# -- what a sender may write ----------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Engine:
    own = campaign(creatives=EVERY)
    return make.engine([own, campaign("c2", targeting=Targeting(deal=Rule(include=("d1",))))])


def test_any_number_of_floors_is_read(engine: Engine) -> None:
    floors = [{"mindur": second, "bidfloor": 1.0} for second in range(5_000)]
    floors[4_999] |= {"mindur": 15, "maxdur": 15, "bidfloor": 2.0}
    offer = Offer(more={"imp": [{"id": "1", "video": {"mimes": ["video/mp4"], "durfloors": floors}}]})
    assert make.decide(engine, make.body(offer))[0]["reason"] == Reason.UNSCORED


def test_more_native_orders_than_there_are_rows_are_read(engine: Engine) -> None:
    asks = [orjson.dumps({"assets": [{"id": n, "title": {"len": n}}]}).decode() for n in range(1, 129)]
    imps = [{"id": str(n), "native": {"request": ask}} for n, ask in enumerate(asks)]
    reasons = [row["reason"] for row in make.decide(engine, make.body(Offer(more={"imp": imps})))]
    assert reasons == [Reason.SIZE] * 3 + [Reason.UNSCORED] * 125


def test_more_lists_of_advertisers_than_there_are_spare_rows_are_read() -> None:
    names = tuple(f"d{number}" for number in range(2 * SPARE_ROWS))
    engine = make.engine([campaign(targeting=Targeting(deal=Rule(include=names)))])
    deals = [{"id": name, "wadomain": [f"a{name}.example"]} for name in names]
    deals[-1]["wadomain"].append("shop.example")
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "pmp": {"private_auction": 1, "deals": deals}}
    imp["ext"] = {"clearbid": {"campaign": "c1", "pctr": 0.001}}
    reasons = [row["reason"] for row in make.decide(engine, make.body(Offer(more={"imp": [imp]})))]
    assert reasons == [Reason.DEAL] * (2 * SPARE_ROWS - 1) + [Reason.BID]


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
@pytest.mark.parametrize(
    "name",
    ["minduration", "maxduration", "poddur", "maxseq", "minbitrate", "maxbitrate", "linearity", "slotinpod"],
)
def test_a_number_beyond_every_column_is_one(engine: Engine, name: str, number: int) -> None:
    body = b'{"id":"r","imp":[{"id":"1","video":{"mimes":["video/mp4"],"%s":%d}}]}' % (name.encode(), number)
    rows = make.decide(engine, body)
    barred = {"minduration": Reason.CREATIVE_DURATION, "linearity": Reason.CREATIVE_DELIVERY}
    assert {row["reason"] for row in rows} == {barred.get(name, Reason.UNSCORED)}


def test_a_duration_that_only_wraps_to_ours_is_not_ours(engine: Engine) -> None:
    body = b'{"id":"r","imp":[{"id":"1","video":{"mimes":["video/mp4"],"rqddurs":[%d]}}]}' % (2**32 + 15)
    assert make.decide(engine, body)[0]["reason"] == Reason.CREATIVE_DURATION


@pytest.mark.parametrize("most", [-1, 0])
def test_a_pod_without_a_number_of_ads_has_places_all_the_same(engine: Engine, most: int) -> None:
    imp = {"id": "1", "video": {"mimes": ["video/mp4"], "poddur": 60, "maxseq": most}}
    assert len(make.decide(engine, make.body(Offer(more={"imp": [imp]})))) == 8


@pytest.mark.parametrize("length_s", [-1, -(2**62), 0, 2**62])
def test_a_pod_of_no_length_is_none_and_one_without_end_takes_any_ad(engine: Engine, length_s: int) -> None:
    medium = {"mimes": ["video/mp4"], "poddur": length_s, "maxseq": 2}
    body = orjson.dumps({"id": "r", "imp": [{"id": "1", "video": medium}]})
    assert len(make.decide(engine, body)) == (2 if length_s > 0 else 1)


def test_a_batch_that_is_full_of_pods_of_no_length_is_decided(engine: Engine) -> None:
    medium = {"mimes": ["video/mp4"], "poddur": -1}
    imps = [{"id": str(number), "video": medium} for number in range(128)]
    bodies = [orjson.dumps({"id": f"r{number}", "imp": imps}) for number in range(3)]
    assert len(make.decide(engine, *bodies)) == 3 * 128


def test_slots_that_cannot_be_bid_on_crowd_the_book_too() -> None:
    made = book()
    for number in range(specs.CAPACITY):
        assert made.video(b'{"mimes":[],"w":%d}' % number, RATE, ()) is None
        if made.crowded:
            return
    pytest.fail("a book must be crowded before it holds CAPACITY slots, was not")


@pytest.mark.parametrize(
    ("multiplier", "reason"),
    [
        (1e308, Reason.INVALID),
        (1e6 + 1, Reason.INVALID),
        (0, Reason.INVALID),
        (-1, Reason.INVALID),
        (1e-7, Reason.INVALID),
        (1e6, Reason.BUDGET),
        (1e-6, Reason.BID),
    ],
)
def test_a_quantity_is_a_millionth_to_a_million_impressions(multiplier: float, reason: Reason) -> None:
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "qty": {"multiplier": multiplier}}
    imp["ext"] = {"clearbid": {"campaign": "c1", "pctr": 0.01}}
    (row,) = make.decide(make.engine(), make.body(Offer(more={"imp": [imp]})))
    assert row["reason"] == reason
