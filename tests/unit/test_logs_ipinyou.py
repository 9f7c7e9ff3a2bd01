"""Reading iPinYou rows: units, times, sources, drops, and one clear line for what cannot be read."""

from collections import Counter
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bidder.errors import InputError
from simulator.logs.ipinyou import (
    NOMINAL_SIZE,
    SOURCES,
    Kind,
    default_sources,
    detect,
    read_auctions,
    read_features,
    segments_of,
)
from tests.support.data import recorded

CONTIGUOUS, OTHER, SAMPLED = "deepctr2997_train_joined", "nemusa2821_imp", "webecon2017_train"
FEATURE = {
    "source": CONTIGUOUS,
    "click": 0,
    "timestamp": "20131022163000250",
    "weekday": 2,
    "hour": 16.0,
    "ipinyouid": "user",
    "useragent": "windows_ie",
    "IP": "1.2.3.*",
    "region": 216,
    "city": 219.0,
    "adexchange": "3",
    "domain": "d",
    "url": "u",
    "slotid": "s",
    "slotwidth": 300,
    "slotheight": 250,
    "slotvisibility": "FirstView",
    "slotprice": 5.0,
    "payprice": 77,
    "advertiser": 2997,
    "usertag": "10063,10006",
}
AUCTION = {
    "source": "sam_1458.train",
    "campaign": 1458,
    "click": 1,
    "market_price": 51,
    "pctr_lr_insample": 0.25,
    "pctr_lr_sam": 0.125,
    "local_hour": datetime(2013, 6, 6, 3),  # noqa: DTZ001  # the log has no zone
}


@pytest.fixture
def features(tmp_path):
    return lambda *changes: write(tmp_path, FEATURE, changes)


@pytest.fixture
def auctions(tmp_path):
    return lambda *changes: write(tmp_path, AUCTION, changes)


def write(folder, base, changes):
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pq.write_table(pa.Table.from_pylist([base | change for change in changes]), path)
    return path


def clock(at_ns: int) -> str:
    return str(np.datetime64(at_ns, "ns"))[:23]


def test_row_has_all_that_the_log_says(features):
    (row,) = read_features(features({"click": 1}))
    assert row._asdict() == {
        "id": "f00000000",
        "at_ns": 1_382_459_400_250_000_000,
        "exchange": "ipinyou-3",
        "user_id": "user",
        "ip": "1.2.3.0",
        "ua": "Mozilla/5.0 (windows) MSIE",
        "os": "windows",
        "browser": "ie",
        "region": "216",
        "city": "219",
        "domain": "d",
        "page": "u",
        "tag_id": "s",
        "w": 300,
        "h": 250,
        "position": 1,
        "floor_cpm_micros": 50_000,
        "segments": ("10063", "10006"),
        "market_cpm_micros": 770_000,
        "campaign": "2997",
        "clicked": True,
        "converted": None,
        "value_nanos": 0,
        "pctr": None,
        "bid_cpm_micros": None,
    }


def test_a_bid_is_read_where_it_can_be_one(features):
    rows = read_features(
        features({"bidprice": 277.0}, {"bidprice": 76.0}, {"bidprice": 77.0}, {"bidprice": None})
    )
    assert [row.bid_cpm_micros for row in rows] == [2_770_000, None, 770_000, None]


def test_what_the_log_does_not_know_is_none(features):
    unknown = ("ipinyouid", "useragent", "IP", "city", "adexchange", "domain", "url", "slotprice", "usertag")
    path = features(dict.fromkeys(unknown), {})
    row = next(row for row in read_features(path) if row.id == "f00000000")
    assert (row.user_id, row.ua, row.os, row.ip, row.city, row.domain, row.page) == (None,) * 7
    assert (row.exchange, row.floor_cpm_micros, row.segments) == ("ipinyou", 0, ())


def test_one_fen_is_ten_thousand_micros_exactly(features):
    rows = read_features(features(*({"payprice": fen} for fen in range(301))))
    assert [row.market_cpm_micros for row in rows] == [fen * 10_000 for fen in range(301)]


@pytest.mark.parametrize(
    ("visibility", "position"),
    [
        ("FirstView", 1),
        ("1", 1),
        ("SecondView", 3),
        ("FifthView", 3),
        ("2", 3),
        ("OtherView", 0),
        ("255", 0),
        ("Na", 0),
    ],
)
def test_visibility_becomes_a_position(features, visibility, position):
    assert [row.position for row in read_features(features({"slotvisibility": visibility}))] == [position]


def test_rows_without_time_are_spread_over_their_hour_in_log_order(features):
    rows = list(read_features(features(*({"timestamp": None} for _ in range(4)))))
    assert [clock(row.at_ns)[11:] for row in rows] == [
        "16:07:30.000",
        "16:22:30.000",
        "16:37:30.000",
        "16:52:30.000",
    ]
    assert [row.id for row in rows] == [f"f{n:08d}" for n in range(4)]


def test_rows_without_hour_are_spread_over_their_day(features):
    rows = read_features(features(*({"timestamp": None, "hour": None} for _ in range(2))))
    assert [clock(row.at_ns) for row in rows] == ["2013-10-22T06:00:00.000", "2013-10-22T18:00:00.000"]


@pytest.mark.parametrize(("weekday", "day"), [(6, 19), (0, 20), (1, 21), (2, 22), (3, 23), (4, 24), (5, 25)])
def test_weekday_counts_from_sunday_in_the_week_of_the_log(features, weekday, day):
    (row,) = read_features(features({"timestamp": None, "weekday": weekday}))
    assert clock(row.at_ns) == f"2013-10-{day}T16:30:00.000"


def test_rows_come_in_order_of_time(features):
    stamps = ["20131022180000000", "20131022160000000", "20131022170000000"]
    rows = read_features(features(*({"timestamp": stamp} for stamp in stamps)))
    assert [row.id for row in rows] == ["f00000001", "f00000002", "f00000000"]


def test_sources_begin_on_the_same_day(features):
    monday = {"source": OTHER, "timestamp": "20131021200000000", "advertiser": 2821}
    rows = read_features(features(monday, {}))
    assert [(row.campaign, clock(row.at_ns)) for row in rows] == [
        ("2997", "2013-10-22T16:30:00.250"),
        ("2821", "2013-10-22T20:00:00.000"),
    ]


def test_only_contiguous_sources_are_taken_unless_named(features):
    drops = Counter[str]()
    rows = list(read_features(features({"source": SAMPLED}, {}), drops=drops))
    assert (len(rows), drops) == (1, {"source not chosen": 1})


def test_named_source_is_taken(features):
    rows = list(read_features(features({"source": SAMPLED}, {}), sources=[SAMPLED]))
    assert [row.id for row in rows] == ["f00000000"]


def test_defaults_are_contiguous():
    assert all(SOURCES[name].contiguous for kind in Kind for name in default_sources(kind))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"click": 2}, "click is neither 0 nor 1"),
        ({"click": None}, "click is neither 0 nor 1"),
        ({"payprice": None}, "pay price missing or out of range"),
        ({"payprice": -1}, "pay price missing or out of range"),
        ({"slotprice": -5.0}, "floor out of range"),
        ({"slotprice": float("nan")}, "floor out of range"),
        ({"slotprice": 0.00001}, "floor out of range"),
        ({"slotwidth": 0}, "size missing or out of range"),
        ({"slotheight": None}, "size missing or out of range"),
        ({"advertiser": None}, "campaign missing"),
        ({"timestamp": None, "weekday": 7}, "time unknown"),
        ({"timestamp": "2013102216300025", "weekday": None}, "time unknown"),
        ({"timestamp": "20131322163000250", "weekday": None}, "time unknown"),
        ({"timestamp": None, "hour": 24.0}, "hour out of range"),
    ],
)
def test_bad_row_is_dropped_and_counted_by_cause(features, change, cause):
    drops = Counter[str]()
    rows = list(read_features(features(change, {}), drops=drops))
    assert ([row.id for row in rows], drops) == (["f00000001"], {cause: 1})


def test_log_larger_than_a_run_reads_the_same(features):
    rng = np.random.default_rng(1)
    hours = rng.integers(0, 24, 500).tolist()
    path = features(*({"timestamp": None, "hour": float(hour)} for hour in hours))
    assert list(read_features(path, run_rows=7)) == list(read_features(path))


def test_auction_row_has_all_that_the_log_says(auctions):
    (row,) = read_auctions(auctions({}))
    assert (row.id, clock(row.at_ns)) == ("a00000000", "2013-06-06T03:30:00.000")
    assert (row.campaign, row.clicked, row.market_cpm_micros, row.pctr) == ("1458", True, 510_000, 0.125)
    assert ((row.w, row.h), row.exchange, row.region) == (NOMINAL_SIZE, "ipinyou", None)


def test_click_probability_falls_back_to_the_one_in_sample(auctions):
    (row,) = read_auctions(auctions({"pctr_lr_sam": None}))
    assert row.pctr == 0.25


def test_auctions_without_hour_take_a_day_for_each_campaign(auctions):
    bare = {"source": "rlb_train_episode", "local_hour": None}
    path = auctions({}, *(bare | {"campaign": name} for name in (7, 7, 8)))
    rows = read_auctions(path, sources=["rlb_train_episode"])
    assert [(row.campaign, clock(row.at_ns)[11:16]) for row in rows] == [
        ("7", "06:00"),
        ("8", "12:00"),
        ("7", "18:00"),
    ]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"market_price": None}, "market price missing or out of range"),
        ({"campaign": None}, "campaign missing"),
        ({"pctr_lr_sam": None, "pctr_lr_insample": None}, "click probability missing or out of range"),
        ({"pctr_lr_sam": 1.5}, "click probability missing or out of range"),
    ],
)
def test_bad_auction_is_dropped_and_counted_by_cause(auctions, change, cause):
    drops = Counter[str]()
    rows = list(read_auctions(auctions(change, {}), drops=drops))
    assert (len(rows), drops) == (1, {cause: 1})


def test_kind_is_told_by_the_columns(features, auctions):
    assert (detect(features({})), detect(auctions({}))) == (Kind.FEATURES, Kind.AUCTIONS)


def test_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(
        InputError, match=r"log must be a Parquet file, was .*nothing\.parquet, which is not"
    ) as caught:
        detect(tmp_path / "nothing.parquet")
    assert "\n" not in str(caught.value)


def test_file_that_is_not_parquet_is_one_clear_line(tmp_path):
    path = tmp_path / "log.parquet"
    path.write_text("click,payprice\n1,2\n")
    with pytest.raises(
        InputError, match=r"log must be a readable Parquet file, was .*log\.parquet"
    ) as caught:
        read_features(path)
    assert "\n" not in str(caught.value)


def test_wrong_columns_are_named(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"source": ["x"], "click": [1], "market_price": [1.0]}), path)
    with pytest.raises(InputError, match=r"without weekday, .*advertiser and without campaign"):
        detect(path)


def test_other_kind_is_named(auctions):
    with pytest.raises(InputError, match=r"must hold iPinYou features, was .*, which holds iPinYou auctions"):
        read_features(auctions({}))


def test_column_of_a_wrong_type_is_named(features):
    with pytest.raises(InputError, match=r"column slotwidth of .* must be int64, was string"):
        read_features(features({"slotwidth": "wide"}))


def test_unknown_source_is_named_with_what_is_allowed(features):
    with pytest.raises(
        InputError, match=r"source must be one of deepctr2997_train_joined, .*, was 'everything'"
    ):
        read_features(features({}), sources=["everything"])


def test_no_source_is_refused(features):
    with pytest.raises(InputError, match="sources must name at least one"):
        read_features(features({}), sources=[])


@pytest.mark.parametrize(
    ("tags", "segments"),
    [
        ("16753,10063", ("16753", "10063")),
        ("10063", ("10063",)),
        (None, ()),
        ("", ()),
        ("1,004,816,751", ("10048", "16751")),
        ("100,481,675,111,278,000,000,000", ()),
        ("1,004,816,751,112,780,000,000,000", ("10048", "16751", "11278")),
        ("1,000,610,024", ("10006", "10024")),
        ("none", ()),
    ],
)
def test_tags_become_segments(tags, segments):
    assert segments_of(tags) == segments


def test_recorded_features_are_read_whole():
    drops = Counter[str]()
    rows = list(read_features(recorded("ipinyou/features.parquet"), drops=drops))
    assert Counter(row.campaign for row in rows) == {"2997": 26_773, "2821": 9_960}
    assert (sum(row.clicked is True for row in rows), drops) == (258, {"source not chosen": 37_927})


def test_recorded_auctions_are_read_whole():
    clicks, cost = Counter[str](), Counter[str]()
    for row in read_auctions(recorded("ipinyou/auctions.parquet")):
        clicks[row.campaign] += row.clicked
        cost[row.campaign] += row.market_cpm_micros
    assert clicks == {"1458": 156, "2259": 26}
    assert cost == {"1458": 14_712_509 * 10_000, "2259": 7_050_762 * 10_000}
