"""How many messages a poll takes from each partition, so that none of them starves."""

from collections.abc import Sequence


def fair_shares(waiting: Sequence[int], room: int) -> list[int]:
    """Splits `room` over queues with `waiting` messages each: the same for all, as far as each has them.

    Nothing is left over while a queue still has messages. What does not divide evenly goes, one message each, to
    the earlier queues that have more; the caller turns the order from poll to poll.
    """
    level = _level(sorted(waiting), room)
    shares = [min(there, level) for there in waiting]
    rest = room - sum(shares)
    for i, there in enumerate(waiting):
        if rest > 0 and there > level:
            shares[i] += 1
            rest -= 1
    return shares


def _level(ascending: Sequence[int], room: int) -> int:
    """The most that each queue may give so that all together give no more than `room`."""
    for i, there in enumerate(ascending):
        level = room // (len(ascending) - i)
        if there > level:
            return level
        room -= there
    return ascending[-1] if ascending else 0
