"""The training table of a run: what the bidder saw, scored and paid, and what became of it; else it is refused."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.bankrules import BankRules
from bidder.core.bookings import Booking
from bidder.core.messages import NOTICES, Conversion, encode
from bidder.errors import ClearbidError, InputError
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message
from bidder.store.database import Database
from bidder.store.journal import Decide, Entry
from bidder.store.model import load_model
from bidder.store.seat import JOURNAL
from models.artifact import load_bundle
from models.dataset import read_table
from models.scorer import Scorer
from models.train import train_bundle
from simulator.export.run import DATABASE, DECISION_LOG, Exported, export_run, source_of
from simulator.replay import replay_journal
from tests.support.exporting import DECLARATIONS, caught, differing
from tests.support.journals import altered
from tests.support.playing import KEY


def export(folder: Path, out: Path, **options: Any) -> Exported:
    return export_run(source_of(folder), out, **options)


def export_command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def bidden(embedded_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with lost bids."""
    out = tmp_path_factory.mktemp("exported") / "run.parquet"
    export(embedded_run, out, with_lost=True)
    return out


@pytest.fixture(scope="module")
def won(embedded_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's impressions."""
    out = tmp_path_factory.mktemp("exported") / "won.parquet"
    export(embedded_run, out)
    return out


def copied(run: Path, to: Path) -> Path:
    """The parts of a run, to be changed."""
    to.mkdir()
    for name in (JOURNAL, DECISION_LOG, DATABASE):
        shutil.copy(run / name, to / name)
    return to


def bids_of(run: Path) -> dict[str, dict[str, Any]]:
    rows = [orjson.loads(line) for line in (run / DECISION_LOG).read_bytes().splitlines()]
    return {row["bid_id"]: row for row in rows if "bid_id" in row}


def rows_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


# -- train and serve are equal ----------------------------------------------------------------------------------


def served_by(run: Path) -> dict[str, bytes]:
    """What the engine scored, caught in a replay that makes the very same bytes."""
    with caught() as served:
        found = replay_journal(run / JOURNAL, [run / "model"], KEY)
    assert found.identical
    return served


@pytest.mark.parametrize("name", ["bidden", "won"])
def test_features_are_bit_by_bit_what_the_engine_scored(
    name: str, embedded_run: Path, request: pytest.FixtureRequest
) -> None:
    model = load_model(embedded_run / "model")
    exported = read_table(request.getfixturevalue(name), DECLARATIONS, lost=True)
    assert len(exported) > 100
    assert not differing(exported, model.spec, model.encoder.indices, served_by(embedded_run))


def test_the_model_says_of_a_row_what_it_said_of_the_bid(embedded_run: Path, bidden: Path) -> None:
    bundle = load_bundle(embedded_run / "model")
    exported = read_table(bidden, DECLARATIONS, lost=True)
    scores = Scorer(bundle).probabilities(bundle.spec.encode_table(exported.columns))
    bids = bids_of(embedded_run)
    logged = [bids[str(bid_id)] for bid_id in exported.extras["bid_id"]]
    assert scores[:, 0].tolist() == [bid["pctr"] for bid in logged]
    asked = [place for place, bid in enumerate(logged) if "pcvr" in bid]
    assert scores[asked, 1].tolist() == [logged[place]["pcvr"] for place in asked]


def test_a_request_that_was_another_one_is_noticed(embedded_run: Path, tmp_path: Path) -> None:
    """The control: bodies of another region give rows that are not what was scored."""

    def move(entries: list[Entry]) -> None:
        for place, entry in enumerate(entries):
            if isinstance(entry, Decide):
                moved = tuple(body.replace(b'"region":"TX"', b'"region":"CA"') for body in entry.bodies)
                entries[place] = entry._replace(bodies=moved)

    other = altered(embedded_run, tmp_path / "other", move)
    for name in (DECISION_LOG, DATABASE):
        shutil.copy(embedded_run / name, other / name)
    export(other, tmp_path / "t.parquet")
    model = load_model(embedded_run / "model")
    exported = read_table(tmp_path / "t.parquet", DECLARATIONS)
    found = differing(exported, model.spec, model.encoder.indices, served_by(embedded_run))
    assert found
    assert all(text.endswith(": region") for text in found)


# -- labels and prices ------------------------------------------------------------------------------------------


def test_labels_and_prices_are_the_books_own(embedded_run: Path, won: Path) -> None:
    connection = sqlite3.connect(embedded_run / DATABASE)
    booked: dict[str, dict[int, list[tuple[int, int, int]]]] = {}
    for bid_id, kind, *values in connection.execute(
        "SELECT bid_id, kind, amount_nanos, value_nanos, at_ns FROM bookings"
    ):
        booked.setdefault(bid_id, {}).setdefault(kind, []).append(tuple(values))
    connection.close()
    bids, rows = bids_of(embedded_run), rows_of(won)
    assert {row["bid_id"] for row in rows} == {bid_id for bid_id, kinds in booked.items() if 2 in kinds}
    for row in rows:
        bid, kinds = bids[row["bid_id"]], booked[row["bid_id"]]
        clicks, conversions = kinds.get(5, []), kinds.get(6, []) if 5 in kinds else []
        assert row["price_cpm_micros"] == kinds[2][0][0] <= row["bid_cpm_micros"] == bid["bid_cpm_micros"]
        assert (row["click"], row["click_at_ns"]) == ((1, clicks[0][2]) if clicks else (0, None))
        assert row["conversion"] == ((1 if conversions else 0) if clicks else None)
        assert row["value_nanos"] == sum(value for _, value, _ in conversions)
        assert row["conversion_at_ns"] == min((at_ns for _, _, at_ns in conversions), default=None)
        assert (row["at_ns"], row["campaign"], row["line_item"]) == (
            bid["at_ns"], bid["campaign_id"], bid["campaign_id"],
        )  # fmt: skip


def test_every_bid_is_a_row_or_counted(embedded_run: Path, tmp_path: Path) -> None:
    bids = bids_of(embedded_run)
    for with_lost in (False, True):
        out = tmp_path / "t.parquet"
        done = export(embedded_run, out, with_lost=with_lost)
        assert done.rows + sum(done.left_out.values()) == len(bids)
        assert done.rows == done.impressions + done.lost == len({row["bid_id"] for row in rows_of(out)})
        assert set(done.left_out) <= ({"open"} if with_lost else {"lost", "open"})
        assert done.left_out.get("open", 0) < len(bids) // 20  # the exchanges of the market tell of losses


def test_time_may_be_cut_anywhere(embedded_run: Path, won: Path, tmp_path: Path) -> None:
    rows = rows_of(won)
    middle_ns = rows[len(rows) // 2]["at_ns"]
    export(embedded_run, tmp_path / "a.parquet", until_ns=middle_ns)
    export(embedded_run, tmp_path / "b.parquet", since_ns=middle_ns)
    parts = [rows_of(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    assert parts[0] + parts[1] == rows
    assert max(row["at_ns"] for row in parts[0]) < middle_ns <= min(row["at_ns"] for row in parts[1])


def test_the_same_run_gives_the_same_bytes(embedded_run: Path, won: Path, tmp_path: Path) -> None:
    export(embedded_run, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == won.read_bytes()


def test_a_model_is_trained_on_the_table_and_fits_the_bidder(won: Path, tmp_path: Path) -> None:
    """With the clicks of so short a run made more, as it has too few to learn from."""
    exported = read_table(won, DECLARATIONS)
    clicked = np.random.default_rng(1).random(len(exported)) < 0.3
    exported.click[clicked] = 1.0
    train_bundle(exported, DECLARATIONS, tmp_path / "model", seed=1)
    assert "line_item" in load_model(tmp_path / "model").spec.names


def test_a_conversion_that_named_its_user_is_the_label_of_its_click(
    embedded_run: Path, tmp_path: Path
) -> None:
    """Told to the bank of a run that is over, of a click of which nothing had come."""
    folder = copied(embedded_run, tmp_path / "run")
    with Database(folder / DATABASE) as database:
        with database.reading() as connection:
            bid_id, user, advertiser_id, clicked_ns = connection.execute(
                """SELECT bid_id, user_key, advertiser_id, at_ns FROM bookings WHERE kind = 5 AND user_key <> ''
                   AND bid_id NOT IN (SELECT bid_id FROM bookings WHERE kind = 6) ORDER BY at_ns DESC LIMIT 1"""
            ).fetchone()
            (now_ns,) = connection.execute("SELECT max(booked_ns) FROM bookings").fetchone()
        at_ns = (clicked_ns + now_ns) // 2
        sale = Conversion(
            advertiser_id=advertiser_id, order_id="order-1", value_nanos=7, at_ns=at_ns, arrived_ns=now_ns,
            users=(user,),
        )  # fmt: skip
        service = BankService.open(database, BankRules(), now_ns)
        service.on_messages([Message(NOTICES, 99, 0, sale.key, encode(sale), now_ns)], now_ns)
        service.verify()
    export(folder, tmp_path / "t.parquet")
    (row,) = (row for row in rows_of(tmp_path / "t.parquet") if row["bid_id"] == bid_id)
    assert (row["click"], row["conversion"], row["value_nanos"]) == (1, 1, 7)
    assert (row["click_at_ns"], row["conversion_at_ns"]) == (clicked_ns, at_ns)
    assert row["observed_until_ns"] == now_ns


# -- the run's parts --------------------------------------------------------------------------------------------


def test_journals_of_several_starts_are_read_one_after_the_other(
    embedded_run: Path, won: Path, tmp_path: Path
) -> None:
    folder = altered(embedded_run, tmp_path / "run", lambda entries: entries.clear())
    shutil.copy(embedded_run / JOURNAL, folder / f"{JOURNAL}.1")
    for name in (DECISION_LOG, DATABASE):
        shutil.copy(embedded_run / name, folder / name)
    export(folder, tmp_path / "t.parquet")
    assert rows_of(tmp_path / "t.parquet") == rows_of(won)


def test_a_torn_end_is_said_and_its_bids_are_counted(embedded_run: Path, tmp_path: Path) -> None:
    folder = copied(embedded_run, tmp_path / "run")
    whole = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(whole[: len(whole) // 2])
    done = export(folder, tmp_path / "t.parquet")
    assert done.truncated == (JOURNAL,)
    assert 0 < done.rows < len(bids_of(folder))
    assert done.left_out["no_body"] > 0


def test_the_command_prints_what_it_wrote(embedded_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    told = orjson.loads(export_command(embedded_run, "--out", out, "--with-lost", "--json").stdout)
    assert told["rows"] == told["impressions"] + told["lost"] == pq.read_table(out).num_rows
    assert told["table"] == str(out)
    done = export_command(embedded_run, "--out", out)
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    assert (
        f"{told['impressions']:,} impressions, 0 lost bids" in words
        or "lost: --with-lost keeps them" in words
    )
    assert "always null min_to_win_cpm_micros" in words


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None  # type: ignore[func-returns-value]


def flip(folder: Path) -> None:
    whole = bytearray((folder / JOURNAL).read_bytes())
    whole[len(whole) // 2] ^= 1
    (folder / JOURNAL).write_bytes(whole)


def shift(folder: Path) -> None:
    """Every bid a nanosecond later: the log of a run that differs as little as can be."""
    rows = [orjson.loads(line) for line in (folder / DECISION_LOG).read_bytes().splitlines()]
    later = [orjson.dumps(row | {"at_ns": row["at_ns"] + 1}) for row in rows]
    (folder / DECISION_LOG).write_bytes(b"\n".join(later))


def other_floors(folder: Path) -> None:
    rows = [orjson.loads(line) for line in (folder / DECISION_LOG).read_bytes().splitlines()]
    lines = [orjson.dumps(row | {"floor_cpm_micros": 1}) for row in rows]
    (folder / DECISION_LOG).write_bytes(b"\n".join(lines))


def empty_books(folder: Path) -> None:
    (folder / DATABASE).unlink()
    Database(folder / DATABASE).close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / JOURNAL).unlink(), "has no journal"),
        (lambda folder: (folder / DECISION_LOG).unlink(), "has no decisions.jsonl; name what is elsewhere"),
        (lambda folder: (folder / DATABASE).unlink(), "has no clearbid.db"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "has no journal and no decisions.jsonl and no"),
        (write(JOURNAL, b"not a journal"), "is no journal"),
        (write(DATABASE, b"not a database" * 99), "must be a Clearbid store"),
        (write(DECISION_LOG, b""), "decisions.jsonl must have a bid in the time asked for"),
        (write(DECISION_LOG, b'{"bid_id":"'), "had none; bids left out: 1 unreadable"),
        (flip, "is damaged at byte"),
        (shift, "must be of the run of"),
        (other_floors, "must be of the run of"),
        (empty_books, "must have a booking, had none"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_exported_is_refused_and_no_table_is_left(
    embedded_run: Path, tmp_path: Path, harm: Callable[[Path], object], words: str
) -> None:
    folder = copied(embedded_run, tmp_path / "run")
    harm(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(InputError, match=words):
        export(folder, tmp_path / "t.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not {DATABASE, JOURNAL, DECISION_LOG} & {path.name for path in folder.iterdir()} - set(before)


@pytest.mark.postgres
@pytest.mark.parametrize("named", ["--db", "[store] url"])
def test_books_of_a_postgresql_give_the_same_table(
    embedded_run: Path, won: Path, tmp_path: Path, postgres_place: str, named: str
) -> None:
    folder = copied(embedded_run, tmp_path / "run")
    columns = ", ".join(Booking._fields)
    marks = ", ".join("?" * len(Booking._fields))
    with Database(folder / DATABASE) as ours, Database(postgres_place) as theirs:
        with ours.reading() as session:
            rows = session.execute(f"SELECT {columns} FROM bookings").fetchall()
        with theirs.transaction() as session:
            session.executemany(f"INSERT INTO bookings ({columns}) VALUES ({marks})", rows)
    (folder / DATABASE).unlink()
    (tmp_path / "c.toml").write_text(f"[store]\nurl = '{postgres_place}'\n")
    place = ("--db", postgres_place) if named == "--db" else ("--config", tmp_path / "c.toml")
    done = export_command(folder, "--out", tmp_path / "t.parquet", *place)
    assert (done.exit_code, done.exception) == (0, None)
    assert rows_of(tmp_path / "t.parquet") == rows_of(won)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "t.csv"), "must end in .parquet, was '.csv'"),
        (("--out", "no/t.parquet"), "folder no of the table must be there"),
        (("--out", "t.parquet", "--since", "2026-03-04T00:00:00"), "--since must be ISO 8601 with a zone"),
        (
            ("--out", "t.parquet", "--since", "2026-03-05T00:00:00Z", "--until", "2026-03-05T00:00:00Z"),
            "--since must be before --until",
        ),
        (
            ("--out", "t.parquet", "--until", "2001-01-01T00:00:00Z"),
            "must have a bid in the time asked for, had none",
        ),
        (("--out", "t.parquet", "--db", "elsewhere.db"), "has no elsewhere.db"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    embedded_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = export_command(embedded_run, *arguments)
    assert isinstance(done.exception, ClearbidError)
    assert done.exception.exit_code == 2
    assert words in str(done.exception)
    assert list(tmp_path.iterdir()) == []
