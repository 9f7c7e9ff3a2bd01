"""A journal, replayed: the same inputs give the same bytes, and any other input is noticed and named."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.call import outputs_of
from bidder.core.messages import LEASES, SETTLEMENTS
from bidder.core.scoring import NATIVE_MARK
from bidder.errors import InputError
from bidder.store.journal import Adopt, Control, Decide, Entry, Output, Tick, read_journal
from bidder.store.model import load_model
from bidder.store.seat import JOURNAL, read_key
from models.errors import ModelError
from simulator.demo.inprocess import run_in_process
from simulator.demo.plan import Plan
from simulator.replay import ControlReplay, Models, Replayed, engine_of, replay_journal
from tests.support.journals import altered, entries_of
from tests.support.playing import KEY

CALL = 40
"""The decide call that the negative controls change."""


def replayed(folder: Path, key: bytes = KEY) -> Replayed:
    model = folder / "model"
    return replay_journal(folder / JOURNAL, [model] if model.exists() else [], key)


def replay_command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["replay", *map(str, arguments)])


def calls(entries: list[Entry]) -> list[tuple[int, Decide]]:
    """Places and contents of the decide calls."""
    return [(place, entry) for place, entry in enumerate(entries) if isinstance(entry, Decide)]


def change_call(entries: list[Entry], **changes: Any) -> None:
    place, entry = calls(entries)[CALL - 1]
    entries[place] = entry._replace(**changes)


def age_a_call(entries: list[Entry]) -> None:
    """Makes the first request of the call too old to answer."""
    change_call(entries, ages_ns=(10**12, *calls(entries)[CALL - 1][1].ages_ns[1:]))


# -- the same ---------------------------------------------------------------------------------------------------


def test_a_replay_makes_every_byte_again(run: Path) -> None:
    found = replayed(run)
    assert found.identical
    assert found.same == found.calls == len(calls(entries_of(run))) > CALL
    assert (found.difference, found.truncated, found.other_versions) == (None, False, {})


def test_the_journal_of_a_later_start_replays_too(scored_run: Path) -> None:
    assert replayed(scored_run / "start-2").identical


def test_the_command_ends_with_0(run: Path) -> None:
    done = replay_command(run)
    assert done.exit_code == 0
    assert re.search(r"identical calls: ([\d,]+) of \1\n", done.output)


def test_the_command_prints_json(scored_run: Path) -> None:
    found = orjson.loads(replay_command(scored_run, "--json").output)
    assert found["identical"] is True
    assert found["requests"] > 0
    assert found["rows_per_second"] > 0


def test_a_run_of_any_kind_has_wins_to_get_wrong(run: Path) -> None:
    """Bids alone would be an easy promise: what settled changed what came after."""
    items = [item for entry in entries_of(run) if isinstance(entry, Control) for item in entry.items]
    records = [orjson.loads(value) for name, value in items if name == SETTLEMENTS]
    assert sum(len(record["rows"]) for record in records) > 30


def test_where_a_call_is_split_changes_nothing(run: Path) -> None:
    models = Models(run / JOURNAL, [run / "model"] if (run / "model").exists() else [])
    journal, again = (read_journal(run / JOURNAL) for _ in range(2))
    whole, parts = (engine_of(each, run / JOURNAL, models, KEY) for each in (journal, again))
    again.close()
    controls = (ControlReplay(whole), ControlReplay(parts))
    for entry in journal:
        if isinstance(entry, Decide):
            half = (len(entry.bodies) + 1) // 2
            bodies, ages_ns = entry.bodies, entry.ages_ns
            expected = outputs_of(whole.decide(bodies, ages_ns, entry.now_ns))
            first = parts.decide(bodies[:half], ages_ns[:half], entry.now_ns)
            second = parts.decide(bodies[half:], ages_ns[half:], entry.now_ns)
            assert outputs_of(first) + outputs_of(second) == expected
        elif isinstance(entry, Control):
            for control in controls:
                control.take(entry)
        elif isinstance(entry, Adopt):
            for control in controls:
                control.adopt(entry)
        elif isinstance(entry, Tick):
            assert whole.tick(entry.now_ns) == parts.tick(entry.now_ns)


@pytest.mark.parametrize("name", ["scored_run", "embedded_run"])
def test_there_are_calls_to_split(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    assert max(len(entry.bodies) for _, entry in calls(entries_of(folder))) > 2


def until_last(kind: type[Entry], more: int) -> Callable[[list[Entry]], None]:
    """Cuts entries after the last of a kind, but for `more`."""

    def change(entries: list[Entry]) -> None:
        last = max(place for place, entry in enumerate(entries) if isinstance(entry, kind))
        del entries[last + 1 + more :]

    return change


@pytest.mark.parametrize(
    ("kind", "more", "cut"),
    [(Tick, 0, 3), (Decide, 1, 3), (Decide, 0, 0)],
    ids=["tick", "output", "no output"],
)
def test_a_torn_end_is_left_out_and_said_to_be(
    scored_run: Path, tmp_path: Path, kind: type[Entry], more: int, cut: int
) -> None:
    other = altered(scored_run, tmp_path / "other", until_last(kind, more))
    whole = (other / JOURNAL).read_bytes()
    (other / JOURNAL).write_bytes(whole[: len(whole) - cut])
    done = replay_command(other)
    assert done.exit_code == 0
    assert "the journal ends inside an entry, as a crash leaves it" in done.output


def test_run_that_lightgbm_scored_is_the_compiled_models_run_and_is_replayed_by_lightgbm(
    market: Plan, virtual_run: Path, tmp_path: Path
) -> None:
    model = load_model(virtual_run / "model", native=True)
    run_in_process(market, model, tmp_path, KEY, patience_s=1_800.0, tick_s=120.0)
    (tmp_path / "model").symlink_to(virtual_run / "model")
    found = replayed(tmp_path)
    assert found.identical
    assert found.calls > CALL
    assert digests(tmp_path) == digests(virtual_run)
    with closing(read_journal(tmp_path / JOURNAL)) as journal:
        assert journal.meta["model"] == model.hash
        assert model.hash.endswith(NATIVE_MARK)


def digests(folder: Path) -> list[bytes]:
    return [entry.digest for entry in entries_of(folder) if isinstance(entry, Output)]


# -- other inputs: each must be noticed -------------------------------------------------------------------------


def test_one_altered_byte_of_a_body_is_noticed_and_its_call_named(run: Path, tmp_path: Path) -> None:
    def change(entries: list[Entry]) -> None:
        _, entry = calls(entries)[CALL - 1]
        first = entry.bodies[0].replace(b'"id":"e', b'"id":"f', 1)
        assert len(first) == len(entry.bodies[0])
        change_call(entries, bodies=(first, *entry.bodies[1:]))

    other = altered(run, tmp_path / "other", change)
    found = replayed(other)
    assert not found.identical
    assert found.difference is not None
    assert found.difference.call == CALL
    assert found.difference.first_request.startswith('{"id":"f')
    done = replay_command(other)
    assert done.exit_code == 1
    assert f"first difference: call {CALL} at {found.difference.now_ns}" in done.output


def test_one_altered_time_is_noticed(run: Path, tmp_path: Path) -> None:
    def change(entries: list[Entry]) -> None:
        change_call(entries, now_ns=calls(entries)[CALL - 1][1].now_ns + 1)

    found = replayed(altered(run, tmp_path / "other", change))
    assert found.difference is not None
    assert found.difference.call == CALL


def test_an_altered_age_past_the_deadline_is_noticed(scored_run: Path, tmp_path: Path) -> None:
    found = replayed(altered(scored_run, tmp_path / "other", age_a_call))
    assert found.difference is not None
    assert found.difference.call == CALL


def test_a_replay_that_cannot_go_on_says_where_it_differed(virtual_run: Path, tmp_path: Path) -> None:
    """A bid that was not made here frees money for others: what settles does not fit them any more."""
    done = replay_command(altered(virtual_run, tmp_path / "other", age_a_call))
    assert done.exit_code == 1
    assert f"first difference: call {CALL} at " in done.output
    assert "it could not go on to the end of the journal: the bank booked" in done.output


def test_a_dropped_lease_is_noticed(run: Path, tmp_path: Path) -> None:
    def change(entries: list[Entry]) -> None:
        leases = (
            place
            for place, entry in enumerate(entries)
            if isinstance(entry, Control) and any(name == LEASES for name, _ in entry.items)
        )
        del entries[next(leases)]

    assert not replayed(altered(run, tmp_path / "other", change)).identical


def test_a_dropped_digest_is_noticed(scored_run: Path, tmp_path: Path) -> None:
    def change(entries: list[Entry]) -> None:
        place, _ = calls(entries)[CALL - 1]
        assert isinstance(entries[place + 1], Output)
        del entries[place + 1]

    assert not replayed(altered(scored_run, tmp_path / "other", change)).identical


def test_dropped_settlements_are_noticed(run: Path, tmp_path: Path) -> None:
    def change(entries: list[Entry]) -> None:
        entries[:] = [
            entry._replace(items=tuple(item for item in entry.items if item[0] != SETTLEMENTS))
            if isinstance(entry, Control)
            else entry
            for entry in entries
        ]

    assert not replayed(altered(run, tmp_path / "other", change)).identical


def test_a_copy_with_nothing_changed_is_the_same(scored_run: Path, tmp_path: Path) -> None:
    """It is the change that is noticed above, not the copying."""
    assert replayed(altered(scored_run, tmp_path / "other", lambda entries: None)).identical


def test_another_key_is_noticed(scored_run: Path, tmp_path: Path) -> None:
    found = replayed(scored_run, key=bytes(32))
    assert not found.identical
    assert found.difference is not None


def test_the_command_takes_the_key_of_the_folder(scored_run: Path, tmp_path: Path) -> None:
    other = altered(scored_run, tmp_path / "other", lambda entries: None)
    assert read_key(other) == KEY
    (other / "key").write_text("00" * 32)
    assert replay_command(other).exit_code == 1


# -- what cannot be replayed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["virtual_run", "embedded_run"])
def test_another_model_is_refused(name: str, other_model: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    with pytest.raises(
        InputError, match=r"model of journal .* must be \w{12}, was \w{12}; name it with --model"
    ):
        replay_journal(folder / JOURNAL, [other_model], KEY)


def test_no_model_is_refused_where_one_served(virtual_run: Path) -> None:
    with pytest.raises(InputError, match=r"must be \w{12}, there is none in .*model; name it with"):
        replay_journal(virtual_run / JOURNAL, [], KEY)


def test_a_directory_without_a_model_is_refused(virtual_run: Path, tmp_path: Path) -> None:
    with pytest.raises((InputError, ModelError), match=str(tmp_path)):
        replay_journal(virtual_run / JOURNAL, [tmp_path], KEY)
