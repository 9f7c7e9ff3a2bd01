"""An engine without a bank, for commands that decide what they are given: leases are assumed, not granted.

Campaigns come from a sheet or a database, else from a small built-in set of banners, a video, a native and an audio
ad. Without a trained model every click has the same probability.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bidder import zones
from bidder.cli.options import configured

if TYPE_CHECKING:
    from bidder.core.campaigns import Advertiser, Campaign, Creative
    from bidder.core.engine import Engine
    from bidder.core.messages import Lease
    from bidder.core.scoring import Model
    from bidder.core.settings import EngineSettings
    from bidder.core.shading import Shading

CTR, CVR = 0.002, 0.05
START_ID = "without-a-bank"
_UNIT = 1_000_000_000
_LAST_NS = 4_102_444_800 * _UNIT  # 2100-01-01
_SIZES = ((300, 250), (728, 90), (160, 600), (320, 50), (300, 600), (970, 250), (336, 280), (320, 100))

CampaignsOption = Annotated[
    Path | None,
    typer.Option("--campaigns", help="Sheet (.csv, .toml, .json); else built-in ones.", metavar="FILE"),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help=f"Model directory; else CTR {CTR} and CVR {CVR} for all.", metavar="DIR"),
]
SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="TOML file of settings, as for `bid`.", metavar="FILE")
]
AtOption = Annotated[
    str | None, typer.Option("--at", help="Time to decide at, ISO 8601 with zone; else now.", metavar="TIME")
]
SecretOption = Annotated[str, typer.Option("--secret", help="Signs the tokens of bids.", metavar="TEXT")]


class Tree(NamedTuple):
    """Campaigns and advertisers by id."""

    campaigns: "Mapping[str, Campaign]"
    advertisers: "Mapping[str, Advertiser]"


def instant_of(text: str | None, option: str = "--at") -> int:
    """Nanoseconds since the epoch of an ISO 8601 text with a zone; now where there is none. `option`: its name."""
    return time.time_ns() if text is None else zones.instant_of(text, option)


def settings_of(path: Path | None) -> "EngineSettings":
    """Settings of a file; without one the usual ones, without limits of rate, for lines of a file have no times."""
    import msgspec

    settings = configured(path).engine_settings()
    if path is not None:
        return settings
    traffic = msgspec.structs.replace(settings.traffic, user_per_minute=0, address_per_minute=0)
    return msgspec.structs.replace(settings, traffic=traffic)


def tree_of(sheet: Path | None, place: str | None, currency: str) -> Tree:
    """What a sheet or a database states, else the built-in campaigns.

    Args:
        sheet: its file. place: of the database, as `Database` opens it. currency: of the account.

    Raises:
        SheetError: a sheet with errors.
    """
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database
    from bidder.store.sheet import read_sheet

    if sheet is not None:
        read = read_sheet(sheet, currency)
        return Tree({one.id: one for one in read.campaigns}, {one.id: one for one in read.advertisers})
    if place is not None:
        with Database(place) as database:
            store = CampaignStore(database)
            return Tree(store.all(), store.advertisers())
    return Tree({one.id: one for one in sample_campaigns(currency)}, {})


def model_of(directory: Path | None) -> "Model":
    """A model directory's model, else one that gives every opportunity the same probability."""
    from bidder.core.scoring import Model
    from bidder.store.model import load_model
    from models.constant import constant_model

    if directory is not None:
        return load_model(directory)
    return Model.of(*constant_model(CTR, CVR))


def shading_of(landscape: Path | None, settings: Path | None) -> "Shading":
    """A landscape that is named, else that of the settings, else none."""
    from bidder.core.shading import Shading
    from bidder.store.landscape import load_shading

    named = landscape or configured(settings).bid.landscape_file
    return load_shading(Path(named)) if named else Shading.none()


def engine_of(
    tree: Tree,
    settings: "EngineSettings",
    model: "Model",
    secret: str,
    now_ns: int,
    granted_nanos: int | None = None,
    shading: "Shading | None" = None,
) -> "Engine":
    """An engine that has these campaigns, and leases of all their budgets.

    Args:
        tree: what it bids for. settings, model: as any engine has. secret: its key is made of it.
        now_ns: the time. granted_nanos: of money in each budget; None for all of each. shading: see `Engine`.
    """
    from bidder.core.engine import Engine

    engine = Engine(settings, hashlib.sha256(secret.encode()).digest(), model, START_ID, shading)
    engine.adopt_campaigns(tree.campaigns, 1, now_ns, tree.advertisers)
    engine.adopt_leases(_leases(engine, now_ns, granted_nanos), now_ns)
    return engine


def _leases(engine: "Engine", now_ns: int, granted_nanos: int | None) -> "list[Lease]":
    """A lease of each budget, until its end."""
    from bidder.core.budgets import Unit, accounts_of
    from bidder.core.messages import Lease

    found: dict[str, Lease] = {}
    for line in engine.table.lines:
        for budget in accounts_of(line.campaign, line.item, line.advertiser, now_ns):
            money = budget.unit == Unit.MONEY
            granted = granted_nanos if money and granted_nanos is not None else budget.limit
            found[budget.account_id] = Lease(
                seat=engine.settings.seat,
                epoch=1,
                start_id=START_ID,
                account_id=budget.account_id,
                granted_nanos=granted,
                bid_until_ns=budget.end_ns,
                budget_nanos=budget.limit,
                spent_nanos=0,
                seats=1,
            )
    return [*found.values()]


# -- the built-in campaigns ---------------------------------------------------------------------------------


def sample_campaigns(currency: str = "USD") -> "list[Campaign]":
    """One campaign for each medium: banners of the usual sizes, a video, an audio and a native ad."""
    from bidder.core.campaigns import Campaign, Pacing

    return [
        Campaign(
            id=f"sample-{medium}",
            name=f"Sample {medium}",
            advertiser="sample",
            adomain=("sample.example",),
            currency=currency,
            budget_nanos=1_000_000 * _UNIT,
            start_ns=0,
            end_ns=_LAST_NS,
            value_nanos=2 * _UNIT,
            max_bid_cpm_micros=20_000_000,
            pacing=Pacing.ASAP,
            creatives=creatives,
        )
        for medium, creatives in _creatives().items()
    ]


def _creatives() -> "dict[str, tuple[Creative, ...]]":
    """The creatives of each medium; files and pages on names that are kept for examples."""
    from bidder.core.campaigns import Creative, Media, Native

    files, landing = "https://files.sample.example", "https://sample.example/"
    banners = tuple(
        Creative(id=f"{w}x{h}", w=w, h=h, image_url=f"{files}/{w}x{h}.png", landing_url=landing)
        for w, h in _SIZES
    )
    video = Creative(
        id="video",
        media=Media.VIDEO,
        w=1280,
        h=720,
        media_url=f"{files}/film.mp4",
        mime="video/mp4",
        duration_s=15,
        landing_url=landing,
    )
    audio = Creative(
        id="audio",
        media=Media.AUDIO,
        media_url=f"{files}/spot.mp3",
        mime="audio/mpeg",
        duration_s=15,
        landing_url=landing,
    )
    assets = Native(
        title="A sample",
        text="Made to show how a bid looks",
        sponsored="Sample",
        cta="Look",
        icon_url=f"{files}/icon.png",
        icon_w=80,
        icon_h=80,
        image_url=f"{files}/1200x627.png",
        image_w=1200,
        image_h=627,
    )
    native = Creative(id="native", media=Media.NATIVE, native=assets, landing_url=landing)
    return {"banner": banners, "video": (video,), "audio": (audio,), "native": (native,)}
