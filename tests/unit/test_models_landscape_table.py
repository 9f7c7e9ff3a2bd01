"""From a table to a landscape file: what rows say, strata and their fallbacks, later rows, bands, the file."""

import json

import numpy as np
import pyarrow as pa
import pytest

from models.dataset import table_from_arrow
from models.errors import ArtifactError, TableError
from models.landscape.curves import fit_landscape, shares
from models.landscape.measure import bands, on_later_rows, win_groups
from models.landscape.observations import ABOVE, BELOW, EXACT, observe
from models.landscape.store import load_landscape, save_landscape
from models.landscape.strata import fit_strata
from models.schema import Declaration
from tests.support.landscapes import market, read_market

ROWS = {
    # won, first_price, bid, price, min_to_win -> kind, price to beat
    "second price win": ((1, 0, 50, 30, None), (EXACT, 30)),
    "first price win": ((1, 1, 50, 50, None), (BELOW, 50)),
    "first price win, told": ((1, 1, 50, 50, 20), (EXACT, 20)),
    "win without a price": ((1, 0, 50, None, None), (BELOW, 50)),
    "loss": ((0, 0, 50, None, None), (ABOVE, 50)),
    "loss, told": ((0, 1, 50, None, 70), (EXACT, 70)),
}
SILENT = {
    "lost although the bid reached the price that was told": (0, 0, 50, None, 40),
    "won below the price that was told": (1, 0, 50, 30, 60),
    "paid more than was bid": (1, 0, 50, 51, None),
    "bid is missing or not above 0": (1, 0, None, 30, None),
}


def bids(*rows):
    won, first, bid, price, told = zip(*rows, strict=True)
    count = len(rows)
    arrow = pa.table(
        {
            "at_ns": pa.array(range(count), pa.int64()),
            "click": pa.array([0 if w else None for w in won], pa.int64()),
            "conversion": pa.array([None] * count, pa.int64()),
            "tag_id": pa.array(["top"] * count),
            "won": pa.array(won),
            "first_price": pa.array(first),
            "bid_cpm_micros": pa.array(bid, pa.float64()),
            "price_cpm_micros": pa.array(price, pa.float64()),
            "min_to_win_cpm_micros": pa.array(told, pa.float64()),
        }
    )
    return table_from_arrow(arrow, (Declaration("tag_id", "categorical"),), source="bids.parquet", lost=True)


@pytest.mark.parametrize("name", ROWS)
def test_what_a_row_says(name):
    row, (kind, cpm_micros) = ROWS[name]
    found = observe(bids(row))
    assert (found.kind[0], found.cpm_micros[0], found.dropped) == (kind, cpm_micros, {})


@pytest.mark.parametrize("reason", SILENT)
def test_a_row_that_contradicts_itself_is_left_out_and_counted(reason):
    found = observe(bids(SILENT[reason], (0, 0, 9, None, None)))
    assert found.rows.tolist() == [1]
    assert found.dropped == {reason: 1}


def test_shares_of_what_rows_say():
    found = shares(observe(bids(*(row for row, _ in ROWS.values()))))
    assert found == {"exact": 3 / 6, "above": 1 / 6, "below": 2 / 6}


@pytest.mark.parametrize("column", ["won", "bid_cpm_micros"])
def test_table_without_bids_is_refused_with_a_remedy(column):
    arrow = market(500).set_column(1, "click", pa.array([0] * 500))
    table = read_market(arrow.drop_columns([column]))
    with pytest.raises(TableError, match=rf"market.parquet must have the column {column}: .*export the run"):
        observe(table)


def test_table_without_a_usable_bid_is_refused():
    with pytest.raises(TableError, match="must have rows with a bid above 0"):
        observe(bids(SILENT["bid is missing or not above 0"]))


def strata_table(placements, pctr=None):
    rows = len(placements)
    columns = {
        "at_ns": pa.array(np.arange(rows) * 3600 * 10**9, pa.int64()),
        "click": pa.array([0] * rows),
        "conversion": pa.array([None] * rows, pa.int64()),
        "tag_id": pa.array(placements),
    }
    if pctr is not None:
        columns["pctr"] = pa.array(pctr, pa.float64())
    return table_from_arrow(pa.table(columns), (Declaration("tag_id", "categorical"),), source="t.parquet")


def test_rare_values_are_one_stratum_and_unseen_ones_join_them():
    table = strata_table(["a"] * 5 + ["b"] * 2 + ["c"] * 2)
    strata = fit_strata(table, np.arange(9), ("placement",), min_rows=4)
    assert [(s.path, s.parent, s.rows) for s in strata.strata] == [((), 0, 9), (("a",), 0, 5), (("*",), 0, 4)]
    assert strata.encode(table, np.arange(9)).tolist() == [1] * 5 + [2] * 4
    assert (strata.find(["a"]), strata.find(["zzz"])) == (1, 2)


def test_where_even_the_rare_are_few_they_belong_to_the_parent():
    table = strata_table(["a"] * 5 + ["b"] * 2)
    strata = fit_strata(table, np.arange(7), ("placement",), min_rows=4)
    assert strata.encode(table, np.arange(7)).tolist() == [1] * 5 + [0] * 2
    assert strata.find(["b"]) == 0


def test_levels_nest_and_names_read_well():
    table = strata_table(["a"] * 48 + [None] * 48, pctr=[0.1, 0.2] * 48)
    strata = fit_strata(table, np.arange(96), ("prediction", "placement", "hour"), min_rows=2)
    found = strata.encode(table, np.arange(96))
    for row in (0, 1, 50, 95):
        values = (strata.decile([0.1, 0.2][row % 2]), "a" if row < 48 else "", str(row % 24))
        assert found[row] == strata.find(values)
    assert strata.name(0) == "all"
    assert (
        strata.name(int(found[95]))
        == f"prediction tenth {int(strata.decile(0.2)) + 1}, placement (none), hour 23"
    )
    parents = [stratum.parent for stratum in strata.strata]
    assert all(parent < place for place, parent in enumerate(parents) if place)


def test_prediction_that_is_missing_is_a_value_of_its_own():
    table = strata_table(["a"] * 20, pctr=[0.1, None] * 10)
    strata = fit_strata(table, np.arange(20), ("prediction",), min_rows=2)
    assert strata.find([strata.decile(float("nan"))]) == strata.encode(table, np.arange(20))[1]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (("placement", "placement"), "must differ"),
        (("prediction",), "column pctr for strata by prediction"),
        (("exchange",), "column exchange for strata by exchange: it has tag_id"),
    ],
)
def test_levels_that_cannot_be_are_refused(by, message):
    with pytest.raises(TableError, match=message):
        fit_strata(strata_table(["a"] * 4), np.arange(4), by)


def test_strata_beat_one_curve_on_later_rows_of_a_market_that_follows_predictions():
    table = read_market(market(12_000))
    seen = observe(table)
    errors = {}
    for by in ((), ("prediction", "placement")):
        fit = fit_landscape(table, by, seen=seen)
        errors[by] = on_later_rows(table, seen, fit, min_rows=200)
    one, many = errors.values()
    assert many.mean_error < 0.02 < 0.03 < one.mean_error
    assert many.log_loss < one.log_loss < many.log_loss_of_mean + 0.2
    assert (one.fitted_rows, one.rows) == (9000, 3000)
    assert many.kl is not None
    assert many.kl < 0.15


def test_later_rows_of_hidden_prices_have_no_kl():
    table = read_market(market(3000, first_price=True))
    seen = observe(table)
    assert on_later_rows(table, seen, fit_landscape(table, (), seen=seen), min_rows=200).kl is None


def test_rows_of_one_time_hold_nothing_out():
    arrow = market(300)
    arrow = arrow.set_column(0, "at_ns", pa.array([7] * 300, pa.int64()))
    table = read_market(arrow)
    seen = observe(table)
    with pytest.raises(TableError, match="spread over time"):
        on_later_rows(table, seen, fit_landscape(table, (), seen=seen), min_rows=200)


def test_groups_of_wins_keep_their_sums():
    random = np.random.default_rng(1)
    p, weight = random.random(103), random.random(103)
    won = random.random(103) < p
    groups = win_groups(p, won, weight)
    assert sum(group.bids for group in groups) == pytest.approx(weight.sum())
    assert sum(group.bids * group.won for group in groups) == pytest.approx((weight * won).sum())
    assert [group.predicted for group in groups] == sorted(group.predicted for group in groups)


def test_bands_hold_the_curve_narrow_with_rows_and_repeat_with_their_seed():
    widths = {}
    for rows in (1000, 8000):
        table = read_market(market(rows))
        seen = observe(table)
        fit = fit_landscape(table, ("prediction",), seen=seen, min_rows=50)
        places = fit.strata.encode(table, seen.rows)
        low, high = bands(fit, seen, places, [0, 3], draws=40, seed=1)
        again = bands(fit, seen, places, [0, 3], draws=40, seed=1)
        assert np.array_equal(low, again[0])
        curve = 1.0 - fit.survival[[0, 3]]
        assert ((low - 0.02 <= curve) & (curve <= high + 0.02)).all()
        widths[rows] = (high - low).mean()
    assert widths[8000] < widths[1000] * 0.6


@pytest.fixture
def saved(tmp_path):
    table = read_market(market(2000))
    fit = fit_landscape(table, half_life_ns=10**15)
    path = tmp_path / "deep" / "m.landscape"
    return fit, path, save_landscape(path, fit)


def test_file_gives_back_every_bit(saved):
    fit, path, digest = saved
    found = load_landscape(path)
    for name in ("grid", "survival", "expected_price"):
        assert np.array_equal(getattr(found, name), getattr(fit, name))
    for name in ("exact", "price_sum", "above", "below"):
        assert np.array_equal(getattr(found.counts, name), getattr(fit.counts, name))
    assert (found.strata, found.shrinkage, found.source) == (fit.strata, fit.shrinkage, fit.source)
    assert (found.counts.at_ns, found.counts.half_life_ns) == (fit.counts.at_ns, 10**15)
    assert save_landscape(path, found) == digest


def test_same_landscape_is_the_same_file(saved, tmp_path):
    fit, path, _ = saved
    save_landscape(tmp_path / "again", fit)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.999])
def test_one_altered_byte_anywhere_is_found(saved, place):
    _, path, _ = saved
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"m[.]landscape"):
        load_landscape(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_file_cut_short_is_refused(saved, keep):
    _, path, _ = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(ArtifactError, match="fit it again"):
        load_landscape(path)


def reseal(path, change):
    """A file whose first line was changed and sealed again, as a careful forger would."""
    from models.landscape import store

    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    change(head)
    import msgspec

    found = msgspec.convert(head | {"sha256": ""}, store._Head)
    found = msgspec.structs.replace(found, sha256=store._digest(found, body))
    path.write_bytes(store._line(found) + body)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head: head.update(format=9), "of format 1, was 'clearbid landscape' of 9"),
        (lambda head: head.update(kind="x"), "was 'x' of 1"),
        (lambda head: head["arrays"].pop("below"), "must hold the arrays"),
        (lambda head: head["strata"]["strata"].pop(), "do not fit its strata"),
        (lambda head: head["strata"]["strata"][1].update(parent=1), "do not fit its strata"),
    ],
)
def test_file_that_does_not_fit_itself_is_refused(saved, change, message):
    _, path, _ = saved
    reseal(path, change)
    with pytest.raises(ArtifactError, match=message):
        load_landscape(path)


def test_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="must be a file, is not there"):
        load_landscape(tmp_path / "none")


def test_file_that_cannot_be_written_is_said(saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="must be writable"):
        save_landscape(tmp_path / "file" / "x", saved[0])
