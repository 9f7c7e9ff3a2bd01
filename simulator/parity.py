"""Where a replay first says something else than the live bidder did: the record, and the field of it.

A journal holds digests of outputs, which tell that a call differs but not in what. What was said live stands in the
decision log, and in the responses where those were kept; both are decoded and compared with what the replay made.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bidder.core.call import Answer
from bidder.errors import InputError

ABSENT = "absent"
"""Stands for a value that one side does not have."""
_KEYS = ("exchange", "request_id", "imp_id", "deal_id")
_Record = dict[str, Any]


class FieldDifference(NamedTuple):
    """The first field that differs.

    Attributes:
        record: which one, in words. path: JSON path in it. live, replayed: the values, as JSON; `absent` for none.
    """

    record: str
    path: str
    live: str
    replayed: str


class LiveLog:
    """What the bidder said: its decision log and, where they were kept, its responses.

    Args:
        decisions: the log, one JSON row a line. responses: BidResponses, one a line, or None.

    Raises:
        InputError: a file that is named is not there.
    """

    def __init__(self, decisions: Path, responses: Path | None = None) -> None:
        for path in (decisions, *([responses] if responses is not None else [])):
            if not path.is_file():
                raise InputError(f"live log {path} must be a file that is there")
        self._decisions, self._responses = decisions, responses

    def decisions_at(self, now_ns: int) -> list[_Record]:
        """The rows of one time, in the order of the log."""
        mark = f'"at_ns":{now_ns},'.encode()
        found = (row for row in _records(self._decisions, mark) if row.get("at_ns") == now_ns)
        return list(found)

    def responses_to(self, requests: frozenset[str]) -> dict[str, _Record]:
        """By request, what was answered; nothing where responses were not kept."""
        if self._responses is None:
            return {}
        return {row["id"]: row for row in _records(self._responses, b'"id"') if row.get("id") in requests}


def _records(path: Path, mark: bytes) -> Iterator[_Record]:
    with path.open("rb") as file:
        for line in file:
            if mark not in line:
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield row


def first_field(answers: Sequence[Answer], now_ns: int, live: LiveLog) -> FieldDifference | None:
    """The first field in which the outputs of one call differ from what was said live; None where none is found.

    Args:
        answers: of the replay. now_ns: time of the call. live: what was said.
    """
    ours = [orjson.loads(line) for answer in answers for line in answer.decisions.splitlines()]
    wanted = frozenset(row.get("request_id", "") for row in ours)
    theirs = [row for row in live.decisions_at(now_ns) if row.get("request_id", "") in wanted]
    found = _first_record(ours, theirs or live.decisions_at(now_ns), "decision on")
    if found is not None:
        return found
    said = live.responses_to(wanted)
    for answer in answers:
        made = orjson.loads(answer.response) if answer.response else {}
        known = said.get(made.get("id", ""))
        if known is not None and known != made:
            path, was, now = _first_path(known, made, "$")
            return FieldDifference(f"response to {made['id']}", path, was, now)
    return None


def _first_record(ours: Sequence[_Record], theirs: Sequence[_Record], what: str) -> FieldDifference | None:
    """Compares records one by one, each with the other of its key; those of one key in their order."""
    left: dict[tuple[str, ...], list[_Record]] = {}
    for row in theirs:
        left.setdefault(_key(row), []).append(row)
    for row in ours:
        others = left.get(_key(row))
        if not others:
            return FieldDifference(_name(row, what), "$", ABSENT, orjson.dumps(row).decode())
        other = others.pop(0)
        if other != row:
            path, was, now = _first_path(other, row, "$")
            return FieldDifference(_name(row, what), path, was, now)
    for rows in left.values():
        if rows:
            return FieldDifference(_name(rows[0], what), "$", orjson.dumps(rows[0]).decode(), ABSENT)
    return None


def _key(row: _Record) -> tuple[str, ...]:
    return tuple(str(row.get(name, "")) for name in _KEYS)


def _name(row: _Record, what: str) -> str:
    return " ".join([what, *(part for part in _key(row) if part)])


def _first_path(live: Any, replayed: Any, path: str) -> tuple[str, str, str]:
    """Path of the first place in which two unlike values differ, and what stands there on both sides."""
    if isinstance(live, dict) and isinstance(replayed, dict):
        for name in _names(live, replayed):
            if name not in live or name not in replayed or live[name] != replayed[name]:
                return _step(live, replayed, name, f"{path}.{name}")
    elif isinstance(live, list) and isinstance(replayed, list):
        for place in range(max(len(live), len(replayed))):
            if place >= min(len(live), len(replayed)) or live[place] != replayed[place]:
                sides = [dict(enumerate(side)) for side in (live, replayed)]
                return _step(sides[0], sides[1], place, f"{path}[{place}]")
    return path, orjson.dumps(live).decode(), orjson.dumps(replayed).decode()


def _step(live: dict[Any, Any], replayed: dict[Any, Any], name: Any, path: str) -> tuple[str, str, str]:
    if name in live and name in replayed:
        return _first_path(live[name], replayed[name], path)
    texts = [orjson.dumps(side[name]).decode() if name in side else ABSENT for side in (live, replayed)]
    return path, texts[0], texts[1]


def _names(live: _Record, replayed: _Record) -> Iterable[str]:
    """Names of both, in the order in which the records are written."""
    return [*live, *(name for name in replayed if name not in live)]
