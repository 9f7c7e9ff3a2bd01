"""Parity: not only that a call differs, but in which field of which record."""

from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.call import Answer
from bidder.errors import InputError
from bidder.store.journal import Adopt, Control, Decide, Entry, Tick, read_journal
from bidder.store.seat import JOURNAL
from simulator.export.run import DECISION_LOG
from simulator.parity import ABSENT, FieldDifference, LiveLog, first_field
from simulator.replay import ControlReplay, Models, engine_of
from tests.support.journals import altered
from tests.support.playing import KEY


def parity(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["parity", *map(str, arguments)])


def responses_of(run: Path, to: Path) -> Path:
    """What the live bidder answered, made again by a replay that is known to be the same."""
    with closing(read_journal(run / JOURNAL)) as journal, to.open("wb") as file:
        engine = engine_of(journal, run / JOURNAL, Models(run / JOURNAL, [run / "model"]), KEY)
        control = ControlReplay(engine)
        for entry in journal:
            if isinstance(entry, Decide):
                answers = engine.decide(entry.bodies, entry.ages_ns, entry.now_ns)
                file.writelines(answer.response + b"\n" for answer in answers if answer.response)
            elif isinstance(entry, Control):
                control.take(entry)
            elif isinstance(entry, Adopt):
                control.adopt(entry)
            elif isinstance(entry, Tick):
                engine.tick(entry.now_ns)
    return to


def old_call(entries: list[Entry]) -> None:
    """Makes the first request on which a bid was possible too old to answer."""
    place, entry = [(n, e) for n, e in enumerate(entries) if isinstance(e, Decide)][50]
    assert isinstance(entry, Decide)
    entries[place] = entry._replace(ages_ns=(10**12, *entry.ages_ns[1:]))


def test_a_run_that_is_the_same_says_so(embedded_run: Path) -> None:
    done = parity(embedded_run)
    assert done.exit_code == 0
    assert "first" not in done.output


def test_the_field_and_the_record_are_named(embedded_run: Path, tmp_path: Path) -> None:
    other = altered(embedded_run, tmp_path / "other", old_call)
    done = parity(other, "--decisions", embedded_run / DECISION_LOG, "--json")
    assert done.exit_code == 1
    field = orjson.loads(done.output)["field"]
    assert field["path"] == "$.reason"
    assert field["record"].startswith("decision on ")
    assert int(field["live"]) != int(field["replayed"])
    told = parity(other, "--decisions", embedded_run / DECISION_LOG)
    assert f"first field: $.reason of {field['record']}: was {field['live']}" in told.output


def test_a_response_is_compared_where_it_was_kept(embedded_run: Path, tmp_path: Path) -> None:
    """Another key signs other tokens: every logged field is the same, and yet no byte of the markup is."""
    other = altered(embedded_run, tmp_path / "other", lambda entries: None)
    (other / "key").write_text("00" * 32)
    decisions = ("--decisions", embedded_run / DECISION_LOG)
    assert "no field of the decision log differs" in parity(other, *decisions).output
    kept = responses_of(embedded_run, tmp_path / "responses.jsonl")
    found = orjson.loads(parity(other, *decisions, "--responses", kept, "--json").output)
    field = found["field"]
    assert field["record"].startswith("response to ")
    assert field["path"].startswith("$.seatbid[0].bid[0].")


def answer(*rows: dict[str, Any], response: dict[str, Any] | None = None) -> Answer:
    text = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    return Answer(orjson.dumps(response) if response else b"", text, True)


ROW = {"at_ns": 5, "reason": 0, "request_id": "r", "imp_id": "1", "exchange": "x", "bid_cpm_micros": 7}
OTHER = ROW | {"imp_id": "2"}


@pytest.mark.parametrize(
    ("live", "made", "expected"),
    [
        ([ROW], [ROW], None),
        ([ROW], [ROW | {"bid_cpm_micros": 8}], ("decision on x r 1", "$.bid_cpm_micros", "7", "8")),
        ([ROW], [ROW | {"pctr": 0.5}], ("decision on x r 1", "$.pctr", ABSENT, "0.5")),
        ([OTHER, ROW], [ROW, OTHER], None),
        ([ROW], [ROW, OTHER], ("decision on x r 2", "$", ABSENT, orjson.dumps(OTHER).decode())),
        ([ROW, OTHER], [ROW], ("decision on x r 2", "$", orjson.dumps(OTHER).decode(), ABSENT)),
        ([ROW, ROW], [ROW, ROW | {"reason": 3}], ("decision on x r 1", "$.reason", "0", "3")),
    ],
)
def test_records_are_compared_by_their_keys(
    tmp_path: Path, live: list[Any], made: list[Any], expected: tuple[str, ...] | None
) -> None:
    log = tmp_path / "decisions.jsonl"
    others = [ROW | {"at_ns": 4, "reason": 9}, ROW | {"at_ns": 55, "reason": 9}]
    log.write_bytes(
        b"".join(orjson.dumps(row) + b"\n" for row in [others[0], *live, others[1]]) + b'{"at_ns":5,to'
    )
    found = first_field([answer(*made)], 5, LiveLog(log))
    assert found == (None if expected is None else FieldDifference(*expected))


def test_the_path_goes_into_lists_and_objects(tmp_path: Path) -> None:
    log, kept = tmp_path / "d.jsonl", tmp_path / "r.jsonl"
    log.write_bytes(orjson.dumps(ROW))
    kept.write_bytes(orjson.dumps({"id": "r", "seatbid": [{"bid": [{"price": 1}]}]}))
    made = answer(ROW, response={"id": "r", "seatbid": [{"bid": [{"price": 1}, {"price": 2}]}]})
    found = first_field([made], 5, LiveLog(log, kept))
    assert found == FieldDifference("response to r", "$.seatbid[0].bid[1]", ABSENT, '{"price":2}')


def test_a_log_that_is_not_there_is_named(embedded_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        LiveLog(tmp_path / "nowhere")
