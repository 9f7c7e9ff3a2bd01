"""Log rows as a training table, written through the bidder's own columns code.

Each row goes the way that it would go live: as an OpenRTB request, decoded, stripped of what privacy forbids,
turned into raw features by `bidder.core.opportunity`. So a model is served what it learned from.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bidder.core.campaigns import Campaign
from bidder.core.gate import Gate
from bidder.core.opportunity import RAW_FEATURES, hour_of_week, raw_features
from bidder.core.scoring import campaign_features
from bidder.core.settings import EngineSettings
from bidder.core.specs import first_size
from bidder.money import cpm_micros_from_float
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from simulator.logs.requests import RequestEncoder
from simulator.logs.rows import LogRow

NUMERIC = ("floor_cpm", "segment_count")
SCHEMA = pa.schema(
    [(name, pa.float64() if name in NUMERIC else pa.string()) for name in RAW_FEATURES]
    + [
        ("segments", pa.list_(pa.string())),
        ("campaign", pa.string()),
        ("advertiser", pa.string()),
        ("at_ns", pa.int64()),
        ("click", pa.int64()),
        ("conversion", pa.int64()),
    ]
)
"""Columns of a training table; `conversion` is null where it is not known."""
_CHUNK = 20_000


def write_training_table(
    rows: Iterable[LogRow],
    campaigns: Mapping[str, Campaign],
    encoder: RequestEncoder,
    settings: EngineSettings,
    path: Path,
) -> int:
    """Writes the rows that a known campaign won, and says how many those were.

    Args:
        rows: of a log, in order of time.
        campaigns: by id; a row of another campaign teaches nothing about these and is left out.
        encoder: makes the requests.
        settings: of the engine that will serve.
        path: of the Parquet file.
    """
    written = 0
    gate = Gate(settings)
    chunk: list[dict[str, object]] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for row in rows:
            campaign = campaigns.get(row.campaign) if row.campaign is not None else None
            if campaign is None or row.clicked is None:
                continue
            chunk.append(_example(row, campaign, encoder, gate))
            written += 1
            if len(chunk) >= _CHUNK:
                writer.write_table(pa.Table.from_pylist(chunk, SCHEMA))
                chunk.clear()
        writer.write_table(pa.Table.from_pylist(chunk, SCHEMA))
    return written


def _example(row: LogRow, campaign: Campaign, encoder: RequestEncoder, gate: Gate) -> dict[str, object]:
    request = decode(encoder.encode(row)).request
    imp = request.imp[0]
    visitor = gate.admit(request, gate.exchange(row.exchange), 0, row.at_ns, test=True)
    assert not isinstance(visitor, Reason), f"row {row.id} of the log would be refused by {visitor}"
    size, position = first_size(imp)
    floor = cpm_micros_from_float(imp.bidfloor)
    values = raw_features(visitor.audience, imp.tagid, size, position, floor, hour_of_week(row.at_ns))
    return {
        **dict(zip(RAW_FEATURES, values, strict=True)),
        **campaign_features(campaign),
        "segments": list(visitor.audience.segments),
        "at_ns": row.at_ns,
        "click": int(bool(row.clicked)),
        "conversion": None if row.converted is None else int(row.converted),
    }
