"""`clearbid answer`: a line in, a line out, whatever the line holds."""

import io
import subprocess
from collections import Counter
from pathlib import Path

import msgspec
import orjson
import pytest

from bidder.cli import answer
from bidder.cli.sample import engine_of, instant_of, model_of, sample_campaigns, settings_of, tree_of
from bidder.core.engine import Engine
from bidder.errors import InputError
from bidder.money import MICROS_PER_UNIT, format_decimal
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.sheet import to_json
from tests.support.commands import Ended, assert_one_line, clearbid, command_line

AT = "2026-05-01T12:00:00Z"
BANNER = b'{"id":"a","imp":[{"id":"1","banner":{"w":300,"h":250}}]}'


@pytest.fixture(scope="module")
def engine() -> Engine:
    settings = settings_of(None)
    return engine_of(tree_of(None, None, "USD"), settings, model_of(None), "s", instant_of(AT))


def lines_of(engine: Engine, *lines: bytes | None) -> list[dict]:
    out = answer.answered(engine, list(lines), instant_of(AT), Counter())
    assert out.endswith(b"\n")
    return [orjson.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("imp", "mtype"),
    [
        ({"banner": {"w": 728, "h": 90}}, 1),
        ({"video": {"mimes": ["video/mp4"], "maxduration": 30}}, 2),
        ({"audio": {"mimes": ["audio/mpeg"], "maxduration": 30}}, 3),
        ({"native": {"request": '{"native":{"assets":[{"id":1,"required":1,"title":{"len":30}}]}}'}}, 4),
    ],
)
def test_the_built_in_campaigns_bid_on_every_medium(engine: Engine, imp: dict, mtype: int) -> None:
    (found,) = lines_of(engine, orjson.dumps({"id": f"m{mtype}", "imp": [{"id": "1", **imp}]}))
    assert found["seatbid"][0]["bid"][0]["mtype"] == mtype


@pytest.mark.parametrize(
    "line", [b"", b" ", b"\xff\xfe", b"[]", b"null", b'{"id":', b"[" * 100_000, b"x" * 3_000_000]
)
def test_a_bad_line_gets_its_line_and_stops_nothing(engine: Engine, line: bytes) -> None:
    bad, good = lines_of(engine, line, BANNER)
    assert bad["nbr"] == 2
    assert bad["reason"] in {"MALFORMED", "INVALID"}
    assert bad["error"]
    assert good["id"] == "a"


def test_a_request_without_a_bid_names_its_reason(engine: Engine) -> None:
    (found,) = lines_of(engine, b'{"id":"b","at":3,"imp":[{"id":"1","banner":{"w":300,"h":250}}]}')
    assert found == {"id": "b", "nbr": 2, "reason": "AUCTION_TYPE"}


@pytest.mark.parametrize(
    "line", [b'{"id":"r"}', b'{"id":"r","imp":[]}', b'{"id":"r","imp":[{"id":"1","bidfloor":"abc"}]}']
)
def test_a_request_that_cannot_be_used_keeps_its_id(engine: Engine, line: bytes) -> None:
    (found,) = lines_of(engine, line)
    assert found["id"] == "r"
    assert found["error"]


def test_a_byte_order_mark_before_the_first_line_is_passed_over() -> None:
    mark = b"\xef\xbb\xbf"
    groups = answer.line_groups(io.BytesIO(mark + BANNER + b"\n" + mark))
    assert [*groups] == [[BANNER], [mark]]


def test_a_line_beyond_all_measure_is_passed_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MOST_LINE_BYTES", 1_000)
    monkeypatch.setattr(answer, "CHUNK_BYTES", 64)
    stream = io.BytesIO(b"x" * 5_000 + b"\n" + BANNER + b"\n" + b"y" * 3_000)
    groups = [line for group in answer.line_groups(stream) for line in group]
    assert groups == [None, BANNER, None]
    assert "at most" in lines_of(engine, *groups)[0]["error"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_are_whole_wherever_chunks_end(monkeypatch: pytest.MonkeyPatch, chunk: int, end: bytes) -> None:
    monkeypatch.setattr(answer, "CHUNK_BYTES", chunk)
    stream = io.BytesIO(b"one\n\nthree\nfour" + end)
    assert [line for group in answer.line_groups(stream) for line in group] == [
        b"one",
        b"",
        b"three",
        b"four",
    ]


def run(*arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line("answer", "--at", AT, *arguments),
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_the_same_time_and_secret_give_the_same_bytes() -> None:
    one, two, other = (run("--secret", secret, given=BANNER * 1 + b"\n") for secret in ("x", "x", "y"))
    assert one.returncode == 0
    assert one.stdout == two.stdout
    assert one.stdout != other.stdout
    # Where kernels were not compiled yet, a line ahead of it says that they are.
    assert one.stderr.splitlines()[-1] == b"answer: 1 lines, 1 with bids; no others"


def test_bad_lines_end_well() -> None:
    done = run("--json-only", given=b"\n\xff\n{")
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (0, 3, b"")


def test_a_reader_that_has_enough_is_no_failure() -> None:
    given = BANNER + b"\n"
    with subprocess.Popen(
        command_line("answer", "--at", AT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(given)
        process.stdin.flush()
        assert process.stdout.readline().startswith(b'{"id":"a"')
        process.stdout.close()
        process.stdin.write(given * 2_000)
        process.stdin.close()
        assert process.stderr.read().startswith(b"answer: ")
        assert process.wait(60) == 0


def test_campaigns_of_a_sheet_take_the_place_of_the_built_in_ones(tmp_path: Path) -> None:
    sheet = tmp_path / "own.json"
    sheet.write_text(to_json(sample_campaigns()[:1]))
    tree = tree_of(sheet, None, "USD")
    assert [*tree.campaigns] == ["sample-banner"]


@pytest.mark.parametrize("text", ["2026-05-01", "2026-05-01T12:00:00", "noon", "1960-01-01T00:00:00Z"])
def test_a_time_without_a_zone_is_wrong(text: str) -> None:
    with pytest.raises(InputError, match="--at must be ISO 8601"):
        instant_of(text)


def test_explain_prints_every_rule_and_the_verdict(tmp_path: Path) -> None:
    requests = tmp_path / "r.jsonl"
    requests.write_bytes(BANNER + b"\n")
    done = clearbid("explain", "--line-item", "sample-video", "--at", AT, "--request", requests)
    assert done.code == 0
    assert "CREATIVE_SIZE" in done.out
    assert "The bidder would bid 4 CPM for sample-banner; this line item ends at format." in done.out.replace(
        "\n", " "
    )


SHEET = """
[[campaign]]
id = "c1"
name = "One"
advertiser = "a"
adomain = ["a.example"]
budget = "10"
daily_budget = "1"
start = 2026-04-01T00:00:00Z
end = 2026-06-01T00:00:00Z
value = "2"
max_bid_cpm = "8"
[[campaign.creatives]]
id = "b1"
w = 300
h = 250
image_url = "https://a.example/1.png"
landing_url = "https://a.example/"
[[campaign.line_item]]
id = "c1-a"
[[campaign.line_item]]
id = "c1-b"
"""


def explained(folder: Path, line_item: str, *arguments: object) -> Ended:
    sheet, requests = folder / "sheet.toml", folder / "r.jsonl"
    sheet.write_text(SHEET)
    requests.write_bytes(b'{"id":"a","at":1,"imp":[{"id":"1","banner":{"w":300,"h":250}}]}')
    return clearbid(
        "explain",
        "--line-item",
        line_item,
        "--at",
        AT,
        "--request",
        requests,
        "--campaigns",
        sheet,
        *arguments,
    )


def test_explain_says_how_a_bid_comes_out_of_its_value(tmp_path: Path) -> None:
    out = " ".join(explained(tmp_path, "c1-a").out.split())
    price = orjson.loads(explained(tmp_path, "c1-a", "--json").out)["opportunities"][0]["price"]
    assert price["shade"] != 1.0
    assert "x value of a click 2 4 " in out
    assert f"x multiplier (pacing {price['pacing']}) {price['multiplier']:.6g} " in out
    assert f"x shade (first price) {price['shade']:.6g} " in out
    assert "at most (max bid) 8 " in out
    assert f"= bid {format_decimal(price['offer_nanos'], MICROS_PER_UNIT)} " in out


def test_explain_names_days_of_budgets_by_their_date(tmp_path: Path) -> None:
    out = "".join(explained(tmp_path, "c1-a", "--granted", "0.000001").out.split())
    assert "/2026-05-01:" in out
    assert "/d20" not in out


def test_explain_knows_a_campaign_that_holds_line_items(tmp_path: Path) -> None:
    assert_one_line(explained(tmp_path, "c1"), 2, "one of c1-a, c1-b, was c1, the campaign that holds them")


def test_explain_takes_a_request_over_many_lines_and_prints_json(tmp_path: Path) -> None:
    requests = tmp_path / "r.json"
    requests.write_bytes(orjson.dumps(orjson.loads(BANNER), option=orjson.OPT_INDENT_2))
    done = clearbid(
        "explain",
        "--line-item",
        "sample-banner",
        "--at",
        AT,
        "--request",
        requests,
        "--granted",
        "0.001",
        "--json",
    )
    found = orjson.loads(done.out)
    assert found["opportunities"][0]["stage"] == "budget"
    assert found["opportunities"][0]["accounts"][0]["available"] == 1_000_000


def test_explain_tells_a_request_that_cannot_be_read_once_and_with_its_id(tmp_path: Path) -> None:
    requests = tmp_path / "r.json"
    requests.write_bytes(b'{"id": "r1",\n  "imp": [\n    {"id": 1\n')
    done = clearbid("explain", "--line-item", "sample-banner", "--request", requests)
    assert done.out.count("request refused") == 1
    requests.write_bytes(b'{"id": "r1",\n  "imp": []\n}')
    done = clearbid("explain", "--line-item", "sample-banner", "--request", requests)
    assert "request r1 of" in done.out


@pytest.mark.parametrize("named", ["--db", "[store] url", "CLEARBID_STORE_URL"])
def test_explain_takes_the_campaigns_of_a_store(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    if named != "--db" and not place.startswith("postgresql"):
        pytest.skip("a file has no URL")
    own = msgspec.structs.replace(sample_campaigns()[0], id="own", name="own")
    with Database(place) as database:
        CampaignStore(database).put([own], at_ns=1, actor="test")
    requests = tmp_path / "r.jsonl"
    requests.write_bytes(BANNER)
    given: tuple[object, ...] = ("--db", place)
    if named == "[store] url":
        (tmp_path / "s.toml").write_text(f"[store]\nurl = '{place}'\n")
        given = ("--settings", tmp_path / "s.toml")
    elif named != "--db":
        monkeypatch.setenv(named, place)
        given = ()
    done = clearbid("explain", "--line-item", "own", "--at", AT, "--request", requests, *given)
    assert done.code == 0, done.err
    assert done.out.startswith("own, request ")
    assert "The bidder would bid" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--line-item", "nobody"), "line item must be one of"),
        (("--line-item", "sample-banner", "--granted", "much"), "--granted"),
        (("--line-item", "sample-banner", "--db", "nowhere.db"), "must be there"),
        (("--line-item", "x", "--db", "a.db", "--campaigns", "a.csv"), "must not be given together"),
    ],
)
def test_explain_says_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    requests = tmp_path / "r.jsonl"
    requests.write_bytes(BANNER)
    done = clearbid("explain", *arguments, "--request", requests)
    assert done.code == 2
    assert said in done.err
