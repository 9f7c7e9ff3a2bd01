"""The requests of group members: FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup and offsets."""

import asyncio
from math import inf

from simulator.broker.codes import ApiKey, ErrorCode
from simulator.broker.coordinator import Committed, Coordinator
from simulator.broker.groups import Group
from simulator.broker.members import JoinReply, JoinRequest, SyncReply
from simulator.broker.requests import Api, Request
from simulator.broker.topics import TopicStore
from simulator.broker.wire import Reader, Writer

_MS_A_SECOND = 1000
_NO_OFFSET = Committed(-1, -1, "")


class GroupApi:
    """Answers the requests of group members.

    Args:
        coordinator: the groups.
        topics: to know which partitions there are.
    """

    def __init__(self, coordinator: Coordinator, topics: TopicStore) -> None:
        self._coordinator = coordinator
        self._topics = topics
        self._timer: asyncio.TimerHandle | None = None

    def apis(self) -> list[Api]:
        """What it answers."""
        return [
            Api(ApiKey.OFFSET_COMMIT, 2, 7, self._offset_commit),
            Api(ApiKey.OFFSET_FETCH, 1, 5, self._offset_fetch),
            Api(ApiKey.JOIN_GROUP, 0, 5, self._join),
            Api(ApiKey.HEARTBEAT, 0, 3, self._heartbeat),
            Api(ApiKey.LEAVE_GROUP, 0, 3, self._leave),
            Api(ApiKey.SYNC_GROUP, 0, 3, self._sync),
        ]

    def stop(self) -> None:
        """Stops the timer of sessions."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def arm(self) -> None:
        """Sets the timer for the next thing that falls due. One that fires too early finds nothing to do."""
        due_s = self._coordinator.next_deadline_s()
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
            self._timer = None
        if due_s != inf:
            self._timer = asyncio.get_running_loop().call_at(due_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._coordinator.expire(_now_s())
        self.arm()

    def _join(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group_id = reader.string()
        session_timeout_ms = reader.int32()
        rebalance_timeout_ms = reader.int32() if version >= 1 else session_timeout_ms
        join = JoinRequest(
            member_id=reader.string(),
            instance_id=reader.nullable_string() if version >= 5 else None,
            client_id=request.client_id,
            session_timeout_s=session_timeout_ms / _MS_A_SECOND,
            rebalance_timeout_s=rebalance_timeout_ms / _MS_A_SECOND,
            protocol_type=reader.string(),
            protocols=tuple((reader.string(), reader.bytes_()) for _ in reader.array()),
            id_required=version >= 4,
        )
        self._coordinator.join(_now_s(), group_id, join, lambda reply: _answer_join(request, reply))
        self.arm()

    def _sync(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group_id, generation, member_id = reader.string(), reader.int32(), reader.string()
        instance_id = reader.nullable_string() if version >= 3 else None
        assignments = {reader.string(): reader.bytes_() for _ in reader.array()}
        group = self._coordinator.find(group_id)
        if group is None:
            _answer_sync(request, SyncReply(ErrorCode.UNKNOWN_MEMBER_ID))
            return
        group.sync(
            _now_s(),
            member_id,
            generation,
            assignments,
            lambda reply: _answer_sync(request, reply),
            instance_id,
        )
        self.arm()

    def _heartbeat(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group_id, generation, member_id = reader.string(), reader.int32(), reader.string()
        instance_id = reader.nullable_string() if version >= 3 else None
        group = self._coordinator.find(group_id)
        error = ErrorCode.UNKNOWN_MEMBER_ID
        if group is not None:
            error = group.heartbeat(_now_s(), member_id, generation, instance_id)
        body = _throttle(version, since=1)
        body.int16(error)
        request.answer(body)
        self.arm()

    def _leave(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group = self._coordinator.find(reader.string())
        body = _throttle(version, since=1)
        if version >= 3:
            leavers = [(reader.string(), reader.nullable_string()) for _ in reader.array()]
            body.int16(ErrorCode.NONE)
            body.int32(len(leavers))
            for member_id, instance_id in leavers:
                body.string(member_id)
                body.string(instance_id)
                body.int16(_leave(group, member_id, instance_id))
        else:
            body.int16(_leave(group, reader.string(), None))
        request.answer(body)
        self.arm()

    def _offset_commit(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group_id, generation, member_id = reader.string(), reader.int32(), reader.string()
        instance_id = reader.nullable_string() if version >= 7 else None
        if version <= 4:
            reader.int64()  # How long to keep the offsets; they are kept until the end.
        topics = [
            (reader.string(), [_read_committed(reader, version) for _ in reader.array()])
            for _ in reader.array()
        ]
        refused = self._coordinator.may_commit(_now_s(), group_id, member_id, generation, instance_id)
        body = _throttle(version, since=3)
        body.int32(len(topics))
        for topic, rows in topics:
            body.string(topic)
            body.int32(len(rows))
            for index, committed in rows:
                error = refused
                if not error and self._topics.partition(topic, index) is None:
                    error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                body.int32(index)
                body.int16(error or self._coordinator.commit(group_id, topic, index, committed))
        request.answer(body)
        self.arm()

    def _offset_fetch(self, request: Request) -> None:
        reader, version = request.reader, request.version
        group_id = reader.string()
        topic_count = reader.nullable_array() if version >= 2 else reader.array()
        if topic_count is None:
            wanted = list(self._coordinator.all_committed(group_id).items())
        else:
            wanted = [(reader.string(), [reader.int32() for _ in reader.array()]) for _ in topic_count]
        body = _throttle(version, since=3)
        body.int32(len(wanted))
        for topic, indexes in wanted:
            body.string(topic)
            body.int32(len(indexes))
            for index in indexes:
                committed = self._coordinator.committed(group_id, topic, index) or _NO_OFFSET
                body.int32(index)
                body.int64(committed.offset)
                if version >= 5:
                    body.int32(committed.leader_epoch)
                body.string(committed.metadata)
                body.int16(ErrorCode.NONE)
        if version >= 2:
            body.int16(ErrorCode.NONE)
        request.answer(body)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _throttle(version: int, since: int) -> Writer:
    """The body of a response, begun: from version `since` on with the time to hold back, which is always 0."""
    body = Writer()
    if version >= since:
        body.int32(0)
    return body


def _leave(group: Group | None, member_id: str, instance_id: str | None) -> ErrorCode:
    return ErrorCode.UNKNOWN_MEMBER_ID if group is None else group.leave(_now_s(), member_id, instance_id)


def _read_committed(reader: Reader, version: int) -> tuple[int, Committed]:
    index, offset = reader.int32(), reader.int64()
    leader_epoch = reader.int32() if version >= 6 else -1
    return index, Committed(offset, leader_epoch, reader.nullable_string())


def _answer_join(request: Request, reply: JoinReply) -> None:
    body = _throttle(request.version, since=2)
    body.int16(reply.error)
    body.int32(reply.generation)
    body.string(reply.protocol)
    body.string(reply.leader_id)
    body.string(reply.member_id)
    body.int32(len(reply.members))
    for member in reply.members:
        body.string(member.member_id)
        if request.version >= 5:
            body.string(member.instance_id)
        body.bytes_(member.metadata)
    request.answer(body)


def _answer_sync(request: Request, reply: SyncReply) -> None:
    body = _throttle(request.version, since=1)
    body.int16(reply.error)
    body.bytes_(reply.assignment)
    request.answer(body)
