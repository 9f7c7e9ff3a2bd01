"""Campaign sheets: what is read, what is refused and how, and that an export is an import."""

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.campaigns import Campaign, Creative, Goal, Pacing, Rule, Status, Targeting
from bidder.errors import SheetError
from bidder.store.columns_cells import format_instant, parse_instant
from bidder.store.sheet import parse_sheet, read_sheet, to_csv, to_json

HEADER = "id,name,advertiser,adomain,budget,start,end,value,max_bid_cpm,creatives"
ROW = (
    "spring,Spring sale,acme,acme.example,500.00,2026-05-01T00:00:00Z,2026-06-01T00:00:00+02:00,2.00,8.50,"
    "b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/"
)


def csv_of(**cells: str) -> str:
    """A sheet of one good row, with some cells changed or added."""
    good = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | cells
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in good.values()]
    return ",".join(good) + "\n" + ",".join(quoted) + "\n"


def one(text: str, suffix: str = ".csv") -> Campaign:
    (campaign,) = parse_sheet(text, suffix, f"sheet{suffix}").campaigns
    return campaign


def error_of(text: str, suffix: str = ".csv") -> str:
    with pytest.raises(SheetError) as caught:
        parse_sheet(text, suffix, f"sheet{suffix}")
    return str(caught.value)


def test_a_minimal_csv_row_is_a_campaign_with_the_defaults() -> None:
    campaign = one(f"{HEADER}\n{ROW}\n")
    assert campaign == Campaign(
        id="spring",
        name="Spring sale",
        advertiser="acme",
        adomain=("acme.example",),
        budget_nanos=500_000_000_000,
        start_ns=1_777_593_600_000_000_000,
        end_ns=1_780_264_800_000_000_000,
        value_nanos=2_000_000_000,
        max_bid_cpm_micros=8_500_000,
        creatives=(
            Creative(
                id="b1",
                w=300,
                h=250,
                image_url="https://cdn.acme.example/b1.png",
                landing_url="https://acme.example/",
            ),
        ),
    )


def test_money_is_exact_to_the_nano() -> None:
    assert one(csv_of(budget="0.100000001")).budget_nanos == 100_000_001


def test_headers_are_free_in_case_and_spaces() -> None:
    loud = "ID , Name,ADVERTISER,AdDomain".replace("AdDomain", "Adomain")
    text = f"{HEADER}\n{ROW}\n".replace("id,name,advertiser,adomain", loud).replace(
        "max_bid_cpm", "Max Bid CPM"
    )
    assert one(text) == one(f"{HEADER}\n{ROW}\n")


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\n{ROW}\n".encode())
    assert read_sheet(path).campaigns[0].id == "spring"


def test_lists_and_targeting_are_read() -> None:
    campaign = one(
        csv_of(
            geo="us; DE ;",
            exclude_geo="us-ca",
            domain="News.Example",
            segment="s1;s2",
            hour="0;167",
            goal="conversion",
            pacing="ASAP",
            status="paused",
            cat="IAB1;IAB2",
            exchange="alpha",
        )
    )
    assert campaign.targeting == Targeting(
        geo=Rule(("US", "DE"), ("US-CA",)),
        exchange=Rule(("alpha",)),
        domain=Rule(("news.example",)),
        segment=Rule(("s1", "s2")),
        hour=Rule(("0", "167")),
    )
    assert (campaign.goal, campaign.pacing, campaign.status) == (Goal.CONVERSION, Pacing.ASAP, Status.PAUSED)
    assert campaign.cat == ("IAB1", "IAB2")


def test_several_creatives_with_marks_in_their_urls_are_read() -> None:
    cell = r"b1|300|250|https://a.example/x\;y\|z|https://a.example/|1 13;b2|728|90|https://a.example/2|http://a.example/"
    creatives = one(csv_of(creatives=cell)).creatives
    assert [creative.id for creative in creatives] == ["b1", "b2"]
    assert (creatives[0].image_url, creatives[0].attr) == ("https://a.example/x;y|z", (1, 13))


def test_rows_without_a_currency_take_the_accounts() -> None:
    assert parse_sheet(f"{HEADER}\n{ROW}\n", ".csv", "s.csv", "EUR").campaigns[0].currency == "EUR"


def test_empty_lines_are_no_rows() -> None:
    assert len(parse_sheet(f"\n{HEADER}\n\n{ROW}\n,,,\n\n", ".csv", "s.csv").campaigns) == 1


TOML = """
[[campaign]]
id = "spring"
name = "Spring sale"
advertiser = "acme"
adomain = ["acme.example"]
budget = "500.00"
start = 2026-05-01T00:00:00Z
end = "2026-06-01T00:00:00+02:00"
value = 2
max_bid_cpm = "8.50"
[[campaign.creatives]]
id = "b1"
w = 300
h = 250
image_url = "https://cdn.acme.example/b1.png"
landing_url = "https://acme.example/"
"""


def test_a_toml_table_is_the_same_campaign() -> None:
    assert one(TOML, ".toml") == one(f"{HEADER}\n{ROW}\n")


def test_a_float_amount_in_toml_is_refused_since_it_is_not_exact() -> None:
    message = error_of(TOML.replace('"500.00"', "500.10"), ".toml")
    assert message == (
        'budget must be text such as "8.50" in quotes, was 500.1 (row 2, sheet.toml); nothing was applied'
    )


def test_an_error_in_toml_names_the_line_of_its_table() -> None:
    assert "(row 2)" in error_of(TOML.replace('"acme"', '"a c"') + TOML, ".toml")


def test_a_negative_budget_is_one_line_with_row_column_and_what_is_allowed() -> None:
    assert (
        error_of(csv_of(budget="-5")) == "budget must be > 0, was -5 (row 2, sheet.csv); nothing was applied"
    )


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("id", "a b", "must be 1 to 64 letters, digits or ._:-, was 'a b'"),
        ("name", "x" * 121, "must have 1 to 120 characters, was 121 long"),
        ("adomain", "not a domain", "must be domains such as shop.example"),
        ("budget", "0", "must be > 0, was 0"),
        ("budget", "1e3", "must be a decimal number such as 12.50, was '1e3'"),
        ("budget", "1,000", "must be a decimal number"),
        ("budget", "0.0000000001", "must have at most 9 decimals"),
        ("budget", "99999999999", "must be at most 9000000000"),
        ("max_bid_cpm", "0.0000001", "must have at most 6 decimals"),
        ("value", "-2", "must be > 0, was -2"),
        ("start", "2026-05-01", "must be a date, time and zone"),
        ("start", "2026-05-01T00:00:00", "must be a date, time and zone"),
        ("start", "2026-02-30T00:00:00Z", "must be a date, time and zone"),
        ("start", "1969-12-31T23:59:59Z", "must be from 1970 to 2199"),
        ("end", "2026-05-01T00:00:00Z", "must be after start, was 2026-05-01T00:00:00Z"),
        ("status", "on", "must be active or paused, was 'on'"),
        ("goal", "view", "must be click or conversion, was 'view'"),
        ("pacing", "fast", "must be even or asap, was 'fast'"),
        ("currency", "usd", "must be three capitals such as USD, was 'usd'"),
        ("hour", "168", "must be hours of the week from 0 to 167, was '168'"),
        ("creatives", "b1|300|250|https://a.example/1.png", "must be id|w|h|image_url|landing_url"),
        (
            "creatives",
            "b1|0|250|https://a.example/|https://a.example/",
            "from 1 to 10000, was '0', in creative b1",
        ),
        ("creatives", "b1|300|250|ftp://a.example/|https://a.example/", "must be a URL such as"),
        ("creatives", "b1|300|250|javascript:alert(1)|https://a.example/", "must be a URL such as"),
        ("creatives", ";", "must hold at least one creative, was empty"),
        (
            "creatives",
            "b|1|1|http://a.example|http://a.example;b|2|2|http://a.example|http://a.example",
            "was 'b' 2 times",
        ),
        ("id", "", "must be given, was empty"),
        ("creatives", "", "must be given, was empty"),
    ],
)
def test_a_wrong_cell_is_named_with_what_is_allowed(column: str, cell: str, words: str) -> None:
    message = error_of(csv_of(**{column: cell}))
    assert message.startswith(f"{column} must ")
    assert words in message
    assert "(row 2, sheet.csv)" in message


def test_every_error_of_a_sheet_is_told_in_the_order_of_rows() -> None:
    bad = ROW.replace("500.00", "-5").replace("8.50", "x")
    lines = error_of(f"{HEADER}\n{ROW}\n{bad}\n{bad.replace('spring', 'summer')}\n").splitlines()
    assert lines[0] == "sheet sheet.csv has 5 errors, nothing was applied:"
    assert lines[1] == "  budget must be > 0, was -5 (row 3)"
    assert [line[-8:] for line in lines[1:]] == [" (row 3)"] * 3 + [" (row 4)"] * 2


def test_at_most_twenty_errors_are_told_and_the_rest_counted() -> None:
    bad = "".join(ROW.replace("spring", f"c{number}").replace("500.00", "-5") + "\n" for number in range(25))
    lines = error_of(f"{HEADER}\n{bad}").splitlines()
    assert (len(lines), lines[-1]) == (22, "  and 5 more")


def test_a_row_after_one_of_several_lines_keeps_its_place_in_the_file() -> None:
    two_lines = ROW.replace("Spring sale", '"Spring\nsale"')
    assert "(row 4, sheet.csv)" in error_of(f"{HEADER}\n{two_lines}\n{ROW.replace('spring', 'b d')}\n")


def test_an_unknown_column_is_named_with_its_nearest() -> None:
    assert error_of(csv_of(budgte="1")) == (
        "budgte is no column; nearest is budget (row 1, sheet.csv); nothing was applied"
    )


def test_a_column_that_is_there_twice_is_refused() -> None:
    assert "id must be there once" in error_of(f"{HEADER},ID\n{ROW},x\n")


def test_an_id_that_is_there_twice_is_refused_with_both_rows() -> None:
    assert error_of(f"{HEADER}\n{ROW}\n{ROW}\n") == (
        "id must be unique, was 'spring' in row 2 too (row 3, sheet.csv); nothing was applied"
    )


def test_more_cells_than_headers_are_refused() -> None:
    assert "row must have 10 cells as the header, was 11 (row 2" in error_of(f"{HEADER}\n{ROW},extra\n")


@pytest.mark.parametrize(
    ("text", "suffix", "words"),
    [
        ("", ".csv", "must hold at least one campaign"),
        (HEADER, ".csv", "must hold at least one campaign"),
        ('id,name\n"a,b', ".csv", "must be CSV, was not in row 2"),
        ("[campaign", ".toml", "must be TOML, was not"),
        ("{", ".json", "must be JSON, was not"),
        ("[1]", ".json", "must be a list of tables named campaign"),
        ("x = 1", ".toml", "must be a list of tables named campaign"),
        ("", ".xlsx", "must end in .csv, .toml or .json, was '.xlsx'"),
    ],
)
def test_what_is_no_sheet_is_refused_in_one_line(text: str, suffix: str, words: str) -> None:
    message = error_of(text, suffix)
    assert words in message
    assert "\n" not in message


def test_a_sheet_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SheetError, match="cannot be read: No such file"):
        read_sheet(tmp_path / "none.csv")


def test_a_sheet_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(HEADER, encoding="utf-16")
    with pytest.raises(SheetError, match="must be UTF-8 text, was not at byte 0"):
        read_sheet(path)


_visible = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
_text = st.text(_visible, min_size=1, max_size=12)
_identifier = st.from_regex(r"\A[A-Za-z0-9._:-]{1,12}\Z")
_domain = st.from_regex(r"\A[a-z0-9-]{1,5}\.[a-z]{2,5}\Z")
_url = st.builds("https://{}/{}".format, _domain, st.text("abc;|\\,\"'?=&%", max_size=8))
_nanos = st.integers(1, 9_000_000_000_000_000_000)
_lists = st.lists(_text, max_size=3, unique=True).map(tuple)
_uppers = st.lists(st.from_regex(r"\A[A-Z0-9-]{1,6}\Z"), max_size=3).map(tuple)
_hours = st.lists(st.integers(0, 167).map(str), max_size=3).map(tuple)
_creative = st.builds(
    Creative,
    id=_identifier,
    w=st.integers(1, 10_000),
    h=st.integers(1, 10_000),
    image_url=_url,
    landing_url=_url,
    attr=st.lists(st.integers(1, 17), max_size=3).map(tuple),
)
_targeting = st.builds(
    Targeting,
    geo=st.builds(Rule, _uppers, _uppers),
    exchange=st.builds(Rule, _lists, _lists),
    domain=st.builds(Rule, st.lists(_domain, max_size=2).map(tuple)),
    segment=st.builds(Rule, _lists, _lists),
    hour=st.builds(Rule, _hours, _hours),
)
_campaign = st.builds(
    Campaign,
    id=_identifier,
    name=_text,
    advertiser=_identifier,
    adomain=st.lists(_domain, min_size=1, max_size=3).map(tuple),
    cat=_lists,
    status=st.sampled_from(Status),
    currency=st.from_regex(r"\A[A-Z]{3}\Z"),
    budget_nanos=_nanos,
    start_ns=st.integers(0, 10**18),
    end_ns=st.integers(10**18 + 1, 7 * 10**18),
    goal=st.sampled_from(Goal),
    value_nanos=_nanos,
    max_bid_cpm_micros=st.integers(1, 10**15),
    pacing=st.sampled_from(Pacing),
    targeting=_targeting,
    creatives=st.lists(_creative, min_size=1, max_size=3, unique_by=lambda creative: creative.id).map(tuple),
)


@given(st.lists(_campaign, min_size=1, max_size=3, unique_by=lambda campaign: campaign.id))
def test_an_export_is_an_import_of_the_same_campaigns(campaigns: list[Campaign]) -> None:
    assert parse_sheet(to_csv(campaigns), ".csv", "s.csv").campaigns == campaigns
    assert parse_sheet(to_json(campaigns), ".json", "s.json").campaigns == campaigns


def test_the_json_export_has_amounts_as_text() -> None:
    (plain,) = json.loads(to_json([one(f"{HEADER}\n{ROW}\n")]))["campaign"]
    assert (plain["budget"], plain["max_bid_cpm"], plain["end"]) == ("500", "8.5", "2026-05-31T22:00:00Z")


@given(st.integers(0, 7 * 10**18))
def test_an_instant_is_written_and_read_to_the_nanosecond(at_ns: int) -> None:
    assert parse_instant(format_instant(at_ns)) == at_ns


@given(st.integers(86_400, 7 * 10**9), st.integers(-14 * 60, 14 * 60))
def test_an_instant_is_the_same_in_any_zone(second: int, offset_minutes: int) -> None:
    zone = dt.timezone(dt.timedelta(minutes=offset_minutes))
    assert parse_instant(dt.datetime.fromtimestamp(second, zone).isoformat()) == second * 10**9
