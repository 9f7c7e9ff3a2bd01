"""Puts tables of a history in the order of time, however many there are: sorted runs on disk, merged by columns.

Rows never become Python objects. At a time there is one run of `RUN_ROWS` in memory, or a few thousand rows of
each run while they are merged.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

RUN_ROWS = 262_144
MERGE_ROWS = 8_192
"""Rows of each run that are held while runs are merged."""
KEY = "offered_ns"


def in_order(tables: Iterable[pa.Table], run_rows: int = RUN_ROWS) -> Iterator[pa.Table]:
    """The rows of all tables sorted by `offered_ns`; rows of one time stay in their order.

    Args:
        tables: of one schema. run_rows: rows to sort in memory.
    """
    with tempfile.TemporaryDirectory(prefix="clearbid-history-") as folder:
        runs: list[Iterator[pa.Table]] = []
        held: list[pa.Table] = []
        for table in tables:
            held.append(table)
            if sum(part.num_rows for part in held) >= run_rows:
                runs.append(_spilled(_sorted(held), Path(folder) / f"{len(runs)}.arrow"))
                held = []
        if held and not runs:
            yield _sorted(held)
            return
        if held:
            runs.append(_spilled(_sorted(held), Path(folder) / f"{len(runs)}.arrow"))
        yield from _merged(runs)


def _sorted(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    # A sort by time alone need not keep rows of one time in their order.
    place = pa.array(range(table.num_rows), pa.int64())
    order = pc.sort_indices(
        pa.table({"at": table.column(KEY), "place": place}),
        sort_keys=[("at", "ascending"), ("place", "ascending")],
    )
    return table.take(order)


def _spilled(table: pa.Table, path: Path) -> Iterator[pa.Table]:
    """Writes a run now and reads it back when it is asked for."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=MERGE_ROWS)
    return _read_back(path)


def _read_back(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _merged(runs: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Takes from the front of every run what is before the earliest end of a front."""
    fronts: dict[int, pa.Table] = {}
    for number, run in enumerate(runs):
        table = next(run, None)
        if table is not None:
            fronts[number] = table
    while fronts:
        until_ns, first = min((table.column(KEY)[-1].as_py(), number) for number, table in fronts.items())
        taken = []
        for number in sorted(fronts):
            # Of a run behind the first, rows of the very time at which it ends must wait for the rest of the first.
            cut = _rows_until(fronts[number], until_ns, inclusive=number <= first)
            taken.append(fronts[number].slice(0, cut))
            rest: pa.Table | None = fronts[number].slice(cut)
            if rest is not None and not rest.num_rows:
                rest = next(runs[number], None)
            if rest is None:
                del fronts[number]
            else:
                fronts[number] = rest
        yield _sorted(taken)


def _rows_until(table: pa.Table, until_ns: int, *, inclusive: bool) -> int:
    at_ns = table.column(KEY).to_numpy()
    return int(at_ns.searchsorted(until_ns, side="right" if inclusive else "left"))
