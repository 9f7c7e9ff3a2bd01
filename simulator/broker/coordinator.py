"""All consumer groups: their state machines, the offsets they committed, and the bounds on what members ask for."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple
from uuid import uuid4

from simulator.broker.codes import ErrorCode
from simulator.broker.groups import Group
from simulator.broker.members import JoinReply, JoinRequest

# Kafka's default of offset.metadata.max.bytes.
_MAX_METADATA_BYTES = 4096
# Kafka's defaults of group.min.session.timeout.ms and group.max.session.timeout.ms.
MIN_SESSION_TIMEOUT_S = 6.0
MAX_SESSION_TIMEOUT_S = 1800.0


class Committed(NamedTuple):
    """An offset that a group stored: where it will read next."""

    offset: int
    leader_epoch: int
    metadata: str | None


class Coordinator:
    """The consumer groups of the broker.

    Args:
        min_session_timeout_s: the shortest session that a member may ask for.
        new_id: makes the unique part of member ids.
    """

    def __init__(
        self,
        min_session_timeout_s: float = MIN_SESSION_TIMEOUT_S,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._min_session_timeout_s = min_session_timeout_s
        self._new_id = new_id
        self._groups: dict[str, Group] = {}
        self._offsets: dict[str, dict[tuple[str, int], Committed]] = {}

    def find(self, group_id: str) -> Group | None:
        """A group that somebody has joined before."""
        return self._groups.get(group_id)

    def join(
        self, now_s: float, group_id: str, request: JoinRequest, reply: Callable[[JoinReply], None]
    ) -> None:
        """Lets somebody join a group, which is made if it is not there."""
        error = ErrorCode.NONE
        if not group_id:
            error = ErrorCode.INVALID_GROUP_ID
        elif not self._min_session_timeout_s <= request.session_timeout_s <= MAX_SESSION_TIMEOUT_S:
            error = ErrorCode.INVALID_SESSION_TIMEOUT
        elif request.member_id and group_id not in self._groups:
            error = ErrorCode.UNKNOWN_MEMBER_ID
        if error:
            reply(JoinReply(error, request.member_id))
            return
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = Group(self._new_id)
        group.join(now_s, request, reply)

    def may_commit(
        self, now_s: float, group_id: str, member_id: str, generation: int, instance_id: str | None
    ) -> ErrorCode:
        """Whether offsets of this sender are stored."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.ILLEGAL_GENERATION if generation >= 0 else ErrorCode.NONE
        return group.may_commit(now_s, member_id, generation, instance_id)

    def commit(self, group_id: str, topic: str, partition: int, committed: Committed) -> ErrorCode:
        """Stores one offset."""
        if committed.metadata is not None and len(committed.metadata.encode()) > _MAX_METADATA_BYTES:
            return ErrorCode.OFFSET_METADATA_TOO_LARGE
        self._offsets.setdefault(group_id, {})[topic, partition] = committed
        return ErrorCode.NONE

    def committed(self, group_id: str, topic: str, partition: int) -> Committed | None:
        """The offset that a group stored last."""
        return self._offsets.get(group_id, {}).get((topic, partition))

    def all_committed(self, group_id: str) -> dict[str, list[int]]:
        """The partitions for which a group has stored offsets, by topic."""
        partitions: dict[str, list[int]] = {}
        for topic, partition in self._offsets.get(group_id, {}):
            partitions.setdefault(topic, []).append(partition)
        return partitions

    def forget_topic(self, topic: str) -> None:
        """Drops the offsets of a topic that was deleted."""
        for offsets in self._offsets.values():
            for key in [key for key in offsets if key[0] == topic]:
                del offsets[key]

    def next_deadline_s(self) -> float:
        """When `expire` has something to do next; infinite when never."""
        return min((group.next_deadline_s() for group in self._groups.values()), default=inf)

    def expire(self, now_s: float) -> None:
        """Does what is due in all groups."""
        for group in list(self._groups.values()):
            group.expire(now_s)
