"""The state machine of one consumer group (the classic protocol).

    EMPTY ──join──▶ PREPARING ──all joined, or time is up──▶ COMPLETING ──leader synced──▶ STABLE
                       ▲                                         │                           │
                       └────────── join, leave, or a member expired ─────────────────────────┘

Pure: it knows no clock and no socket. Times come in as seconds, answers go out through callbacks, and
`next_deadline_s` says when `expire` has something to do. Members with an instance id may come back with another
member id and get their old partitions without a rebalance (KIP-345).
Source: KIP-62, KIP-345 and KIP-394, and what the contract tests show of Apache Kafka.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum, auto
from math import inf

from simulator.broker.codes import ErrorCode
from simulator.broker.members import JoinReply, JoinRequest, Member, SyncReply


class State(Enum):
    """Where a group stands."""

    EMPTY = auto()
    PREPARING = auto()
    COMPLETING = auto()
    STABLE = auto()


class Group:
    """One consumer group.

    Args:
        new_id: makes the unique part of a member's id.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._members: dict[str, Member] = {}
        # Ids handed out to newcomers that did not come back with them yet, with the end of our patience.
        self._pending: dict[str, float] = {}
        self._instances: dict[str, str] = {}
        self._leader_id = ""
        self._protocol = ""
        self._phase_deadline_s = inf
        self.state = State.EMPTY
        self.generation = 0

    @property
    def members(self) -> Mapping[str, Member]:
        """Members by id, in the order in which they came."""
        return self._members

    def join(self, now_s: float, request: JoinRequest, reply: Callable[[JoinReply], None]) -> None:
        """A newcomer joins, or a member joins again; `reply` is called now or when all have joined."""
        error = self._refusal_to_join(request)
        if error:
            reply(JoinReply(error, request.member_id))
            return
        if request.member_id:
            self._join_known(now_s, request, reply)
        elif request.instance_id is not None and request.instance_id in self._instances:
            self._replace(now_s, request.instance_id, request, reply)
        else:
            member_id = f"{request.instance_id or request.client_id or 'member'}-{self._new_id()}"
            if request.id_required and request.instance_id is None:
                self._pending[member_id] = now_s + request.session_timeout_s
                reply(JoinReply(ErrorCode.MEMBER_ID_REQUIRED, member_id))
            else:
                self._add(now_s, member_id, request, reply)

    def sync(
        self,
        now_s: float,
        member_id: str,
        generation: int,
        assignments: Mapping[str, bytes],
        reply: Callable[[SyncReply], None],
        instance_id: str | None = None,
    ) -> None:
        """A member asks for its partitions; the leader brings those of all.

        `reply` is called now or when the leader has synced.
        """
        error = self.check(member_id, generation, instance_id)
        if not error and self.state is State.PREPARING:
            error = ErrorCode.REBALANCE_IN_PROGRESS
        if error:
            reply(SyncReply(error))
            return
        member = self._members[member_id]
        member.extend(now_s)
        if self.state is State.STABLE:
            reply(SyncReply(ErrorCode.NONE, member.assignment))
            return
        member.answer_sync(SyncReply(ErrorCode.REBALANCE_IN_PROGRESS))
        member.sync_reply = reply
        if member_id == self._leader_id:
            self._become_stable(now_s, assignments)

    def heartbeat(
        self, now_s: float, member_id: str, generation: int, instance_id: str | None = None
    ) -> ErrorCode:
        """A member says that it lives, and hears whether it must join again."""
        error = self.check(member_id, generation, instance_id)
        if error:
            return error
        self._members[member_id].extend(now_s)
        return ErrorCode.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else ErrorCode.NONE

    def leave(self, now_s: float, member_id: str, instance_id: str | None = None) -> ErrorCode:
        """A member leaves; one with an instance id may be named by that alone."""
        if member_id in self._pending:
            del self._pending[member_id]
            self._complete_if_all_joined(now_s)
            return ErrorCode.NONE
        if instance_id is not None:
            known_id = self._instances.get(instance_id)
            if known_id is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if member_id not in {"", known_id}:
                return ErrorCode.FENCED_INSTANCE_ID
            member_id = known_id
        if member_id not in self._members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        self._remove(now_s, member_id)
        return ErrorCode.NONE

    def may_commit(
        self, now_s: float, member_id: str, generation: int, instance_id: str | None = None
    ) -> ErrorCode:
        """Whether offsets of this sender are stored; a generation below zero stands for "not a member"."""
        if generation < 0 and not member_id and not self._members:
            return ErrorCode.NONE
        error = self.check(member_id, generation, instance_id)
        if error:
            return error
        self._members[member_id].extend(now_s)
        return ErrorCode.REBALANCE_IN_PROGRESS if self.state is State.COMPLETING else ErrorCode.NONE

    def check(self, member_id: str, generation: int, instance_id: str | None) -> ErrorCode:
        """Whether somebody is a member of this generation."""
        if instance_id is not None:
            known_id = self._instances.get(instance_id)
            if known_id is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if known_id != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        if member_id not in self._members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE if generation == self.generation else ErrorCode.ILLEGAL_GENERATION

    def next_deadline_s(self) -> float:
        """When `expire` has something to do next; infinite when never."""
        sessions = [member.deadline_s for member in self._members.values() if not member.is_waiting]
        return min([self._phase_deadline_s, *self._pending.values(), *sessions])

    def expire(self, now_s: float) -> None:
        """Does what is due: forgets those who were silent too long, and ends a phase whose time is up."""
        for member_id in [member_id for member_id, end_s in self._pending.items() if end_s <= now_s]:
            del self._pending[member_id]
        silent = [
            member.member_id
            for member in self._members.values()
            if not member.is_waiting and member.deadline_s <= now_s
        ]
        for member_id in silent:
            self._remove(now_s, member_id)
        self._complete_if_all_joined(now_s)
        if self._phase_deadline_s > now_s:
            return
        if self.state is State.PREPARING:
            self._complete_join(now_s)
        elif self.state is State.COMPLETING:
            for member in [member for member in self._members.values() if member.sync_reply is None]:
                self._remove(now_s, member.member_id)

    def _refusal_to_join(self, request: JoinRequest) -> ErrorCode:
        if not request.protocol_type or not request.protocols:
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        others = [member for member in self._members.values() if member.member_id != request.member_id]
        if others:
            common = set.intersection(*(set(member.names()) for member in others))
            same_type = others[0].join.protocol_type == request.protocol_type
            if not same_type or common.isdisjoint(name for name, _ in request.protocols):
                return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if not request.member_id or request.member_id in self._pending:
            return ErrorCode.NONE
        return self.check(request.member_id, self.generation, request.instance_id)

    def _join_known(self, now_s: float, request: JoinRequest, reply: Callable[[JoinReply], None]) -> None:
        if request.member_id in self._pending:
            del self._pending[request.member_id]
            self._add(now_s, request.member_id, request, reply)
            return
        member = self._members[request.member_id]
        is_leader = request.member_id == self._leader_id
        unchanged = member.join.protocols == request.protocols
        if unchanged and (self.state is State.COMPLETING or (self.state is State.STABLE and not is_leader)):
            # The answer to the join before this one was lost; nothing has changed since.
            member.extend(now_s)
            reply(self._join_reply(member))
            return
        member.join = request
        member.answer_join(JoinReply(ErrorCode.REBALANCE_IN_PROGRESS, request.member_id))
        member.join_reply = reply
        self._prepare(now_s)

    def _add(
        self, now_s: float, member_id: str, request: JoinRequest, reply: Callable[[JoinReply], None]
    ) -> None:
        self._members[member_id] = Member(
            member_id, request, now_s + request.session_timeout_s, join_reply=reply
        )
        if request.instance_id is not None:
            self._instances[request.instance_id] = member_id
        self._prepare(now_s)

    def _replace(
        self, now_s: float, instance_id: str, request: JoinRequest, reply: Callable[[JoinReply], None]
    ) -> None:
        """An instance came back under a new id; who still uses the old one is fenced."""
        old = self._members[self._instances[instance_id]]
        new_id = f"{instance_id}-{self._new_id()}"
        old.answer_join(JoinReply(ErrorCode.FENCED_INSTANCE_ID, old.member_id))
        old.answer_sync(SyncReply(ErrorCode.FENCED_INSTANCE_ID))
        same = old.metadata(self._protocol) == dict(request.protocols).get(self._protocol)
        new = Member(new_id, request, now_s + request.session_timeout_s, assignment=old.assignment)
        # It takes the place of the old one, so that the order in which members came stays.
        self._members = {
            (new_id if member is old else member.member_id): (new if member is old else member)
            for member in self._members.values()
        }
        self._instances[instance_id] = new_id
        was_leader = self._leader_id == old.member_id
        if was_leader:
            self._leader_id = new_id
        if self.state is State.STABLE and same:
            # A returned leader is told its old id as the leader's: it would otherwise assign partitions that a
            # stable group no longer asks for.
            reply(self._join_reply(new)._replace(leader_id=old.member_id if was_leader else self._leader_id))
            return
        new.join_reply = reply
        self._prepare(now_s)

    def _prepare(self, now_s: float) -> None:
        """Begins a rebalance, or goes on with the one that is under way."""
        if self.state is not State.PREPARING:
            self.state = State.PREPARING
            for member in self._members.values():
                member.assignment = b""
                member.answer_sync(SyncReply(ErrorCode.REBALANCE_IN_PROGRESS))
            self._phase_deadline_s = now_s + self._patience_s()
        self._complete_if_all_joined(now_s)

    def _patience_s(self) -> float:
        return max((member.join.rebalance_timeout_s for member in self._members.values()), default=0)

    def _complete_if_all_joined(self, now_s: float) -> None:
        if self.state is not State.PREPARING or self._pending:
            return
        if all(member.join_reply is not None for member in self._members.values()):
            self._complete_join(now_s)

    def _complete_join(self, now_s: float) -> None:
        for member in list(self._members.values()):
            # Those with an instance id keep their place until their session ends.
            if member.join_reply is None and member.join.instance_id is None:
                self._forget(member)
        if not self._members:
            self._become_empty()
            return
        joined = [member for member in self._members.values() if member.join_reply is not None]
        if not joined:
            self._phase_deadline_s = now_s + self._patience_s()
            return
        if self._leader_id not in {member.member_id for member in joined}:
            self._leader_id = joined[0].member_id
        self.generation += 1
        self.state = State.COMPLETING
        self._protocol = self._vote()
        self._phase_deadline_s = now_s + self._patience_s()
        for member in joined:
            member.extend(now_s)
            member.answer_join(self._join_reply(member))

    def _vote(self) -> str:
        """The protocol that most members like best among those that all can do."""
        members = list(self._members.values())
        common = set.intersection(*(set(member.names()) for member in members))
        votes = Counter(next(name for name in member.names() if name in common) for member in members)
        return votes.most_common(1)[0][0]

    def _join_reply(self, member: Member) -> JoinReply:
        is_leader = member.member_id == self._leader_id and self.state is State.COMPLETING
        infos = tuple(other.info(self._protocol) for other in self._members.values()) if is_leader else ()
        return JoinReply(
            ErrorCode.NONE, member.member_id, self.generation, self._protocol, self._leader_id, infos
        )

    def _become_stable(self, now_s: float, assignments: Mapping[str, bytes]) -> None:
        self.state = State.STABLE
        self._phase_deadline_s = inf
        for member in self._members.values():
            member.assignment = assignments.get(member.member_id, b"")
            if member.sync_reply is not None:
                member.extend(now_s)
                member.answer_sync(SyncReply(ErrorCode.NONE, member.assignment))

    def _become_empty(self) -> None:
        self.generation += 1
        self.state = State.EMPTY
        self._leader_id = ""
        self._protocol = ""
        self._phase_deadline_s = inf

    def _remove(self, now_s: float, member_id: str) -> None:
        member = self._members.get(member_id)
        if member is not None:
            self._forget(member)
            self._prepare(now_s)

    def _forget(self, member: Member) -> None:
        del self._members[member.member_id]
        instance_id = member.join.instance_id
        if instance_id is not None and self._instances.get(instance_id) == member.member_id:
            del self._instances[instance_id]
        member.answer_join(JoinReply(ErrorCode.UNKNOWN_MEMBER_ID, member.member_id))
        member.answer_sync(SyncReply(ErrorCode.UNKNOWN_MEMBER_ID))
