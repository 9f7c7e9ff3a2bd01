"""The registry: aliases, the log, two writers at once, and a crash at any point."""

import contextlib
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bidder.store.model import load_model, model_mark
from models.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    ModelBundle,
    load_bundle,
    manifest_hash,
    save_bundle,
)
from models.errors import ArtifactError
from models.registry import ModelRegistry
from models.registry.audit import AuditLog
from models.registry.folder import MARK_FILE
from models.registry.schema import differences
from models.reports import DelayReport, TrainingReport
from models.schema import Feature, FeatureSpec
from tests.support.bundles import make_bundle

WHY = "a test"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[ModelBundle]:
    """Three bundles of one schema."""
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture
def registry(tmp_path: Path, bundles: list[ModelBundle]) -> ModelRegistry:
    """Holds all three; the first is champion, the second challenges it."""
    made = ModelRegistry(tmp_path / "registry", by="tester", now_ns=lambda: 5)
    for one in bundles:
        made.add(one.path, WHY)
    made.promote(bundles[0].hash, WHY)
    made.challenge(bundles[1].hash, WHY)
    return made


def hashes(bundles: list[ModelBundle]) -> list[str]:
    return [one.hash for one in bundles]


# -- aliases


def test_what_was_added_is_read_again_byte_for_byte(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    for one in bundles:
        assert registry.bundle(one.hash).manifest == one.manifest
        for name in one.manifest.files:
            assert (registry.path / one.hash / name).read_bytes() == (one.path / name).read_bytes()


def test_to_add_twice_is_to_add_once(registry: ModelRegistry, bundles: list[ModelBundle]) -> None:
    before = registry.log()
    registry.add(bundles[0].path, "again")
    assert registry.log() == before


def test_promotion_frees_the_challenger_and_archives_the_champion(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, two, three = hashes(bundles)
    assert registry.aliases() == {"champion": one, "challenger": two}
    registry.promote("challenger", WHY)
    assert registry.aliases() == {"champion": two}
    assert {kept.hash: kept.status for kept in registry.models()} == {
        two: "champion",
        one: "archived",
        three: "candidate",
    }


def test_who_never_had_a_place_is_a_candidate_until_it_has_one(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, two, three = hashes(bundles)
    assert [registry.status_of(each) for each in (one, two, three)] == ["champion", "challenger", "candidate"]
    assert [kept.status for kept in registry.models()] == ["champion", "challenger", "candidate"]
    registry.archive(two, WHY)
    registry.challenge(three, WHY)
    assert [registry.status_of(each) for each in (one, two, three)] == ["champion", "archived", "challenger"]


def test_another_challenger_stays_when_a_third_is_promoted(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    registry.promote(bundles[2].hash, WHY)
    assert registry.aliases() == {"champion": bundles[2].hash, "challenger": bundles[1].hash}


def test_rollback_goes_back_champion_by_champion(registry: ModelRegistry, bundles: list[ModelBundle]) -> None:
    one, two, three = hashes(bundles)
    registry.promote(two, WHY)
    registry.promote(three, WHY)
    assert [registry.rollback(WHY), registry.rollback(WHY)] == [two, one]
    with pytest.raises(ArtifactError, match="must have had a champion before"):
        registry.rollback(WHY)
    registry.promote(three, WHY)
    assert registry.rollback(WHY) == one


def test_to_promote_the_champion_after_a_rollback_says_that_it_is_meant(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, two, three = hashes(bundles)
    registry.promote(two, WHY)
    registry.promote(three, WHY)
    registry.rollback("why it was")
    held = registry.held()
    assert held is not None
    assert (held.model, held.reason, registry.rolled_back()) == (two, "why it was", {three})
    registry.promote("champion", WHY)
    assert (registry.log()[-1].event, registry.held(), registry.rolled_back()) == ("promote", None, {three})
    assert registry.rollback(WHY) == one, "its second promotion is no place of its own to go back to"
    registry.promote(three, WHY)
    assert registry.rolled_back() == {two}


def test_a_promotion_over_another_champion_is_refused(
    tmp_path: Path, registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, two, three = hashes(bundles)
    for over, named in ((three, three[:12]), (None, "none")):
        with pytest.raises(ArtifactError, match=f"judged against, {named}, the champion is {one[:12]} now"):
            registry.promote(two, WHY, over=over)
    assert registry.promote(two, WHY, over=one) == two
    new = ModelRegistry(tmp_path / "new")
    new.add(bundles[0].path, WHY)
    with pytest.raises(ArtifactError, match=f"judged against, {two[:12]}, the champion is none now"):
        new.promote(one, WHY, over=two)
    assert new.promote(one, WHY, over=None) == one


def test_rollback_to_the_challenger_leaves_one_alias_on_it(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, _, three = hashes(bundles)
    registry.promote(three, WHY)
    registry.challenge(one, WHY)
    registry.rollback(WHY)
    assert registry.aliases() == {"champion": one}


def test_to_promote_the_champion_changes_nothing(registry: ModelRegistry) -> None:
    before = registry.log()
    registry.promote("champion", WHY)
    assert registry.log() == before


def test_the_champion_can_be_neither_archived_nor_challenge_itself(registry: ModelRegistry) -> None:
    with pytest.raises(ArtifactError, match="must not be the champion"):
        registry.archive("champion", WHY)
    with pytest.raises(ArtifactError, match="must be another than the champion"):
        registry.challenge("champion", WHY)


def test_an_archived_challenger_is_kept(registry: ModelRegistry, bundles: list[ModelBundle]) -> None:
    registry.archive("challenger", WHY)
    assert registry.aliases() == {"champion": bundles[0].hash}
    assert registry.bundle(bundles[1].hash).hash == bundles[1].hash


def test_a_model_is_named_by_alias_hash_or_first_digits(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    assert registry.hash_of("champion") == registry.hash_of(bundles[0].hash[:10]) == bundles[0].hash
    for name in ("", "abc", "zz" * 5, "../" + bundles[0].hash, "0" * 64):
        with pytest.raises(ArtifactError, match="must be champion, challenger or 4 or more digits"):
            registry.hash_of(name)


def test_a_registry_serves_wherever_a_bundle_does(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    one, two, _ = hashes(bundles)
    assert load_bundle(registry.path).hash == load_model(registry.path).hash == one
    before = model_mark(registry.path)
    registry.promote("challenger", WHY)
    assert model_mark(registry.path) != before
    assert load_model(registry.path).hash == two


def test_a_registry_without_champion_serves_nothing(tmp_path: Path, bundles: list[ModelBundle]) -> None:
    made = ModelRegistry(tmp_path / "r")
    made.add(bundles[0].path, WHY)
    assert model_mark(made.path) is None
    with pytest.raises(ArtifactError, match="must have a champion, has none: promote"):
        load_bundle(made.path)


# -- what is refused


@pytest.mark.parametrize("file", ["ctr.txt", "cvr.txt", "spec.json", CALIBRATION_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("how", ["tampered", "truncated", "gone"])
def test_damage_is_refused_by_name(registry: ModelRegistry, file: str, how: str) -> None:
    path = registry.resolve("challenger") / file
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if how == "truncated" else content.replace(b"1", b"2", 1))
    with pytest.raises(ArtifactError, match=str(path.name)):
        registry.promote("challenger", WHY)
    assert [kept.status for kept in registry.models() if kept.damage] == ["challenger"]


def test_damage_is_mended_by_adding_the_model_again(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    (registry.path / bundles[1].hash / "ctr.txt").write_text("nothing")
    registry.add(bundles[1].path, "from the backup")
    assert registry.promote("challenger", WHY) == bundles[1].hash
    assert [entry.event for entry in registry.log()[-2:]] == ["restore", "promote"]


def test_another_model_in_a_folder_of_its_name_is_refused(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    """Whole in itself, and not what was promoted."""
    one, two, _ = hashes(bundles)
    shutil.rmtree(registry.path / one)
    shutil.copytree(bundles[1].path, registry.path / one)
    for load in (registry.bundle, lambda: load_bundle(registry.path)):
        with pytest.raises(ArtifactError, match=f"must have the hash of its folder's name, was {two}"):
            load()


def test_other_features_are_refused_unless_wanted(tmp_path: Path, registry: ModelRegistry) -> None:
    other = make_bundle(tmp_path / "other", 4, extra="city")
    registry.add(other.path, WHY)
    with pytest.raises(ArtifactError, match=r"city \(categorical of the request\) is new"):
        registry.promote(other.hash, WHY)
    registry.promote(other.hash, WHY, new_schema=True)
    assert registry.aliases()["champion"] == other.hash


def test_a_model_that_no_bidder_can_serve_is_not_promoted(tmp_path: Path, registry: ModelRegistry) -> None:
    champion = registry.aliases()["champion"]
    other = make_bundle(tmp_path / "other", 4, extra="age")
    registry.add(other.path, WHY)
    with pytest.raises(ArtifactError, match=r"request feature must be one of .*, was age.*train it without"):
        registry.promote(other.hash, WHY, new_schema=True)
    assert registry.aliases()["champion"] == champion


def test_another_goal_is_refused_unless_wanted(
    tmp_path: Path, registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    report = TrainingReport(
        goal="lead", split_by="time", left_out=(), weighted=False, effective_rows=400.0, click_rows=400,
        click_shift=0.0, delay=DelayReport(method="none"),
    )  # fmt: skip
    one = bundles[1]
    manifest = msgspec.structs.replace(one.manifest, training=report)
    other = save_bundle(tmp_path / "other", manifest, one.spec, one.texts, one.calibration)
    registry.add(other.path, WHY)
    with pytest.raises(ArtifactError, match="the goal is lead, was conversion"):
        registry.promote(other.hash, WHY)
    assert registry.promote(other.hash, WHY, new_schema=True) == other.hash
    with pytest.raises(ArtifactError, match="the goal is conversion, was lead"):
        registry.promote(one.hash, WHY)


def test_a_damaged_champion_is_replaced_on_purpose_only(
    registry: ModelRegistry, bundles: list[ModelBundle]
) -> None:
    """Its features cannot be read, so nobody knows whether they are the same."""
    (registry.path / bundles[0].hash / "spec.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"champion .* must be whole .*spec\.json.*--new-schema"):
        registry.promote("challenger", WHY)
    assert registry.promote("challenger", WHY, new_schema=True) == bundles[1].hash


def test_vocabularies_and_segments_may_differ() -> None:
    def spec(*features: Feature) -> FeatureSpec:
        return FeatureSpec((Feature("os", "categorical", "request", ("ios",)), *features))

    old = spec(Feature("segment:a", "numeric", "request"))
    new = FeatureSpec(
        (
            Feature("os", "categorical", "request", ("linux",)),
            Feature("segment:b", "numeric", "request"),
        )
    )
    assert differences(old, new) == differences(old, spec()) == differences(spec(), old) == []
    assert differences(spec(), FeatureSpec((Feature("os", "numeric", "request"),))) == [
        "os is numeric of the request, was categorical of the request"
    ]


def test_files_of_strange_names_are_not_copied(tmp_path: Path, bundles: list[ModelBundle]) -> None:
    """A manifest may name any file and still have the right hash."""
    evil = naming(bundles[0], tmp_path / "evil", "../x", "0" * 64)
    with pytest.raises(ArtifactError, match=r"must have a plain name, was '\.\./x'"):
        ModelRegistry(tmp_path / "r").add(evil, WHY)


def test_files_that_no_reader_knows_are_checked_too(tmp_path: Path, bundles: list[ModelBundle]) -> None:
    made = ModelRegistry(tmp_path / "r")
    other = naming(bundles[0], tmp_path / "other", "notes.txt", hashlib.sha256(b"mine").hexdigest())
    for content in (None, "not mine"):
        if content is not None:
            (other / "notes.txt").write_text(content)
        with pytest.raises(ArtifactError, match=r"notes\.txt must"):
            made.add(other, WHY)
    (other / "notes.txt").write_text("mine")
    wanted = made.add(other, WHY)
    (made.path / wanted / "notes.txt").write_text("altered")
    with pytest.raises(ArtifactError, match=r"notes\.txt must have sha256"):
        made.promote(wanted, WHY)


def naming(bundle: ModelBundle, to: Path, file: str, sha256: str) -> Path:
    """A copy of a bundle whose manifest names one file more, and has the right hash."""
    shutil.copytree(bundle.path, to)
    manifest = load_bundle(to).manifest
    changed = msgspec.structs.replace(manifest, files=manifest.files | {file: sha256})
    changed = msgspec.structs.replace(changed, hash=manifest_hash(changed))
    (to / MANIFEST_FILE).write_bytes(msgspec.json.encode(changed))
    return to


def test_a_folder_of_something_else_does_not_become_a_registry(
    tmp_path: Path, bundles: list[ModelBundle]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="must be new, empty"):
        ModelRegistry(tmp_path).add(bundles[0].path, WHY)
    with pytest.raises(ArtifactError, match=f"must be a folder with {MARK_FILE}"):
        ModelRegistry(tmp_path).log()


# -- the log


def test_each_change_is_a_line_with_who_what_when_and_why(registry: ModelRegistry) -> None:
    registry.promote("challenger", "it was better", numbers={"ne": 0.97})
    last = registry.log()[-1]
    assert (last.by, last.event, last.at_ns, last.reason, last.numbers) == (
        "tester",
        "promote",
        5,
        "it was better",
        {"ne": 0.97},
    )
    assert [entry.event for entry in registry.log()] == ["add"] * 3 + ["promote", "challenge", "promote"]


@pytest.mark.parametrize("edit", ["reason", "drop", "swap", "last"])
def test_an_edit_of_the_log_shows_and_stops_writers(registry: ModelRegistry, edit: str) -> None:
    path = registry.path / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if edit == "drop":
        del lines[1]
    elif edit == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        place = -1 if edit == "last" else 1
        lines[place] = lines[place].replace(b"a test", b"a lie!")
    path.write_bytes(b"".join(lines))
    expected = len(lines) if edit == "last" else 2
    with pytest.raises(ArtifactError, match=f"its line {expected} "):
        registry.log()
    with pytest.raises(ArtifactError, match="must be as it was written"):
        registry.promote("challenger", WHY)
    assert registry.bundle().hash  # a bidder still starts: money does not wait for a log


def test_a_line_cut_short_never_happened_and_the_next_writer_takes_it_away(registry: ModelRegistry) -> None:
    path = registry.path / "audit.jsonl"
    before = registry.log()
    with path.open("ab") as file:
        file.write(b'{"number":6,"at_ns":5')
    assert registry.log() == before
    registry.promote("challenger", WHY)
    assert [entry.number for entry in registry.log()] == [1, 2, 3, 4, 5, 6]


# -- crashes


class Killed(BaseException):
    """Stands for the end of a process: nothing of ours catches it."""


class Crash:
    """Lets `left` calls through that change what is on the disk, and kills the one after, before or behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int, *, half: bool) -> None:
        self.left, self.half, self.struck = left, half, False
        for name in ("write", "replace", "rename", "unlink", "ftruncate", "mkdir"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), name))

    def _wrap(self, real: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*args: object, **keywords: object) -> object:
            if self.struck:
                raise Killed
            self.left -= 1
            if self.left >= 0:
                return real(*args, **keywords)
            self.struck = True
            if self.half:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])  # type: ignore[arg-type]
                else:
                    real(*args, **keywords)
            raise Killed

        return call


def changes(bundles: list[ModelBundle]) -> dict[str, Callable[[ModelRegistry], object]]:
    return {
        "add": lambda registry: registry.add(bundles[2].path, WHY, challenger=True),
        "promote": lambda registry: registry.promote("challenger", WHY),
        "rollback": lambda registry: registry.rollback(WHY),
        "archive": lambda registry: registry.archive("challenger", WHY),
    }


@pytest.fixture
def before(tmp_path: Path, bundles: list[ModelBundle]) -> Path:
    """Two models, both were champion; the second challenges the first."""
    made = ModelRegistry(tmp_path / "before", now_ns=lambda: 5)
    one, two, _ = hashes(bundles)
    for one_bundle in bundles[:2]:
        made.add(one_bundle.path, WHY)
    for each in (two, one):
        made.promote(each, WHY)
    made.challenge(two, WHY)
    return made.path


@pytest.mark.parametrize("change", ["add", "promote", "rollback", "archive"])
@pytest.mark.parametrize("half", [False, True], ids=["before the call", "behind or amid the call"])
def test_a_crash_at_any_point_leaves_the_state_before_or_after(
    before: Path, bundles: list[ModelBundle], tmp_path: Path, change: str, *, half: bool
) -> None:
    """Readers see one of both at once; the next writer makes whole what was begun."""
    act = changes(bundles)[change]
    done = ModelRegistry(shutil.copytree(before, tmp_path / "done"), now_ns=lambda: 5)
    old = done.aliases()
    act(done)
    new = done.aliases()
    for crash_at in range(60):
        path = shutil.copytree(before, tmp_path / f"crash-{crash_at}")
        registry = ModelRegistry(path, now_ns=lambda: 5)
        with pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch, crash_at, half=half)
            with contextlib.suppress(Killed):
                act(registry)
        seen = registry.aliases()
        assert seen.get("champion") in (old["champion"], new["champion"])
        assert registry.bundle().hash == seen["champion"]
        registry.record("look", "the next writer")
        assert registry.aliases() in (old, new)
        assert not list(path.glob("incoming-*"))
        act_again = changes(bundles)[change]
        if registry.aliases() == old:
            act_again(registry)
        assert registry.aliases() == new
        assert [kept.damage for kept in registry.models()] == [""] * len(registry.models())
        if not crash.struck:
            break
    assert not crash.struck, "every point must have had its crash"
    assert crash_at >= 3


def _write_alternately(path: Path, names: tuple[str, str], times: int) -> None:
    registry = ModelRegistry(path)
    for turn in range(times):
        registry.promote(names[turn % 2], f"turn {turn}")
        registry.record("look", f"turn {turn}")


def test_two_processes_at_once_leave_a_whole_log(registry: ModelRegistry, bundles: list[ModelBundle]) -> None:
    lines = len(registry.log())
    names = (bundles[0].hash, bundles[1].hash)
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_alternately, args=(registry.path, pair, 8))
        for pair in (names, names[::-1])
    ]
    for writer in writers:
        writer.start()
    seen = {registry.bundle().hash for _ in range(100)}
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    entries = registry.log()
    assert sum(entry.event == "look" for entry in entries[lines:]) == 16
    assert registry.aliases() == entries[-1].aliases
    assert seen <= set(names)


def test_who_waits_too_long_for_the_lock_is_told(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.registry.files import locked

    monkeypatch.setattr("models.registry.folder._WAIT_S", 0.05)
    with (
        locked(registry.path / "lock", wait_s=1, said=""),
        pytest.raises(ArtifactError, match="was held by another process"),
    ):
        registry.record("look", WHY)


def test_an_empty_log_has_no_entries(tmp_path: Path) -> None:
    assert AuditLog(tmp_path / "none").entries() == []
