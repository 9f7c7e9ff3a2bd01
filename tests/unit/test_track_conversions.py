"""Conversions at the tracker: by pixel and user, by click id, at their own time, and what privacy takes away."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.messages import Conversion, Notice, encode
from bidder.core.pixels import Pixel, sign_pixel
from bidder.core.token import Scope, TokenFields, sign, sign_landing
from bidder.core.urls import CLICK_ID, TrackingUrls
from bidder.core.users import key_text, user_key
from bidder.privacy.permissions import PrivacyPolicy
from bidder.web.calls import Answer, Outcome
from bidder.web.track import Tracker

KEY, OLD = b"0123456789abcdef0123456789abcdef", b"another key that is long enough!"
S = 1_000_000_000
NOW = 1_700_000_000 * S + 7
DAY_NS = 86_400 * S
PIXEL = sign_pixel(Pixel("acme", "purchase"), KEY)
FIELDS = TokenFields(
    bid_id=bytes(range(12)),
    campaign_id="campaign-7",
    seat="seat-1",
    epoch=3,
    partition=2,
    cap_nanos=2_500_000,
    currency="USD",
    result_until_ns=NOW + S,
    liable_until_ns=NOW + 600 * S,
    bid_at_ns=NOW - 100 * S,
    advertiser_id="acme",
)
BROWSER = sign(FIELDS, KEY, Scope.BROWSER)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker([KEY, OLD], "USD")


def call(
    tracker: Tracker, query: str, method: str = "GET", headers: Mapping[bytes, bytes] | None = None
) -> Answer:
    return tracker.handle(method, f"/v?{query}", headers or {}, NOW)


def conversion(tracker: Tracker, query: str, headers: Mapping[bytes, bytes] | None = None) -> Conversion:
    found = call(tracker, f"a={PIXEL}&{query}", headers=headers).notice
    assert isinstance(found, Conversion)
    assert msgspec.json.decode(encode(found), type=Conversion) == found
    return found


def own(text: str) -> str:
    return key_text(user_key(text, (), None, None, ""))


def device(text: str) -> str:
    return key_text(user_key(None, (), text, None, ""))


def extended(source: str, uid: str) -> str:
    return key_text(user_key(None, [(source, [(uid, 1)])], None, None, ""))


# -- a pixel and its user ---------------------------------------------------------------------------------------


def test_a_pixel_tells_who_converted_of_what_and_its_worth(tracker: Tracker) -> None:
    found = conversion(tracker, "u=abc&o=order-1&v=12.5&c=usd")
    assert found == Conversion(
        advertiser_id="acme",
        goal="purchase",
        order_id="order-1",
        value_nanos=12_500_000_000,
        at_ns=NOW,
        arrived_ns=NOW,
        users=(own("abc"),),
    )
    assert tracker.counts == {("/v", Outcome.ACCEPTED): 1}


def test_the_users_key_is_the_one_of_bid_requests(tracker: Tracker) -> None:
    ids = "u=abc&x=UIDAPI.com:u-1&d=6F9619FF-8B86-D011"
    assert conversion(tracker, ids).users == (
        own("abc"),
        extended("uidapi.com", "u-1"),
        device("6f9619ff-8b86-d011"),
    )


@pytest.mark.parametrize("ids", ["", "u=", "d=00000000-0000-0000", "u=%7Buser%7D", "x=nosource", "x=:u-1",
                                 "u=" + "a" * 257])  # fmt: skip
def test_what_stands_for_no_id_is_none(tracker: Tracker, ids: str) -> None:
    found = conversion(tracker, ids)
    assert (found.users, found.permitted) == ((), True)


def test_an_image_answers_get_and_nothing_answers_post(tracker: Tracker) -> None:
    image, post = (call(tracker, f"a={PIXEL}&u=abc", method).reply for method in ("GET", "POST"))
    assert (image.status, image.headers[0], post.status) == (200, ("Content-Type", "image/gif"), 204)


@pytest.mark.parametrize(("method", "headers"), [("HEAD", {}), ("GET", {b"sec-purpose": b"prefetch"})])
def test_a_look_at_a_pixel_is_no_event(tracker: Tracker, method: str, headers: Mapping[bytes, bytes]) -> None:
    answer = call(tracker, f"a={PIXEL}&u=abc", method, headers)
    assert (answer.reply.status, answer.notice) == (200, None)
    assert tracker.counts == {("/v", Outcome.NOT_AN_EVENT): 1}


@pytest.mark.parametrize(
    ("query", "status", "outcome"),
    [
        (f"a={PIXEL[:-1]}A&u=abc" if PIXEL[-1] != "A" else f"a={PIXEL[:-1]}B&u=abc", 400, Outcome.FORGED),
        ("a=acme&u=abc", 400, Outcome.MALFORMED),
        (f"a={PIXEL}&a={PIXEL}&u=abc", 400, Outcome.QUERY),
        (f"a={PIXEL}&u=abc&v=-1", 400, Outcome.VALUE),
        (f"a={PIXEL}&u=abc&v=x", 400, Outcome.VALUE),
        (f"a={PIXEL}&u=abc&v=1&c=EUR", 204, Outcome.CURRENCY),
        (f"a={PIXEL}&u=abc&o=%7Border%7D", 400, Outcome.EVENT_ID),
        (f"a={PIXEL}&u=abc&o={'x' * 65}", 400, Outcome.EVENT_ID),
    ],
)
def test_a_call_that_cannot_be_taken_is_refused_by_rule(
    tracker: Tracker, query: str, status: int, outcome: Outcome
) -> None:
    answer = call(tracker, query)
    assert (answer.reply.status, answer.notice) == (status, None)
    assert tracker.counts == {("/v", outcome): 1}


def test_a_pixel_of_a_secret_that_was_replaced_is_good_while_that_is_known(tracker: Tracker) -> None:
    assert call(tracker, f"a={sign_pixel(Pixel('acme', ''), OLD)}&u=abc").notice is not None


def test_without_an_order_each_call_is_a_conversion_of_its_own_and_its_record_is_one(
    tracker: Tracker,
) -> None:
    first, event = conversion(tracker, "u=abc"), conversion(tracker, "u=abc&e=visit-1")
    later = tracker.handle("GET", f"/v?a={PIXEL}&u=abc", {}, NOW + 1).notice
    assert isinstance(later, Conversion)
    assert first.order_id.startswith("auto:")
    assert len({first.order_id, later.order_id, event.order_id}) == 3
    assert event.order_id == "visit-1"
    assert conversion(tracker, "u=abc") == first


def test_its_record_is_keyed_by_advertiser_as_notices_are(tracker: Tracker) -> None:
    click = tracker.handle(
        "GET", f"/c?t={BROWSER}&{sign_landing('https://acme.example/', KEY)}", {}, NOW
    ).notice
    assert isinstance(click, Notice)
    assert conversion(tracker, "u=abc").key == click.key == b"acme"


# -- when it was ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "at_ns"),
    [
        ("1699999000", 1_699_999_001 * S - 1),
        ("1699999000123", 1_699_999_000_124 * 10**6 - 1),
        ("1700000000", NOW),
        ("1700000059", NOW),
    ],
)
def test_a_stated_time_counts_as_the_end_of_its_second_and_never_ahead_of_us(
    tracker: Tracker, at: str, at_ns: int
) -> None:
    found = conversion(tracker, f"u=abc&at={at}")
    assert (found.at_ns, found.arrived_ns) == (at_ns, NOW)
    assert tracker.counts == {("/v", Outcome.ACCEPTED): 1}


@pytest.mark.parametrize(
    "at", ["1700000061", "1697407999", "0", "-1699999000", "yesterday", "%7Bseconds%7D", "16999990000"]
)
def test_a_time_that_cannot_be_is_that_of_the_call_and_counted(tracker: Tracker, at: str) -> None:
    assert conversion(tracker, f"u=abc&at={at}").at_ns == NOW
    assert tracker.counts == {("/v", Outcome.ACCEPTED_BY_ARRIVAL): 1}


def test_the_furthest_time_back_is_as_long_as_conversions_are_taken(tracker: Tracker) -> None:
    assert conversion(tracker, f"u=abc&at={(NOW - 30 * DAY_NS) // S}").at_ns // S == (NOW - 30 * DAY_NS) // S


def test_a_conversion_that_names_its_bid_cannot_be_before_it(tracker: Tracker) -> None:
    after, before = (call(tracker, f"t={BROWSER}&at={NOW // S - seconds}").notice for seconds in (50, 102))
    assert isinstance(after, Notice)
    assert isinstance(before, Notice)
    assert (after.at_ns, before.at_ns) == ((NOW // S - 49) * S - 1, NOW)


# -- the click's id ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["?cid={}", "#{}", "/{}/x"])
def test_a_landing_page_gets_the_clicks_id_and_a_server_may_give_it_back(
    tracker: Tracker, place: str
) -> None:
    page = "https://acme.example/p" + place.format(CLICK_ID)
    click = TrackingUrls("https://track.example").click(BROWSER, sign_landing(page, KEY))
    reply = tracker.handle("GET", click.removeprefix("https://track.example"), {}, NOW).reply
    location = dict(reply.headers)["Location"]
    assert location == "https://acme.example/p" + place.format(BROWSER)
    told = call(tracker, f"a={PIXEL}&t={quote(BROWSER)}&o=order-1&u=abc", "POST").notice
    assert isinstance(told, Notice)
    assert (told.order_id, told.event_id, told.bid_id) == ("order-1", "order-1", "AAECAwQFBgcICQoL")


def test_event_and_order_of_a_bid_are_two_things(tracker: Tracker) -> None:
    told = call(tracker, f"t={BROWSER}&e=line-2&o=order-1").notice
    assert isinstance(told, Notice)
    assert (told.event_id, told.order_id) == ("line-2", "order-1")


@pytest.mark.parametrize("token", ["", "%7Bclick_id%7D", "$%7BCLICK_ID%7D"])
def test_a_call_without_a_click_id_is_of_its_user(tracker: Tracker, token: str) -> None:
    assert conversion(tracker, f"t={token}&u=abc").users == (own("abc"),)


def test_a_click_id_that_is_not_ours_is_refused_though_a_user_is_named(tracker: Tracker) -> None:
    assert call(tracker, f"a={PIXEL}&t=abcdef&u=abc").reply.status == 400


# -- privacy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signals",
    [
        "gdpr=1", "gdpr=1&gdpr_consent=x", "gdpr=yes", "us_privacy=1YYN", "coppa=1", "lmt=1",
        "gpp_sid=7&gpp=broken", "gpp_sid=7_8",
    ],
)  # fmt: skip
def test_ids_that_may_not_be_used_are_dropped_before_anything_is_published(
    tracker: Tracker, signals: str
) -> None:
    found = conversion(tracker, f"u=abc&d=def&o=order-1&{signals}")
    assert (found.users, found.permitted, found.order_id) == ((), False, "order-1")
    assert b"abc" not in encode(found)


@pytest.mark.parametrize(
    "signals", ["gdpr=0", "us_privacy=1YNN", "gdpr=%24%7BGDPR%7D", "lmt=0", "gpp=&gpp_sid="]
)
def test_signals_that_take_nothing_away_let_them_be_used(tracker: Tracker, signals: str) -> None:
    assert conversion(tracker, f"u=abc&{signals}").users == (own("abc"),)


@pytest.mark.parametrize(("value", "permitted"), [(b"1", False), (b"0", True)])
def test_a_browser_that_asks_not_to_be_followed_is_not(
    tracker: Tracker, value: bytes, permitted: bool
) -> None:
    assert conversion(tracker, "u=abc", {b"sec-gpc": value}).permitted == permitted


def test_what_silence_means_is_the_policys() -> None:
    strict = Tracker([KEY], "USD", privacy=PrivacyPolicy(gdpr_unknown="none"))
    assert not conversion(strict, "u=abc").permitted
    assert conversion(strict, "u=abc&gdpr=0").permitted


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_urls_that_the_tracker_takes(tracker: Tracker, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    config = tmp_path / "c.toml"
    config.write_text(f'[track]\nsecret = "{KEY.hex()}"\npublic_url = "https://track.example"\n')
    arguments = ["track", "pixel", "--advertiser", "acme", "--goal", "purchase", "--config", str(config)]
    shown = CliRunner().invoke(build_app(), arguments)
    told = msgspec.json.decode(CliRunner().invoke(build_app(), [*arguments, "--json"]).output)
    assert shown.exit_code == 0
    assert told["image"] in shown.output
    assert told["postback"] in shown.output
    filled = (
        told["postback"]
        .removeprefix("https://track.example")
        .format(click_id="", order="order-1", worth="2.50", user="abc", device="", seconds=NOW // S)
    )
    found = tracker.handle("POST", filled, {}, NOW).notice
    assert isinstance(found, Conversion)
    assert (found.advertiser_id, found.goal, found.order_id, found.value_nanos, found.users) == (
        "acme", "purchase", "order-1", 2_500_000_000, (own("abc"),),
    )  # fmt: skip
    assert f'<img src="https://track.example/v?a={PIXEL}&amp;o={{order}}&amp;v=' in told["image"]
