"""Log rows as a training table, written through the bidder's own columns code.

Each row goes the way that it would go live: as an OpenRTB request, decoded, stripped of what privacy forbids,
turned into raw features by `bidder.core.hindsight`, as in an export of a run. So a model is served what it learned
from.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from bidder.core.campaigns import Campaign
from bidder.core.hindsight import Glimpse, Hindsight
from bidder.core.settings import EngineSettings
from simulator.export.columns import FEATURES, LABELS, TableFile, feature_values
from simulator.logs.requests import IMP_ID, RequestEncoder
from simulator.logs.rows import LogRow

SCHEMA = pa.schema([*FEATURES, *LABELS])
"""Columns of a table from a log."""


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

    Raises:
        InputError: the file cannot be written.
    """
    hindsight = Hindsight(settings)
    with TableFile(path, SCHEMA) as table:
        for row in rows:
            campaign = campaigns.get(row.campaign) if row.campaign is not None else None
            if campaign is None or row.clicked is None:
                continue
            click, conversion = int(row.clicked), None if row.converted is None else int(row.converted)
            glimpse = _glimpse(row, encoder, hindsight)
            table.add((*feature_values(glimpse, campaign), row.at_ns, click, conversion))
    return table.rows


def _glimpse(row: LogRow, encoder: RequestEncoder, hindsight: Hindsight) -> Glimpse:
    sight = hindsight.look(encoder.encode(row), row.at_ns)
    glimpse = sight.glimpse(IMP_ID) if sight is not None else None
    assert glimpse is not None, f"row {row.id} of the log would be refused"
    return glimpse
