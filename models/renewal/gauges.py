"""The last round as a text file of Prometheus' format: the node exporter's textfile collector reads it.

The bidder's own `/metrics` tells which model decides and what it refused; how a model fares against fresh rows is
known here, beside it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from models.registry.files import replace_file
from models.renewal.drift import Calibration, Shift
from models.renewal.rounds import Round

FILE = "metrics.prom"
_OUTCOMES = ("promoted", "kept", "challenging", "waiting", "failed")

Row = tuple[dict[str, str], float]


def gauges_text(found: Round, at_ns: int) -> str:
    """All families; those of drift are left out where the round did not come to compare rows."""
    drift = found.drift
    families: list[tuple[str, str, list[Row]]] = [
        ("renewal_round_timestamp_seconds", "When the last round ended.", [({}, at_ns / 1e9)]),
        (
            "renewal_round_outcome",
            "1 for how the last round ended.",
            [({"outcome": one}, float(one == found.outcome)) for one in _OUTCOMES],
        ),
        (
            "renewal_check_passed",
            "Checks of the last round; 1 where passed.",
            [({"check": check.name}, float(check.passed)) for check in found.checks],
        ),
        (
            "model_info",
            "The models that the aliases name.",
            [
                ({"alias": alias, "hash": each}, 1.0)
                for alias, each in (("champion", found.champion), ("challenger", found.challenger))
                if each
            ],
        ),
    ]
    if drift is not None:
        families += _of_shifts((*drift.features, *drift.predictions))
        families += _of_calibration(drift.calibration)
    return "".join(line + "\n" for family in families for line in _lines(*family))


def _of_shifts(shifts: Sequence[Shift]) -> list[tuple[str, str, list[Row]]]:
    return [
        (
            "drift_psi",
            "Population stability index of fresh rows against the training window.",
            [({"of": one.name}, one.psi) for one in shifts],
        ),
        (
            "drift_ks",
            "Kolmogorov-Smirnov distance of the same.",
            [({"of": one.name}, one.ks) for one in shifts if one.ks is not None],
        ),
        (
            "drift_alarm",
            "1 where it is an alarm, 0.5 where it is worth a look.",
            [({"of": one.name}, {"ok": 0.0, "notice": 0.5, "alarm": 1.0}[one.level]) for one in shifts],
        ),
    ]


def _of_calibration(found: Sequence[Calibration]) -> list[tuple[str, str, list[Row]]]:
    rows: list[Row] = []
    for one in found:
        for end, value in (("ratio", one.ratio), ("low", one.low), ("high", one.high)):
            if value is not None:
                rows.append(({"model": one.name.removeprefix("calibration "), "end": end}, value))
    return [
        ("calibration_ratio", "Events predicted over events that happened; ends of a 99 % interval.", rows)
    ]


def _lines(name: str, said: str, rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    yield f"# HELP clearbid_{name} {said}"
    yield f"# TYPE clearbid_{name} gauge"
    for labels, value in rows:
        named = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"clearbid_{name}{'{' + named + '}' if named else ''} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write_gauges(registry: Path, found: Round, at_ns: int) -> Path:
    """Replaces the file in a registry's folder."""
    path = registry / FILE
    replace_file(path, gauges_text(found, at_ns).encode())
    return path
