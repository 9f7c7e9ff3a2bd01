"""The users of the synthetic market: where they live, what they use, what interests them."""

import numpy as np

from simulator.logs.world import CITIES_PER_REGION, DEVICES, TOPICS, Flags, Floats, Ints, World

MIN_USERS = 500
MAX_USERS = 200_000
ROWS_PER_USER = 6


class Users:
    """A population drawn once from the seed; one row of each array a user.

    Interests are what moves clicks and conversions. They show in requests as audience segments.

    Attributes:
        region, city, device: indexes into the tables of `world`, int64 (n,).
        interests: which topics interest a user, bool (n, topics); one to five a user.
        segments: the same as the tuple of segment ids that a request carries.
        favourite: a topic drawn from the interests, int64 (n,).
        activity_cdf: cumulated share of visits, float64 (n,): few users make many visits.
        ids, ips: pseudonymous id and address.
    """

    def __init__(self, seed: int, rows: int, world: World) -> None:
        rng = np.random.default_rng([seed, 2])
        n = min(MAX_USERS, max(MIN_USERS, rows // ROWS_PER_USER))
        self.region: Ints = rng.choice(len(world.region_share), n, p=world.region_share)
        self.city: Ints = rng.integers(0, CITIES_PER_REGION, n)
        self.device: Ints = rng.choice(len(DEVICES), n, p=[device.share for device in DEVICES])
        self.interests: Flags = _interests(rng, n)
        self.favourite: Ints = np.argmax(self.interests * rng.random((n, len(TOPICS))), axis=1)
        activity = rng.gamma(0.7, 1.0, n)
        self.activity_cdf: Floats = np.cumsum(activity) / activity.sum()
        self.segments = [
            tuple(TOPICS[topic] for topic, on in enumerate(row) if on) for row in self.interests.tolist()
        ]
        self.ids = [f"u{number:06x}" for number in range(n)]
        self.ips = [f"198.{18 + (i >> 16 & 1)}.{i >> 8 & 255}.{i & 255}" for i in range(n)]

    def __len__(self) -> int:
        return len(self.ids)


def _interests(rng: np.random.Generator, n: int) -> Flags:
    """One to five topics a user; popular topics are had by more."""
    popularity = rng.gumbel(size=(n, len(TOPICS))) + np.linspace(0.8, 0.0, len(TOPICS))
    rank = np.argsort(np.argsort(-popularity, axis=1), axis=1)
    return np.asarray(rank < rng.integers(1, 6, n)[:, None])
