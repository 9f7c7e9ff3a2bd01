"""What a history holds, counted while it is written or read."""

from collections import Counter

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulator.history.checking import numbers
from simulator.history.schema import PriceKind


class CampaignTally(msgspec.Struct):
    """One campaign of a history; money in nanos.

    conversion_value_nanos: worth of the conversions that followed, which is no value where the goal is a click.
    """

    rows: int = 0
    won: int = 0
    lost: int = 0
    spend_nanos: int = 0
    clicks: int = 0
    conversions: int = 0
    conversion_value_nanos: int = 0


class HistoryTally(msgspec.Struct):
    """All of it.

    Attributes:
        rows: opportunities. unbid: those without a bid of the buyer. open: bids whose result is not known.
        first_ns, last_ns: times of the first and the last offer, 0 where there is none.
        users: rows with the key of a user. kinds: rows by what is known of the price to beat.
    """

    rows: int = 0
    unbid: int = 0
    open: int = 0
    first_ns: int = 0
    last_ns: int = 0
    users: int = 0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    campaigns: dict[str, CampaignTally] = msgspec.field(default_factory=dict)

    @property
    def won(self) -> int:
        """Bids that won."""
        return sum(one.won for one in self.campaigns.values())

    @property
    def bids(self) -> int:
        """Rows with a bid."""
        return self.rows - self.unbid

    @property
    def won_share(self) -> float:
        """Of the bids whose result is known."""
        known = sum(one.won + one.lost for one in self.campaigns.values())
        return self.won / known if known else 0.0

    def add(self, table: pa.Table) -> None:
        """Counts a piece of the history, which must come in order."""
        if not table.num_rows:
            return
        at_ns = numbers(table, "offered_ns", 0)
        self.first_ns = self.first_ns if self.rows else int(at_ns[0])
        self.last_ns = int(at_ns[-1])
        self.rows += table.num_rows
        self.unbid += table.column("campaign").null_count
        self.users += table.num_rows - table.column("user").null_count
        kinds, counts = np.unique(numbers(table, "price_kind", PriceKind.UNKNOWN), return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            self.kinds[PriceKind(kind).name.lower()] += count
        self._add_campaigns(table)

    def _add_campaigns(self, table: pa.Table) -> None:
        named = table.filter(pc.is_valid(table.column("campaign")))
        flags = ("won", "clicked", "converted")
        counted = pa.table(
            {
                "campaign": named.column("campaign"),
                **{name: pc.cast(pc.fill_null(named.column(name), False), pa.int64()) for name in flags},
                "lost": pc.cast(pc.fill_null(pc.invert(named.column("won")), False), pa.int64()),
                "paid_nanos": named.column("paid_nanos"),
                "value_nanos": named.column("value_nanos"),
            }
        )
        names = counted.column_names[1:]
        sums = counted.group_by("campaign", use_threads=False).aggregate(
            [("campaign", "count"), *((name, "sum") for name in names)]
        )
        for row in sums.to_pylist():
            one = self.campaigns.setdefault(row["campaign"], CampaignTally())
            one.rows += row["campaign_count"]
            one.won += row["won_sum"]
            one.lost += row["lost_sum"]
            one.clicks += row["clicked_sum"]
            one.conversions += row["converted_sum"]
            one.spend_nanos += row["paid_nanos_sum"]
            one.conversion_value_nanos += row["value_nanos_sum"]
            self.open += row["campaign_count"] - row["won_sum"] - row["lost_sum"]
