"""Found segments reach the bidders: published as profiles, then line items target them."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from bidder.cli import profiles as cli
from bidder.core.campaigns import Rule, Targeting
from bidder.core.inbox import Inbox
from bidder.core.messages import PROFILES, encode
from bidder.core.profiles import Profile
from bidder.core.users import key_text, user_key
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from bidder.runtime.kafka import KafkaSource
from bidder.runtime.partitioner import partition_of
from bidder.runtime.transport import Message
from models.errors import ArtifactError
from models.segments.folder import Before, load_segments, save_segments
from models.segments.report import FOUND, Report
from simulator.broker.server import EmbeddedBroker
from tests.support import factories as make
from tests.support.bundles import make_bundle
from tests.support.factories import S

NOW_NS = 1_772_409_600 * S
MEMBER, OTHER, GONE = (key_text(user_key(name, (), None, None, "default")) for name in ("ann", "bob", "cid"))


def saved(path: Path, users: dict[str, str | None]) -> Before:
    """A set of segments of these users, as a directory."""
    report = Report(
        verdict=FOUND, table="t", table_sha256="", window_ns=(0, 1), rows=9, rows_unknown_user=0, users=len(users),
        columns={}, smallest=1, seed=1, asked=None, directions=1, trials=(), response_from_ns=0, segments=(),
        cells=(), best={}, churn=None, cautions=(),
    )  # fmt: skip
    save_segments(path, report, list(users), list(users.values()), {}, 3)
    return load_segments(path)


@pytest.fixture
def found(tmp_path: Path) -> Before:
    return saved(tmp_path / "s", {MEMBER: "found-01", OTHER: "found-02", GONE: None})


def run(*arguments: object) -> Any:
    app = typer.Typer()
    cli.register(app)
    return CliRunner().invoke(app, ["profiles", "publish", *map(str, arguments)])


def test_the_directory_of_a_model_is_told_to_be_one(tmp_path: Path) -> None:
    make_bundle(tmp_path / "m", 3)
    done = run(tmp_path / "m", "--check")
    assert isinstance(done.exception, ArtifactError)
    assert "must be what `clearbid models segments` wrote, is the directory of a model: name" in str(
        done.exception
    )


def test_a_profile_is_made_for_each_user_and_an_empty_one_for_who_left(found: Before) -> None:
    made = {one.user: one for one in cli.profiles_of(found, 5, 9, Path("s"))}
    assert made == {
        user: Profile(user=user, segments=segments, at_ns=5, expires_ns=9)
        for user, segments in ((MEMBER, ("found-01",)), (OTHER, ("found-02",)), (GONE, ()))
    }


async def test_profiles_are_read_as_they_were_published_each_in_the_partition_of_its_user(
    found: Before,
) -> None:
    broker = EmbeddedBroker({})
    bootstrap = await broker.start()
    config = cli.configured(None, kafka=bootstrap)
    every = list(cli.profiles_of(found, 5, 9, Path("s")))
    try:
        assert await cli.publish_profiles(config, every, asyncio.Event()) == 3
        source = KafkaSource(bootstrap, [PROFILES], group=None, client_id="test")
        await source.start()
        read: list[Message] = []
        async with asyncio.timeout(10):
            while len(read) < 3:
                read += await source.poll(10, 0.1)
        await source.stop()
    finally:
        await broker.stop()
    assert (
        sorted((msgspec.json.decode(one.value, type=Profile) for one in read), key=lambda one: one.user)
        == every
    )
    for message in read:
        user = msgspec.json.decode(message.value, type=Profile).user
        assert message.key == user.encode()
        assert message.partition == partition_of(user.encode(), config.kafka.partitions)


def test_a_check_publishes_nothing_and_counts(found: Before, tmp_path: Path) -> None:
    done = run(tmp_path / "s", "--check", "--kafka", "127.0.0.1:1")
    assert done.stdout == "profiles: 2 users in 2 segments, 1 in none; nothing was published\n"
    assert len(found.segment_of) == 2


def test_json_says_the_same_as_one_object(found: Before, tmp_path: Path) -> None:
    done = run(tmp_path / "s", "--check", "--json")
    assert msgspec.json.decode(done.stdout) == {"users": 2, "segments": 2, "in_none": 1, "published": 0}


def test_one_user_in_one_segment_is_said_so(tmp_path: Path) -> None:
    saved(tmp_path / "s", {MEMBER: "found-01"})
    assert run(tmp_path / "s", "--check").stdout.startswith("profiles: 1 user in 1 segment, 0 in none")


def test_json_of_a_publication_says_where_and_how_long(
    found: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(config: Any, profiles: list[Profile], stop: asyncio.Event) -> int:
        return len(profiles)

    monkeypatch.setattr(cli, "publish_profiles", publish)
    done = run(tmp_path / "s", "--kafka", "127.0.0.1:1", "--hours", 3, "--json")
    told = msgspec.json.decode(done.stdout)
    assert {name: told[name] for name in ("users", "published", "bootstrap", "hours")} == {
        "users": 2, "published": 3, "bootstrap": "127.0.0.1:1", "hours": 3,
    }  # fmt: skip


@pytest.mark.parametrize("user", ["u000001", "12345678901234567890", "A" * 16])
def test_keys_that_no_bidder_makes_are_refused_and_not_told(tmp_path: Path, user: str) -> None:
    saved(tmp_path / "s", {user: "found-01"})
    done = run(tmp_path / "s", "--check")
    assert isinstance(done.exception, InputError)
    assert "must be keys as the bidder makes them, 16 hexadecimal digits" in str(done.exception)
    assert user not in str(done.exception)


def test_a_directory_without_segments_is_refused(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path).exception, ArtifactError)


_NUMBERS = count()


def ask(engine: Any, buyeruid: str | None, now_ns: int = NOW_NS, **more: Any) -> Reason:
    """What comes of a new request by this user."""
    user = {"user": {"buyeruid": buyeruid} if buyeruid is not None else {}}
    offer = make.Offer(id=f"r{next(_NUMBERS)}", more={**user, **more})
    (row,) = make.decide(engine, make.body(offer), now_ns=now_ns)
    return Reason(row["reason"])


def targeted() -> Any:
    """An engine with one line item, for found-01."""
    targeting = Targeting(segment=Rule(include=("found-01",)))
    return make.engine([make.campaign(targeting=targeting)], now_ns=NOW_NS)


def test_a_line_item_that_targets_a_found_segment_bids_on_its_members_only(found: Before) -> None:
    """By the messages as they are published, through the inbox of a bidder."""
    engine = targeted()
    assert ask(engine, "ann") == Reason.SEGMENT
    messages = cli.profiles_of(found, NOW_NS, NOW_NS + 9 * S, Path("s"))
    Inbox(engine).take([(PROFILES, encode(one)) for one in messages], NOW_NS)
    assert ask(engine, "ann") == Reason.BID
    for nobody in ("bob", "cid", "dan", None):
        assert ask(engine, nobody) == Reason.SEGMENT
    assert ask(engine, "ann", regs={"coppa": 1}) == Reason.SEGMENT
    assert ask(engine, "ann") == Reason.BID
    assert ask(engine, "ann", NOW_NS + 9 * S) == Reason.SEGMENT


def test_who_left_a_segment_is_bid_on_no_longer(found: Before, tmp_path: Path) -> None:
    engine = targeted()
    engine.profile(list(cli.profiles_of(found, NOW_NS, NOW_NS + 99 * S, Path("s"))))
    assert (ask(engine, "ann"), ask(engine, "bob")) == (Reason.BID, Reason.SEGMENT)
    later = saved(tmp_path / "later", {MEMBER: None, OTHER: "found-01"})
    engine.profile(list(cli.profiles_of(later, NOW_NS + 1, NOW_NS + 99 * S, Path("s"))))
    assert (ask(engine, "ann"), ask(engine, "bob")) == (Reason.SEGMENT, Reason.BID)


def test_as_a_feature_a_found_segment_changes_the_scores_of_its_members_and_of_nobody_else(
    tmp_path: Path,
) -> None:
    """Model 2 of the tests knows the feature segment:s1; a published profile is what brings it."""
    found = saved(tmp_path / "s", {MEMBER: "s1", OTHER: "found-02", GONE: None})
    settings = msgspec.structs.replace(make.SETTINGS, external_scores=False)

    def scores(*, told: bool) -> dict[str | None, Any]:
        engine = make.engine(
            [make.campaign(value_nanos=900 * S)], settings=settings, model=make.model(2), now_ns=NOW_NS
        )
        if told:
            engine.profile(list(cli.profiles_of(found, NOW_NS, NOW_NS + 9 * S, Path("s"))))
        asked: dict[str | None, Any] = {}
        for name in ("ann", "bob", "cid", "dan", None):
            offer = make.Offer(
                id=f"r-{name}", external=None, more={"user": {"buyeruid": name} if name else {}}
            )
            (row,) = make.decide(engine, make.body(offer), now_ns=NOW_NS)
            asked[name] = row["pctr"]
        return asked

    before, after = scores(told=False), scores(told=True)
    assert before["ann"] == before[None]
    assert after["ann"] != before["ann"]
    assert {name: after[name] for name in after if name != "ann"} == {
        name: before[name] for name in before if name != "ann"
    }
