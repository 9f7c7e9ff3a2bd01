"""What may be done with each campaign's budget: a TOML file, and campaigns that are frozen.

[all]                      # where a campaign says nothing of its own
min_share = 0.5            # of its budget as it is
max_share = 2.0

[campaigns.shoes]
current = "100.00"         # its budget as it is, where neither the curves nor --db say so
min = "50.00"              # amounts; the narrower of amount and share holds
max = "400.00"
frozen = true              # stays as it is
step = "10.00"             # multiples of it only
or_nothing = true          # at least `min`, or nothing
measured = true            # its curve counts as measured: an S-curve stays one
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from bidder.core.portfolio import Bound
from bidder.core.portfolio_steps import Terms
from bidder.errors import InputError
from bidder.money import MAX_NANOS, NANOS_PER_UNIT, format_decimal, parse_decimal
from bidder.store.campaigns import unknown
from simulator.reading import why

Share = Annotated[float, msgspec.Meta(ge=0, le=1_000)]


class Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file says of one campaign, see above; None and "" where it says nothing."""

    current: str = ""
    min: str = ""
    max: str = ""
    min_share: Share | None = None
    max_share: Share | None = None
    frozen: bool = False
    step: str = ""
    or_nothing: bool = False
    measured: bool = False


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for all campaigns that say nothing of their own."""

    min_share: Share | None = None
    max_share: Share | None = None


class TermsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: `all`, and campaigns by id."""

    all: Shares = Shares()
    campaigns: dict[str, Stated] = {}


class Asked(NamedTuple):
    """What is known and allowed of all campaigns, in the order of the curves.

    Attributes:
        current: budgets as they are, nanos. terms: of each. whole: whether some must be chosen among few budgets.
    """

    current: tuple[int, ...]
    terms: tuple[Terms, ...]
    whole: bool

    @property
    def bounds(self) -> list[Bound]:
        """Least and most of each."""
        return [each.bound for each in self.terms]


def read_terms(path: Path | None) -> TermsFile:
    """Reads a file of terms; None is one that says nothing.

    Raises:
        InputError: with the path of what is wrong.
    """
    if path is None:
        return TermsFile()
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), TermsFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{path.name} must be a readable file of bounds: {why(error)}") from error


def asked_of(
    names: Sequence[str], known: Mapping[str, int], stated: TermsFile, frozen: Iterable[str] = ()
) -> Asked:
    """Terms of each campaign.

    Args:
        names: of the curves' campaigns. known: budgets as they are by campaign, nanos, where they are known.
        stated: the file; what it says of a current budget comes first. frozen: campaigns that stay as they are.

    Raises:
        InputError: a campaign without a current budget or without a curve, or an amount that is none.
    """
    frozen = list(frozen)
    for own_id in (*stated.campaigns, *frozen):
        if own_id not in names:
            raise InputError(unknown("campaign", "the curves'", own_id, names))
    current, terms, measured = [], [], False
    for name in names:
        own = stated.campaigns.get(name, Stated())
        now = _nanos(own.current, f"current of {name}") if own.current else known.get(name, 0)
        if now <= 0:
            raise InputError(
                f"current budget of campaign {name} must be known, is not: state it in the column current_nanos, by "
                f'--db, or as `current = "100.00"` in [campaigns.{name}] of --bounds'
            )
        current.append(now)
        terms.append(_terms(name, now, own, stated.all, frozen=name in frozen or own.frozen))
        measured = measured or own.measured
    return Asked(
        tuple(current), tuple(terms), measured or any(each.step or each.or_nothing for each in terms)
    )


def _terms(name: str, now: int, own: Stated, common: Shares, *, frozen: bool) -> Terms:
    if frozen:
        return Terms(Bound(now, now, "frozen", "frozen"))
    least = [(0, "no budget")]
    most = [(MAX_NANOS, "")]
    for share, whose in ((own.min_share, ""), (common.min_share if own.min_share is None else None, "all: ")):
        if share is not None:
            least.append((_share(now, share), f"{whose}min_share {share:g} of {_units(now)}"))
    for share, whose in ((own.max_share, ""), (common.max_share if own.max_share is None else None, "all: ")):
        if share is not None:
            most.append((_share(now, share), f"{whose}max_share {share:g} of {_units(now)}"))
    if own.min:
        least.append((_nanos(own.min, f"min of {name}"), f"min {own.min}"))
    if own.max:
        most.append((_nanos(own.max, f"max of {name}"), f"max {own.max}"))
    low, why_low = max(least, key=lambda each: each[0])
    high, why_high = min(most, key=lambda each: each[0])
    step = _nanos(own.step, f"step of {name}") if own.step else 0
    return Terms(Bound(low, high, why_low, why_high), step, own.or_nothing)


def _share(nanos: int, share: float) -> int:
    """A share of an amount, in millionths, as nobody states a finer one."""
    return min(MAX_NANOS, nanos * round(share * 1_000_000) // 1_000_000)


def _nanos(text: str, what: str) -> int:
    try:
        nanos = parse_decimal(text.strip(), NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"{what} {error}") from None
    if nanos < 0:
        raise InputError(f"{what} must be >= 0, was {text}")
    return nanos


def _units(nanos: int) -> str:
    return format_decimal(nanos, NANOS_PER_UNIT)
