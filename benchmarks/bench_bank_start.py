"""What a start costs the bank: seconds, and bytes that it keeps, by how much there is in its books.

    python -m benchmarks.bench_bank_start                     # a million bookings of 30 days, on SQLite
    python -m benchmarks.bench_bank_start --bookings 300000 --days 7 --json start.json

The books hold an even stream of bids of 200 campaigns of 50 advertisers: each was billed and its impression noticed,
one in a hundred was clicked, four in five have a user, who has three bids in the mean. The bank is opened in a
process of its own, which says how long that took (CPU time of the process, and the wall) and by how much it grew:
what it keeps, and what it took at most on the way. Each round is another process; the median counts.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import Booking
from bidder.core.messages import NoticeKind
from bidder.core.users import key_text
from bidder.runtime.bank import BankService
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, campaign

ADVERTISERS, CAMPAIGNS = 50, 200
KINDS_A_BID = 2
BIDS_A_USER = 3
CLICKED, KNOWN = 0.01, 0.8
DAY_NS = 24 * HOUR_NS
NOW_NS = 20_780 * DAY_NS
ROUNDS = 3
FIGURES = ("cpu_s", "wall_s", "kept_mb", "most_mb", "bids", "touches")


def bookings(count: int, days: int) -> Iterator[Booking]:
    """So many rows in the order of time; the last bid was made ten seconds ago."""
    draw = random.Random(7)
    bids = count // KINDS_A_BID
    users = max(1, int(bids * KNOWN) // BIDS_A_USER)
    rules = BankRules()
    for number in range(bids):
        made_ns = NOW_NS - 10 * S - (bids - number) * (days * DAY_NS // bids)
        user = key_text(draw.getrandbits(20) * users >> 20 | 1 << 63) if draw.random() < KNOWN else ""
        kinds = [NoticeKind.BILLING, NoticeKind.IMPRESSION]
        if draw.random() < CLICKED:
            kinds.append(NoticeKind.CLICK)
        shop, bid_id = number % CAMPAIGNS, f"{draw.getrandbits(64):016x}"
        for kind in kinds:
            paid = 2_000_000 if kind is NoticeKind.BILLING else 0
            yield Booking(
                bid_id=bid_id,
                kind=int(kind),
                event_id="",
                campaign_id=f"c-{shop}",
                seat=f"seat-{number % 4}",
                epoch=1,
                price_nanos=paid,
                amount_nanos=paid,
                value_nanos=0,
                at_ns=made_ns + S,
                booked_ns=made_ns + 2 * S,
                late=False,
                unbilled=False,
                keep_until_ns=made_ns + rules.longest_reservation_ns + rules.keep_ns,
                line_item_id=f"c-{shop}",
                creative_id="b1",
                bid_at_ns=made_ns,
                impressions=1_000_000,
                accounts="",
                exchange="alpha",
                advertiser_id=f"shop-{shop % ADVERTISERS}",
                fees_nanos=0,
                user_key=user,
            )


def fill(place: Path, count: int, days: int) -> None:
    """Books of so many days."""
    with Database(place, durable=False) as database:
        budget = {"budget_nanos": 10**9 * S, "end_ns": 2 * NOW_NS}
        CampaignStore(database).put_all(
            [campaign(f"c-{n}", advertiser=f"shop-{n % ADVERTISERS}", **budget) for n in range(CAMPAIGNS)],
            [],
            at_ns=0,
        )
        marks = ", ".join("?" * len(Booking._fields))
        statement = f"INSERT INTO bookings ({', '.join(Booking._fields)}) VALUES ({marks})"
        spent: dict[str, int] = {}
        with database.transaction() as session:
            rows = []
            for row in bookings(count, days):
                rows.append(row)
                spent[row.campaign_id] = spent.get(row.campaign_id, 0) + row.amount_nanos
                if len(rows) == 50_000:
                    session.executemany(statement, rows)
                    rows = []
            session.executemany(statement, rows)
            for campaign_id, nanos in spent.items():
                session.execute(
                    """INSERT INTO tallies (campaign_id, line_item_id, spend_nanos, late_nanos, wins, impressions,
                           clicks, conversions, value_nanos, late_wins, unbilled)
                       VALUES (?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0)""",
                    (campaign_id, campaign_id, nanos),
                )
                session.execute(
                    """INSERT INTO accounts (account_id, unit, limit_units, begin_ns, end_ns, booked, late, uncovered,
                           keep_until_ns) VALUES (?, 0, ?, 0, ?, ?, 0, 0, ?)""",
                    (campaign_id, 10**9 * S, 2 * NOW_NS, nanos, 9 * 10**18),
                )


def opened(place: Path) -> dict[str, float]:
    """Opens the bank in this process, and says what that took."""
    with Database(place, durable=False) as database:
        CampaignStore(database).all()
        before = _resident_mb()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        service = BankService.open(database, BankRules(), NOW_NS)
        figures = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - began_s}
        bids, touches = service.bank.remembered()
        figures |= {
            "kept_mb": _resident_mb() - before,
            "most_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
            "bids": bids,
            "touches": touches,
        }
    return figures


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(count: int, days: int) -> dict[str, float]:
    """Medians over processes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "bank.db"
        fill(place, count, days)
        rounds = []
        for _ in range(ROUNDS):
            command = [sys.executable, "-m", "benchmarks.bench_bank_start", "--open", str(place)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rounds.append(json.loads(said))
    return {name: median(each[name] for each in rounds) for name in FIGURES}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bookings", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.open is not None:
        print(json.dumps(opened(asked.open)))
        return
    figures = measure(asked.bookings, asked.days)
    millions = asked.bookings / 1e6
    print(f"{asked.bookings:,} bookings of {asked.days} days")
    print(f"a start: {figures['wall_s']:.2f} s, {figures['cpu_s']:.2f} s of a core")
    print(f"         {figures['kept_mb']:.0f} MB kept, {figures['most_mb']:.0f} MB at most on the way")
    print(
        f"a million bookings: {figures['wall_s'] / millions:.2f} s, {figures['kept_mb'] / millions:.0f} MB kept"
    )
    print(f"it remembers {figures['bids']:,.0f} bids and {figures['touches']:,.0f} touches")
    if asked.json is not None:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
