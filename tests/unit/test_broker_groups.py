"""The state machine of a consumer group, on a clock that tests turn."""

from itertools import count
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulator.broker.codes import ErrorCode
from simulator.broker.coordinator import Committed, Coordinator
from simulator.broker.groups import Group, State
from simulator.broker.members import JoinReply, JoinRequest, SyncReply

SESSION_S = 10.0
REBALANCE_S = 60.0


class Board:
    """A group, and the last answer to each question that was asked of it."""

    def __init__(self) -> None:
        numbers = count(1)
        self.group = Group(lambda: str(next(numbers)))
        self.joins: dict[str, JoinReply] = {}
        self.syncs: dict[str, SyncReply] = {}

    def join(
        self,
        name: str,
        now_s: float = 0,
        *,
        member_id: str = "",
        instance_id: str | None = None,
        protocols: tuple[tuple[str, bytes], ...] = (("range", b"topics"),),
        protocol_type: str = "consumer",
        id_required: bool = False,
    ) -> JoinReply | None:
        self.joins.pop(name, None)
        request = JoinRequest(
            member_id, instance_id, name, SESSION_S, REBALANCE_S, protocol_type, protocols, id_required
        )
        self.group.join(now_s, request, lambda reply: self.joins.update({name: reply}))
        return self.joins.get(name)

    def sync(self, name: str, now_s: float = 0, shares: dict[str, bytes] | None = None) -> SyncReply | None:
        """Syncs with what the last join said; the leader gives each member a share named by its id."""
        joined = self.joins[name]
        self.syncs.pop(name, None)
        if shares is None:
            shares = {member.member_id: member.member_id.encode() for member in joined.members}
        self.group.sync(
            now_s, joined.member_id, joined.generation, shares, lambda reply: self.syncs.update({name: reply})
        )
        return self.syncs.get(name)

    def beat(self, name: str, now_s: float) -> ErrorCode:
        joined = self.joins[name]
        return self.group.heartbeat(now_s, joined.member_id, joined.generation)

    def id_of(self, name: str) -> str:
        return self.joins[name].member_id


def of_one() -> Board:
    board = Board()
    board.join("a")
    board.sync("a")
    return board


def of_two() -> Board:
    """A stable group of a, which leads, and b."""
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    board.sync("b")
    board.sync("a")
    assert board.group.state is State.STABLE
    return board


def test_the_first_member_leads_and_is_told_of_itself() -> None:
    board = Board()
    reply = board.join("a")
    assert reply is not None
    assert (reply.error, reply.generation, reply.protocol) == (ErrorCode.NONE, 1, "range")
    assert reply.leader_id == reply.member_id
    assert [(member.member_id, member.metadata) for member in reply.members] == [(reply.member_id, b"topics")]


def test_a_newer_client_is_told_its_id_first() -> None:
    board = Board()
    told = board.join("a", id_required=True)
    assert told is not None
    assert told.error is ErrorCode.MEMBER_ID_REQUIRED
    assert not board.group.members
    reply = board.join("a", member_id=told.member_id, id_required=True)
    assert reply is not None
    assert (reply.error, reply.member_id) == (ErrorCode.NONE, told.member_id)


def test_who_does_not_come_back_with_its_id_is_forgotten() -> None:
    board = of_one()
    told = board.join("b", id_required=True)
    assert told is not None
    board.beat("a", 5)
    board.group.expire(SESSION_S)
    again = board.join("b", SESSION_S, member_id=told.member_id)
    assert again is not None
    assert again.error is ErrorCode.UNKNOWN_MEMBER_ID


def test_the_others_wait_for_a_newcomer_that_was_told_its_id() -> None:
    board = of_one()
    first_id = board.id_of("a")
    told = board.join("b", id_required=True)
    assert told is not None
    assert board.join("a", member_id=first_id) is None
    board.join("b", member_id=told.member_id)
    assert set(board.group.members) == {board.id_of("a"), board.id_of("b")}
    assert board.joins["a"].generation == board.joins["b"].generation == 2


def test_the_others_do_not_wait_longer_than_a_session_for_such_a_newcomer() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b", id_required=True)
    assert board.join("a", 1, member_id=first_id) is None
    board.group.expire(SESSION_S)
    assert board.joins["a"].generation == 2


def test_a_stable_group_waits_for_nothing_but_heartbeats() -> None:
    board = of_one()
    for now_s in range(0, 100, 5):
        board.beat("a", now_s)
    assert board.group.next_deadline_s() == 95 + SESSION_S


def test_a_newcomer_waits_until_the_others_have_joined_again() -> None:
    board = of_one()
    first_id = board.id_of("a")
    assert board.join("b") is None
    assert board.beat("a", 1) is ErrorCode.REBALANCE_IN_PROGRESS
    leader = board.join("a", 1, member_id=first_id)
    assert leader is not None
    assert [member.member_id for member in leader.members] == [board.id_of("a"), board.id_of("b")]
    assert board.joins["b"].members == ()
    assert board.joins["b"].leader_id == leader.member_id
    assert (leader.generation, board.joins["b"].generation) == (2, 2)


def test_a_follower_waits_for_the_shares_of_the_leader() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    assert board.sync("b") is None
    assert board.sync("a") == (ErrorCode.NONE, first_id.encode())
    assert board.syncs["b"] == (ErrorCode.NONE, board.id_of("b").encode())


def test_a_follower_that_syncs_late_still_gets_its_share() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    board.sync("a")
    assert board.sync("b") == (ErrorCode.NONE, board.id_of("b").encode())


def test_a_member_that_the_leader_forgot_has_nothing() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    board.sync("a", shares={first_id: b"all"})
    assert board.sync("b") == (ErrorCode.NONE, b"")


def test_a_join_during_the_syncs_sends_those_who_wait_back() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    assert board.sync("b") is None
    board.join("c")
    assert board.syncs["b"].error is ErrorCode.REBALANCE_IN_PROGRESS


def test_when_a_member_leaves_the_others_join_again() -> None:
    board = of_two()
    assert board.group.leave(1, board.id_of("b")) is ErrorCode.NONE
    assert board.beat("a", 1) is ErrorCode.REBALANCE_IN_PROGRESS
    reply = board.join("a", 1, member_id=board.id_of("a"))
    assert reply is not None
    assert [member.member_id for member in reply.members] == [reply.member_id]


def test_when_the_leader_leaves_another_leads() -> None:
    board = of_two()
    board.group.leave(1, board.id_of("a"))
    reply = board.join("b", 1, member_id=board.id_of("b"))
    assert reply is not None
    assert reply.leader_id == reply.member_id


def test_when_the_last_member_leaves_the_group_is_empty() -> None:
    board = of_one()
    board.group.leave(1, board.id_of("a"))
    assert (board.group.state, board.group.next_deadline_s()) == (State.EMPTY, inf)


def test_a_silent_member_is_forgotten_when_its_session_ends() -> None:
    board = of_two()
    board.beat("a", 9)
    board.group.expire(SESSION_S - 0.1)
    assert len(board.group.members) == 2
    board.group.expire(SESSION_S)
    assert list(board.group.members) == [board.id_of("a")]
    assert board.beat("b", SESSION_S) is ErrorCode.UNKNOWN_MEMBER_ID
    assert board.beat("a", SESSION_S) is ErrorCode.REBALANCE_IN_PROGRESS


def test_the_deadline_is_that_of_whoever_is_silent_longest() -> None:
    board = of_two()
    board.beat("a", 4)
    assert board.group.next_deadline_s() == SESSION_S
    board.beat("b", 6)
    assert board.group.next_deadline_s() == 4 + SESSION_S


def test_who_waits_for_others_to_join_is_not_silent() -> None:
    board = of_one()
    board.join("b")
    for now_s in (9, 18, 27):
        assert board.beat("a", now_s) is ErrorCode.REBALANCE_IN_PROGRESS
        board.group.expire(now_s)
    assert len(board.group.members) == 2


def test_who_does_not_join_again_in_time_is_left_behind() -> None:
    board = of_one()
    board.join("b")
    for now_s in range(0, 60, 5):
        board.beat("a", now_s)
    board.group.expire(REBALANCE_S)
    assert list(board.group.members) == [board.id_of("b")]
    assert board.joins["b"].leader_id == board.id_of("b")


def test_a_leader_that_never_syncs_is_left_behind() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    board.join("a", member_id=first_id)
    assert board.sync("b") is None
    for now_s in range(0, 60, 5):
        board.beat("a", now_s)
    board.group.expire(REBALANCE_S)
    assert list(board.group.members) == [board.id_of("b")]
    assert board.syncs["b"].error is ErrorCode.REBALANCE_IN_PROGRESS


def test_a_follower_that_joins_again_unchanged_disturbs_nobody() -> None:
    board = of_two()
    reply = board.join("b", 1, member_id=board.id_of("b"))
    assert reply is not None
    assert (reply.error, reply.generation) == (ErrorCode.NONE, 2)
    assert board.group.state is State.STABLE


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_member_that_changed_its_topics_begins_a_rebalance(name: str) -> None:
    board = of_two()
    assert board.join(name, 1, member_id=board.id_of(name), protocols=(("range", b"more"),)) is None
    assert board.group.state is State.PREPARING


def test_the_leader_begins_a_rebalance_by_joining_again() -> None:
    board = of_two()
    assert board.join("a", 1, member_id=board.id_of("a")) is None


def test_a_protocol_that_all_can_do_is_chosen_by_vote() -> None:
    board = Board()
    both = (("sticky", b""), ("range", b""))
    board.join("a", protocols=both)
    first_id = board.id_of("a")
    board.join("b", protocols=(("range", b""),))
    board.join("c", protocols=both)
    reply = board.join("a", member_id=first_id, protocols=both)
    assert reply is not None
    assert reply.protocol == "range"


@pytest.mark.parametrize(
    ("protocol_type", "protocols"),
    [
        ("consumer", (("roundrobin", b""),)),
        ("connect", (("range", b""),)),
        ("", (("range", b""),)),
        ("consumer", ()),
    ],
)
def test_who_does_not_fit_the_others_is_refused(
    protocol_type: str, protocols: tuple[tuple[str, bytes], ...]
) -> None:
    reply = of_one().join("b", protocol_type=protocol_type, protocols=protocols)
    assert reply is not None
    assert reply.error is ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_a_generation_that_is_past_is_refused() -> None:
    board = of_two()
    assert board.group.heartbeat(1, board.id_of("a"), 1) is ErrorCode.ILLEGAL_GENERATION
    assert board.group.may_commit(1, board.id_of("a"), 1) is ErrorCode.ILLEGAL_GENERATION


def test_a_member_may_commit_while_others_join_but_not_while_shares_are_made() -> None:
    board = of_one()
    first_id = board.id_of("a")
    board.join("b")
    assert board.group.may_commit(1, first_id, 1) is ErrorCode.NONE
    board.join("a", member_id=first_id)
    assert board.group.may_commit(1, first_id, 2) is ErrorCode.REBALANCE_IN_PROGRESS


def test_who_is_no_member_may_commit_only_to_a_group_without_members() -> None:
    board = of_one()
    assert board.group.may_commit(1, "", -1) is ErrorCode.UNKNOWN_MEMBER_ID
    board.group.leave(1, board.id_of("a"))
    assert board.group.may_commit(1, "", -1) is ErrorCode.NONE


# --- static members ---------------------------------------------------------------------------------------------


def static_two() -> Board:
    board = Board()
    board.join("a", instance_id="one")
    first_id = board.id_of("a")
    board.join("b", instance_id="two")
    board.join("a", member_id=first_id, instance_id="one")
    board.sync("a")
    board.sync("b")
    return board


@pytest.mark.parametrize(("name", "instance_id"), [("a", "one"), ("b", "two")])
def test_a_static_member_comes_back_to_its_share(name: str, instance_id: str) -> None:
    board = static_two()
    old_id = board.id_of(name)
    reply = board.join(name, 1, instance_id=instance_id)
    assert reply is not None
    assert (reply.error, reply.generation, reply.members) == (ErrorCode.NONE, 2, ())
    assert reply.member_id not in {old_id, reply.leader_id}
    assert board.sync(name, 1) == (ErrorCode.NONE, old_id.encode())
    assert board.group.state is State.STABLE


def test_who_uses_the_old_id_of_a_static_member_is_fenced() -> None:
    board = static_two()
    old_id = board.id_of("b")
    board.join("b", 1, instance_id="two")
    assert board.group.heartbeat(1, old_id, 2, "two") is ErrorCode.FENCED_INSTANCE_ID
    assert board.group.leave(1, old_id, "two") is ErrorCode.FENCED_INSTANCE_ID


def test_a_static_member_that_changed_its_topics_begins_a_rebalance() -> None:
    board = static_two()
    assert board.join("b", 1, instance_id="two", protocols=(("range", b"more"),)) is None
    assert board.group.state is State.PREPARING


def test_a_static_member_keeps_its_place_until_its_session_ends() -> None:
    board = static_two()
    board.join("c", 1)
    board.group.heartbeat(55, board.id_of("b"), 2)
    board.join("a", 55, member_id=board.id_of("a"), instance_id="one")
    board.group.expire(1 + REBALANCE_S)
    assert board.joins["c"].error is ErrorCode.NONE
    assert board.id_of("b") in board.group.members


def test_a_static_member_may_be_removed_by_its_instance() -> None:
    board = static_two()
    assert board.group.leave(1, "", "two") is ErrorCode.NONE
    assert board.group.leave(1, "", "two") is ErrorCode.UNKNOWN_MEMBER_ID


# --- the coordinator --------------------------------------------------------------------------------------------


def coordinator_join(
    coordinator: Coordinator, group_id: str, session_timeout_s: float, member_id: str = ""
) -> JoinReply:
    replies: list[JoinReply] = []
    request = JoinRequest(member_id, None, "a", session_timeout_s, 60, "consumer", (("range", b""),), False)
    coordinator.join(0, group_id, request, replies.append)
    (reply,) = replies
    return reply


@pytest.mark.parametrize(
    ("group_id", "session_timeout_s", "member_id", "error"),
    [
        ("", 10, "", ErrorCode.INVALID_GROUP_ID),
        ("g", 5.9, "", ErrorCode.INVALID_SESSION_TIMEOUT),
        ("g", 1801, "", ErrorCode.INVALID_SESSION_TIMEOUT),
        ("g", 10, "somebody", ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_a_join_that_cannot_be_is_refused(
    group_id: str, session_timeout_s: float, member_id: str, error: ErrorCode
) -> None:
    assert coordinator_join(Coordinator(), group_id, session_timeout_s, member_id).error is error


def test_the_coordinator_expires_members_of_all_groups() -> None:
    coordinator = Coordinator()
    for group_id, session_timeout_s in [("g", 10.0), ("h", 20.0)]:
        coordinator_join(coordinator, group_id, session_timeout_s)
    assert coordinator.next_deadline_s() == 10
    coordinator.expire(10)
    found = [coordinator.find("g"), coordinator.find("h")]
    assert [len(group.members) for group in found if group is not None] == [0, 1]
    assert coordinator.next_deadline_s() == 20


def test_the_offsets_of_a_deleted_topic_go_with_it() -> None:
    coordinator = Coordinator()
    for topic in ("gone", "stays"):
        assert coordinator.commit("g", topic, 0, Committed(5, -1, "")) is ErrorCode.NONE
    coordinator.forget_topic("gone")
    assert coordinator.all_committed("g") == {"stays": [0]}
    assert coordinator.committed("g", "gone", 0) is None


def test_metadata_of_an_offset_is_bounded() -> None:
    committed = Committed(5, -1, "ü" * 2049)
    assert Coordinator().commit("g", "t", 0, committed) is ErrorCode.OFFSET_METADATA_TOO_LARGE


# --- any order of events ----------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Members come, go, fall silent and come back in any order; nobody is ever left without an answer."""

    names = st.sampled_from(["a", "b", "c", "d"])

    def __init__(self) -> None:
        super().__init__()
        self.board = Board()
        self.now_s = 0.0
        self.ids: dict[str, str] = {}

    def _waits(self, name: str) -> bool:
        member = self.board.group.members.get(self.ids.get(name, ""))
        return member is not None and member.is_waiting

    @rule(name=names, id_required=st.booleans())
    def join(self, name: str, id_required: bool) -> None:
        # One connection asks one question at a time.
        if self._waits(name):
            return
        known = self.ids.get(name, "")
        if known and known not in self.board.group.members and known not in self.board.group._pending:
            known = ""
        reply = self.board.join(name, self.now_s, member_id=known, id_required=id_required)
        before = set(self.ids.values())
        if reply is not None:
            self.ids[name] = reply.member_id
        else:
            self.ids[name] = known or next(each for each in self.board.group.members if each not in before)

    @rule(name=names)
    def sync(self, name: str) -> None:
        if not self._waits(name) and name in self.board.joins:
            self.board.sync(name, self.now_s)

    @rule(name=names)
    def beat(self, name: str) -> None:
        if name in self.board.joins:
            self.board.beat(name, self.now_s)

    @rule(name=names)
    def leave(self, name: str) -> None:
        if name in self.ids:
            self.board.group.leave(self.now_s, self.ids[name])

    @rule(seconds=st.floats(0.1, 70))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.board.group.expire(self.now_s)

    @precondition(lambda self: self.board.group.members)
    @rule()
    def all_go_silent(self) -> None:
        for _ in range(10):
            due_s = self.board.group.next_deadline_s()
            if due_s == inf:
                break
            self.now_s = max(self.now_s, due_s)
            self.board.group.expire(self.now_s)
        assert self.board.group.state is State.EMPTY

    @invariant()
    def nobody_waits_in_a_stable_or_empty_group(self) -> None:
        group = self.board.group
        if group.state is State.STABLE or group.state is State.EMPTY:
            assert not any(member.is_waiting for member in group.members.values())

    @invariant()
    def who_waits_has_a_deadline_to_wait_for(self) -> None:
        group = self.board.group
        assert bool(group.members or group._pending) == (group.next_deadline_s() < inf)

    @invariant()
    def an_empty_group_has_no_members_and_others_have_a_leader(self) -> None:
        group = self.board.group
        if group.state is State.EMPTY:
            assert not group.members
        if group.state in {State.COMPLETING, State.STABLE}:
            assert group._leader_id in group.members

    @invariant()
    def nothing_that_was_due_is_left(self) -> None:
        self.board.group.expire(self.now_s)
        assert self.board.group.next_deadline_s() > self.now_s


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40)
