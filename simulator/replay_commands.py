"""`clearbid replay` and `clearbid parity`: what happened, made again.

Of a run's folder a worker's decisions are made again from its journal, and every byte compared; `parity` goes on to
name the first field that differs from what was said live. Of a history other campaigns are played on virtual time.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from simulator.replay import Replayed

ModelOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A model that served, if it is elsewhere; again for each where it was changed.", metavar="DIR"
    ),
]
LandscapeOption = Annotated[
    list[Path] | None,
    typer.Option(help="A landscape that priced, if it is elsewhere; again for each.", metavar="FILE"),
]
_HISTORY = "Of a history"
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def replay(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|HISTORY",
            help="Folder of a run: journal, key, and model where one served; or a history, with --campaigns.",
        ),
    ],
    model: ModelOption = None,
    landscape: LandscapeOption = None,
    campaigns: Annotated[
        Path | None,
        typer.Option(metavar="SHEET", help="Campaigns to play on a history.", rich_help_panel=_HISTORY),
    ] = None,
    price_rule: Annotated[
        str,
        typer.Option(
            help="How exchanges sell: log, first or second.", metavar="RULE", rich_help_panel=_HISTORY
        ),
    ] = "log",
    soft_floor: Annotated[
        str, typer.Option(help="A bid below it pays itself.", metavar="CPM", rich_help_panel=_HISTORY)
    ] = "0",
    notice_delay: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Of results, bills as late again; else as in the log.",
            metavar="SECONDS",
            rich_help_panel=_HISTORY,
        ),
    ] = None,
    notice_loss: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of wins unheard of.", metavar="SHARE", rich_help_panel=_HISTORY
        ),
    ] = 0.0,
    policy: Annotated[
        str,
        typer.Option(
            help="Whose bids: engine, or logged, as they were.", metavar="WHO", rich_help_panel=_HISTORY
        ),
    ] = "engine",
    seed: Annotated[
        int, typer.Option(min=0, help="Of everything that is drawn.", metavar="N", rich_help_panel=_HISTORY)
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Processes that share the advertisers.", metavar="N", rich_help_panel=_HISTORY
        ),
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Replay the journal of a run, byte for byte; or play campaigns on a history.

    Of a run: exit code 0 only when every output is the same; an entry that a crash cut off at the journal's end is
    left out, and said to be. Of a history: what each line item would have bought, through the same engine.
    """
    from bidder.errors import InputError

    if log.is_dir() and campaigns is not None:
        raise InputError(
            f"--campaigns must be given with a history, was with the folder {log}: a run's own decisions are made "
            "again without it; to play other campaigns on a run, make its history first: "
            f"clearbid history {log} --out FILE"
        )
    if not log.exists():
        raise InputError(f"{log} must be the folder of a run or a history, is not there")
    if campaigns is None and not log.is_file():
        _replayed(log, model, landscape, json=json)
    from simulator.playback.commands import play

    play(
        log, campaigns, price_rule=price_rule, soft_floor=soft_floor, notice_delay=notice_delay,
        notice_loss=notice_loss, policy=policy, seed=seed, workers=workers, json=json,
    )  # fmt: skip


def parity(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a run: journal, key, decision log, and model if one served."
        ),
    ],
    model: ModelOption = None,
    landscape: LandscapeOption = None,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The decision log, if it is elsewhere.")
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Responses as they were sent, one a line, if they were kept."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Replay the journal of a run, and name the first field that is not what was said live.

    Exit code 0 only when every output is the same, byte for byte.
    """
    from simulator.export.run import DECISION_LOG
    from simulator.parity import LiveLog

    _replayed(run, model, landscape, json=json, live=LiveLog(decisions or run / DECISION_LOG, responses))


def _replayed(
    run: Path, model: list[Path] | None, landscape: list[Path] | None, *, json: bool, live: Any = None
) -> NoReturn:
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
    models = model or ([served] if served.exists() else [])
    found = replay_journal(run / JOURNAL, models, key, live, landscape or ())
    if json:
        summary = {**found._asdict(), "identical": found.identical, "rows_per_second": _rate(found)}
        if live is not None:
            field = found.difference.field if found.difference is not None else None
            summary["field"] = field._asdict() if field is not None else None
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        for line in _lines(found, named=live is not None):
            sys.stdout.write(line + "\n")
    raise typer.Exit(0 if found.identical else 1)


def _rate(found: "Replayed") -> float:
    return found.requests / found.seconds if found.seconds else 0.0


def _lines(found: "Replayed", *, named: bool) -> list[str]:
    lines = [
        f"{found.requests:,} requests in {found.calls:,} calls made again, {_rate(found):,.0f} a second",
        f"identical calls: {found.same:,} of {found.calls:,}",
    ]
    if found.difference is not None:
        where = found.difference
        lines.append(
            f"first difference: call {where.call:,} at {where.now_ns}, which began with {where.first_request}"
        )
        if named:
            lines.append(_field(found))
    if found.broken_off:
        lines.append(f"it could not go on to the end of the journal: {found.broken_off}")
    if found.truncated:
        lines.append(
            "the journal ends inside an entry, as a crash leaves it: what is whole before it was compared"
        )
    for name, (then, now) in found.other_versions.items():
        lines.append(f"{name} was {then} and is {now}: bytes are promised for the same versions only")
    return lines


def _field(found: "Replayed") -> str:
    field = found.difference.field if found.difference is not None else None
    if field is None:
        return (
            "no field of the decision log differs: it is the responses that do, in their markup, ids or signatures; "
            "name those that were sent with --responses"
        )
    return f"first field: {field.path} of {field.record}: was {field.live}, is {field.replayed}"
