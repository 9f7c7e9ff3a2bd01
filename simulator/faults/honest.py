"""The simplest honest seat: by account what it was granted, posted and holds; it takes leases and reports."""

from bidder.core.bank import Bank
from bidder.core.bankrules import HOUR_NS
from bidder.core.messages import SliceReport, SliceRow


class Slice:
    """What a seat knows of one account."""

    def __init__(self) -> None:
        self.granted = self.posted = self.reserved = 0
        self.until_ns = 0

    @property
    def free(self) -> int:
        """What it may still bid of it."""
        return self.granted - self.posted - self.reserved


class HonestSeat:
    """One seat of a bank, in its first epoch.

    Args:
        bank: whom it reports to. now_ns: when it starts.

    Attributes:
        slices: what it knows, by account.
    """

    def __init__(self, bank: Bank, now_ns: int) -> None:
        self._bank, self._seq = bank, 0
        self.slices: dict[str, Slice] = {}
        bank.apply([SliceReport(seat="s", epoch=0, seq=0, start_id="a", at_ns=now_ns, rows=())], now_ns)

    def slice(self, account_id: str) -> Slice:
        """Of an account; with nothing in it where none was granted yet."""
        return self.slices.setdefault(account_id, Slice())

    def end_round(self) -> None:
        """All reservations are over."""
        for each in self.slices.values():
            each.reserved = 0

    def report(self, now_ns: int) -> None:
        """Says what it holds where its lease has not ended long ago, and takes what it is leased."""
        self._seq += 1
        rows = tuple(
            SliceRow(
                account_id=name,
                granted_nanos=each.granted,
                reserved_nanos=each.reserved,
                posted_nanos=each.posted,
            )
            for name, each in self.slices.items()
            if each.until_ns > now_ns - HOUR_NS
        )
        report = SliceReport(seat="s", epoch=1, seq=self._seq, start_id="a", at_ns=now_ns, rows=rows)
        self._bank.apply([report], now_ns)
        for lease in self._bank.tick(now_ns).leases:
            taken = self.slice(lease.account_id)
            taken.granted, taken.until_ns = lease.granted_nanos, lease.bid_until_ns
