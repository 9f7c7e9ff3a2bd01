"""Campaign sheets: what is read, what is refused and how, and that an export is an import."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.campaigns import (
    DIMENSIONS,
    Advertiser,
    Approval,
    Budgets,
    Campaign,
    Cap,
    Creative,
    Flight,
    Goal,
    LineItem,
    Media,
    Modifier,
    Native,
    Pacing,
    Rule,
    Status,
    Targeting,
)
from bidder.core.devices import agent_of, system_of
from bidder.errors import SheetError
from bidder.store import sheet as sheet_module
from bidder.store.columns import COLUMNS, CSV_COLUMNS, Level
from bidder.store.columns_cells import format_instant, parse_instant
from bidder.store.columns_targeting import BROWSERS, DEVICES, SYSTEMS, TARGETING
from bidder.store.sheet import parse_sheet, read_sheet, to_csv, to_json, to_toml

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
        ("goal", "sale", "must be click or conversion or value or view or complete, was 'sale'"),
        ("target_cpa", "x", "must be a decimal number"),
        ("target_roas", "-1", "must be > 0"),
        ("pacing", "fast", "must be even or ahead or asap, was 'fast'"),
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
        ("daily_budget", "0", "must be > 0, was 0"),
        ("impressions", "1.5", "must be a whole number from 1 to 1000000000000, was '1.5'"),
        ("daily_impressions", "0", "must be a whole number from 1"),
        ("min_bid_cpm", "8.51", "must be at most max_bid_cpm, was 8.51"),
        ("caps", "3 a day", "must be impressions in a time such as 3/day"),
        ("caps", "33/day", "must be 1 to 32 impressions, was '33/day'"),
        ("caps", "3/91d", "must be of 1 second to 90 days, was '3/91d'"),
        ("unknown_user", "maybe", "must be refuse or allow, was 'maybe'"),
        ("click_window", "91d", "must be a time such as 30d, 12h or 90m, at most 90d, or off, was '91d'"),
        ("click_window", "0d", "or off, was '0d'"),
        ("view_window", "day", "or off, was 'day'"),
        ("geo", "U.S.", "must be countries or regions such as USA, CA or USA-CA, was 'U.S.'"),
        ("city", "FRA/paris/1", "must be names such as paris or FRA/paris"),
        ("circle", "48.85,2.35", "must be latitude,longitude,radius such as"),
        ("exclude_circle", "91,2.35,5km", "latitude of a circle must be from -90 to 90, was 91.0"),
        ("inventory", "web", "must be site, app or dooh, was 'web'"),
        ("device", "phones", "was 'phones'; nearest is phone"),
        ("os", "iso", "was 'iso'; nearest is ios"),
        ("browser", "netscape", "must be chrome, edge"),
        ("connection", "wi-fi", "was 'wi-fi'; nearest is wifi"),
        ("language", "eng", "must be languages of two letters such as en, was 'eng'"),
        ("domain", "https://news.example/", "must be domains or app bundles such as"),
        ("content", "news", "must be ids such as IAB1-2, or 9:150 with the cattax, was 'news'"),
        ("content", "x:1", "must be an id such as IAB1-2, or 9:150 with its cattax"),
        ("placement", "pos:8", "must be instl, rewarded, pos:0 to pos:7"),
        ("viewability", "75", "must be a share in steps of ten from 10 to 100, was '75'"),
        ("viewability", "0", "must be a share in steps of ten from 10 to 100, was '0'"),
        ("viewability", "50;60", "must be one value, was 50; 60"),
        ("hour", "20-8", "must be hours from the lower to the higher, was '20-8'"),
        ("hour", "8-200", "must be hours of the week from 0 to 167, was '200'"),
        ("segment", "x" * 201, "must be values of up to 200 characters"),
        ("expression", "device.w >", "must have"),
        ("modifiers", "phone*1.2", "must be dimension=value*factor such as device=phone*1.2"),
        ("modifiers", "devise=phone*1.2", "must name a dimension, was 'devise'; nearest is device"),
        ("modifiers", "device=phone*11", "must have factors from 0 to 10 such as 1.2"),
        ("modifiers", "device=phones*1.2", "nearest is phone, in modifier 'device=phones*1.2'"),
        (
            "creatives",
            "id=v1|media=video|landing_url=http://a.example",
            "video creative v1 must have media_url",
        ),
        (
            "creatives",
            "id=v1|colour=red|landing_url=http://a.example",
            "must have fields of a creative, was 'colour'",
        ),
        ("creatives", "id=v1|id=v2|landing_url=http://a.example", "must have each field once, was id twice"),
        ("creatives", "id=v1|w=300", "must have an id and a landing_url each, was without landing_url"),
        (
            "creatives",
            "id=n|media=native|native.icon_w=0|landing_url=http://a.example",
            "must be pixels from 1 to 10000, was '0', in creative n, field native.icon_w",
        ),
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


def test_what_columns_say_together_is_checked_beside_other_errors() -> None:
    bad = ROW.replace("8.50,b1|", "8.50,9,b1|").replace("500.00", "-5")
    swapped = ROW.replace("8.50,b1|", "8.50,,b1|").replace("spring", "summer").replace(",2.00,", ",x,")
    swapped = swapped.replace("2026-06-01", "2026-04-01")
    header = HEADER.replace("creatives", "min_bid_cpm,creatives")
    lines = error_of(f"{header}\n{bad}\n{swapped}\n").splitlines()
    assert lines[1:] == [
        "  budget must be > 0, was -5 (row 2)",
        "  min_bid_cpm must be at most max_bid_cpm, was 9 (row 2)",
        "  value must be a decimal number such as 12.50, was 'x' (row 3)",
        "  end must be after start, was 2026-04-01T00:00:00+02:00 (row 3)",
    ]


def test_a_bound_that_cannot_be_read_is_not_compared() -> None:
    assert "max_bid_cpm must be a decimal number" in error_of(csv_of(min_bid_cpm="9", max_bid_cpm="x"))
    assert "at most" not in error_of(csv_of(min_bid_cpm="9", max_bid_cpm="x"))
    assert "must be after" not in error_of(csv_of(start="x"))


def test_every_wrong_creative_of_a_cell_is_told_and_each_of_its_fields() -> None:
    wrong = (
        "b1|300|x|https://a.example/1.png|https://a.example/;"
        "id=b2|w=300|h=250|image_url=x.png|colour=red|landing_url=https://a.example/;id=b3"
    )
    lines = error_of(csv_of(creatives=wrong)).splitlines()
    assert [line.split(", in ")[-1].split("; ")[0] for line in lines[1:4]] == [
        "creative b1, field h (row 2)",
        "creative b2, field image_url (row 2)",
        "creative b2 (row 2)",
    ]
    assert "was 'colour'" in lines[3]
    assert "was without landing_url" in lines[4]
    assert len(lines) == 5


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


TREE = """level,campaign,id,name,advertiser,adomain,status,budget,daily_budget,start,end,value,max_bid_cpm,caps,geo,\
creatives,time_zone,flights
advertiser,,acme,Acme,,,,1000,,,,,,2/week,,,Europe/Berlin,
,,spring,Spring sale,acme,acme.example,,500.00,20,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,2,8.5,3/day;10/2h,USA,\
b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/,,
line item,spring,spring-phone,Phones,,,paused,100,,2026-05-02T00:00:00Z,2026-05-03T00:00:00Z,,4,,,b1,,
line_item,spring,spring-rest,,,,,,,,,,,,DEU;FRA,,,\
2026-05-01T00:00:00Z/2026-05-02T00:00:00Z;2026-05-10T00:00:00Z/2026-05-11T00:00:00Z
"""
DAY = 86_400 * 10**9
MAY = 1_777_593_600_000_000_000


def test_rows_of_three_levels_are_a_tree() -> None:
    sheet = parse_sheet(TREE, ".csv", "s.csv")
    assert sheet.advertisers == [
        Advertiser(
            id="acme",
            name="Acme",
            time_zone="Europe/Berlin",
            budgets=Budgets(lifetime_nanos=1000 * 10**9),
            caps=(Cap(impressions=2, seconds=604_800),),
        )
    ]
    (campaign,) = sheet.campaigns
    assert campaign.budgets == Budgets(daily_nanos=20 * 10**9)
    assert campaign.caps == (Cap(impressions=3, seconds=86_400), Cap(impressions=10, seconds=7_200))
    assert campaign.line_items == (
        LineItem(
            id="spring-phone",
            name="Phones",
            status=Status.PAUSED,
            budgets=Budgets(lifetime_nanos=100 * 10**9),
            flights=(Flight(start_ns=MAY + DAY, end_ns=MAY + 2 * DAY),),
            max_bid_cpm_micros=4_000_000,
            creatives=("b1",),
        ),
        LineItem(
            id="spring-rest",
            flights=(
                Flight(start_ns=MAY, end_ns=MAY + DAY),
                Flight(start_ns=MAY + 9 * DAY, end_ns=MAY + 10 * DAY),
            ),
            targeting=Targeting(geo=Rule(("DEU", "FRA"))),
        ),
    )


TREE_TOML = (
    TOML
    + """
[[campaign.line_item]]
id = "spring-phone"
budget = "100"
device = ["phone"]
[[campaign.line_item]]
id = "spring-rest"
exclude_device = ["phone"]
[[advertiser]]
id = "acme"
daily_budget = 50
caps = ["2/week"]
"""
)


def test_tables_within_a_campaign_are_its_line_items() -> None:
    sheet = parse_sheet(TREE_TOML, ".toml", "s.toml")
    assert [item.id for item in sheet.campaigns[0].line_items] == ["spring-phone", "spring-rest"]
    assert sheet.campaigns[0].line_items[1].targeting.device == Rule((), ("phone",))
    assert sheet.advertisers[0].budgets == Budgets(daily_nanos=50 * 10**9)


def test_the_tree_is_the_same_in_all_formats() -> None:
    sheet = parse_sheet(TREE, ".csv", "s.csv")
    for write, suffix in ((to_csv, ".csv"), (to_json, ".json"), (to_toml, ".toml")):
        assert parse_sheet(write(*sheet), suffix, "s") == sheet


def test_a_sheet_may_hold_advertisers_alone() -> None:
    sheet = parse_sheet('[[advertiser]]\nid = "acme"\n', ".toml", "s.toml")
    assert sheet == ([], [Advertiser(id="acme")])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "line item,",
            "lineitem,",
            "level must be advertiser or campaign or line_item, was 'lineitem' (row 4",
        ),
        (
            "line item,spring,",
            "line item,sprin,",
            "campaign must be the id of a campaign of this sheet, was 'sprin'",
        ),
        ("line item,spring,", "line item,,", "campaign must be the id of a campaign of this sheet, was ''"),
        (",,spring,", ",acme,spring,", "campaign must be blank but for line items, was 'acme'"),
        (
            "spring-phone,Phones,,",
            "spring-phone,Phones,acme,",
            "advertiser must be blank in a row of level line_item",
        ),
        (
            "spring-rest,",
            "spring-phone,",
            "id must be unique among line items, was 'spring-phone' in row 4 too",
        ),
        (",4,,,b1,", ",4,,,b2,", "creatives must be ids of the campaign's creatives, was 'b2'; nearest: b1"),
        ("2026-05-11T", "2026-07-11T", "flights must lie within the campaign's start and end"),
        ("2026-05-03T", "2026-05-01T", "end must be after start, was 2026-05-01T00:00:00Z (row 4"),
        (",2026-05-03T00:00:00Z,", ",,", "end must be given with start, was empty"),
        (
            "Europe/Berlin",
            "Europe/Berln",
            "time_zone must be a name of the IANA database, was 'Europe/Berln'; nearest",
        ),
    ],
)
def test_a_wrong_row_of_a_tree_is_named(old: str, new: str, words: str) -> None:
    assert old in TREE
    message = error_of(TREE.replace(old, new, 1))
    assert words in message
    assert "nothing was applied" in message


def test_a_line_item_must_not_have_the_id_of_another_campaign() -> None:
    other = TREE.replace("spring-rest", "summer") + (
        ",,summer,Summer,acme,acme.example,,5,,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,2,8,,,"
        "b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/,,\n"
    )
    assert "id must be unique among line items, was 'summer' in row 5 too (row 6" in error_of(other)


def test_errors_of_line_items_are_told_beside_those_of_their_campaign() -> None:
    lines = error_of(TREE.replace("500.00", "-5").replace(",4,,,b1", ",x,,,b1")).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["budget", "max_bid_cpm"]


def test_line_items_are_held_against_their_campaign_whatever_else_is_wrong() -> None:
    text = error_of(TREE.replace("500.00", "-5").replace(",4,,,b1", ",4,,,b9"))
    assert "budget must be > 0, was -5" in text
    assert "creatives must be ids of the campaign's creatives, was 'b9'" in text


def test_an_error_of_a_line_item_in_toml_names_the_line_of_its_table() -> None:
    text = TREE_TOML.replace('["phone"]', '["phones"]', 1)
    line = text.splitlines().index("[[campaign.line_item]]") + 1
    assert f"(row {line}, sheet.toml)" in error_of(text, ".toml")


def test_an_error_of_a_line_item_in_json_names_it_by_number() -> None:
    sheet = json.loads(to_json(*parse_sheet(TREE, ".csv", "s.csv")))
    sheet["campaign"][0]["line_item"][1]["geo"] = ["?"]
    assert "(row 1, line item 2, sheet.json)" in error_of(json.dumps(sheet), ".json")


def test_a_column_that_line_items_do_not_have_is_named_in_a_table() -> None:
    text = TREE_TOML.replace('budget = "100"', 'adomain = ["a.example"]')
    assert "adomain is no column here; it is one of level campaign only" in error_of(text, ".toml")


CREATIVES = (
    "id=v1|media=video|mime=video/mp4|media_url=https://cdn.acme.example/v1.mp4|duration_s=15|protocols=2 3|api=7"
    "|linearity=2|landing_url=https://acme.example/|approvals=alpha:approved beta\\ x:pending;"
    "ID = n1|media=native|native.title=Shoes \\| more|native.icon_url=https://cdn.acme.example/i.png"
    "|landing_url=https://acme.example/|status=paused;"
    "id=h1|w=300|h=250|flex=yes|html=<a href='${CLICK_URL}'>x\\;y</a>\\ |landing_url=https://acme.example/|btype=1;"
    "b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/"
)


def test_creatives_of_every_media_are_read_from_a_cell() -> None:
    video, native, markup, image = one(csv_of(creatives=CREATIVES)).creatives
    assert video == Creative(
        id="v1",
        media=Media.VIDEO,
        mime="video/mp4",
        media_url="https://cdn.acme.example/v1.mp4",
        duration_s=15,
        protocols=(2, 3),
        api=(7,),
        linearity=2,
        landing_url="https://acme.example/",
        approvals={"alpha": Approval.APPROVED, "beta x": Approval.PENDING},
    )
    assert (native.native, native.status) == (
        Native(title="Shoes | more", icon_url="https://cdn.acme.example/i.png"),
        Status.PAUSED,
    )
    assert (markup.html, markup.flex, markup.btype) == ("<a href='${CLICK_URL}'>x;y</a> ", True, 1)
    assert image.media is Media.BANNER


def test_creatives_in_tables_are_those_of_the_cell() -> None:
    campaign = one(csv_of(creatives=CREATIVES))
    tables = json.loads(to_json([campaign]))["campaign"][0]["creatives"]
    assert tables[0]["approvals"] == {"alpha": "approved", "beta x": "pending"}
    assert tables[1]["native"] == {"title": "Shoes | more", "icon_url": "https://cdn.acme.example/i.png"}
    assert one(to_json([campaign]), ".json") == one(to_csv([campaign])) == campaign


def test_every_dimension_has_columns_to_include_and_to_exclude() -> None:
    assert tuple(TARGETING) == DIMENSIONS
    value = {"geo": "USA", "content": "IAB7", "hour": "8-10;12", "viewability": "70%", "language": "EN"}
    read = one(
        csv_of(**value, **{f"exclude_{name}": "x" for name in ("carrier", "keyword", "deal")})
    ).targeting
    assert (read.hour, read.viewability) == (Rule(("8", "9", "10", "12")), Rule(("70",)))
    assert read.language == Rule(("en",))
    assert read.carrier == read.keyword == read.deal == Rule((), ("x",))


def test_modifiers_are_read_with_the_values_of_their_dimension() -> None:
    read = one(csv_of(modifiers='device=Phone*1.2; geo=usa*0;expression=device.make == "a*b" * 10')).modifiers
    assert read == (
        Modifier(dimension="device", value="phone", factor=1.2),
        Modifier(dimension="geo", value="USA", factor=0.0),
        Modifier(dimension="expression", value='device.make == "a*b"', factor=10.0),
    )


def test_words_for_devices_are_those_that_agents_are_read_as() -> None:
    assert {
        system_of(name) for name in ("Windows 10", "macOS", "iOS", "Android", "Chrome OS", "Tizen", "Linux")
    } <= set(SYSTEMS)
    chrome = agent_of(
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile "
        "Safari/537.36"
    )
    assert chrome.browser in BROWSERS
    assert chrome.device_class in DEVICES


def test_a_list_longer_than_a_cell_of_the_reader_is_read_back() -> None:
    domains = tuple(f"site-{number}.news.example" for number in range(10_000))
    campaign = one(csv_of(domain=";".join(domains)))
    assert campaign.targeting.domain.include == domains
    assert one(to_csv([campaign])) == campaign


def test_an_export_holds_no_column_that_says_nothing() -> None:
    header = to_csv([one(f"{HEADER}\n{ROW}\n")]).splitlines()[0].split(",")
    assert set(header) == {
        *HEADER.split(","),
        "status",
        "currency",
        "goal",
        "value_source",
        "pacing",
        "catch_up",
        "unknown_user",
        "click_window",
        "view_window",
    }


def test_ends_of_lines_within_a_cell_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    cell = "id=h1|w=300|h=250|html=<a>\r\n</a>|landing_url=https://acme.example/"
    path.write_bytes(csv_of(creatives=cell).encode())
    assert read_sheet(path).campaigns[0].creatives[0].html == "<a>\r\n</a>"


def test_goals_and_targets_are_read_and_written_back() -> None:
    for cells, fields in (
        ({"goal": "value", "target_roas": "4.25"}, {"target_roas_ppm": 4_250_000}),
        ({"goal": "complete", "cpm_cap": "7.5"}, {"cpm_cap_micros": 7_500_000}),
        ({"goal": "value", "value_source": "Model"}, {"value_source": "model"}),
        ({"target_cpc": "0.35"}, {"target_cpc_nanos": 350_000_000}),
        ({"goal": "conversion", "value": "", "target_cpa": "12.5"}, {"target_cpa_nanos": 12_500_000_000}),
    ):
        found = one(csv_of(**cells))
        assert {name: getattr(found, name) for name in fields} == fields
        assert found.goal.value == cells.get("goal", "click")
        assert (found.value_nanos == 0) == (cells.get("value") == "")
        assert (
            one(to_csv([found])) == one(to_json([found]), ".json") == one(to_toml([found]), ".toml") == found
        )


def test_a_value_by_the_model_of_a_click_is_refused_with_its_row() -> None:
    assert "value_source model must be conversion or value" in error_of(csv_of(value_source="model"))
    assert "value_source must be stated or model, was 'line'" in error_of(csv_of(value_source="line"))


def test_a_second_target_is_refused_with_its_row() -> None:
    assert "target of campaign" in error_of(csv_of(target_cpc="1", target_cpa="2"))


def documented() -> dict[str, str]:
    """Cells beside each name of the first table of the module's text, and of dimensions."""
    found: dict[str, str] = {}
    for line in str(sheet_module.__doc__).splitlines():
        if line.startswith("| "):
            names, _, rest = line[2:].partition(" | ")
            found |= dict.fromkeys(names.split(", "), rest)
    return found


@pytest.mark.parametrize("name", COLUMNS[Level.CAMPAIGN])
def test_each_column_of_a_campaign_stands_in_the_table_of_columns(name: str) -> None:
    assert name.removeprefix("exclude_") in documented()


@pytest.mark.parametrize("name", sorted(set(CSV_COLUMNS) - set(COLUMNS[Level.CAMPAIGN])))
def test_each_other_column_stands_in_the_text(name: str) -> None:
    assert re.search(rf"\b{name}\b", str(sheet_module.__doc__))


@pytest.mark.parametrize("name", COLUMNS[Level.ADVERTISER])
def test_each_column_of_an_advertiser_stands_in_their_paragraph(name: str) -> None:
    text = str(sheet_module.__doc__).partition("level `advertiser`: ")[2].partition("\n\n")[0]
    assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize("goal", Goal)
def test_each_goal_stands_beside_its_column(goal: Goal) -> None:
    assert f"`{goal.value}`" in documented()["goal"]
