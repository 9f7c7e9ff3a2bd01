"""Tables of users with planted groups, or with none, for tests of segments."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

HOUR_NS = 3_600_000_000_000
START_NS = 1_772_409_600_000_000_000
"""Monday 2026-03-02, 00:00 UTC."""


@dataclass(frozen=True)
class Kind:
    """A planted group: what its users do more than others, and how they answer."""

    topic: str
    hours: tuple[int, int]
    device: str
    interest: str
    click: float


KINDS = (
    Kind("sports", (18, 24), "4", "football", 0.06),
    Kind("finance", (6, 12), "2", "stocks", 0.02),
    Kind("recipes", (12, 18), "5", "cooking", 0.02),
    Kind("music", (0, 6), "4", "concerts", 0.01),
)
TOPICS = tuple(kind.topic for kind in KINDS)
INTERESTS = tuple(kind.interest for kind in KINDS)


def make_users(
    users: int = 1_200,
    seed: int = 3,
    kinds: tuple[Kind, ...] = KINDS,
    purity: float = 0.7,
    rows_each: int = 12,
    first_user: int = 0,
    days: int = 14,
    unknown: int = 0,
) -> tuple[pa.Table, dict[str, int]]:
    """A table of impressions and the planted group of each user.

    Args:
        users: how many. seed: of all draws. kinds: groups; none makes all users alike.
        purity: probability that a row follows the group rather than the whole population.
        rows_each: mean rows of a user. first_user: number of the first. days: length.
        unknown: rows without a user, added.
    """
    random = np.random.default_rng(seed)
    group = (first_user + np.arange(users)) % max(len(kinds), 1)
    count = 1 + random.poisson(rows_each - 1, users)
    user = np.repeat(np.arange(users), count)
    n = len(user)
    own = (random.random(n) < purity) & bool(kinds)
    topic = np.array(
        [
            TOPICS.index(kinds[group[u]].topic) if o else t
            for u, o, t in zip(user, own, random.integers(0, 4, n), strict=True)
        ]
    )
    domain = [f"{TOPICS[t]}-{d}.example" for t, d in zip(topic, random.integers(0, 5, n), strict=True)]
    hour = np.array(
        [
            random.integers(*kinds[group[u]].hours) if o else random.integers(0, 24)
            for u, o in zip(user, own, strict=True)
        ]
    )
    own_device = random.random(users) < purity
    device = [
        kinds[group[u]].device if own_device[u] and kinds else str(random.choice((2, 4, 5)))
        for u in range(users)
    ]
    interests = [
        _interests(random, kinds[group[u]].interest if kinds else None, purity) for u in range(users)
    ]
    click_rate = np.array([kinds[group[u]].click if kinds else 0.02 for u in user])
    click = (random.random(n) < click_rate).astype(int)
    at = (
        START_NS
        + random.integers(0, days, n) * 24 * HOUR_NS
        + hour * HOUR_NS
        + random.integers(0, HOUR_NS, n)
    )
    system = random.choice(("android", "ios", "windows"), users)
    table = pa.table(
        {
            "at_ns": pa.array(at, pa.int64()),
            "click": pa.array(click, pa.int64()),
            "conversion": pa.array([int(random.random() < 0.3) if c else None for c in click], pa.int64()),
            "user": pa.array([key(first_user + u) for u in user]),
            "domain": pa.array(domain),
            "device_type": pa.array([device[u] for u in user]),
            "os": pa.array([str(system[u]) for u in user]),
            "segments": pa.array([interests[u] for u in user], pa.list_(pa.string())),
            "campaign": pa.array([f"c{value}" for value in random.integers(0, 2, n)]),
            "value_nanos": pa.array(np.where(click > 0, 5e8, 0.0)),
        }
    )
    if unknown:
        nobody = table.slice(0, unknown).set_column(3, "user", pa.nulls(unknown, pa.string()))
        table = pa.concat_tables([table, nobody])
    return table, {key(first_user + u): int(group[u]) for u in range(users)}


def key(number: int) -> str:
    """The key of a user as messages carry it."""
    return f"{0xA000_0000_0000_0000 + int(number) * 0x9E37_79B9:016x}"


def _interests(random: np.random.Generator, own: str | None, purity: float) -> list[str]:
    found = [one for one in INTERESTS if random.random() < 0.2]
    return sorted({*found, own}) if own is not None and random.random() < purity else found
