"""The history that ships with the project."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.history.auctions import ABOVE, AT_MOST, EXACT
from simulator.history.convert import Options, convert
from simulator.history.loading import load_auctions
from simulator.history.sample import SIGMA, sample_rows
from simulator.history.schema import HistoryRow
from simulator.history.texts import NOT_KNOWN, texts_of

ROWS = 8_000


@pytest.fixture(scope="module")
def rows() -> list[HistoryRow]:
    return list(sample_rows(5, ROWS, 7.0))


def test_the_same_seed_is_the_same_log_and_another_is_not(rows: list[HistoryRow]) -> None:
    assert list(sample_rows(5, ROWS, 7.0)) == rows
    assert list(sample_rows(6, ROWS, 7.0)) != rows


def test_no_opportunity_is_missing_and_time_goes_on(rows: list[HistoryRow]) -> None:
    assert len(rows) == pytest.approx(ROWS, rel=0.02)
    times = [row.offered_ns for row in rows]
    assert times == sorted(times)
    assert len({row.id for row in rows}) == len(rows)


def test_what_is_told_of_a_price_is_what_a_bidder_hears(rows: list[HistoryRow]) -> None:
    for row in rows:
        bid = row.bid_nanos or 0
        if row.won:
            assert 0 < row.paid_nanos <= bid
            assert (row.price_kind == AT_MOST) == (row.first_price or row.paid_nanos == bid)
            assert row.clicked is not None
        elif row.campaign is not None:
            assert (row.price_kind, row.price_nanos, row.paid_nanos) == (ABOVE, bid, 0)
            assert row.clicked is None
        else:
            assert bid == 0
    kinds = Counter(row.price_kind for row in rows)
    assert min(kinds[ABOVE], kinds[EXACT], kinds[AT_MOST]) > 200


def test_explored_bids_say_their_density(rows: list[HistoryRow]) -> None:
    densities = [row.density for row in rows if row.density is not None]
    assert len(densities) / sum(row.campaign is not None for row in rows) == pytest.approx(0.05, abs=0.015)
    assert max(densities) <= 1 / (SIGMA * np.sqrt(2 * np.pi)) + 1e-9


def test_budgets_hold_and_predictions_are_too_high(rows: list[HistoryRow]) -> None:
    won = [row for row in rows if row.won]
    predicted = sum(row.click_probability or 0.0 for row in won)
    clicks = sum(bool(row.clicked) for row in won)
    assert 1.05 < predicted / clicks < 1.9
    assert 0.2 < len(won) / len(rows) < 0.7


def test_it_is_written_like_any_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = convert(
        Path("sample"), tmp_path / "h.parquet", Options(seed=3, sample_rows=2_000, sample_days=3.0)
    )
    assert done.rows == pytest.approx(2_000, rel=0.05)
    assert "cedar-trips" in done.campaigns
    (tmp_path / "sample").mkdir()
    with pytest.raises(InputError):
        convert(Path("sample"), tmp_path / "h2.parquet")  # what is there goes first, and this is no log


def test_texts_are_in_the_order_of_the_auctions(tmp_path: Path) -> None:
    convert(Path("sample"), tmp_path / "h.parquet", Options(seed=3, sample_rows=2_000, sample_days=3.0))
    log = load_auctions(tmp_path / "h.parquet", "cedar-trips")
    exchange = texts_of(tmp_path / "h.parquet", "cedar-trips", "exchange", "--by")
    assert len(exchange) == log.opportunities
    assert (log.first_price == (exchange == "adx-three")).all()
    assert set(texts_of(tmp_path / "h.parquet", "cedar-trips", "device_type", "--by").tolist()) == {NOT_KNOWN}
    with pytest.raises(InputError, match="--by must name a column out of"):
        texts_of(tmp_path / "h.parquet", "cedar-trips", "colour", "--by")
