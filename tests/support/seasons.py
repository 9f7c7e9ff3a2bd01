"""Season logs in iPinYou's published format, made from a seed: what was bid, and what the truth of it is."""

import bz2
from pathlib import Path
from typing import NamedTuple

import numpy as np


class SeasonBid(NamedTuple):
    """One bid and its truth; prices in fen CPM, `market` is the highest rival's, times are texts of the log."""

    id: str
    stamp: str
    advertiser: str
    bid: int
    floor: int
    market: int
    click: bool
    conversion: bool

    @property
    def paid(self) -> int:
        return max(self.market, self.floor)

    @property
    def won(self) -> bool:
        return self.bid > self.market and self.bid >= self.floor


def season(seed: int, bids: int, advertisers: tuple[str, ...] = ("1458", "3386")) -> list[SeasonBid]:
    """Bids of one day, shuffled as the published files are."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(bids):
        second = int(rng.integers(86_400))
        stamp = (
            f"20130606{second // 3600:02}{second // 60 % 60:02}{second % 60:02}{int(rng.integers(1000)):03}"
        )
        click = bool(rng.random() < 0.1)
        made.append(
            SeasonBid(
                f"{number:032x}", stamp, advertisers[number % len(advertisers)], int(rng.integers(227, 301)),
                int(rng.integers(0, 50)), int(rng.lognormal(5.0, 0.7)), click, click and bool(rng.random() < 0.5),
            )
        )  # fmt: skip
    return made


def middle(bid: SeasonBid) -> list[str]:
    place = int(bid.id, 16)
    return [
        f"user{place % 7}", "Mozilla/5.0 (Windows NT 6.1) Chrome/27.0", "1.2.3.*", "216", "217", str(place % 3 + 1),
        "abc", "def", "null", f"slot{place % 4}", "300", "250", "FirstView", "Na", str(bid.floor), "cr1",
        str(bid.bid),
    ]  # fmt: skip


def bid_line(bid: SeasonBid, first_season: bool = False) -> str:
    tail = [] if first_season else [bid.advertiser, "10063,10006" if int(bid.id, 16) % 2 else "null"]
    return "\t".join([bid.id, bid.stamp, *middle(bid), *tail])


def seen_line(bid: SeasonBid, kind: int, later_ms: int, first_season: bool = False) -> str:
    tail = [] if first_season else [bid.advertiser, "null"]
    stamp = str(int(bid.stamp) + later_ms)
    return "\t".join([bid.id, stamp, str(kind), *middle(bid), str(bid.paid), "page", *tail])


def write_season(
    folder: Path, bids: list[SeasonBid], *, packed: bool = False, first_season: bool = False
) -> None:
    """The four logs of a day; bids are cut into two files, and packed as they are published if asked."""
    folder.mkdir(exist_ok=True)
    half = len(bids) // 2
    won = [bid for bid in bids if bid.won]
    files = {
        "bid.20130606a.txt": [bid_line(bid, first_season) for bid in bids[:half]],
        "bid.20130606b.txt": [bid_line(bid, first_season) for bid in bids[half:]],
        "imp.20130606.txt": [seen_line(bid, 1, 1, first_season) for bid in won],
        "clk.20130606.txt": [seen_line(bid, 2, 2, first_season) for bid in won if bid.click],
        "conv.20130606.txt": [seen_line(bid, 3, 3, first_season) for bid in won if bid.conversion],
    }
    for name, lines in files.items():
        text = "".join(line + "\n" for line in lines).encode()
        if packed:
            (folder / f"{name}.bz2").write_bytes(bz2.compress(text))
        else:
            (folder / name).write_bytes(text)
