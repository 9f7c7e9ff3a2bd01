"""A campaign of a history as arrays: whole, or in pieces for what is larger than memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.history.auctions import Auctions
from simulator.history.checking import flags, numbers
from simulator.history.file import History, Progress
from simulator.history.schema import PriceKind
from simulator.history.strata import COLUMNS as STRATA_COLUMNS
from simulator.history.strata import LEAST_ROWS, Strata, learn_strata

_COLUMNS = (
    "offered_ns", "exchange", "user", "domain", "placement", "floor_nanos", "first_price", "campaign",
    "click_probability", "conversion_probability", "worth_nanos", "bid_nanos", "density", "won", "price_kind",
    "price_nanos", "paid_nanos", "clicked", "converted", "value_nanos",
)  # fmt: skip


def load_auctions(
    path: Path | str,
    campaign: str,
    *,
    unbid: bool = False,
    strata: Strata | None = None,
    progress: Progress | None = None,
) -> Auctions:
    """The opportunities of one campaign, all in memory: some 130 bytes each.

    Args:
        path: of the history. campaign: its name. unbid: opportunities that the buyer did not bid on are its too.
        strata: numbers of groups; None learns the default ones of the campaign, see `strata_of`.
        progress: hears of rows.

    Raises:
        InputError: the history cannot be read, or has no such campaign.
    """
    known = strata_of(path, campaign, unbid=unbid) if strata is None else strata
    parts = list(auction_chunks(path, campaign, known, unbid=unbid, progress=progress))
    if not parts:
        raise _no_campaign(History(path), campaign)
    if len(parts) == 1:
        return parts[0]
    names = Auctions._fields[1:]
    return Auctions(campaign, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def auction_chunks(
    path: Path | str,
    campaign: str,
    strata: Strata,
    *,
    unbid: bool = False,
    progress: Progress | None = None,
) -> Iterator[Auctions]:
    """The opportunities of one campaign, a piece a row group of the history; pieces without a row are left out.

    Arguments and errors are those of `load_auctions`, but nothing is said of a campaign that is not there.
    """
    for table in History(path).tables(_COLUMNS, progress=progress):
        own = _of_campaign(table, campaign, unbid=unbid)
        if own.num_rows:
            yield auctions_of(own, campaign, strata.of(own))


def strata_of(
    path: Path | str, campaign: str, *, unbid: bool = False, least_rows: int = LEAST_ROWS
) -> Strata:
    """The default strata of a campaign's opportunities, by one pass over a few columns.

    Raises:
        InputError: the history cannot be read.
    """
    tables = History(path).tables([*STRATA_COLUMNS, "campaign"])
    return learn_strata((_of_campaign(each, campaign, unbid=unbid) for each in tables), least_rows=least_rows)


def auctions_of(table: pa.Table, campaign: str, stratum: NDArray[np.int32]) -> Auctions:
    """Rows of a history as the arrays that estimates read.

    Args:
        table: with the columns that `Auctions` needs. campaign: name of them all. stratum: int32[n], their groups.
    """
    return Auctions(
        campaign=campaign,
        at_ns=numbers(table, "offered_ns", 0),
        user=numbers(table, "user", 0).astype(np.uint64),
        stratum=stratum,
        click=table.column("click_probability").to_numpy(),
        conversion=table.column("conversion_probability").to_numpy(),
        worth_nanos=numbers(table, "worth_nanos", 0),
        bid_nanos=numbers(table, "bid_nanos", 0),
        density=table.column("density").to_numpy(),
        won=flags(table.column("won")),
        price_kind=numbers(table, "price_kind", PriceKind.UNKNOWN).astype(np.uint8),
        price_nanos=numbers(table, "price_nanos", 0),
        paid_nanos=numbers(table, "paid_nanos", 0),
        floor_nanos=numbers(table, "floor_nanos", 0),
        first_price=flags(table.column("first_price")),
        clicked=_label(table, "clicked"),
        converted=_label(table, "converted"),
        value_nanos=numbers(table, "value_nanos", 0),
    )


def campaigns_in(path: Path | str) -> list[str]:
    """Names of the campaigns that bid, the one with most rows first: one at least.

    Raises:
        InputError: the history cannot be read, or nobody bid in it.
    """
    tally = History(path).tally()
    if not tally.campaigns:
        raise InputError(f"history {path} must have a campaign that bid, has none")
    return sorted(tally.campaigns, key=lambda name: (-tally.campaigns[name].rows, name))


def _label(table: pa.Table, name: str) -> NDArray[np.int8]:
    return np.asarray(pc.fill_null(pc.cast(table.column(name), pa.int8()), -1).to_numpy(), dtype=np.int8)


def _of_campaign(table: pa.Table, campaign: str, *, unbid: bool) -> pa.Table:
    own = pc.equal(table.column("campaign"), campaign)
    return table.filter(pc.fill_null(own, unbid))


def _no_campaign(history: History, campaign: str) -> InputError:
    names: Sequence[str] = sorted(history.tally().campaigns)
    known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return InputError(
        f"campaign must be one of history {history.path}: {known or 'it has none'}; was {campaign!r}"
    )
