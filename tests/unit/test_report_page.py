"""The page: its numbers add up, it loads nothing, it escapes, it says what is missing."""

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from models.pages import charts as drawing
from simulator.report import charts, render, text
from simulator.report.blocks import FORMULAS
from simulator.report.delivery import pacing_state
from simulator.report.page import sentence
from simulator.report.summary import CurvePoint, ExchangeBook, Latency, totals
from tests.support.results import DAY_NS, START_NS, run_result

EN_DASH = "\N{EN DASH}"


def page_of(result):
    """The page as a tree: that it can be read at all is a test of its own."""
    return ET.fromstring(render(result))


def said(element):
    return "".join(element.itertext())


def table_of(page, caption):
    (found,) = (table for table in page.iter("table") if said(table.find("caption")).startswith(caption))
    return found


def cells(row):
    return [said(cell) for cell in row]


def column(table, header, part="tbody"):
    names = cells(table.find("thead/tr"))
    return [cells(row)[names.index(header)] for row in table.find(part)]


def nanos(table, header, part="tbody"):
    names = cells(table.find("thead/tr"))
    return [int(row[names.index(header)].find("data").get("value")) for row in table.find(part)]


def whole(written):
    return int(written.replace(",", ""))


@pytest.fixture(scope="module")
def result():
    return run_result()


@pytest.fixture(scope="module")
def page(result):
    return page_of(result)


def test_the_page_is_well_formed_xml_and_declares_html(result):
    written = render(result)
    assert written.startswith("<!DOCTYPE html>\n<html")
    ET.fromstring(written)


def test_the_page_says_the_same_each_time(result):
    assert render(result) == render(run_result())


def test_nothing_is_loaded_from_anywhere(page, result):
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<img|<link|<iframe", render(result))
    assert not [element for element in page.iter() if {"src", "href", "srcset"} & set(element.attrib)]


def test_the_browser_is_told_to_refuse_loads(page):
    (policy,) = (m.get("content") for m in page.iter("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("campaigns", [6, 24, 1_000])
def test_the_page_stays_below_500_kb(campaigns):
    assert len(render(run_result(campaigns)).encode()) < 500_000


def test_one_sentence_says_what_happened(result):
    total = totals(result.campaigns)
    assert sentence(result).startswith(
        f"6 campaigns spent USD {text.money(total.spend_nanos)} of USD {text.money(total.budget_nanos)} ("
    )
    assert f"worth USD {text.money(total.value_nanos)}: USD " in sentence(result)


def test_amounts_in_the_return_table_are_exact_and_add_up(page, result):
    table = table_of(page, "Return by campaign")
    for header, name in (
        ("Budget (USD)", "budget_nanos"),
        ("Spend (USD)", "spend_nanos"),
        ("Value (USD)", "value_nanos"),
    ):
        total = getattr(totals(result.campaigns), name)
        assert sum(nanos(table, header)) == nanos(table, header, "tfoot")[0] == total


def test_an_amount_shows_its_exact_value_on_hover(page, result):
    table = table_of(page, "Return by campaign")
    shown = {element.get("value"): element.get("title") for element in table.iter("data")}
    for campaign in result.campaigns:
        assert shown[str(campaign.spend_nanos)] == text.exact(campaign.spend_nanos)


@pytest.mark.parametrize("header", ["Impressions", "Clicks", "Conversions"])
def test_counts_in_the_return_table_add_up(page, header):
    table = table_of(page, "Return by campaign")
    assert sum(map(whole, column(table, header))) == whole(column(table, header, "tfoot")[0])


def test_the_return_table_by_hand():
    base = run_result(1).campaigns[0]
    campaign = msgspec.structs.replace(
        base,
        budget_nanos=200 * 10**9,
        spend_nanos=50 * 10**9,
        impressions=20_000,
        clicks=100,
        conversions=4,
        view_conversions=3,
        value_nanos=125 * 10**9,
    )
    table = table_of(page_of(run_result(1, campaigns=[campaign])), "Return by campaign")
    assert [column(table, header)[0] for header in cells(table.find("thead/tr"))[1:]] == [
        "200.00",
        "50.00",
        "25.0%",
        "20,000",
        "2.50",
        "100",
        "0.50%",
        "0.5000",
        "4",
        "3",
        "12.50",
        "125.00",
        "2.50",
    ]


def test_reasons_add_up_to_the_opportunities_without_a_bid(page, result):
    table = table_of(page, "Why no bid was made")
    total = result.opportunities - result.bids
    assert sum(map(whole, column(table, "Count"))) == whole(column(table, "Count", "tfoot")[0]) == total


def test_losses_add_up_to_the_bids_without_a_win(page, result):
    table = table_of(page, "Why bids did not win")
    assert sum(map(whole, column(table, "Count"))) == result.bids - result.wins


def test_a_reason_that_is_missing_is_shown_as_not_explained():
    page = page_of(run_result(reasons={"NO_VALUE": 109_000}))
    table = table_of(page, "Why no bid was made")
    assert column(table, "Reason") == ["Worth nothing after pacing", "Not explained"]
    assert whole(column(table, "Count")[1]) == run_result().opportunities - run_result().bids - 109_000


def test_more_reasons_than_fit_the_chart_are_all_in_its_table():
    base = run_result()
    dropped = base.opportunities - base.bids
    reasons = {f"REASON_{number}": 7 for number in range(40)}
    reasons["PACED"] = dropped - 280
    page = page_of(run_result(reasons=reasons))
    assert len(column(table_of(page, "Why no bid was made"), "Reason")) == 41
    assert "30 other reasons" in said(page)


def test_each_row_of_the_campaign_funnel_is_eligible_less_drops_is_bids(page):
    table = table_of(page, "Funnel by campaign")
    headers = cells(table.find("thead/tr"))
    drops = [header for header in headers if header.startswith("\N{MINUS SIGN}")]
    assert drops
    for part in ("tbody", "tfoot"):
        for row in table.find(part):
            numbers = dict(zip(headers, cells(row), strict=True))
            left = whole(numbers["Eligible"]) - sum(whole(numbers[drop]) for drop in drops)
            assert left == whole(numbers["= Bids"])


def test_each_row_of_targeting_is_asked_less_refused_is_eligible():
    base = run_result()
    campaigns = [
        msgspec.structs.replace(row, asked=row.eligible + 9, refused={"geo": 5, "hour": 4, "os": 0})
        for row in base.campaigns
    ]
    table = table_of(page_of(run_result(campaigns=campaigns)), "Targeting by campaign")
    headers = cells(table.find("thead/tr"))
    drops = [header for header in headers if header.startswith("\N{MINUS SIGN}")]
    assert [drop[2:] for drop in drops] == ["Other place", "Other hour"]
    for part in ("tbody", "tfoot"):
        for row in table.find(part):
            numbers = dict(zip(headers, cells(row), strict=True))
            left = whole(numbers["Asked"]) - sum(whole(numbers[drop]) for drop in drops)
            assert left == whole(numbers["= Eligible"])


def test_a_drop_of_nobody_has_no_column():
    campaign = run_result(1).campaigns[0]
    campaign = msgspec.structs.replace(campaign, funnel={**campaign.funnel, "pod": 0})
    table = table_of(page_of(run_result(1, campaigns=[campaign])), "Funnel by campaign")
    assert not [header for header in cells(table.find("thead/tr")) if "ad break" in header]


def test_a_drop_that_a_campaign_hides_gets_a_column():
    campaign = run_result(1).campaigns[0]
    campaign = msgspec.structs.replace(campaign, eligible=campaign.eligible + 5)
    table = table_of(page_of(run_result(1, campaigns=[campaign])), "Funnel by campaign")
    assert column(table, "\N{MINUS SIGN}\N{NO-BREAK SPACE}Not explained") == ["5"]


def test_beyond_the_rows_shown_campaigns_are_one_row_so_that_sums_still_hold():
    many = run_result(200)
    page = page_of(many)
    for caption, header in (("Return by campaign", "Spend (USD)"), ("Our books", "Our spend (USD)")):
        table = table_of(page, caption)
        assert len(table.find("tbody")) == 61
        assert column(table, "Campaign")[-1] == "140 further campaigns"
        assert sum(nanos(table, header)) == totals(many.campaigns).spend_nanos


def test_books_are_shown_to_the_nano(page, result):
    table = table_of(page, "Our books")
    by_name = dict(zip(column(table, "Campaign"), column(table, "Our spend (USD)"), strict=True))
    for campaign in result.campaigns:
        name = f"{campaign.name}{campaign.id}, {campaign.advertiser}"
        assert by_name[name] == text.exact(campaign.spend_nanos)
    assert set(column(table, "Difference")) == {"0"}


def test_a_page_with_books_that_agree_says_so(page):
    assert "The books agree with the exchange's to the nano" in said(page)


def test_one_nano_of_difference_is_said_at_the_top_and_shown_in_the_row():
    base = run_result()
    books = dict(base.exchange_books)
    spend_nanos = books["c02"].spend_nanos + 1
    books["c02"] = msgspec.structs.replace(books["c02"], spend_nanos=spend_nanos)
    page = page_of(run_result(exchange_books=books))
    assert "The books do not agree" in said(page.find("body/main/header"))
    table = table_of(page, "Our books")
    assert sorted(column(table, "Difference"))[0] == "-0.000000001"
    assert f"spend_nanos of campaign c02 must be the exchange's {spend_nanos}" in said(page)


def test_a_count_that_differs_shows_both_numbers():
    base = run_result(1)
    book = base.exchange_books["c01"]
    books = {"c01": msgspec.structs.replace(book, clicks=book.clicks + 2)}
    table = table_of(page_of(run_result(1, exchange_books=books)), "Our books")
    assert column(table, "Clicks") == [f"{book.clicks} \N{NOT EQUAL TO} {book.clicks + 2}"]


def test_a_campaign_that_only_the_exchange_knows_has_a_row():
    base = run_result(1)
    book = ExchangeBook(wins=1, impressions=1, clicks=0, conversions=0, spend_nanos=7, value_nanos=0)
    table = table_of(page_of(run_result(1, exchange_books={**base.exchange_books, "c99": book})), "Our books")
    assert column(table, "Campaign")[-1] == "c99"
    assert column(table, "Difference")[-1] == "-0.000000007"


def test_books_that_agree_over_sums_that_do_not_are_not_called_good():
    page = page_of(run_result(reasons={"PACED": 1}))
    assert "1 sum of counts does not" in said(page.find("body/main/header"))


def test_a_run_that_says_its_books_differ_is_never_shown_as_agreeing():
    page = page_of(run_result(books_agree=False, mismatches=["c01: 5 against 6"]))
    assert "agree with the exchange's to the nano" not in said(page)
    assert "c01: 5 against 6" in said(page)


def test_what_does_not_exist_is_a_dash():
    base = run_result(1).campaigns[0]
    nothing = dict.fromkeys(
        ("spend_nanos", "impressions", "clicks", "conversions", "value_nanos", "bids", "wins", "eligible"), 0
    )
    campaign = msgspec.structs.replace(base, funnel={}, **nothing)
    result = run_result(
        1,
        campaigns=[campaign],
        curves={},
        exchange_books={},
        bids=0,
        wins=0,
        losses={},
        late_wins=0,
        requests_per_second=float("nan"),
        decision_latency_ms=Latency(p50=None, p99=None),
    )
    page = page_of(result)
    table = table_of(page, "Return by campaign")
    for header in ("eCPM (USD)", "CTR", "CPC (USD)", "CPA (USD)", "ROAS"):
        assert column(table, header) == [EN_DASH]
    assert not re.search(r"\b(nan|None|inf)\b", said(page.find("body")))
    assert "No curve was recorded" in said(page)
    assert sentence(result).endswith("on 0 impressions.")


def test_a_run_without_anything_still_makes_a_page():
    result = run_result(
        0,
        campaigns=[],
        requests=0,
        opportunities=0,
        bids=0,
        wins=0,
        reasons={},
        losses={},
        exchange={},
        models={},
        synthetic=[],
        versions={},
        deadline_ms=None,
        seed=None,
        generated_at_ns=None,
    )
    assert sentence(result) == "No campaign took part in this run of 0 requests."
    assert "No campaign took part." in said(page_of(result))


def test_hostile_names_stay_text():
    evil = '</script><script>alert("1")</script>&\x00'
    base = run_result(1)
    campaign = msgspec.structs.replace(base.campaigns[0], name=evil, advertiser=evil)
    result = run_result(
        1,
        campaigns=[campaign],
        log=evil,
        transport=evil,
        reasons={evil: base.opportunities - base.bids},
        losses={evil: base.bids - base.wins},
        mismatches=[evil],
        synthetic=[evil],
        versions={evil: evil},
        models={evil: base.models["ctr"]},
        exchange={evil: 1},
    )
    written = render(result)
    assert "<script" not in written.lower()
    assert "\x00" not in written
    assert '</script><script>alert("1")</script>&\ufffd' in said(ET.fromstring(written))


def test_every_chart_has_a_title_and_a_description_it_is_named_by(page):
    drawn = [svg for svg in page.iter("svg") if svg.get("aria-hidden") is None]
    assert len(drawn) == 6 + 2 + 3 + 1
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for svg in drawn:
        title, description = svg.find("title"), svg.find("desc")
        assert svg.get("role") == "img"
        assert svg.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert said(title)
        assert said(description)


def test_every_header_says_what_it_heads_and_every_table_has_a_caption(page):
    for table in page.iter("table"):
        assert said(table.find("caption"))
        assert {header.get("scope") for header in table.find("thead/tr")} == {"col"}
        assert all(row[0].tag == "th" and row[0].get("scope") == "row" for row in table.find("tbody"))


def test_every_row_has_as_many_cells_as_its_header(page):
    for table in page.iter("table"):
        rows = [row for part in ("thead", "tbody", "tfoot") for row in table.find(part) or ()]
        assert len({len(row) for row in rows}) == 1


def test_every_formula_is_in_the_footnotes(page):
    for formula in FORMULAS.values():
        assert formula in said(page)


def test_a_curve_has_its_numbers_in_a_table(page, result):
    campaign = result.campaigns[0]
    table = table_of(page, f"Spend and plan of {campaign.name}")
    assert column(table, "Spend (USD)")[-1] == text.exact(campaign.spend_nanos)
    assert len(table.find("tbody")) == 48


def test_a_curve_ends_where_the_money_does():
    points = [
        CurvePoint(at_ns=START_NS, spend_nanos=0, plan_nanos=0),
        CurvePoint(at_ns=START_NS + DAY_NS, spend_nanos=50, plan_nanos=100),
    ]
    svg = ET.fromstring(
        charts.pacing_chart(drawing.ChartIds(), "x", points, 100, (START_NS, START_NS + DAY_NS))
    )
    dot = svg.find("circle")
    assert (float(dot.get("cx")), float(dot.get("cy"))) == (272.0, 72.0)
    assert [path.get("d") for path in svg.iter("path")] == [
        "M38.0 132.0L38.0 132.0L272.0 72.0L272.0 132.0Z",
        "M38.0 132.0L272.0 12.0",
        "M38.0 132.0L272.0 72.0",
    ]


def test_spend_above_the_budget_stays_in_the_drawing():
    points = [CurvePoint(at_ns=START_NS, spend_nanos=400, plan_nanos=100)]
    svg = ET.fromstring(charts.pacing_chart(drawing.ChartIds(), "x", points, 100, (START_NS, START_NS)))
    assert float(svg.find("circle").get("cy")) == 12.0


def test_thinning_keeps_the_first_and_the_last_in_order_of_time():
    points = [CurvePoint(at_ns=at, spend_nanos=at, plan_nanos=at) for at in range(1_000)]
    thinned = charts.thin(points[::-1], 48)
    assert len(thinned) == 48
    assert (thinned[0].at_ns, thinned[-1].at_ns) == (0, 999)
    assert thinned == sorted(thinned, key=lambda point: point.at_ns)


def test_a_bar_of_something_tiny_can_be_seen_and_a_bar_of_nothing_cannot():
    rows = [
        drawing.BarRow("a", "1", (drawing.Bar(1e-9, "drop"),)),
        drawing.BarRow("b", "0", (drawing.Bar(0, "drop"),)),
    ]
    svg = ET.fromstring(drawing.bar_chart(drawing.ChartIds(), "t", "d", rows))
    lengths = [float(rect.get("width")) for rect in svg.iter("rect") if rect.get("class") == "drop"]
    assert lengths == [1.5, 0.0]


def test_a_long_label_leaves_room_for_its_number():
    rows = [drawing.BarRow("x" * 200, "123,456  (7.8%)", (drawing.Bar(0.5, "drop"),))]
    svg = ET.fromstring(drawing.bar_chart(drawing.ChartIds(), "t", "d", rows))
    label, number = (said(element) for element in svg.iter("text"))
    assert label.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(label) + len(number) <= drawing.WIDTH // 8


@pytest.mark.parametrize(
    ("spend", "plan", "state"),
    [
        (101, 100, "Over budget"),
        (100, 100, "Budget spent"),
        (49, 50, "Underpacing: 98.0% of plan"),
        (50, 50, "On track"),
        (60, 50, "Ahead: 120.0% of plan"),
        (10, 0, ""),
    ],
)
def test_pacing_states_by_hand(spend, plan, state):
    campaign = msgspec.structs.replace(run_result(1).campaigns[0], budget_nanos=100, spend_nanos=spend)
    last = CurvePoint(at_ns=START_NS, spend_nanos=spend, plan_nanos=plan)
    assert pacing_state(campaign, last)[0] == state


def _luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "least"),
    [
        ("ink", 7),
        ("muted", 4.5),
        ("good", 4.5),
        ("bad", 4.5),
        ("spend", 3),
        ("value", 3),
        ("drop", 3),
        ("plan", 3),
    ],
)
def test_colours_stand_out_from_the_page_and_the_cards(page, theme, front, least):
    """Contrast as WCAG 2.2 asks it: 4.5 for text, 3 for what is drawn."""
    blocks = re.findall(r":root \{(.*?)\}", said(page.find("head/style")), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[theme]))
    for back in ("page", "card"):
        light, dark = sorted((_luminance(colours[front]), _luminance(colours[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least


def test_the_share_answered_too_late_stands_beside_the_latency():
    page = page_of(run_result(exchange={"offered": 80_000, "timeouts": 11_637}))
    (speed,) = (part for part in page.iter("section") if said(part).startswith("Speed"))
    assert "Answered too late11,637 of 80,000 requests (14.5%)" in said(speed)
