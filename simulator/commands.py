"""`clearbid replay`: a worker's decisions made again from its journal, and compared byte by byte."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.replay import Replayed


def register(app: typer.Typer) -> None:
    """Adds the commands of the simulator."""
    app.command()(replay)


def replay(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run: journal, key, and model where one served.")
    ],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            help="A model that served, if it is elsewhere; again for each where it was changed.",
            metavar="DIR",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay the journal of a run: exit code 0 only when every output is the same, byte for byte.

    An entry that a crash cut off at the journal's end is left out, and said to be.
    """
    import msgspec

    from bidder.errors import InputError
    from bidder.store.seat import JOURNAL, KEY, read_key
    from simulator.replay import replay_journal

    missing = [name for name in (JOURNAL, KEY) if not (run / name).exists()]
    if missing:
        raise InputError(
            f"{run} must be the folder of a run, with {JOURNAL} and {KEY}, has no {' and no '.join(missing)}"
        )
    served = run / "model"
    key = read_key(run)
    found = replay_journal(run / JOURNAL, model or ([served] if served.exists() else []), key)
    if json:
        summary = {**found._asdict(), "identical": found.identical, "rows_per_second": _rate(found)}
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        for line in _lines(found):
            sys.stdout.write(line + "\n")
    raise typer.Exit(0 if found.identical else 1)


def _rate(found: "Replayed") -> float:
    return found.requests / found.seconds if found.seconds else 0.0


def _lines(found: "Replayed") -> list[str]:
    lines = [
        f"{found.requests:,} requests in {found.calls:,} calls made again, {_rate(found):,.0f} a second",
        f"identical calls: {found.same:,} of {found.calls:,}",
    ]
    if found.difference is not None:
        where = found.difference
        lines.append(
            f"first difference: call {where.call:,} at {where.now_ns}, which began with {where.first_request}"
        )
    if found.broken_off:
        lines.append(f"it could not go on to the end of the journal: {found.broken_off}")
    if found.truncated:
        lines.append(
            "the journal ends inside an entry, as a crash leaves it: what is whole before it was compared"
        )
    for name, (then, now) in found.other_versions.items():
        lines.append(f"{name} was {then} and is {now}: bytes are promised for the same versions only")
    return lines
