"""The database: its file, its schema, its transactions."""

import os
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bidder.errors import ClearbidError, DependencyError, InputError
from bidder.store.database import MIGRATIONS, Database, Migration
from bidder.store.driver import RowRefused


def test_opening_twice_migrates_once(place: str) -> None:
    for _ in range(2):
        with Database(place) as database, database.reading() as connection:
            versions = connection.execute("SELECT version FROM schema_versions ORDER BY version").fetchall()
    assert versions == [(migration.version,) for migration in MIGRATIONS]


def test_migrations_are_in_the_order_of_their_numbers() -> None:
    versions = [migration.version for migration in MIGRATIONS]
    assert versions == sorted(set(versions))


def test_a_migration_that_was_left_out_is_made_up_for(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two lines of work are joined, a number may come below one that a database has already."""
    late = Migration(
        MIGRATIONS[-1].version + 1, "late", ("CREATE TABLE late (id INTEGER PRIMARY KEY) STRICT",)
    )
    last = Migration(MIGRATIONS[-1].version + 2, "last", ("CREATE TABLE last (name TEXT NOT NULL) STRICT",))
    for migrations in ((*MIGRATIONS, last), (*MIGRATIONS, late, last)):
        with monkeypatch.context() as patch:
            patch.setattr("bidder.store.database.MIGRATIONS", migrations)
            Database(place).close()
            with Database(place) as database, database.transaction() as session:
                session.execute("INSERT INTO last (name) VALUES ('x')")
    with monkeypatch.context() as patch:
        patch.setattr("bidder.store.database.MIGRATIONS", migrations)
        with Database(place) as database, database.transaction() as session:
            (number,) = session.execute("INSERT INTO late DEFAULT VALUES RETURNING id").fetchone()
            assert number == 1
            assert len(session.execute("SELECT name FROM last").fetchall()) == 2


def test_every_table_is_strict_so_that_no_amount_becomes_a_float(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database, database.reading() as connection:
        loose = connection.execute(
            "SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%' AND schema = 'main'"
        ).fetchall()
    assert loose == []


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_durable_database_syncs_each_commit(tmp_path: Path, durable: bool, level: int) -> None:
    with Database(tmp_path / "a.db", durable=durable) as database, database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_failed_transaction_leaves_nothing(place: str) -> None:
    with Database(place) as database:
        with pytest.raises(RowRefused), database.transaction() as connection:
            connection.executemany("INSERT INTO numbers VALUES (?, 1)", [("x",), ("x",)])
        with database.reading() as connection:
            assert connection.execute("SELECT * FROM numbers WHERE name = 'x'").fetchall() == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("not a database, and long enough to be read as one page header " * 20)
    with pytest.raises(InputError, match=r"database .*a\.db must be a Clearbid store"):
        Database(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"database .*a\.db cannot be used"):
        Database(tmp_path / "none" / "a.db")


def test_a_schema_of_a_newer_clearbid_is_refused(place: str) -> None:
    with Database(place) as database, database.transaction() as connection:
        connection.execute("INSERT INTO schema_versions VALUES (999, 'later')")
    with pytest.raises(DependencyError, match=f"schema of at most {MIGRATIONS[-1].version}, was 999"):
        Database(place)


def test_a_writer_in_the_way_is_a_dependency_that_failed(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database:
        database._driver.connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DependencyError, match="database is locked"), database.transaction():
            pass
        other.close()


# Both alike


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        yield database


def test_text_is_in_the_order_of_its_bytes(database: Database) -> None:
    with database.transaction() as session:
        session.executemany(
            "INSERT INTO numbers (name, value) VALUES (?, 1)", [("a",), ("B",), ("_",), ("ä",)]
        )
        names = session.execute(
            "SELECT name FROM numbers WHERE value = 1 AND name < 'bank' ORDER BY name"
        ).fetchall()
        (last,) = session.execute("SELECT max(name) FROM numbers").fetchone()
    assert ([name for (name,) in names], last) == (["B", "_", "a"], "ä")


def test_truth_is_kept_as_a_number_and_sums_are_whole(database: Database) -> None:
    with database.transaction() as session:
        session.executemany(
            "INSERT INTO numbers (name, value) VALUES (?, ?)", [("x", True), ("y", False), ("z", 7)]
        )
        query = "SELECT sum(value), count(*), max(value) FROM numbers WHERE name IN (?, ?, ?)"
        row = session.execute(query, ("x", "y", "z")).fetchone()
    assert row == (8, 3, 7)
    assert all(type(value) is int for value in row)


def test_the_largest_amounts_are_kept_as_they_are(database: Database) -> None:
    with database.transaction() as session:
        rows = [("x", 2**63 - 1), ("y", -(2**63)), ("z", 1)]
        session.executemany("INSERT INTO numbers (name, value) VALUES (?, ?)", rows)
    with database.reading() as session:
        query = "SELECT name, value FROM numbers WHERE name IN ('x', 'y', 'z') ORDER BY name"
        assert session.execute(query).fetchall() == rows


def test_marks_and_bytes_are_kept_as_they_are(database: Database) -> None:
    with database.transaction() as session:
        session.execute("INSERT INTO outbox (messages) VALUES (?)", (bytes(range(256)),))
        session.execute("INSERT INTO numbers (name, value) VALUES (?, 1)", ("50 % of ?",))
        assert session.execute("SELECT messages FROM outbox").fetchone() == (bytes(range(256)),)
        assert session.execute("SELECT value % 7 FROM numbers WHERE name = ?", ("50 % of ?",)).fetchone() == (
            1,
        )


def test_what_is_read_within_is_of_one_moment(place: str) -> None:
    with Database(place) as one, Database(place) as other, one.reading() as session:
        before = session.execute("SELECT count(*) FROM numbers").fetchone()
        with other.transaction() as writing:
            writing.execute("INSERT INTO numbers (name, value) VALUES ('x', 1)")
        assert session.execute("SELECT count(*) FROM numbers").fetchone() == before


def test_transactions_of_one_lock_run_one_after_the_other(place: str) -> None:
    """Each reads what the one before wrote: none is lost."""
    Database(place).close()

    def add(_: int) -> None:
        with Database(place, durable=False) as database:
            for _ in range(20):
                with database.transaction() as session:
                    (value,) = session.execute(
                        "SELECT value FROM numbers WHERE name = 'campaigns_version'"
                    ).fetchone()
                    session.execute(
                        "UPDATE numbers SET value = ? WHERE name = 'campaigns_version'", (value + 1,)
                    )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(4)))
    with Database(place) as database, database.reading() as session:
        assert session.execute("SELECT value FROM numbers WHERE name = 'campaigns_version'").fetchone() == (
            80,
        )


# PostgreSQL alone


def test_a_password_is_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    for url in (
        "postgresql://me:hush@127.0.0.1:1/clearbid?password=hush",
        "postgresql://me:hush@127.0.0.1:1/clearbid?nonsense=hush",
        "postgresql://me:hush@[127/clearbid",
    ):
        with pytest.raises(ClearbidError) as caught:
            Database(url)
        said = "".join(traceback.format_exception(caught.value))
        assert "hush" not in said.replace(url, ""), said
        assert "hush" not in str(caught.value)
    from bidder.store.postgres import printable

    assert printable("postgresql://me:hush@db:5432/clearbid?x=hush") == "postgresql://me@db:5432/clearbid"


def test_a_library_that_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "bidder.store.postgres", raising=False)
    with pytest.raises(
        DependencyError, match=r"needs the library psycopg.*pip install 'clearbid\[postgres\]'"
    ):
        Database("postgresql://nobody@127.0.0.1:1/clearbid")


@pytest.mark.postgres
@pytest.mark.parametrize(("durable", "level"), [(True, "on"), (False, "off")])
def test_a_commit_waits_for_the_servers_disk(postgres_place: str, durable: bool, level: str) -> None:
    with Database(postgres_place, durable=durable) as database, database.reading() as session:
        assert session.execute("SHOW synchronous_commit").fetchone() == (level,)


@pytest.mark.postgres
def test_a_connection_that_is_lost_is_a_dependency_that_failed(postgres_place: str) -> None:
    with Database(postgres_place) as database, Database(postgres_place) as other:
        with database.reading() as session:
            (pid,) = session.execute("SELECT pg_backend_pid()").fetchone()
        with other.reading() as session:
            session.execute("SELECT pg_terminate_backend(?::int)", (pid,))
        for _ in range(2):
            with (
                pytest.raises(
                    DependencyError, match=r"database postgresql://clearbid@127\.0\.0\.1.* cannot be used"
                ),
                database.transaction() as session,
            ):
                session.execute("SELECT 1")


@pytest.mark.postgres
def test_every_number_is_of_64_bits_and_every_text_of_bytes(postgres_place: str) -> None:
    with Database(postgres_place) as database, database.reading() as session:
        found = session.execute(
            """SELECT DISTINCT data_type, collation_name FROM information_schema.columns
               WHERE table_schema = 'public' ORDER BY data_type"""
        ).fetchall()
    assert found == [("bigint", None), ("bytea", None), ("text", "C")]


def test_a_new_database_is_its_owners_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        with Database(tmp_path / "new.db") as database, database.transaction():
            made = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        shared = tmp_path / "shared.db"
        shared.touch(mode=0o640)
        with Database(shared):
            assert shared.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(umask)
    assert made == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
