"""The life of a process: it takes steps, and may end or stand still between any two of them, or inside one.

A process is a generator: what it yields is how long it waits until its next step. What it keeps in memory is gone
when it crashes; its next life begins as its first did.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bidder.errors import DependencyError, SeatTaken
from bidder.runtime.partitioner import Partitioner
from bidder.runtime.transport import Outbound
from simulator.faults.broker import Broker
from simulator.faults.dice import Dice
from simulator.faults.disk import Crash
from simulator.faults.plan import MS, SESSION_NS, S
from simulator.faults.scheduler import Life, Scheduler

Steps = Iterator[int]
_LONGEST_STALL_NS = 4 * S


class Machine:
    """One process, over all its lives.

    Args:
        name: its own. scheduler: the time. broker: what it talks to. dice: of its fate. counts: of faults.
        judged: is told of a rule of the code itself that did not hold; the run ends.

    Attributes:
        skew_ns: how much its clock is ahead; another in each life. life: the present one.
        peers: others that do the same work; while one of them lives it is not started again.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        broker: Broker,
        dice: Dice,
        counts: Counter[str],
        judged: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self.scheduler, self.broker, self.counts = scheduler, broker, counts
        self.skew_ns = 0
        self.life = Life()
        self.life.alive = False
        self.lives = 0
        self.born_ns = 0
        self.peers: Sequence[Machine] = ()
        self.dice, self._judged = dice, judged
        self._partitioner = Partitioner()
        self._steps_left = self._steps_to_stall = 0
        self._frozen_until_ns = 0
        self._cut_send = False

    @property
    def now_ns(self) -> int:
        """The time by its own clock."""
        return self.scheduler.now_ns + self.skew_ns

    def start(self) -> None:
        """Begins a life."""
        if self.life.alive:
            return
        self.life = Life()
        self.lives += 1
        self.born_ns = self.scheduler.now_ns
        faults = self.broker.faults
        self.skew_ns = self.dice.between(-faults.skew_ns, faults.skew_ns) if faults.skew_ns else 0
        self._steps_left = self.dice.about(faults.crash_steps) if faults.crash_steps else -1
        self._steps_to_stall = self.dice.about(faults.stall_steps) if faults.stall_steps else -1
        self._frozen_until_ns = 0
        self._cut_send = False
        self._guarded(self.begin)

    def begin(self) -> None:
        """What a life begins with; of each kind of process its own."""
        raise NotImplementedError

    def ended(self) -> None:
        """What others notice when a life has ended."""

    def thrown_out(self) -> None:
        """What others do when it stood still for too long."""

    def die(self, cause: str) -> None:
        """Ends this life; the next begins a little later."""
        if not self.life.alive:
            return
        self.life.alive = False
        self.counts[cause] += 1
        self.scheduler.trace(self.name.encode(), cause.encode())
        self.ended()
        self.scheduler.after(self.dice.between(50 * MS, 2 * S), self.restart)

    def restart(self) -> None:
        """Begins the next life, unless another does its work."""
        if not any(peer.life.alive for peer in self.peers):
            self.start()

    def calm(self) -> None:
        """Nothing goes wrong from now on."""
        self._steps_left = self._steps_to_stall = -1
        self._cut_send = False

    def run(self, steps: Steps) -> None:
        """Lets a part of this life take its steps."""
        life = self.life

        def go() -> None:
            if self.scheduler.now_ns < self._frozen_until_ns:
                self.scheduler.at(self._frozen_until_ns, go, life)
                return
            wait_ns = self._guarded(lambda: self._step(steps))
            if wait_ns is not None and life.alive:
                self.scheduler.after(wait_ns, go, life)

        self.scheduler.after(0, go, life)

    def send(self, messages: Sequence[Outbound]) -> bool:
        """Publishes; whether all is known to be written. May end the process in the middle."""
        if self._cut_send and messages:
            self._cut_send = False
            self.broker.produce(messages[: self.dice.between(0, len(messages))], self._partitioner)
            raise Crash
        return self.broker.produce(messages, self._partitioner)

    def _step(self, steps: Steps) -> int | None:
        self.fate()
        return next(steps, None)

    def fate(self) -> None:
        """One more step: it may be the last, or the last for a while."""
        if self._steps_to_stall >= 0:
            self._steps_to_stall -= 1
            if self._steps_to_stall < 0:
                self._stall()
        if self._steps_left >= 0:
            self._steps_left -= 1
            if self._steps_left < 0:
                self._end_soon()

    def _stall(self) -> None:
        self.counts["stall"] += 1
        self._steps_to_stall = self.dice.about(self.broker.faults.stall_steps)
        wait_ns = self.dice.between(50 * MS, _LONGEST_STALL_NS)
        self._frozen_until_ns = self.scheduler.now_ns + wait_ns
        if wait_ns > SESSION_NS:
            self.scheduler.after(SESSION_NS, self.thrown_out, self.life)

    def _end_soon(self) -> None:
        """Now, in the middle of the next send, or where a process has others, there."""
        if self.dice.chance(0.3):
            self._cut_send = True
        elif not self.end_inside(self.dice):
            raise Crash

    def end_inside(self, dice: Dice) -> bool:
        """Plans the end inside something that only this kind of process does; whether it does any."""
        del dice
        return False

    def _guarded(self, call: Callable[[], int | None]) -> int | None:
        """Makes a call of the code under test; what ends the process by its own rules ends this life."""
        try:
            return call()
        except Crash:
            self.die(f"crash_{self.kind}")
        except SeatTaken:
            self.die("seat_taken")
        except DependencyError:
            self.die(f"failure_{self.kind}")
        except Exception as error:  # noqa: BLE001 - whatever else the code raises is what is looked for
            self._judged(error)
        return None

    @property
    def kind(self) -> str:
        """What it is, for counts."""
        return self.name.partition("-")[0]
