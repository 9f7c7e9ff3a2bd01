"""One thing that an audit found, and the verdict of all of them."""

from typing import Literal

import msgspec

Severity = Literal["block", "care", "note"]
Verdict = Literal["ready", "ready with care", "not ready"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        severity: `block`: a model of this table would be wrong or none; `care`: it can be trained, but somebody
            must look; `note`: worth knowing.
        check: its name. column: the column that it is about; empty where it is about the table.
        said: what was found, with its numbers. do: what to do about it.
    """

    severity: Severity
    check: str
    column: str = ""
    said: str
    do: str = ""


class ColumnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one feature's column holds.

    Attributes:
        missing: share of rows without a value. distinct: different values. rare: share of rows whose value is too
            rare for a code of its own (0 for numbers). top: share of the most frequent value.
        auc: how well the column alone tells clicks from the rest, on rows it did not see; None without events.
        psi: population stability index against the other table or the later rows; None where not measured.
        unseen: share of the other rows whose text this table does not know; None for numbers.
    """

    name: str
    kind: str
    missing: float
    distinct: int
    rare: float
    top: float
    auc: float | None
    psi: float | None = None
    unseen: float | None = None


class LabelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One label: rows that have it, events among them, their rate with its 95 % interval (Wilson 1927)."""

    name: str
    rows: int
    events: int
    rate: float
    low: float
    high: float


class DayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One day (UTC) of the table."""

    day: str
    rows: int
    clicks: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """All that an audit found, the gravest first.

    Attributes:
        table, other: names of the table and of what it was compared with (empty: nothing).
        rows: impressions. first_ns, last_ns: their times. effective_rows: Kish's, with sampling weights.
    """

    table: str
    other: str
    rows: int
    first_ns: int
    last_ns: int
    effective_rows: float
    labels: list[LabelFacts]
    days: list[DayFacts]
    columns: list[ColumnFacts]
    findings: list[Finding]

    @property
    def verdict(self) -> Verdict:
        """`not ready` where anything blocks, `ready with care` where somebody must look."""
        return verdict_of(self.findings)


def verdict_of(findings: list[Finding]) -> Verdict:
    """The verdict that findings come to."""
    found = {finding.severity for finding in findings}
    if "block" in found:
        return "not ready"
    return "ready with care" if "care" in found else "ready"


_ORDER: dict[str, int] = {"block": 0, "care": 1, "note": 2}


def ranked(findings: list[Finding]) -> list[Finding]:
    """The gravest first; those of one gravity in the order of the checks."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
