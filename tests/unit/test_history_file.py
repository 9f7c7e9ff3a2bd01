"""The canonical history: what may stand in it, that it comes back as it was written, and its arrays."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bidder.errors import InputError
from simulator.history import file as history_file
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN
from simulator.history.file import History, HistoryWriter
from simulator.history.loading import auction_chunks, campaigns_in, load_auctions, strata_of
from simulator.history.logrows import all_sources, history_row, ipinyou_meta, ipinyou_rows
from simulator.history.schema import META_KEY, SCHEMA, HistoryRow, Meta, empty_columns, known_loss, known_win
from simulator.logs.ipinyou import Kind
from tests.support.data import recorded, row
from tests.support.histories import BEGIN_NS, SECOND, lost, unbid, won, written

ROWS = [
    won(0, 1_200_000, clicked=True, clicked_ns=BEGIN_NS + 5 * SECOND, value_nanos=7),
    lost(1),
    lost(2, min_to_win=3_000_000, density=0.5),
    unbid(3),
    won(4, 100_000, campaign="c2"),
    won(5, 1_500_000, bid=1_500_000, first_price=True, user=None),
]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    history = written(tmp_path / "h.parquet", ROWS, currency="EUR", source="made by hand")
    back = [HistoryRow(**one) for table in history.tables() for one in table.to_pylist()]
    assert back == ROWS
    assert (history.meta.currency, history.meta.source, history.rows) == ("EUR", "made by hand", len(ROWS))


def test_a_win_tells_the_price_to_beat_and_a_loss_its_bound() -> None:
    assert known_win(20, 12, 10, first_price=False)[1:3] == (EXACT, 13)
    assert known_win(20, 10, 10, first_price=False)[1:3] == (EXACT, 10)
    assert known_win(20, 20, 10, first_price=False)[1:3] == (AT_MOST, 20)
    assert known_win(20, 20, 10, first_price=True)[1:3] == (AT_MOST, 20)
    assert known_loss(20)[1:3] == (ABOVE, 20)
    assert known_loss(20, 25)[1:3] == (EXACT, 25)
    assert known_loss(20, 20)[1:3] == (ABOVE, 20)
    assert known_loss(None)[1:3] == (UNKNOWN, 0)


def test_arrays_hold_one_campaign_and_say_what_is_not_known(tmp_path: Path) -> None:
    path = written(tmp_path / "h.parquet", ROWS).path
    found = load_auctions(path, "c1")
    assert found.opportunities == 4
    assert found.price_kind.tolist() == [EXACT, ABOVE, EXACT, AT_MOST]
    assert found.price_nanos.tolist() == [1_200_001, 2_000_000, 3_000_000, 1_500_000]
    assert found.clicked.tolist() == [1, -1, -1, 0]
    assert found.converted.tolist() == [-1] * 4
    assert found.user.tolist() == [1, 2, 3, 0]
    assert np.isnan(found.density).tolist() == [True, True, False, True]
    assert found.paid_nanos.tolist() == [1_200_000, 0, 0, 1_500_000]
    assert load_auctions(path, "c1", unbid=True).price_kind.tolist() == [
        EXACT,
        ABOVE,
        EXACT,
        UNKNOWN,
        AT_MOST,
    ]
    assert campaigns_in(path) == ["c1", "c2"]


def test_a_campaign_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path / "h.parquet", ROWS).path
    with pytest.raises(InputError, match=r"c1, c2; was 'c9'"):
        load_auctions(path, "c9")


def test_pieces_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "GROUP_ROWS", 7)
    rows = [won(n, 500_000 + n, click_probability=n / 100, placement=f"p{n % 3}") for n in range(50)]
    history = written(tmp_path / "h.parquet", rows)
    strata = strata_of(history.path, "c1", least_rows=5)
    pieces = list(auction_chunks(history.path, "c1", strata))
    assert len(pieces) == history.groups == 8
    whole = load_auctions(history.path, "c1", strata=strata)
    for name in whole._fields[1:]:
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_strata_are_placement_tenth_and_hour(tmp_path: Path) -> None:
    rows = [
        unbid(n, campaign="c1", offered_ns=BEGIN_NS + n * 60 * SECOND, click_probability=(n % 100) / 100,
              placement="often" if n % 10 else "seldom")
        for n in range(200)
    ]  # fmt: skip
    rows[7] = rows[7]._replace(click_probability=None)
    rows[9] = rows[9]._replace(placement=None)
    path = written(tmp_path / "h.parquet", rows).path
    strata = strata_of(path, "c1", least_rows=100)
    assert strata.placements == (("adx", "often"),)
    parts = [strata.part_of(one) for one in load_auctions(path, "c1", strata=strata).stratum.tolist()]
    assert parts[10][0] is None
    assert parts[9][0] is None
    assert parts[11] == (("adx", "often"), 1, 0)
    assert parts[7] == (("adx", "often"), 10, 0)
    assert [part[2] for part in parts] == [n // 60 for n in range(200)]
    shares = Counter(part[1] for part in parts)
    assert all(abs(shares[tenth] - 20) <= 2 for tenth in range(10))
    assert max(load_auctions(path, "c1", strata=strata).stratum) < strata.groups


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (won(1, 5)._replace(offered_ns=3), "offered_ns: must be in the order of time"),
        (won(1, 500_000)._replace(price_nanos=2_000_001), "at most the bid that won"),
        (lost(1)._replace(price_nanos=5), "the bid, where that bounds it"),
        (lost(1)._replace(paid_nanos=5), "0 where the bid did not win"),
        (lost(1)._replace(clicked=False), "null where nothing was won"),
        (lost(1)._replace(price_kind=AT_MOST), "no upper bound where the bid lost"),
        (lost(1)._replace(price_kind=EXACT), "above the bid that lost"),
        (won(1, 500_000)._replace(price_kind=ABOVE), "0 or 2 where the bid won"),
        (won(1, 500_000)._replace(campaign=None), "null where no campaign bid"),
        (won(1, 500_000, click_probability=1.5), "a probability, or null"),
        (won(1, 500_000, worth_nanos=-1), "an amount of 0 or more nanos"),
        (won(1, 500_000, density=-1.0), "density: must be above 0"),
        (unbid(1, price_kind=9), "price_kind: must be from 0 to 3"),
        (unbid(1)._replace(id=None), "id: must be there"),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_refused_and_named(tmp_path: Path, wrong: Any, said: str) -> None:
    path = tmp_path / "h.parquet"
    with pytest.raises(InputError, match=rf"row 2 of the history, column \w+.*{said}|row 2.*{said}"):
        written(path, [unbid(0), wrong])
    assert list(tmp_path.iterdir()) == []


def test_order_is_kept_over_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "GROUP_ROWS", 2)
    with pytest.raises(InputError, match="row 3 of the history, column offered_ns"):
        written(tmp_path / "h.parquet", [unbid(3), unbid(4), unbid(1), unbid(2)])


def test_tables_and_rows_can_be_mixed(tmp_path: Path) -> None:
    first = written(tmp_path / "first.parquet", [unbid(1), unbid(2)])
    path = tmp_path / "second.parquet"
    with HistoryWriter(path, Meta(source="joined")) as writer:
        writer.add(unbid(0))
        for table in first.tables():
            writer.add_table(table)
        writer.add(unbid(3))
    both = History(path)
    assert [each["id"] for table in both.tables() for each in table.to_pylist()] == ["o0", "o1", "o2", "o3"]
    assert both.meta.source == "joined"


def test_a_tally_counts_what_is_there(tmp_path: Path) -> None:
    tally = written(tmp_path / "h.parquet", [*ROWS, unbid(6, campaign="c1", bid_nanos=5)]).tally()
    assert (tally.rows, tally.unbid, tally.open, tally.won, tally.bids) == (7, 1, 1, 3, 6)
    assert tally.kinds == {"exact": 3, "above": 1, "at_most": 1, "unknown": 2}
    assert tally.won_share == pytest.approx(0.6)
    one = tally.campaigns["c1"]
    assert (one.rows, one.won, one.lost, one.spend_nanos, one.clicks) == (5, 2, 2, 2_700_000, 1)
    assert (tally.first_ns, tally.last_ns, tally.users) == (BEGIN_NS, BEGIN_NS + 6 * SECOND, 6)


def test_what_is_no_history_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file that is there"):
        History(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(InputError, match="must be a Parquet file"):
        History(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is another table"):
        History(tmp_path / "other.parquet")
    schema = SCHEMA.with_metadata({META_KEY: b'{"version":3}'})
    pq.write_table(empty_columns(0, {"id": pa.array([], pa.string()), "offered_ns": pa.array([], pa.int64())})
                   .cast(schema), tmp_path / "later.parquet")  # fmt: skip
    with pytest.raises(InputError, match="must be 2, was 3"):
        History(tmp_path / "later.parquet")
    with pytest.raises(InputError, match=r"must end in \.parquet"):
        HistoryWriter(tmp_path / "h.csv", Meta())


def test_a_row_of_a_made_market_tells_its_price_without_a_bid() -> None:
    found = history_row(row(market_cpm_micros=1_200_000), first_price=False)
    assert (found.won, found.price_kind, found.price_nanos, found.bid_nanos) == (None, EXACT, 1_200_001, 0)
    bought = history_row(row(campaign="c1", clicked=True, bid_cpm_micros=5_000_000), first_price=False)
    assert (bought.won, bought.price_nanos, bought.paid_nanos) == (True, 1_200_001, 1_200_000)
    assert history_row(row(market_cpm_micros=None), first_price=False).price_kind == UNKNOWN


def test_ipinyou_features_become_a_history(tmp_path: Path) -> None:
    log = recorded("ipinyou/features.parquet")
    drops: Counter[str] = Counter()
    sources = all_sources(Kind.FEATURES)
    history = written(tmp_path / "h.parquet", ipinyou_rows(log, drops, sources), **_fields(ipinyou_meta(log)))
    assert history.rows + sum(drops.values()) == pq.read_metadata(log).num_rows
    tally = history.tally()
    assert tally.won == history.rows
    assert history.meta.wins_only
    clicks = pc.sum(pq.read_table(log, columns=["click"])["click"]).as_py()
    assert 0 < sum(one.clicks for one in tally.campaigns.values()) <= clicks
    bids = load_auctions(history.path, "2259").bid_nanos
    assert (bids > 0).any()


def _fields(meta: Meta) -> dict[str, Any]:
    return {name: getattr(meta, name) for name in meta.__struct_fields__ if name != "version"}
