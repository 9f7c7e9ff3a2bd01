"""The shards that one process holds: a bank for each, of the advertisers of one partition of `notices`.

Banks share work through the consumer group of `notices`: a partition is a shard. Whoever is given one claims it in
the books, which makes everyone before unable to write of it, and rebuilds its bank from the rows of its
advertisers: what a start does after a crash. So nothing is handed from bank to bank, and nothing can be lost or
doubled on the way. Leases go on as they were granted, and for one lease after the takeover nothing comes back.

A bank that was stopped, or cut off, while its shard went to another finds out when it writes: that shard it
drops, with all that was not written, and goes on with its others.

Each shard reads all of `slices`, up to a place of its own, since a seat holds leases of every shard. So that a
start of a seat has one epoch in all of them, the books number starts.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from bidder.core.bank import CampaignReport
from bidder.core.bankrules import BankRules
from bidder.core.guard import Guard
from bidder.core.messages import NOTICES, SLICES
from bidder.core.shards import Shard
from bidder.errors import DependencyError
from bidder.runtime.bank import BankService, Stated
from bidder.runtime.transport import Message, Outbound, Share, SharedSource
from bidder.store.books import BooksTaken
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database

_log = logging.getLogger(__name__)


class ShardedBank:
    """Bank services by the number of their shard; none before the first `assign`.

    Args:
        database: where the books are.
        rules: of all shards.
        of: how many shards there are: partitions of `notices`.
    """

    def __init__(self, database: Database, rules: BankRules, of: int) -> None:
        self.services: dict[int, BankService] = {}
        self._database = database
        self._rules = rules
        self._of = of
        self._guard = Guard(rules.brakes)
        self._lost: dict[int, BooksTaken] = {}

    def assign(self, partitions: frozenset[int], now_ns: int) -> list[Outbound]:
        """See `Banking`; of a shard that stays here nothing is read again, unless another bank had it meanwhile.

        Raises:
            DependencyError: there are more partitions than there were at the start, or the database fails.
        """
        if partitions and max(partitions) >= self._of:
            raise DependencyError(
                f"topic {NOTICES} must have the {self._of} partitions that it had when this bank began, has "
                f"{max(partitions) + 1} or more: start all banks again"
            )
        self._lost.clear()
        for number in [number for number in self.services if number not in partitions]:
            with suppress(BooksTaken):
                self.services.pop(number).close()
        for number in [number for number, service in self.services.items() if not service.owned()]:
            del self.services[number]
        self._guard.keep(self.services)
        missing = sorted(partitions - self.services.keys())
        if not missing:
            return []
        stated = Stated.read(CampaignStore(self._database))
        for number in missing:
            self.services[number] = BankService.open(
                self._database, self._rules, now_ns, Shard(number, self._of), stated, self._guard
            )
        return self._each(lambda service: service.restate(now_ns), missing)

    def holds(self, partition: int) -> bool:
        """See `Banking`."""
        return partition in self.services

    def adrift(self) -> BooksTaken | None:
        """See `Banking`."""
        return next(iter(self._lost.values()), None)

    def resume(self) -> dict[tuple[str, int], int]:
        """See `Banking`."""
        read = [service.resume() for service in self.services.values()]
        places = {place for each in read for place in each}
        return {place: min(each.get(place, 0) for each in read) for place in places}

    def restate(self, now_ns: int) -> list[Outbound]:
        """See `BankService`."""
        return self._each(lambda service: service.restate(now_ns))

    def on_messages(self, messages: Sequence[Message], now_ns: int) -> list[Outbound]:
        """Books what is of shards that are held; the rest is left to who holds them, and is not committed."""
        to_all = [message for message in messages if message.topic == SLICES]
        to: dict[int, list[Message]] = {}
        for message in messages:
            if message.topic != SLICES:
                to.setdefault(message.partition, []).append(message)
        concerned = self.services if to_all else to
        return self._each(
            lambda service: service.on_messages([*to.get(service.shard.number, ()), *to_all], now_ns),
            list(concerned),
        )

    def on_tick(self, now_ns: int, seen_until_ns: int | None = None) -> list[Outbound]:
        """See `BankService`."""
        return self._each(lambda service: service.on_tick(now_ns, seen_until_ns))

    def published(self) -> None:
        """See `BankService`."""
        for service in self.services.values():
            service.published()

    def close(self) -> None:
        """See `BankService`."""
        for service in self.services.values():
            with suppress(BooksTaken):
                service.close()

    def report(self) -> list[CampaignReport]:
        """The books of the shards that are held, by campaign."""
        reports = [report for service in self.services.values() for report in service.report()]
        return sorted(reports, key=lambda report: report.id)

    def verify(self) -> None:
        """Raises `InvariantError` where the bookings do not add up to the accounts."""
        for service in self.services.values():
            service.verify()

    def _each(
        self, call: Callable[[BankService], list[Outbound]], numbers: Sequence[int] | None = None
    ) -> list[Outbound]:
        """What a call of each of some shards that are held tells; one that another bank has taken is dropped."""
        out: list[Outbound] = []
        for number in list(self.services) if numbers is None else numbers:
            service = self.services.get(number)
            if service is None:
                continue
            try:
                out += call(service)
            except BooksTaken as error:
                _log.warning("%s", error)
                del self.services[number]
                self._guard.keep(self.services)
                self._lost[number] = error
        return out


class BankSource:
    """What a sharded bank reads: `notices` as their group shares them out, and `slices` whole.

    Args:
        notices: of the group.
        slices: of none; of everything that every shard reads.
    """

    def __init__(self, notices: SharedSource, slices: SharedSource) -> None:
        self._notices = notices
        self._slices = slices

    async def start(self) -> None:
        """See `Source`."""
        await self._slices.start()
        await self._notices.start()

    async def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """See `Source`; waits for notices alone, since reports count with the next tick only."""
        notices = await self._notices.poll(max_messages, timeout_s)
        return notices + await self._slices.poll(max_messages, 0)

    async def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """See `Source`; up to where `slices` were read stands in the books alone."""
        await self._notices.commit({place: n for place, n in next_offsets.items() if place[0] != SLICES})

    def mark(self) -> None:
        """See `MarkedSource`; of notices alone: a report that was not read yet spends nothing and frees nothing."""
        self._notices.mark()

    async def passed(self) -> bool:
        """See `MarkedSource`."""
        return await self._notices.passed()

    def share(self) -> Share:
        """See `SharedSource`."""
        return self._notices.share()

    def rewind(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """See `SharedSource`."""
        self._slices.rewind(next_offsets)

    async def stop(self) -> None:
        """See `Source`."""
        await self._notices.stop()
        await self._slices.stop()
