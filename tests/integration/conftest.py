"""Brokers for the integration tests: the embedded one always, an Apache Kafka where there is one.

`CLEARBID_KAFKA=HOST:PORT` names a running Kafka, which must not create topics by itself; otherwise one is started
for the session. Where that cannot be done its tests are skipped and say why, unless `CLEARBID_REQUIRE_KAFKA=1`:
then they fail.
"""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.kafka_clients import CLIENTS, Client
from tests.support.kafka_server import KafkaUnavailable, apache_kafka, embedded_broker


@pytest.fixture(scope="session")
def embedded_bootstrap() -> Iterator[str]:
    with embedded_broker() as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def apache_bootstrap() -> Iterator[str]:
    named = os.environ.get("CLEARBID_KAFKA")
    if named:
        yield named
        return
    try:
        with apache_kafka() as bootstrap:
            yield bootstrap
    except KafkaUnavailable as error:
        if os.environ.get("CLEARBID_REQUIRE_KAFKA") == "1":
            pytest.fail(f"CLEARBID_REQUIRE_KAFKA is 1, but no Apache Kafka can be started: {error}")
        pytest.skip(f"no Apache Kafka: {error}")


@pytest.fixture(scope="session", params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Address of each broker in turn."""
    address: str = request.getfixturevalue(f"{request.param}_bootstrap")
    return address


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest, bootstrap: str) -> Client:
    """Each client library in turn, at each broker."""
    return CLIENTS[request.param](bootstrap)


@pytest.fixture
def topic() -> str:
    """A name that no other test has."""
    return f"topic-{uuid4().hex}"


@pytest.fixture
def group() -> str:
    """A name that no other test has."""
    return f"group-{uuid4().hex}"
