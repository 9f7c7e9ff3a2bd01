"""Calls of trackers' URLs, which go wrong on their way: never made, made late, lost, not answered, made again."""

import html
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from bidder.core.messages import NoticeKind
from bidder.web.calls import Answer
from simulator.faults.broker import Broker
from simulator.faults.dice import Dice
from simulator.faults.oracle import Bid, Oracle
from simulator.faults.plan import MS, S, Scenario
from simulator.faults.scheduler import Scheduler
from simulator.faults.trackers import TrackerProcess


class World(NamedTuple):
    """What those who call trackers live in.

    `plan` is what is played, `scheduler` the time, `broker` has the faults, `key` signs tokens and pixels, `trackers`
    are called, `oracle` judges, `counts` are of faults.
    """

    plan: Scenario
    scheduler: Scheduler
    broker: Broker
    key: bytes
    trackers: Sequence[TrackerProcess]
    oracle: Oracle
    counts: Counter[str]


class Call(msgspec.Struct, gc=False):
    """One call of a URL, about a bid where it is of one; `repeats` another that was answered."""

    kind: NoticeKind
    url: str
    bid: Bid | None
    repeats: bool = False

    @property
    def insists(self) -> bool:
        """Whether it is made until it is answered."""
        return True

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "GET"


AnyCall = TypeVar("AnyCall", bound=Call)


class Caller(Generic[AnyCall]):
    """Makes calls of one kind.

    Args:
        world: see there. dice: of the faults. name: how counts of faults begin. late_ns: mean of what a call that is
            made out of its order is late by.
        taking: a tracker is called, with the time of its clock. heard: what became of an attempt: None for an answer
            where there was none, the status that came, 0 where none did, and when it was handled. on_answer: a call
            is answered for good, and will not be made again unless by `repeat`.

    Attributes:
        pending: calls that were not answered for good.
    """

    def __init__(
        self,
        world: World,
        dice: Dice,
        name: str,
        late_ns: float,
        *,
        taking: Callable[[AnyCall, int], None],
        heard: Callable[[AnyCall, Answer | None, int, int], None],
        on_answer: Callable[[AnyCall, Answer | None], None],
    ) -> None:
        self._world, self._dice, self._name, self._late_ns = world, dice, name, late_ns
        self._taking, self._heard, self._on_answer = taking, heard, on_answer
        self.pending = 0

    def plan(self, at_ns: int, call: AnyCall) -> None:
        """A call that is to be made then, and may never be, or later."""
        faults, drawn = self._world.broker.faults, self._dice
        if drawn.chance(faults.never_called):
            self._count("never_called")
            return
        if drawn.chance(faults.reordered):
            self._count("reordered")
            at_ns += drawn.about(self._late_ns)
        self.begin(at_ns, call)

    def begin(self, at_ns: int, call: AnyCall) -> None:
        """A call that is made then."""
        self.pending += 1
        self._world.scheduler.at(at_ns, lambda: self._attempt(call))

    def repeat(self, call: AnyCall, plan: Callable[[int, AnyCall], None]) -> None:
        """Now and then makes a call again that was answered, but for one that is a repeat; by `plan` or `begin`."""
        if not call.repeats and self._dice.chance(self._world.broker.faults.repeated):
            self._count("repeated")
            again = msgspec.structs.replace(call, repeats=True)
            plan(self._world.scheduler.now_ns + self._dice.about(2 * S), again)

    def on_disk(self, written: bytes) -> bool:
        """Whether a tracker's disk holds it."""
        return any(tracker.disk.holds(written) for tracker in self._world.trackers)

    def _attempt(self, call: AnyCall) -> None:
        if self._dice.chance(self._world.broker.faults.call_lost):
            self._count("lost")
            self._failed(call)
            return
        trackers = self._world.trackers
        tracker = trackers[self._dice.bits() % len(trackers)]
        self._taking(call, tracker.now_ns)
        tracker.call(
            call.url,
            lambda answer, status, at_ns: self._answered(call, answer, status, at_ns),
            method=call.method,
        )

    def _failed(self, call: AnyCall) -> None:
        if call.insists:
            wait_ns = self._dice.between(100 * MS, 1_500 * MS)
            self._world.scheduler.after(wait_ns, lambda: self._attempt(call))
        else:
            self.pending -= 1

    def _answered(self, call: AnyCall, answer: Answer | None, status: int, handled_ns: int) -> None:
        self._heard(call, answer, status, handled_ns)
        if status in {0, 503}:
            self._count("unanswered")
            self._failed(call)
            return
        self.pending -= 1
        self._on_answer(call, answer)

    def _count(self, what: str) -> None:
        self._world.counts[f"{self._name}_{what}"] += 1


def url_in(markup: str, path: str) -> str:
    """The address in a markup that has this path; empty where it has none."""
    place = markup.find(path)
    if place < 0:
        return ""
    begin = max(markup.rfind(mark, 0, place) for mark in "\"'") + 1
    end = min(found for mark in "\"'" if (found := markup.find(mark, place)) >= 0)
    return html.unescape(markup[begin:end])
