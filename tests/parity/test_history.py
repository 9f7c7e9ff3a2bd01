"""A run as a history: what the bank booked is what the history says, bid by bid and to the nano."""

from collections import Counter
from pathlib import Path

from bidder.store.database import Database
from simulator.export.run import DATABASE, export_run, source_of
from simulator.history.auctions import ABOVE, AT_MOST, EXACT
from simulator.history.convert import Options, convert
from simulator.history.file import History
from simulator.history.loading import load_auctions


def booked(run: Path) -> dict[str, int]:
    """By bid, what the bank booked of it."""
    found: Counter[str] = Counter()
    with Database(str(run / DATABASE)) as database, database.reading() as connection:
        for bid, amount in connection.execute("SELECT bid_id, amount_nanos FROM bookings"):
            found[bid] += amount
    return {bid: amount for bid, amount in found.items() if amount}


def test_every_win_is_there_with_what_was_booked_of_it(embedded_run: Path, tmp_path: Path) -> None:
    done = convert(embedded_run, tmp_path / "h.parquet")
    rows = [row for table in History(done.table).tables() for row in table.to_pylist()]
    paid = {row["bid_id"]: row["paid_nanos"] for row in rows if row["won"]}
    assert paid == booked(embedded_run)
    assert len(paid) > 50
    assert sum(one.spend_nanos for one in done.campaigns.values()) == sum(paid.values())


def test_a_history_has_the_rows_and_the_labels_of_an_export(embedded_run: Path, tmp_path: Path) -> None:
    done = convert(embedded_run, tmp_path / "h.parquet")
    exported = export_run(source_of(embedded_run), tmp_path / "t.parquet", with_lost=True)
    assert (done.rows, done.won) == (exported.rows, exported.impressions)
    assert sum(one.clicks for one in done.campaigns.values()) == exported.clicks
    assert done.drops == exported.left_out
    assert sum(one.conversion_value_nanos for one in done.campaigns.values()) == exported.value_nanos


def test_a_history_says_what_was_seen_and_when_it_was_heard(embedded_run: Path, tmp_path: Path) -> None:
    done = convert(embedded_run, tmp_path / "h.parquet", Options(requests=True))
    rows = [row for table in History(done.table).tables() for row in table.to_pylist()]
    for row in rows:
        assert row["request"]
        assert row["id"].split()[1].encode() in row["request"]
        assert row["price_kind"] == ((AT_MOST if row["first_price"] else EXACT) if row["won"] else ABOVE)
        if row["won"]:
            assert row["offered_ns"] <= row["shown_ns"] <= row["recorded_ns"]
            assert row["offered_ns"] <= row["told_ns"] <= row["recorded_ns"]
    clicked = [row for row in rows if row["clicked"]]
    assert clicked
    assert all(row["offered_ns"] < row["clicked_ns"] <= row["recorded_ns"] for row in clicked)
    name = max(done.campaigns, key=lambda each: done.campaigns[each].won)
    found = load_auctions(done.table, name)
    assert (found.worth_nanos > 0).all()
    assert ((found.click > 0) & (found.click < 1)).all()
