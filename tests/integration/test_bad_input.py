"""Bad input: one clear line that says what, where and what is allowed; the right exit code; nothing lost."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from bidder.core.messages import BID_REQUESTS, BID_RESPONSES, DECISIONS
from bidder.errors import UnknownTopic
from bidder.openrtb.reasons import Reason
from bidder.runtime.kafka import KafkaSource
from bidder.runtime.transport import Message
from bidder.runtime.worker import Worker
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from models.dataset import read_table
from models.train import train_bundle
from simulator.demo.inprocess import run_in_process
from tests.support import factories
from tests.support.commands import assert_one_line, clearbid
from tests.support.playing import KEY, S, scored_plan
from tests.support.training import DECLARATIONS, make_table, write_parquet

SECRET = "[track]\nsecret = '00112233445566778899aabbccddeeff'\n"
NOBODY = "127.0.0.1:1"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A configuration that is right but for the broker, which is not there."""
    path = tmp_path / "clearbid.toml"
    path.write_text(SECRET + "[bid]\nexternal_scores = true\n")
    return path


# -- requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason", "where"),
    [
        (b'{"id": "broken', Reason.MALFORMED, "at $"),
        (b"\xff\xfe\x00", Reason.MALFORMED, "at $"),
        (b'{"id": "no-imp", "imp": []}', Reason.INVALID, "at $.imp"),
        (b'{"id": "x", "imp": [{"id": "1"}, {"id": [], "banner": {}}]}', Reason.INVALID, "at $.imp[1].id"),
    ],
)
def test_a_bad_request_is_logged_with_its_path_and_the_rest_is_answered(
    bad: bytes, reason: Reason, where: str
) -> None:
    worker = Worker(factories.engine())
    good = [factories.body(factories.Offer(id=name)) for name in ("before", "after")]
    bodies = [good[0], bad, good[1]]
    messages = [Message(BID_REQUESTS, 0, offset, None, value, 0) for offset, value in enumerate(bodies)]
    out = worker.on_requests(messages, now_ns=0, wall_ms=0)
    answered = [orjson.loads(each.value) for each in out if each.topic == BID_RESPONSES]
    assert {answer["id"] for answer in answered if answer["seatbid"]} == {"before", "after"}
    rows = [orjson.loads(line) for each in out if each.topic == DECISIONS for line in each.value.splitlines()]
    assert [row["reason"] for row in rows] == [Reason.BID, reason, Reason.BID]
    assert rows[1]["error"].endswith(where)
    assert worker.engine.reasons[reason] == 1


# -- Kafka --------------------------------------------------------------------------------------------------


async def test_a_topic_that_is_not_there_is_named_with_the_broker(embedded_bootstrap: str) -> None:
    source = KafkaSource(embedded_bootstrap, ["bid-reqests"], group=None, client_id="test")
    with pytest.raises(UnknownTopic) as caught:
        await source.start()
    await source.stop()
    said = str(caught.value)
    assert said.startswith(f"topic bid-reqests is not in Kafka at {embedded_bootstrap}")
    assert "\n" not in said
    assert caught.value.exit_code == 3


def test_a_broker_that_is_not_there_is_one_line_for_every_command(settings: Path, tmp_path: Path) -> None:
    commands = [
        [name, "--config", settings, "--kafka", NOBODY, *more]
        for name, more in [
            ("bid", []),
            ("bank", ["--db", tmp_path / "a.db"]),
            ("track", []),
            ("exchange", ["--rows", 100, "--training-rows", 1_000]),
        ]
    ]
    commands.append(["demo", "--kafka", NOBODY, "--out", tmp_path / "out"])
    with ThreadPoolExecutor(len(commands)) as threads:
        for ended in threads.map(lambda arguments: clearbid(*arguments), commands):
            assert_one_line(ended, 3, f"no Kafka broker answers at {NOBODY}", "start one there or correct")
            assert ended.seconds < 30
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "address"),
    [
        ("bid", "nonsense"),
        ("bank", "host:port"),
        ("track", ":1"),
        ("exchange", "a b:1"),
        ("demo", "nonsense"),
    ],
)
def test_an_address_that_is_none_is_wrong_input(command: str, address: str) -> None:
    assert_one_line(clearbid(command, "--kafka", address), 2, "must be host:port[,host:port...]", address)


# -- models -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    table = write_parquet(folder / "table.parquet", make_table(1_500))
    train_bundle(read_table(table, DECLARATIONS), DECLARATIONS, folder / "model")
    return folder / "model"


def _alter(model: Path) -> None:
    path = model / "ctr.txt"
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)


def _truncate(model: Path) -> None:
    path = model / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "named"), [(_alter, "ctr.txt"), (_truncate, "manifest.json"), (shutil.rmtree, "model")]
)
def test_a_broken_model_is_not_served(
    model: Path, settings: Path, tmp_path: Path, damage: Callable[[Path], None], named: str
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model, broken)
    damage(broken)
    ended = clearbid("bid", "--config", settings, "--kafka", NOBODY, "--model", broken)
    assert_one_line(ended, 2, str(broken), named)


# -- sheets and settings ------------------------------------------------------------------------------------


def test_a_negative_budget_names_row_and_column_and_changes_nothing(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    with Database(database) as opened:
        CampaignStore(opened).put([factories.campaign("c1"), factories.campaign("c2")], at_ns=0)
    listed = clearbid("campaigns", "list", "--csv", "--db", database)
    assert listed.code == 0
    head, first, second = listed.out.splitlines()
    columns, cells = head.split(","), second.split(",")
    assert cells[columns.index("budget")] == "10"
    cells[columns.index("budget")] = "-10"
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("\n".join([head, first.replace("Campaign c1", "Changed"), ",".join(cells), ""]))
    ended = clearbid("campaigns", "import", sheet, "--db", database)
    assert_one_line(ended, 2, "budget must be > 0, was -10 (row 3, sheet.csv)", "nothing was applied")
    assert clearbid("campaigns", "list", "--csv", "--db", database).out == listed.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kafka]\nboostrap = 'a:1'\n", ("boostrap in [kafka]", "is no setting", "bootstrap")),
        ("[kafak]\n", ("kafak in", "is no setting", "kafka")),
        ("[bank\n", ("must be TOML",)),
    ],
)
def test_a_wrong_setting_is_named_with_its_section_and_file(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "clearbid.toml"
    path.write_text(text)
    assert_one_line(clearbid("bank", "--config", path), 2, str(path), *words)


# -- logs and journals --------------------------------------------------------------------------------------


def test_a_log_that_is_no_parquet_is_wrong_input(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    ended = clearbid("demo", "--log", path, "--out", tmp_path / "out")
    assert_one_line(ended, 2, "log must be a readable Parquet file", str(path))
    assert not (tmp_path / "out").exists()


def test_a_parquet_of_other_columns_is_wrong_input(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "other.parquet", make_table(50))
    assert_one_line(clearbid("demo", "--log", path, "--out", tmp_path / "out"), 2, str(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_in_process(scored_plan(7, 60, 40.0, S), None, folder, KEY, patience_s=2.0)
    return folder


def _damage_middle(journal: bytearray) -> None:
    journal[len(journal) // 2] ^= 0xFF


def _damage_head(journal: bytearray) -> None:
    journal[0:8] = b"nothing!"


def _empty(journal: bytearray) -> None:
    journal.clear()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_damage_middle, ("is damaged at byte",)),
        (_damage_head, ("is damaged at byte 0",)),
        (_empty, ("is no journal",)),
    ],
)
def test_a_damaged_journal_is_not_replayed(
    run: Path, tmp_path: Path, damage: Callable[[bytearray], None], words: tuple[str, ...]
) -> None:
    journal = bytearray((run / "journal").read_bytes())
    damage(journal)
    (tmp_path / "journal").write_bytes(journal)
    shutil.copy(run / "key", tmp_path)
    assert_one_line(clearbid("replay", tmp_path), 2, str(tmp_path / "journal"), *words)


def test_a_folder_without_a_run_is_not_replayed(tmp_path: Path) -> None:
    assert_one_line(clearbid("replay", tmp_path), 2, str(tmp_path), "has no journal and no key")
