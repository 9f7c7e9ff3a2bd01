"""What the command line asks of a what-if, read and checked."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.history.file import History
from simulator.reading import why
from simulator.whatif.change import Change

Floats = NDArray[np.float64]
_SCORES = pa.schema({"id": pa.string(), "click_probability": pa.float64()})


def scores_of(path: Path | None, history: Path, campaign: str) -> Floats | None:
    """Another model's click probabilities, float64[n], NaN where it has none; None without a file.

    Args:
        path: of a Parquet file with columns `id` (of the history's rows) and `click_probability`. history, campaign:
            whose rows.

    Raises:
        InputError: the file cannot be read, lacks a column, or holds what is no probability.
    """
    if path is None:
        return None
    table = _scored(path)
    chance = table.column("click_probability").to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(np.isfinite(chance) & ((chance < 0) | (chance > 1)))
    if len(wrong):
        raise InputError(
            f"click_probability of --scores {path} must be from 0 to 1, was {chance[wrong[0]]} in row {wrong[0]}"
        )
    known = dict(zip(table.column("id").to_pylist(), chance.tolist(), strict=True))
    return np.array([known.get(each, np.nan) for each in ids_of(history, campaign)], dtype=np.float64)


def _scored(path: Path) -> pa.Table:
    """The two columns of a file of scores, in their types."""
    what = f"--scores {path} must be a Parquet file with columns id (text) and click_probability (number)"
    try:
        names = pq.read_schema(path).names
        missing = [name for name in _SCORES.names if name not in names]
        if missing:
            raise InputError(
                f"{what}, has no {' and no '.join(missing)}; it has {', '.join(names[:12]) or 'none'}"
            )
        return pq.read_table(path, columns=_SCORES.names).cast(_SCORES)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{what}: {why(error)}") from None


def ids_of(history: Path, campaign: str) -> list[str]:
    """Ids of a campaign's rows, in the order of `load_auctions`."""
    found: list[str] = []
    for table in History(history).tables(["id", "campaign"]):
        own = table.filter(pc.fill_null(pc.equal(table.column("campaign"), campaign), False))
        found += own.column("id").to_pylist()
    return found


def splittable(change: Change) -> None:
    """Checks that a change is one of policy alone: an experiment splits users and budget, nothing else.

    Raises:
        InputError: it changes more than shade, step or highest bid.
    """
    policy = change._replace(max_bid_nanos=None, shade=None, eta=None, only=None, click=None)
    if change.only is not None or change.click is not None or policy != Change():
        raise InputError("--split compares policies: it takes --shade, --eta and --max-bid alone")
    if change.is_none:
        raise InputError("--split must compare two policies: give --shade, --eta or --max-bid")
