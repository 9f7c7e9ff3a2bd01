"""Season logs in iPinYou's format as a history, and tables of any number put in order."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.errors import InputError
from simulator.history.auctions import ABOVE, AT_MOST, EXACT
from simulator.history.file import History, HistoryWriter
from simulator.history.loading import load_auctions
from simulator.history.ordering import in_order
from simulator.history.seasons import season_meta, season_tables
from tests.support.seasons import SeasonBid, bid_line, season, seen_line, write_season

FEN = 10_000


def converted(folder: Path, out: Path, drops: Counter[str] | None = None, **options: int) -> History:
    counted: Counter[str] = Counter() if drops is None else drops
    with HistoryWriter(out, season_meta(folder)) as writer:
        for table in season_tables(folder, counted, **options):
            writer.add_table(table)
    return History(out)


@pytest.mark.parametrize("packed", [False, True])
def test_a_season_is_what_was_bid_won_and_paid(tmp_path: Path, packed: bool) -> None:
    bids = season(3, 600)
    write_season(tmp_path / "logs", bids, packed=packed)
    drops: Counter[str] = Counter()
    history = converted(tmp_path / "logs", tmp_path / "h.parquet", drops, block_bytes=1 << 14)
    assert not drops
    truth = {bid.id: bid for bid in bids}
    rows = [row for table in history.tables() for row in table.to_pylist()]
    assert {row["id"] for row in rows} == set(truth)
    assert any(row["won"] for row in rows)
    assert not all(row["won"] for row in rows)
    for row in rows:
        bid = truth[row["id"]]
        assert (row["won"], row["campaign"]) == (bid.won, bid.advertiser)
        assert (row["bid_nanos"], row["floor_nanos"]) == (bid.bid * FEN, bid.floor * FEN)
        assert row["paid_nanos"] == (bid.paid * FEN if bid.won else 0)
        assert row["clicked"] == (bid.click if bid.won else None)
        assert row["converted"] == (bid.conversion if bid.won and bid.click else None)
        if not bid.won:
            assert (row["price_kind"], row["price_nanos"]) == (ABOVE, bid.bid * FEN)
        elif bid.paid == bid.bid:
            assert (row["price_kind"], row["price_nanos"]) == (AT_MOST, bid.bid * FEN)
        else:
            beaten = (
                max(bid.market * FEN + 1, bid.floor * FEN) if bid.market != bid.floor else bid.floor * FEN
            )
            assert (row["price_kind"], row["price_nanos"]) == (EXACT, beaten)
            assert row["shown_ns"] - row["offered_ns"] == 1_000_000
    first = rows[0]
    assert (first["os"], first["browser"], first["w"], first["position"]) == ("windows", "chrome", 300, "1")
    assert {row["exchange"] for row in rows} == {"ipinyou-1", "ipinyou-2", "ipinyou-3"}
    assert len({row["user"] for row in rows}) == 21
    assert [row["segments"] for row in rows if int(row["id"], 16) == 1] == [["10063", "10006"]]


def test_season_1_names_no_advertiser(tmp_path: Path) -> None:
    write_season(tmp_path / "logs", season(4, 50), first_season=True)
    assert (
        load_auctions(converted(tmp_path / "logs", tmp_path / "h.parquet").path, "ipinyou").opportunities
        == 50
    )


def test_what_is_left_out_is_counted_by_cause(tmp_path: Path) -> None:
    bids = season(5, 40)
    folder = tmp_path / "logs"
    write_season(folder, bids)
    won = next(bid for bid in bids if bid.won)
    extra = [
        "one\ttwo", bid_line(won._replace(id="f1", stamp="201306")), bid_line(won._replace(id="f2", bid=0)),
        bid_line(won)[: -len("null")].replace(f"\t{won.floor}\tcr1", "\tnone\tcr1"),
    ]  # fmt: skip
    with (folder / "bid.20130606a.txt").open("a") as file:
        file.writelines(line + "\n" for line in extra)
    with (folder / "imp.20130606.txt").open("a") as file:
        file.write(seen_line(won._replace(id="f3"), 1, 0) + "\n")
        file.write(seen_line(won, 1, 0) + "\n")
        file.write(seen_line(won._replace(stamp="20139906000000000"), 1, 0) + "\n")
    drops: Counter[str] = Counter()
    history = converted(folder, tmp_path / "h.parquet", drops)
    assert history.rows == 40
    assert drops == {
        "bid row has not 21 columns": 1,
        "bid without a time": 1,
        "bidding price is no price": 1,
        "floor is no price": 1,
        "impression without a bid": 1,
        "imp a second time": 1,
        "imp without time or price": 1,
    }


def test_a_price_above_the_bid_is_left_out(tmp_path: Path) -> None:
    odd = SeasonBid("a" * 32, "20130606010101001", "1458", 250, 10, 240, False, False)
    write_season(tmp_path / "logs", [odd, odd._replace(id="b" * 32)])
    path = tmp_path / "logs" / "imp.20130606.txt"
    path.write_text(path.read_text().replace("\t240\tpage", "\t251\tpage", 1))
    drops: Counter[str] = Counter()
    assert converted(tmp_path / "logs", tmp_path / "h.parquet", drops).rows == 1
    assert drops == {"paid more than was bid": 1}


def test_what_is_no_season_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no bid\.\* and no imp\.\*"):
        converted(tmp_path / "empty", tmp_path / "h.parquet")
    write_season(tmp_path / "logs", season(1, 4))
    (tmp_path / "logs" / "imp.20130606.txt").write_text("a\tb\n")
    with pytest.raises(InputError, match="24 columns set apart by tabs, or 22 as in season 1; line 1 has 2"):
        converted(tmp_path / "logs", tmp_path / "h.parquet")


@given(pieces=st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=8), run_rows=st.integers(1, 30))
def test_any_tables_are_merged_in_order_and_rows_of_one_time_keep_theirs(
    pieces: list[list[int]], run_rows: int
) -> None:
    total = iter(range(1_000))
    tables = [
        pa.table(
            {
                "offered_ns": pa.array(piece, pa.int64()),
                "n": pa.array([next(total) for _ in piece], pa.int64()),
            }
        )
        for piece in pieces
    ]
    expected = sorted((at, n) for table in tables for at, n in zip(*table.to_pydict().values(), strict=True))
    merged = list(in_order(tables, run_rows))
    found = [pair for table in merged for pair in zip(*table.to_pydict().values(), strict=True)]
    assert found == expected


def test_a_merge_of_long_runs_is_in_order() -> None:
    rng = np.random.default_rng(5)
    tables = [pa.table({"offered_ns": pa.array(rng.integers(0, 10**9, 30_000))}) for _ in range(4)]
    found = np.concatenate([table["offered_ns"].to_numpy() for table in in_order(tables, 30_000)])
    expected = np.sort(np.concatenate([table["offered_ns"].to_numpy() for table in tables]))
    np.testing.assert_array_equal(found, expected)
