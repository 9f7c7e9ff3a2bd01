"""What all tests share: no example is timed, long proofs run by `-m slow`, a PostgreSQL, and where a store can be.

`CLEARBID_POSTGRES=postgresql://...` names a server on which databases may be made; otherwise one is started for the
session. Where that cannot be done its tests are skipped and say why, unless `CLEARBID_REQUIRE_POSTGRES=1`: then they
fail.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("clearbid", deadline=None)
hypothesis.settings.load_profile("clearbid")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves long proofs out where they are not asked for; a seeded sample of each has a test of its own."""
    if "slow" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("slow") is not None]
    items[:] = [item for item in items if item.get_closest_marker("slow") is None]
    config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server's URL."""
    named = os.environ.get("CLEARBID_POSTGRES")
    if named:
        yield named
        return
    from tests.support.postgres_server import PostgresUnavailable, postgres_server

    try:
        with postgres_server() as server:
            yield server.url
    except PostgresUnavailable as error:
        if os.environ.get("CLEARBID_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"CLEARBID_REQUIRE_POSTGRES is 1, but no PostgreSQL can be started: {error}")
        pytest.skip(f"no PostgreSQL: {error}")


@pytest.fixture
def postgres_place(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database."""
    from tests.support.postgres_server import new_database

    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store can be made, in each database in turn."""
    if request.param == "sqlite":
        return str(tmp_path / "a.db")
    url: str = request.getfixturevalue("postgres_place")
    return url
