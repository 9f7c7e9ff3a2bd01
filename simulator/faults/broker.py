"""The broker: topics of ordered partitions, groups that share them, and sends of which nobody knows what became.

It promises what Kafka does: a partition keeps its order, and what was acknowledged stays. It does not promise that
messages of two partitions are seen in the order of their sending, nor that what failed was not written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from bidder.runtime.partitioner import Partitioner
from bidder.runtime.transport import Message, Outbound
from simulator.faults.dice import Dice
from simulator.faults.plan import Faults
from simulator.faults.scheduler import Scheduler

Place = tuple[str, int]
_MS = 1_000_000
_LEAST_DELAY_NS, _USUAL_DELAY_NS = 1 * _MS, 15 * _MS


class Partition:
    """One log: its messages, and from when each can be read."""

    __slots__ = ("messages", "visible_ns")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.visible_ns: list[int] = []


class Broker:
    """All topics and groups.

    Args:
        scheduler: the time. dice: for delays and failures. faults: how often they come; `is_down`: whether it
            can be reached now. topics: the number of partitions of each.
        counts: of injected faults. heard: is told of each message that is written.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        dice: Dice,
        faults: Faults,
        is_down: Callable[[], bool],
        topics: Mapping[str, int],
        counts: Counter[str],
        heard: Callable[[Message], None],
    ) -> None:
        self._scheduler, self._dice, self.faults, self.is_down = scheduler, dice, faults, is_down
        self._counts, self._heard = counts, heard
        self.logs = {
            (topic, number): Partition() for topic, count in topics.items() for number in range(count)
        }
        self._topics = dict(topics)
        self.groups: dict[str, Group] = {}

    def produce(self, messages: Sequence[Outbound], partitioner: Partitioner) -> bool:
        """Takes messages; whether the sender knows that all of them were written."""
        if not messages:
            return True
        if self.is_down():
            self._counts["send_refused"] += 1
            return False
        dice, faults = self._dice, self.faults
        if dice.chance(faults.ack_lost):
            self._write(messages, partitioner)
            if dice.chance(0.5):
                self._counts["send_repeated"] += 1
                self._write(messages, partitioner)
                return True
            self._counts["ack_lost"] += 1
            return False
        if dice.chance(faults.send_torn):
            self._counts["send_torn"] += 1
            self._write(messages[: dice.between(0, len(messages) - 1)], partitioner)
            return False
        self._write(messages, partitioner)
        return True

    def _write(self, messages: Sequence[Outbound], partitioner: Partitioner) -> None:
        for topic in {message.topic for message in messages if message.key is None}:
            partitioner.end_turn(topic)
        now_ns, dice = self._scheduler.now_ns, self._dice
        delay_ns = dice.between(_LEAST_DELAY_NS, _USUAL_DELAY_NS)
        for message in messages:
            if dice.chance(self.faults.delayed):
                self._counts["message_delayed"] += 1
                delay_ns = dice.between(_LEAST_DELAY_NS, self.faults.longest_delay_ns)
            place = (message.topic, partitioner.choose(message, self._topics[message.topic]))
            log = self.logs[place]
            written = Message(*place, len(log.messages), message.key, message.value, now_ns // _MS)
            log.messages.append(written)
            before_ns = log.visible_ns[-1] if log.visible_ns else 0
            log.visible_ns.append(max(before_ns, now_ns + delay_ns))
            self._scheduler.trace(message.topic.encode(), b"%d" % place[1], message.value)
            self._heard(written)

    def places(self, topics: Iterable[str]) -> list[Place]:
        """All partitions of some topics."""
        return [(topic, number) for topic in topics for number in range(self._topics[topic])]

    def end(self, place: Place) -> int:
        """The offset that the next message of a partition gets."""
        return len(self.logs[place].messages)

    def read(self, place: Place, offset: int, most: int) -> list[Message]:
        """What can be read from an offset on."""
        log, now_ns = self.logs[place], self._scheduler.now_ns
        end = min(offset + most, len(log.messages))
        while end > offset and log.visible_ns[end - 1] > now_ns:
            end -= 1
        return log.messages[offset:end]

    def group(self, name: str, topics: Sequence[str]) -> "Group":
        """A consumer group, empty where it is new."""
        return self.groups.setdefault(name, Group(self.places(topics)))


class Group:
    """Who reads which partitions, and what is committed. Each change makes all begin again at what is committed."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self.members: list[Consumer] = []
        self.committed: dict[Place, int] = dict.fromkeys(places, 0)
        self.rebalances = 0

    def join(self, consumer: "Consumer") -> None:
        """Takes a member in."""
        self.members.append(consumer)
        self.rebalance()

    def leave(self, consumer: "Consumer") -> None:
        """Lets a member go, or throws it out; its own view stays until it asks."""
        if consumer in self.members:
            self.members.remove(consumer)
            self.rebalance()

    def rebalance(self) -> None:
        """Shares the partitions anew."""
        self.rebalances += 1
        for number, member in enumerate(self.members):
            own = self._places[number :: len(self.members)]
            member.positions = {place: self.committed[place] for place in own}
            member.unmark()
            member.generation += 1


class Consumer:
    """A reader of some topics: of all their partitions, or as a member of a group of its share.

    Args:
        broker: to read. topics: which. group: its name, or none.

    Attributes:
        positions: what to read next of the partitions that are its own. generation: grows with each sharing-out.
    """

    def __init__(self, broker: Broker, topics: Sequence[str], group: str | None = None) -> None:
        self._broker = broker
        self._group = broker.group(group, topics) if group is not None else None
        places = broker.places(topics)
        self._ends = {place: broker.end(place) for place in places}
        self._marks: dict[Place, int] | None = None
        self.positions: dict[Place, int] = {}
        self.generation = 0
        if self._group is not None:
            self._group.join(self)
        else:
            self.positions = dict.fromkeys(places, 0)

    @property
    def _thrown_out(self) -> bool:
        return self._group is not None and self not in self._group.members

    def poll(self, most: int) -> list[Message]:
        """What is there now; nothing while the broker is away. Who was thrown out of its group joins again."""
        if self._broker.is_down():
            return []
        if self._group is not None and self._thrown_out:
            self._group.join(self)
        taken: list[Message] = []
        for place, position in self.positions.items():
            if position < self._broker.end(place) and len(taken) < most:
                found = self._broker.read(place, position, most - len(taken))
                taken += found
                self.positions[place] = position + len(found)
        return taken

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Stores what to read next, of the partitions that are its own now."""
        assert self._group is not None, "a reader without a group commits nothing"
        if self._thrown_out or self._broker.is_down():
            return
        for place, offset in offsets.items():
            if place in self.positions:
                self._group.committed[place] = offset

    def caught_up(self) -> bool:
        """Whether all was read that was there when it began."""
        return all(self.positions[place] >= end for place, end in self._ends.items())

    def lag(self) -> int:
        """How many messages are there that it has not read."""
        return sum(self._broker.end(place) - position for place, position in self.positions.items())

    def rewind(self, offsets: Mapping[Place, int]) -> None:
        """See `SharedSource`: goes back to an offset, where it is further."""
        for place, offset in offsets.items():
            self.positions[place] = min(self.positions[place], offset)

    def mark(self) -> None:
        """See `MarkedSource`; the ends become known when the broker next answers."""
        self._marks = None
        if not self._broker.is_down() and not self._thrown_out:
            self._marks = {place: self._broker.end(place) for place in self.positions}

    def unmark(self) -> None:
        """Forgets the mark: the partitions are others now."""
        self._marks = None

    def passed(self) -> bool | None:
        """Whether all was read that was there at the mark; None where there is none and it must be set again."""
        if self._marks is None:
            return None
        return bool(self._marks) and all(self.positions[place] >= end for place, end in self._marks.items())

    def leave(self) -> None:
        """Ends."""
        if self._group is not None:
            self._group.leave(self)
