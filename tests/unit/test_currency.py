"""Dated exchange rates: which one holds, what a broken table is told, and exact conversion."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from bidder.core.currency import RateTable, _day, from_base_floor, to_base_ceil
from bidder.errors import InputError
from bidder.store.rates import load_rates

RAW: dict[str, Any] = {
    "base": "USD",
    "rates": {
        "2026-11-05": {"EUR": "1.09", "JPY": "0.0065"},
        "2026-11-01": {"EUR": "1.0842"},
        "2026-10-20": {"GBP": "1.3", "EUR": "1.07"},
    },
}


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


TABLE = RateTable.parse(RAW)


@pytest.mark.parametrize(
    ("currency", "at", "rate_nanos"),
    [
        ("EUR", "2026-11-01T00:00:00", 1_084_200_000),
        ("EUR", "2026-11-04T23:59:59", 1_084_200_000),
        ("EUR", "2026-11-05T00:00:00", 1_090_000_000),
        ("EUR", "2026-11-12T23:59:59", 1_090_000_000),
        ("EUR", "2026-11-13T00:00:00", None),
        ("EUR", "2026-10-27T12:00:00", 1_070_000_000),
        ("EUR", "2026-10-28T00:00:00", None),
        ("EUR", "2026-10-19T23:59:59", None),
        ("JPY", "2026-11-04T12:00:00", None),
        ("JPY", "2026-11-05T12:00:00", 6_500_000),
        ("GBP", "2026-11-05T12:00:00", None),
        ("CHF", "2026-11-05T12:00:00", None),
        ("USD", "1999-01-01T00:00:00", 1_000_000_000),
    ],
)
def test_the_newest_rate_that_is_not_too_old_holds(currency: str, at: str, rate_nanos: int | None) -> None:
    assert TABLE.rate_nanos(currency, ns(at)) == rate_nanos


def test_a_rate_ends_with_the_last_nano_of_its_last_day() -> None:
    end_ns = ns("2026-11-13")
    assert TABLE.rate_nanos("EUR", end_ns - 1) == 1_090_000_000
    assert TABLE.rate_nanos("EUR", end_ns) is None


def test_how_old_a_rate_may_be_can_be_set() -> None:
    table = RateTable.parse(RAW, max_age_days=0)
    assert table.rate_nanos("EUR", ns("2026-11-01T23:00")) == 1_084_200_000
    assert table.rate_nanos("EUR", ns("2026-11-02")) is None


def test_a_table_names_its_currencies() -> None:
    assert (TABLE.base, TABLE.currencies) == ("USD", ("EUR", "GBP", "JPY", "USD"))


def test_the_base_may_stand_in_its_own_table_at_one() -> None:
    table = RateTable.parse({"base": "EUR", "rates": {"2026-11-01": {"EUR": "1.0"}}})
    assert table.rate_nanos("EUR", 0) == 10**9
    assert table.currencies == ("EUR",)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, ["base of exchange rates", "three capitals", "None"]),
        ({"base": "usd", "rates": {}}, ["base", "'usd'"]),
        ({"base": "USD"}, ["rates of exchange rates must be a table", "None"]),
        ({"base": "USD", "rates": []}, ["must be a table", "[]"]),
        ({"base": "USD", "rates": {}, "rate": {}}, ["nothing else", "'rate'"]),
        ({"base": "USD", "rates": {"2026-11-31": {}}}, ["date", "'2026-11-31'"]),
        ({"base": "USD", "rates": {"2026-02-29": {}}}, ["'2026-02-29'"]),
        ({"base": "USD", "rates": {"2024-04-31": {}}}, ["'2024-04-31'"]),
        ({"base": "USD", "rates": {"2026-13-01": {}}}, ["'2026-13-01'"]),
        ({"base": "USD", "rates": {"2026-00-10": {}}}, ["'2026-00-10'"]),
        ({"base": "USD", "rates": {"2026-01-00": {}}}, ["'2026-01-00'"]),
        ({"base": "USD", "rates": {"0000-01-01": {}}}, ["'0000-01-01'"]),
        ({"base": "USD", "rates": {"1.11.2026": {}}}, ["'1.11.2026'"]),
        ({"base": "USD", "rates": {"2026-11-01\n": {}}}, ["day such as 2026-11-01"]),
        ({"base": "USD", "rates": {20261101: {}}}, ["20261101"]),
        ({"base": "USD", "rates": {"2026-11-01": "1.0"}}, ["of 2026-11-01 must be a table"]),
        ({"base": "USD", "rates": {"2026-11-01": {"euro": "1"}}}, ["of 2026-11-01", "'euro'"]),
        (
            {"base": "USD", "rates": {"2026-11-01": {"EUR": 1.0842}}},
            ["EUR on 2026-11-01", "quotes", "1.0842"],
        ),
        ({"base": "USD", "rates": {"2026-11-01": {"EUR": "1,08"}}}, ["EUR on 2026-11-01", "'1,08'"]),
        ({"base": "USD", "rates": {"2026-11-01": {"EUR": "0"}}}, ["EUR on 2026-11-01", "above 0", "'0'"]),
        ({"base": "USD", "rates": {"2026-11-01": {"EUR": "-1"}}}, ["above 0", "'-1'"]),
        ({"base": "USD", "rates": {"2026-11-01": {"VND": "0.0000384651"}}}, ["VND", "at most 9 decimals"]),
        (
            {"base": "USD", "rates": {"2026-11-01": {"USD": "1.1"}}},
            ["base USD on 2026-11-01 must be 1", "1.1"],
        ),
    ],
)
def test_a_broken_table_is_told_where(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        RateTable.parse(raw)
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_age_cannot_be_negative() -> None:
    with pytest.raises(InputError, match="max_age_days of exchange rates must be at least 0, was -1"):
        RateTable.parse(RAW, max_age_days=-1)


@pytest.mark.parametrize(
    "text",
    [
        *("0001-01-01", "1582-10-15", "1899-12-31", "1900-02-28", "1900-03-01", "1969-12-31", "1970-01-01"),
        *("2000-02-29", "2000-12-31", "2024-02-29", "2024-03-01", "2026-11-22", "2100-03-01", "9999-12-31"),
    ],
)
def test_days_are_those_of_the_calendar(text: str) -> None:
    assert _day(text) == (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("amount_micros", "rate_nanos", "base_micros"),
    [
        (1_000_000, 1_084_200_000, 1_084_200),
        (1, 1_084_200_000, 2),
        (1, 1, 1),
        (0, 1_084_200_000, 0),
        (2_500_000, 10**9, 2_500_000),
    ],
)
def test_a_floor_is_rounded_up(amount_micros: int, rate_nanos: int, base_micros: int) -> None:
    assert to_base_ceil(amount_micros, rate_nanos) == base_micros


@pytest.mark.parametrize(
    ("base_micros", "rate_nanos", "amount_micros"),
    [
        (1_084_200, 1_084_200_000, 1_000_000),
        (1_084_199, 1_084_200_000, 999_999),
        (1, 1_084_200_000, 0),
        (2_500_000, 10**9, 2_500_000),
    ],
)
def test_a_bid_is_rounded_down(base_micros: int, rate_nanos: int, amount_micros: int) -> None:
    assert from_base_floor(base_micros, rate_nanos) == amount_micros


def test_rates_are_read_from_json_and_toml_alike(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "rates.json", tmp_path / "rates.toml"
    as_json.write_text(json.dumps(RAW))
    as_toml.write_text(
        'base = "USD"\n[rates.2026-11-05]\nEUR = "1.09"\nJPY = "0.0065"\n[rates.2026-11-01]\nEUR = "1.0842"\n'
    )
    for path in (as_json, as_toml):
        table = load_rates(path)
        assert table.rate_nanos("JPY", ns("2026-11-05")) == 6_500_000
        assert table.rate_nanos("EUR", ns("2026-11-03")) == 1_084_200_000


def test_the_age_is_handed_on_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(json.dumps(RAW))
    assert load_rates(tmp_path / "rates.json", 30).rate_nanos("EUR", ns("2026-12-05")) == 1_090_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rates.yaml", b"", "must end in .toml or .json, was '.yaml'"),
        ("rates.json", b"{", "must be JSON, was not"),
        ("rates.json", b"[]", r"must be a table with base and rates, was \[\]"),
        ("rates.json", b"\xff", "must be JSON, was not"),
        ("rates.toml", b"base =", "must be TOML, was not"),
        (
            "rates.json",
            b'{"base": "USD", "rates": {"2026-11-01": {"EUR": "x"}}}',
            r"EUR on 2026-11-01.*rates\.json",
        ),
        ("rates.json", None, "cannot be read: No such file"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_rates(tmp_path / name)
