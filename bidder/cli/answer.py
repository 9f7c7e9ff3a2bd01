"""`clearbid answer`: bid requests in, one a line; bid responses out, one a line. No broker, no bank.

Whatever a line holds, it gets its line: the BidResponse, or what no bid was made for as
`{"id": ..., "nbr": ..., "reason": ...}`, with the error where it could not be read.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
import typer

from bidder.cli.compiling import compiling_told
from bidder.cli.requests import request_id_of, unmarked
from bidder.cli.sample import (
    AtOption,
    CampaignsOption,
    ModelOption,
    SecretOption,
    SettingsOption,
    engine_of,
    instant_of,
    model_of,
    settings_of,
    shading_of,
    tree_of,
)

if TYPE_CHECKING:
    from bidder.core.call import Answer
    from bidder.core.engine import Engine

CHUNK_BYTES = 1 << 20
MOST_LINE_BYTES = 64 << 20
"""A longer line is not a request: it is passed over, and said to be."""


class NoBid(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands for a response where there is no bid; `reason` is the name of a `Reason`."""

    id: str
    nbr: int
    reason: str = ""
    error: str = ""


class _Noted(msgspec.Struct, frozen=True, gc=False):
    """What is read of a decision row."""

    reason: int
    request_id: str = ""
    error: str = ""


_rows = msgspec.json.Decoder(_Noted)
_encode = msgspec.json.Encoder().encode


def register(app: typer.Typer) -> None:
    """Adds `answer`."""
    app.command("answer")(answer)


def answer(
    campaigns: CampaignsOption = None,
    model: ModelOption = None,
    settings: SettingsOption = None,
    at: AtOption = None,
    secret: SecretOption = "clearbid",  # noqa: S107 - signs answers that nobody pays for
    json_only: Annotated[
        bool, typer.Option("--json-only", help="No summary on standard error at the end.")
    ] = False,
) -> None:
    """Answer bid requests from standard input, one a line, each with one line."""
    from bidder.core.warm import warm_kernels

    now_ns, own = instant_of(at), settings_of(settings)
    tree, known = tree_of(campaigns, None, own.currency), model_of(model)
    with compiling_told(quiet=json_only):
        engine = engine_of(tree, own, known, secret, now_ns, shading=shading_of(None, settings))
        warm_kernels(known)
    counts: Counter[str] = Counter()
    try:
        for lines in line_groups(sys.stdin.buffer):
            sys.stdout.buffer.write(answered(engine, lines, now_ns, counts))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Who read us has enough. What Python would still flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not json_only:
        bids = counts.pop("BID", 0)
        others = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
        typer.echo(
            f"answer: {bids + counts.total():,} lines, {bids:,} with bids; {others or 'no others'}", err=True
        )


def line_groups(stream: BinaryIO) -> Iterator[list[bytes | None]]:
    """Lines of a stream, as many at once as are there; None for one that is too long to be a request.

    A byte order mark before the first is passed over.
    """
    for number, group in enumerate(_groups(stream)):
        if not number and group[0] is not None:
            group[0] = unmarked(group[0])
        yield group


def _groups(stream: BinaryIO) -> Iterator[list[bytes | None]]:
    read = getattr(stream, "read1", stream.read)
    rest: list[bytes] = []
    held = 0
    while chunk := read(CHUNK_BYTES):
        first, *more = chunk.split(b"\n")
        rest.append(first)
        held += len(first)
        if held > MOST_LINE_BYTES:
            rest = []  # its end is still to come; `held` says that it was too long
        if more:
            yield [_whole(rest, held), *more[:-1]]
            rest, held = [more[-1]], len(more[-1])
    if held:
        yield [_whole(rest, held)]


def _whole(parts: list[bytes], held: int) -> bytes | None:
    return None if held > MOST_LINE_BYTES else b"".join(parts)


def answered(engine: "Engine", lines: list[bytes | None], now_ns: int, counts: Counter[str]) -> bytes:
    """A line for each line; `counts` are by reason."""
    bodies = [line or b"" for line in lines]
    out: list[bytes] = []
    for line, one in zip(lines, engine.decide(bodies, [0] * len(bodies), now_ns), strict=True):
        if one.bid:
            counts["BID"] += 1
            out.append(one.response)
        else:
            found = _no_bid(one, line) if line is not None else _too_long()
            counts[found.reason] += 1
            out.append(_encode(found))
    out.append(b"")
    return b"\n".join(out)


def _no_bid(one: "Answer", line: bytes) -> NoBid:
    """The reason that the engine gives an exchange: that of the opportunity that came furthest.

    The engine knows no id of a request that it cannot use; who asked may find his line by it all the same.
    """
    from bidder.openrtb.reasons import Reason, nbr

    rows = [_rows.decode(line) for line in one.decisions.splitlines() if line]
    last = max(rows, key=lambda row: row.reason, default=_Noted(Reason.INVALID))
    reason = Reason(last.reason)
    return NoBid(last.request_id or request_id_of(line), nbr(reason), reason.name, last.error)


def _too_long() -> NoBid:
    from bidder.openrtb.reasons import Reason, nbr

    error = f"a line must be at most {MOST_LINE_BYTES} bytes, was longer"
    return NoBid("", nbr(Reason.MALFORMED), Reason.MALFORMED.name, error)
