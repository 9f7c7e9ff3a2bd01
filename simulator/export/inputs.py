"""The inputs of a run: at each moment the bodies that were decided, and the campaigns that could be bid for.

A run has a journal a start: `journal.1`, `journal.2`, ... and `journal`, the last.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from bidder.core.campaigns import Campaign
from bidder.core.messages import (
    CAMPAIGNS,
    PROFILES,
    SETTLEMENTS,
    AdvertiserChange,
    CampaignChange,
    SettlementKind,
    Settlements,
)
from bidder.core.profiles import Profile
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.store.journal import Adopt, Control, Decide, Entry, Journal
from bidder.store.seat import JOURNAL

_read_settlements = msgspec.json.Decoder(Settlements).decode
_read = msgspec.json.Decoder(CampaignChange | AdvertiserChange).decode
_read_profile = msgspec.json.Decoder(Profile).decode


class Moment(NamedTuple):
    """One call of the engine: the time, the bodies, and by id the campaigns of the table that decided.

    profiles: of users, heard since the call before.
    """

    now_ns: int
    bodies: tuple[bytes, ...]
    campaigns: Mapping[str, Campaign]
    profiles: tuple[Profile, ...] = ()


def moments(entries: Iterable[Entry]) -> Iterator[Moment]:
    """The calls of one journal, in order.

    A campaign that changes counts from where the table with the change was adopted, as it did in the run.
    """
    campaigns: dict[str, Campaign] = {}
    waiting: list[tuple[int, CampaignChange]] = []
    profiles: list[Profile] = []
    controls = 0
    for entry in entries:
        if isinstance(entry, Decide):
            yield Moment(entry.now_ns, entry.bodies, campaigns, tuple(profiles))
            profiles.clear()
        elif isinstance(entry, Control):
            controls += 1
            profiles += _profiles(entry)
            waiting += [(controls, change) for change in _changes(entry)]
        elif isinstance(entry, Adopt):
            campaigns = dict(campaigns)
            for _, change in (each for each in waiting if each[0] <= entry.controls):
                _apply(change, campaigns)
            waiting = [each for each in waiting if each[0] > entry.controls]


def _changes(entry: Control) -> Iterator[CampaignChange]:
    """Changes of campaigns; one that cannot be read was left out by the bidder too."""
    for topic, value in entry.items:
        if topic == CAMPAIGNS:
            try:
                change = _read(value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(change, CampaignChange):
                yield change


def _profiles(entry: Control) -> Iterator[Profile]:
    for topic, value in entry.items:
        if topic == PROFILES:
            try:
                yield _read_profile(value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def _apply(change: CampaignChange, campaigns: dict[str, Campaign]) -> None:
    if change.campaign is None:
        campaigns.pop(change.campaign_id, None)
    else:
        campaigns[change.campaign_id] = change.campaign


def losses_told(entries: Iterable[Entry]) -> Iterator[str]:
    """Ids of the bids that the bank called lost while one journal was written: loss notices had come for them."""
    for entry in entries:
        for topic, value in entry.items if isinstance(entry, Control) else ():
            if topic == SETTLEMENTS:
                try:
                    rows = _read_settlements(value).rows
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                yield from (row.bid_id for row in rows if row.kind is SettlementKind.VOIDED)


def journals_of(folder: Path) -> list[Path]:
    """The journals of a run's starts, the oldest first; none where the folder has none."""
    older = {
        int(number): path
        for path in folder.glob(f"{JOURNAL}.*")
        if (number := path.name.removeprefix(f"{JOURNAL}.")).isdecimal()
    }
    last = folder / JOURNAL
    return [older[number] for number in sorted(older)] + ([last] if last.is_file() else [])


def settings_of(journal: Journal, path: Path) -> EngineSettings:
    """The settings of the engine that a journal is of.

    Raises:
        InputError: the header has none, or some of another version.
    """
    try:
        return msgspec.convert(journal.meta["settings"], EngineSettings)
    except (KeyError, msgspec.ValidationError) as error:
        raise InputError(f"header of journal {path} must be as a bidder wrote it: {error}") from None
