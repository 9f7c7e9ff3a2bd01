"""A member of a consumer group, and what the coordinator answers to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from simulator.broker.codes import ErrorCode


class MemberInfo(NamedTuple):
    """What the leader is told of a member, to assign partitions to it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


class JoinRequest(NamedTuple):
    """A request to join a group.

    `rebalance_timeout_s` is how long the others wait for this member to join again; `id_required` says that a
    newcomer is first told its id and must come back with it (version 4 and later).
    """

    member_id: str
    instance_id: str | None
    client_id: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    id_required: bool


class JoinReply(NamedTuple):
    """The answer to a join; only the leader is given the members."""

    error: ErrorCode
    member_id: str
    generation: int = -1
    protocol: str = ""
    leader_id: str = ""
    members: tuple[MemberInfo, ...] = ()


class SyncReply(NamedTuple):
    """The answer to a sync: the partitions of the member, as the leader wrote them."""

    error: ErrorCode
    assignment: bytes = b""


@dataclass(slots=True)
class Member:
    """One member as the coordinator knows it; times are seconds of the coordinator's clock."""

    member_id: str
    join: JoinRequest
    deadline_s: float
    assignment: bytes = b""
    join_reply: Callable[[JoinReply], None] | None = None
    sync_reply: Callable[[SyncReply], None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for us, so that its silence says nothing."""
        return self.join_reply is not None or self.sync_reply is not None

    def info(self, protocol: str) -> MemberInfo:
        """What the leader is told of it, by the protocol chosen."""
        return MemberInfo(self.member_id, self.join.instance_id, self.metadata(protocol))

    def metadata(self, protocol: str) -> bytes:
        """What it said for that protocol."""
        return dict(self.join.protocols).get(protocol, b"")

    def names(self) -> list[str]:
        """Protocols it can do, the one it likes best first."""
        return [name for name, _ in self.join.protocols]

    def extend(self, now_s: float) -> None:
        """It was heard of: its session begins anew."""
        self.deadline_s = now_s + self.join.session_timeout_s

    def answer_join(self, reply: JoinReply) -> None:
        """Ends its waiting in a join, if it does."""
        waiter, self.join_reply = self.join_reply, None
        if waiter is not None:
            waiter(reply)

    def answer_sync(self, reply: SyncReply) -> None:
        """Ends its waiting in a sync, if it does."""
        waiter, self.sync_reply = self.sync_reply, None
        if waiter is not None:
            waiter(reply)
