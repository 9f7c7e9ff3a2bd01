"""OpenRTB logs and mapped tables as histories, and the command that writes them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.errors import InputError
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN
from simulator.history.convert import Options, convert
from simulator.history.file import History
from simulator.history.loading import load_auctions
from simulator.history.openrtb import openrtb_rows
from simulator.history.schema import HistoryRow
from tests.support.histories import BEGIN_NS, SECOND
from tests.support.seasons import season, write_season

HOUR = 3_600 * SECOND


def at(seconds: float) -> int:
    return BEGIN_NS + round(seconds * SECOND)


def request(name: str, when: float, **changes: Any) -> dict[str, Any]:
    imp = {"id": "1", "banner": {"w": 300, "h": 250, "pos": 1}, "bidfloor": 0.5, "tagid": "top"}
    body = {
        "id": name, "imp": [imp | changes.pop("imp", {})], "at": 2, "cur": ["USD"], "tmax": 120,
        "site": {"domain": "news.example"}, "user": {"id": "u1"}, "ext": {"exchange": "adx"},
        "device": {"geo": {"country": "USA", "region": "CA"}}, **changes,
    }  # fmt: skip
    return {"kind": "request", "at_ns": at(when), "body": body}


def response(name: str, when: float, bid: str, price: float = 2.5, **changes: Any) -> dict[str, Any]:
    one = {"id": bid, "impid": "1", "price": price, "cid": "c1", "crid": "k1"} | changes
    return {
        "kind": "response",
        "at_ns": at(when),
        "body": {"id": name, "cur": "USD", "seatbid": [{"bid": [one]}]},
    }


def notice(kind: str, bid: str, when: float, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "at_ns": at(when), "bid_id": bid, **more}


def read(
    tmp_path: Path, lines: list[dict[str, Any] | str], **options: Any
) -> tuple[list[HistoryRow], Counter[str]]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    drops: Counter[str] = Counter()
    return list(openrtb_rows(path, drops, **options)), drops


def test_requests_responses_and_notices_are_one_row(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        request("r1", 0, imp={"ext": {"clearbid": {"campaign": "c1", "pctr": 0.02}}}),
        response("r1", 0.05, "b1"),
        notice("win", "b1", 1, price_cpm="1.25"),
        notice("billing", "b1", 2, price_cpm=1.25),
        notice("click", "b1", 9),
        notice("conversion", "b1", 60, value="4.5"),
        notice("conversion", "b1", 70, value=1),
    ]
    (row,), drops = read(tmp_path, lines)
    assert not drops
    assert (row.exchange, row.domain, row.placement, row.w, row.h) == ("adx", "news.example", "top", 300, 250)
    assert (row.campaign, row.creative, row.bid_nanos, row.floor_nanos) == ("c1", "k1", 2_500_000, 500_000)
    assert (row.won, row.price_kind, row.price_nanos, row.paid_nanos) == (True, EXACT, 1_250_001, 1_250_000)
    assert (row.told_ns, row.shown_ns, row.clicked_ns, row.converted_ns) == (at(1), at(2), at(9), at(60))
    assert (row.clicked, row.converted, row.value_nanos, row.recorded_ns) == (
        True,
        True,
        5_500_000_000,
        at(70),
    )
    assert row.click_probability == 0.02
    assert row.user
    assert (row.region, row.request) == ("CA", None)


def test_a_loss_bounds_or_tells_the_price_and_silence_is_a_loss_once_the_wait_is_over(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        request("r1", 0), response("r1", 0.1, "b1"),
        request("r2", 1), response("r2", 1.1, "b2"),
        request("r3", 2, at=1), response("r3", 2.1, "b3"),
        request("r4", 3),
        notice("loss", "b1", 4, min_to_win_cpm="3.1"),
        notice("win", "b3", 5, price_cpm="2.5"),
        request("r5", 4_000), response("r5", 4_000.1, "b5"),
    ]  # fmt: skip
    rows, drops = read(tmp_path, lines, requests=True)
    assert not drops
    kinds = [(row.won, row.price_kind, row.price_nanos, row.campaign) for row in rows]
    assert kinds == [
        (False, EXACT, 3_100_000, "c1"),
        (False, ABOVE, 2_500_000, "c1"),
        (True, AT_MOST, 2_500_000, "c1"),
        (None, UNKNOWN, 0, None),
        (None, UNKNOWN, 0, "c1"),
    ]
    assert all(row.request and b'"id"' in row.request for row in rows)


def test_lines_of_no_use_are_counted_by_cause(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        "not json", json.dumps({"kind": "other"}), "",
        request("r1", 0), request("r1", 0),
        {"kind": "request", "at_ns": at(0), "body": {"id": "r2"}},
        response("r9", 1, "b9"), {"kind": "response", "at_ns": at(1), "body": {"no": 1}},
        response("r1", 1, "b0", price=-1), response("r1", 1, "b0", impid="7"), response("r1", 1, ""),
        response("r1", 1, "b1"), response("r1", 1, "b2"),
        notice("win", "b8", 2, price_cpm="1"), notice("win", "b1", 2, price_cpm="much"),
        request("r0", -1),
        notice("click", "b1", 3),
    ]  # fmt: skip
    rows, drops = read(tmp_path, lines)
    assert not rows
    assert drops == {
        "line that cannot be read": 2,
        "request a second time": 1,
        "request that cannot be read or bid on": 1,
        "response to no request": 1,
        "response that cannot be read": 1,
        "bid whose price is none": 1,
        "bid on no impression, or beside another one": 2,
        "bid without an id of its own": 1,
        "notice of no bid, or after the wait": 1,
        "notice with a price that is none": 1,
        "line behind its time": 1,
        "win without a price": 1,
    }


def test_what_is_heard_after_the_wait_changes_nothing(tmp_path: Path) -> None:
    lines: list[dict[str, Any] | str] = [
        request("r1", 0), response("r1", 0.1, "b1"), request("r2", 20), notice("win", "b1", 30, price_cpm="1"),
    ]  # fmt: skip
    rows, drops = read(tmp_path, lines, wait_s=10)
    assert [row.won for row in rows] == [False, None]
    assert drops == {"notice of no bid, or after the wait": 1}


# -- mapped tables ----------------------------------------------------------------------------------------------

MAPPING = """
[history]
currency = "EUR"
[columns]
id = "auction"
offered_ns = { column = "ts", unit = "ms" }
exchange = { constant = "adx" }
campaign = "buyer"
floor_nanos = { column = "floor", unit = "cpm", scale = 0.01 }
bid_nanos = { column = "bid", unit = "cpm" }
won = { column = "status", true = ["WON"] }
paid_nanos = { column = "price", unit = "cpm" }
min_to_win_nanos = { column = "needed", unit = "cpm" }
clicked = "click"
click_probability = { column = "score", scale = 0.01 }
segments = { column = "tags", separator = "|" }
user = "person"
w = { constant = 300 }
h = { constant = 250 }
"""
HEAD = "auction,ts,buyer,floor,bid,status,price,needed,click,score,tags,person\n"
LINES = [
    "a3,1772409603000,c1,50,2.5,WON,1.25,,1,2.5,a|b,p1",
    "a1,1772409601000,c1,50,2.5,LOST,,3.1,,1,,p2",
    "a2,1772409602000,c1,0,2.5,TIMEOUT,,,,1,,",
    "a4,1772409604000,,50,,,,,,,x,p1",
]


def mapped(tmp_path: Path, lines: list[str], mapping: str = MAPPING, head: str = HEAD) -> Any:
    (tmp_path / "log.csv").write_text(head + "".join(line + "\n" for line in lines))
    (tmp_path / "map.toml").write_text(mapping)
    return convert(tmp_path / "log.csv", tmp_path / "h.parquet", Options(mapping=tmp_path / "map.toml"))


def test_a_table_is_what_its_mapping_says(tmp_path: Path) -> None:
    done = mapped(tmp_path, LINES)
    rows = [HistoryRow(**row) for table in History(done.table).tables() for row in table.to_pylist()]
    assert [row.id for row in rows] == ["a1", "a2", "a3", "a4"]
    assert [row.offered_ns for row in rows] == [at(1), at(2), at(3), at(4)]
    known = [(row.won, row.price_kind, row.price_nanos, row.paid_nanos) for row in rows]
    assert known == [
        (False, EXACT, 3_100_000, 0),
        (False, ABOVE, 2_500_000, 0),
        (True, EXACT, 1_250_001, 1_250_000),
        (None, UNKNOWN, 0, 0),
    ]
    third = rows[2]
    assert (third.floor_nanos, third.bid_nanos, third.clicked, third.segments) == (
        500_000,
        2_500_000,
        True,
        ["a", "b"],
    )
    assert third.click_probability == pytest.approx(0.025)
    assert third.user == rows[3].user != rows[0].user
    assert rows[1].user is None
    assert (rows[3].bid_nanos, rows[3].campaign, third.w, third.exchange) == (0, None, 300, "adx")
    assert (done.currency, done.rows, done.unbid, done.drops) == ("EUR", 4, 1, {})


def test_cells_that_cannot_be_read_are_counted_with_the_line_of_the_first(tmp_path: Path) -> None:
    bad = [
        "b1,soon,c1,50,2.5,WON,1.25,,1,2.5,,",
        "b2,1772409601000,c1,50,dear,LOST,,,,1,,",
        "b3,1772409601000,c1,50,-3,LOST,,,,1,,",
        "b4,1772409601000,c1,50,2.5,WON,2.6,,,1,,",
        "b5,1772409601000,c1,50,2.5,WON,,,,1,,",
        "b6,1772409601000,c1,50,2.5,LOST,,,,101,,",
        "b7,1772409601000,,50,2.5,WON,1,,,1,,",
        ",1772409601000,c1,50,2.5,LOST,,,,1,,",
        "b9,1772409601000,c1,50,2.5,LOST,,,perhaps,1,,",
        "b10,1e999999999,c1,50,2.5,LOST,,,,1,,",
    ]  # fmt: skip
    done = mapped(tmp_path, [LINES[0], *bad])
    assert done.rows == 1
    assert done.drops == {
        "offered_ns must be a number": 1,
        "bid_nanos must be a number": 1,
        "bid_nanos must be an amount of 0 or more": 1,
        "paid_nanos must be at most the bid": 1,
        "paid_nanos must be above 0 where a bid won at second price": 1,
        "click_probability must be from 0 to 1": 1,
        "campaign must be there where a bid won": 1,
        "id must be there": 1,
        "clicked must be one of 1, true, yes, t, y, 0, false, no, f, n": 1,
        "offered_ns must fit 64 bits": 1,
    }
    assert done.examples["bid_nanos must be a number"] == "first at line 4: was 'dear'"
    assert done.examples["offered_ns must be a number"] == "first at line 3: was 'soon'"


def test_a_table_without_a_row_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no row .* read: bid_nanos must be a number; first at line 2: was 'x'"
    ):
        mapped(tmp_path, ["a,1,c1,5,x,,,,,,,"])
    assert not (tmp_path / "h.parquet").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'id = "auction"',
            'id = "action"',
            r"id of mapping .* must be a column of .*: auction, ts.*; was 'action'",
        ),
        ('id = "auction"', 'ident = "auction"', "ident of mapping .* must be one of id, offered_ns"),
        ('id = "auction"\n', "", r"must have id, offered_ns, exchange, has no id"),
        ('unit = "ms"', 'unit = "m"', "offered_ns .* must have a unit of ns, us, ms, s or iso, was 'm'"),
        (
            '"bid", unit = "cpm"',
            '"bid", unit = "cent"',
            "bid_nanos .* unit of nanos, cpm_micros, cpm, one, was 'cent'",
        ),
        ('user = "person"', 'user = { column = "person", scale = 2 }', "user .* can have no scale"),
        ('user = "person"', 'user = { column = "person", constant = "x" }', "and not both"),
        ('user = "person"', "user = { }", "and not both"),
        (
            "w = { constant = 300 }",
            'w = { constant = "wide" }',
            "w of mapping .* is wrong: w must be a number: was 'wide'",
        ),
        ('user = "person"', "user = { colum = 1 }", "colum"),
        ("[columns]", "[column]", "cannot be read"),
        ('clicked = "click"', 'price_nanos = "click"', "price_nanos of mapping .* must be one of"),
        ('clicked = "click"', 'weight = "click"', "weight of mapping .* must be one of"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused_by_name(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in MAPPING
    with pytest.raises(InputError, match=said):
        mapped(tmp_path, LINES, MAPPING.replace(old, new))


def test_a_parquet_table_is_mapped_by_its_own_types(tmp_path: Path) -> None:
    stamps = pa.array([BEGIN_NS // 1_000, BEGIN_NS // 1_000 + 5], pa.timestamp("us"))
    table = pa.table(
        {
            "n": ["x", "y"],
            "t": stamps,
            "p": [0.1 + 0.2, 1.5],
            "w": [True, None],
            "c": ["c1", "c1"],
            "s": [["a"], None],
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "map.toml").write_text(
        '[columns]\nid="n"\noffered_ns={column="t",unit="iso"}\nexchange={constant="x"}\ncampaign="c"\nwon="w"\n'
        'paid_nanos={column="p",unit="one"}\nsegments="s"\n'
    )
    done = convert(tmp_path / "log.parquet", tmp_path / "h.parquet", Options(mapping=tmp_path / "map.toml"))
    found = load_auctions(done.table, "c1")
    assert found.paid_nanos.tolist() == [300_000_000, 0]
    assert found.at_ns.tolist() == [BEGIN_NS, BEGIN_NS + 5_000]
    assert found.won.tolist() == [True, False]


# -- the command ------------------------------------------------------------------------------------------------


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["history", *map(str, arguments)])


def test_the_command_writes_a_history_and_says_what_is_in_it(tmp_path: Path) -> None:
    write_season(tmp_path / "logs", season(9, 300))
    out = tmp_path / "h.parquet"
    done = command(tmp_path / "logs", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["rows"] == 300 == History(out).rows
    assert 0 < found["won_share"] < 1
    assert set(found["campaigns"]) == {"1458", "3386"}
    told = command(tmp_path / "logs", "--out", out)
    assert told.exit_code == 0
    assert "300: 0 without a bid, 0 open" in told.output
    assert "3386" in told.output


def test_the_command_names_what_a_source_may_be(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a\n1\n")
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"auction": ["a"], "price": [1.0]}), tmp_path / "other.parquet")
    for place, said in (
        ("log.csv", "say what its columns are with --mapping FILE"),
        ("empty", "no season logs"),
        ("x", "must be there, is not"),
        ("other.parquet", r"be named with --mapping FILE .* were auction, price"),
    ):
        with pytest.raises(InputError, match=said):
            convert(tmp_path / place, tmp_path / "h.parquet")
    write_season(tmp_path / "logs", season(9, 30))
    convert(tmp_path / "logs", tmp_path / "h.parquet")
    with pytest.raises(InputError, match="is a history already"):
        convert(tmp_path / "h.parquet", tmp_path / "other.parquet")
