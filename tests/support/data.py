"""What tests of logs and exchange share: recorded data where it is there, one plain row, one plain answer."""

import json
import os
from pathlib import Path

import pytest

from simulator.logs.rows import LogRow

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = [ROOT.parent / "shared" / "data"]


def recorded(name: str) -> Path:
    """Path of a recorded data file, or a skip that says where it was looked for.

    Recorded data has no licence to be shipped. `CLEARBID_DATA` names its folder; else `../shared/data` beside the
    repository is tried.
    """
    named = os.environ.get("CLEARBID_DATA")
    for folder in [Path(named)] if named else _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"needs recorded data {name}: set CLEARBID_DATA to the folder that holds it")


PLAIN_ROW = LogRow(
    id="row-1",
    at_ns=1_772_409_600_000_000_000,
    exchange="adx-one",
    user_id="u1",
    ip="198.18.0.1",
    ua="Mozilla/5.0 (Windows NT 10.0) Chrome/126.0.0.0 Safari/537.36",
    os="windows",
    browser="chrome",
    region="CA",
    city="CA-1",
    domain="news.example",
    page="https://news.example/p1",
    tag_id="top",
    w=300,
    h=250,
    position=1,
    floor_cpm_micros=500_000,
    segments=("autos", "travel"),
    market_cpm_micros=1_200_000,
    campaign=None,
    clicked=None,
    converted=None,
    value_nanos=0,
    pctr=None,
)


def row(**changes: object) -> LogRow:
    """The plain row with some fields changed."""
    return PLAIN_ROW._replace(**changes)  # type: ignore[arg-type]  # a test names fields with their own types


ADM = (
    '<a href="https://t.example/c?t=1&amp;l=2"><img src="https://cdn.example/a.png" width="300" height="250"></a>'
    '<img src="https://t.example/i?t=1" width="1" height="1">'
)


def bid(**changes: object) -> dict[str, object]:
    """A bid that keeps every rule for the plain row, with some fields changed; `...` removes one."""
    fields: dict[str, object] = {
        "id": "bid-1",
        "impid": "1",
        "price": 2.5,
        "nurl": "https://t.example/win?t=1&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}",
        "burl": "https://t.example/bill?t=1&p=${AUCTION_PRICE}",
        "lurl": "https://t.example/loss?t=1&l=${AUCTION_LOSS}",
        "adm": ADM,
        "adomain": ["shop.example"],
        "cid": "c1",
        "crid": "cr1",
        "w": 300,
        "h": 250,
        "ext": {"clearbid": {"cv": "https://t.example/v?t=1"}},
    }
    fields |= changes
    return {name: value for name, value in fields.items() if value is not ...}


def answer(*bids: dict[str, object], request_id: str = "row-1", **changes: object) -> bytes:
    """A BidResponse to the plain row with these bids of one seat."""
    seats = [{"seat": "s1", "bid": list(bids)}] if bids else []
    fields: dict[str, object] = {"id": request_id, "bidid": "resp-1", "cur": "USD", "seatbid": seats}
    return json.dumps(fields | changes).encode()
