"""`clearbid profiles publish`: found segments to the bidders, as profiles of users.

A profile is all that is known of a user: a newer one replaces the older. So who has other sources of segments too
must bring them together before publishing. A user who was in a segment and is in none now gets a profile without any,
which takes the old one away; and each profile ends by itself, so that a publisher that stopped is not believed for
ever.
"""

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption, KafkaOption, configured
from bidder.errors import InputError

if TYPE_CHECKING:
    import asyncio

    from bidder.config import Config
    from bidder.core.profiles import Profile
    from models.segments.folder import Before

_CLIENT = "clearbid-profiles"
_PIECE = 1_000
_NS_PER_HOUR = 3_600_000_000_000
_MOST_HOURS = 24 * 366


def register(app: typer.Typer) -> None:
    """Adds `profiles` and its commands."""
    commands = typer.Typer(
        name="profiles", help="Profiles of users: which segments they are in.", no_args_is_help=True
    )
    commands.command("publish")(_publish)
    app.add_typer(commands)


def _publish(
    segments: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="What `clearbid models segments` wrote.", show_default=False),
    ],
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    hours: Annotated[
        int, typer.Option(metavar="N", help="How long they hold without news.", min=1, max=_MOST_HOURS)
    ] = 168,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be published.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a line.")] = False,
) -> None:
    """Publish found segments to the bidders, which target and score by them from then on."""
    from models.pages.text import counted
    from models.segments.folder import load_segments

    found = load_segments(segments)
    now_ns = time.time_ns()
    every = list(profiles_of(found, now_ns, now_ns + hours * _NS_PER_HOUR, segments))
    removed = len(found.removed)
    said = {
        "users": len(every) - removed,
        "segments": len(set(found.segment_of.values())),
        "in_none": removed,
    }
    told = f"{counted(said['users'], 'user')} in {counted(said['segments'], 'segment')}, {removed:,} in none"
    if check:
        _say(f"{told}; nothing was published", {**said, "published": 0}, json=json)
        return
    from bidder.cli.running import run_until_stopped
    from bidder.cli.serve import log_warnings

    settings = configured(config, kafka=kafka)
    log_warnings()
    sent: list[int] = []

    async def publish(stop: "asyncio.Event") -> None:
        sent.append(await publish_profiles(settings, every, stop))

    run_until_stopped(publish)
    if sent != [len(every)]:
        raise InputError(
            f"profiles of {segments} must all be published, {sum(sent):,} of {len(every):,} were: "
            f"it was told to stop; publish again"
        )
    kept = settings.engine_settings().users.profiles
    if len(every) > kept:
        typer.echo(
            f"profiles: warning: bidders keep {kept:,} users ([users] profiles), and forget the first of these "
            f"{len(every):,}",
            err=True,
        )
    where = settings.kafka.bootstrap
    more = {
        "published": len(every),
        "bootstrap": where,
        "hours": hours,
        "kept_by_bidders": min(len(every), kept),
    }
    _say(f"{told}, published to {where}, for {hours} h", {**said, **more}, json=json)


def _say(line: str, found: dict[str, object], *, json: bool) -> None:
    """One line for people, or the same as one JSON object."""
    if not json:
        typer.echo(f"profiles: {line}")
        return
    import msgspec

    typer.echo(msgspec.json.encode(found).decode())


def profiles_of(found: "Before", at_ns: int, expires_ns: int, source: Path) -> "Iterator[Profile]":
    """A profile for each user of a set of segments, in the order of their keys.

    Args:
        found: the set. at_ns: when it is said. expires_ns: until when it holds. source: of the set, for messages.

    Raises:
        InputError: a user or a segment is none that the bidder could know.
    """
    import msgspec

    from bidder.core.profiles import Profile

    users = {
        **{user: (segment,) for user, segment in found.segment_of.items()},
        **dict.fromkeys(found.removed, ()),
    }
    for user in sorted(users):
        fields = {"user": user, "segments": users[user], "at_ns": at_ns, "expires_ns": expires_ns}
        try:
            yield msgspec.convert({"type": "profile", **fields}, Profile)
        except msgspec.ValidationError as error:
            raise InputError(
                f"users of {source} must be keys as the bidder makes them, 16 hexadecimal digits, was one of "
                f"{len(user)} characters ({error}): export the table with `clearbid export`"
            ) from error


async def publish_profiles(config: "Config", profiles: "list[Profile]", stop: "asyncio.Event") -> int:
    """Publishes profiles keyed by user, and says how many the broker has.

    Args:
        config: settings. profiles: to publish. stop: ends it after the messages that are on their way.

    Raises:
        ClearbidError: no broker, or it fails.
    """
    from bidder.cli.serve import connected, started
    from bidder.core.messages import PROFILES, encode
    from bidder.runtime.transport import Outbound

    waiting, done = iter(profiles), 0
    async with AsyncExitStack() as stack:
        place = await connected(config)
        sink = await started(stack, place.sink(_CLIENT))
        while not stop.is_set() and (piece := list(islice(waiting, _PIECE))):
            await sink.publish([Outbound(PROFILES, one.user.encode(), encode(one)) for one in piece])
            await sink.flush()
            done += len(piece)
    return done
