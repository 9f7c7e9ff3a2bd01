"""The database: its file, its schema, its transactions."""

import sqlite3
from pathlib import Path

import pytest

from bidder.errors import DependencyError, InputError
from bidder.store.database import MIGRATIONS, Database


def test_opening_twice_migrates_once(tmp_path: Path) -> None:
    for _ in range(2):
        with Database(tmp_path / "a.db") as database, database.reading() as connection:
            versions = connection.execute("SELECT version FROM schema_versions").fetchall()
    assert versions == [(migration.version,) for migration in MIGRATIONS]


def test_migrations_are_numbered_in_the_order_in_which_they_are_made() -> None:
    numbers = [migration.version for migration in MIGRATIONS]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))


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


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database:
        with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
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


def test_a_schema_of_a_newer_clearbid_is_refused(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database, database.transaction() as connection:
        connection.execute("INSERT INTO schema_versions VALUES (999, 'later')")
    with pytest.raises(DependencyError, match=f"schema of at most {MIGRATIONS[-1].version}, was 999"):
        Database(tmp_path / "a.db")


def test_a_writer_in_the_way_is_a_dependency_that_failed(tmp_path: Path) -> None:
    with Database(tmp_path / "a.db") as database:
        database._connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DependencyError, match="database is locked"), database.transaction():
            pass
        other.close()
