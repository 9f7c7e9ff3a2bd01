"""User profiles: the segments that a user is in, as they arrive by the topic `profiles`.

The topic is keyed by `bidder.core.users.user_key_text` and has as many partitions as the requests, so a worker hears
of the very users whose requests it answers.
"""

import sys
from collections import OrderedDict
from typing import Annotated

import msgspec

from bidder.core.campaigns import Instant
from bidder.core.messages import Message
from bidder.core.users import UserText, key_of
from bidder.errors import InputError

MOST_SEGMENTS = 256
SegmentId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Profile(Message, frozen=True, gc=False, tag="profile"):
    """All segments of one user from at_ns on, until expires_ns; none at all removes the profile."""

    user: UserText
    segments: Annotated[tuple[SegmentId, ...], msgspec.Meta(max_length=MOST_SEGMENTS)]
    at_ns: Instant
    expires_ns: Instant


_Held = tuple[tuple[str, ...], int, int]  # segments, expires_ns, at_ns


class ProfileTable:
    """The profiles of the users heard of last; where it is full, the one updated longest ago goes.

    A removed profile keeps its place without segments, so that an older message that comes again does not bring
    it back. Equal segments of two users are one text in memory.

    Args:
        capacity: users.

    Attributes:
        evicted: profiles that went for want of room.
        stale: messages that were not newer than what was known.

    Raises:
        InputError: a capacity below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise InputError(f"capacity of the profile table must be >= 1 user, was {capacity}")
        self.capacity = capacity
        self.evicted = 0
        self.stale = 0
        # Not a plain dict: finding the first key of one whose first keys were removed takes longer with each.
        self._held: OrderedDict[int, _Held] = OrderedDict()

    def __len__(self) -> int:
        """Users of whom something is kept, removed and expired profiles included."""
        return len(self._held)

    def take(self, profile: Profile) -> bool:
        """Takes over a profile; False for the unknown user and where one as new is known."""
        user = key_of(profile.user)
        if not user:
            return False
        held = self._held
        known = held.get(user)
        if known is not None and known[2] >= profile.at_ns:
            self.stale += 1
            return False
        segments = tuple(map(sys.intern, profile.segments))
        held[user] = (segments, profile.expires_ns, profile.at_ns)
        if known is not None:
            held.move_to_end(user)
        elif len(held) > self.capacity:
            held.popitem(last=False)
            self.evicted += 1
        return True

    def segments(self, user: int, now_ns: int) -> tuple[str, ...]:
        """The user's segments now; none where the profile has expired or none is known."""
        held = self._held.get(user)
        return held[0] if held is not None and now_ns < held[1] else ()

    def clear(self) -> None:
        """Forgets every profile, before the topic is read again."""
        self._held.clear()
