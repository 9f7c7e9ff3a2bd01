"""First price by a landscape, through the engine: bids, arms, exploration, and a replay that prices alike."""

import asyncio
import math
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.cli.price_story import price_table
from bidder.core.batch import Batch
from bidder.core.campaigns import Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.explain import explain
from bidder.core.exploration_kernels import L_HELD, L_SHARE, L_SIGMA, draw, explored_bid
from bidder.core.kernels import decide_rows
from bidder.core.messages import CAMPAIGNS, LEASES, CampaignChange, SettlementKind, encode
from bidder.core.settings import EngineSettings, ShadingSettings
from bidder.core.shading import ALIASES, LEVELS, OTHERS, PREDICTION, Shading
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from bidder.runtime.clock import SystemClock
from bidder.runtime.renewal import LandscapeFile, Renewal
from bidder.runtime.transport import Message
from bidder.runtime.worker import Worker
from bidder.store.journal import LandscapeChange, read_journal
from bidder.store.landscape import KEPT, landscape_mark, load_and_keep, load_shading
from bidder.store.seat import JOURNAL, open_journal
from models.errors import ArtifactError
from models.landscape import strata as landscape_strata
from models.landscape.curves import Landscape, fit_landscape
from models.landscape.store import save_landscape
from simulator.replay import replay_journal
from tests.support import factories as make
from tests.support.factories import FOREVER_NS, Offer, S
from tests.support.landscapes import market, read_market
from tests.support.naive_price import bid_again

NOW_NS = 1_772_409_600 * S + 7 * 3_600 * S
"""A Monday, 07:00 UTC."""
RICH = 1_000_000 * S
NO_HOLDOUT = ShadingSettings(holdout=0.0)


@cache
def landscape(seed: int = 3) -> Landscape:
    return fit_landscape(read_market(market(20_000, seed, first_price=True)))


@cache
def shading(seed: int = 3) -> Shading:
    return Shading.of(landscape(seed), f"{seed:064x}")


def engine(
    priced: Shading | None = None,
    budget: int = RICH,
    *,
    campaigns: tuple = (),
    leased: bool = True,
    **changes: object,
) -> Engine:
    """An engine without brakes whose first campaign is rich and paced at a half."""
    fields = {"shading": NO_HOLDOUT, "external_scores": True} | changes
    made = Engine(
        EngineSettings(**fields), make.KEY, None, make.START, shading() if priced is None else priced
    )  # type: ignore[arg-type]
    table = {one.id: one for one in campaigns or (make.campaign(budget_nanos=budget),)}
    made.adopt_campaigns(table, 1, NOW_NS)
    if leased:
        lots = [make.lease(name, granted_nanos=budget, budget_nanos=budget) for name in table]
        made.adopt_leases(lots, NOW_NS)
    return made


def ask(number: int = 1, pctr: float = 0.001, tag: str = "p1", **changes: object) -> bytes:
    """An opportunity at first price."""
    offer = Offer(id=f"r{number}", at=1, external=("c1", pctr)).with_(**changes)
    request = orjson.loads(make.body(offer))
    request["imp"][0]["tagid"] = tag
    return orjson.dumps(request | {"tmax": 60_000})


def best_bid(worth: float, stratum: int) -> float:
    """The best of a million bids, by the curve alone."""
    grid = np.concatenate([[0.0], landscape().grid])
    chance = np.concatenate([[0.0], 1.0 - landscape().survival[stratum]])
    bids = np.linspace(0.0, worth, 1_000_001)
    return float(((worth - bids) * np.interp(bids, grid, chance)).max())


def left(worth: float, bid: float, stratum: int) -> float:
    return (worth - bid) * float(landscape().win_probability(bid, stratum)[0])


# -- bids -------------------------------------------------------------------------------------------------------


def test_words_of_strata_are_those_that_landscapes_are_fitted_with() -> None:
    named = (landscape_strata.PREDICTION, landscape_strata.OTHERS, landscape_strata.ALIASES)
    assert named == (PREDICTION, OTHERS, ALIASES)
    assert "hour" in LEVELS


@pytest.mark.parametrize("pctr", [0.0004, 0.002, 0.011, 0.03])
@pytest.mark.parametrize("tag", ["p0", "p3", "never seen"])
def test_a_bid_is_the_best_of_its_own_stratum(pctr: float, tag: str) -> None:
    (row,) = make.decide(engine(), ask(pctr=pctr, tag=tag), now_ns=NOW_NS)
    strata = landscape().strata
    stratum = strata.find([strata.decile(pctr), tag, "7"])
    assert (row["arm"], row.get("stratum", 0)) == ("landscape", stratum)
    worth = pctr * 2 * S * row["multiplier"]
    assert row["worth_cpm_micros"] == int(worth)
    chance = float(landscape().win_probability(row["bid_cpm_micros"], stratum)[0])
    assert row["win_probability"] == pytest.approx(chance, rel=1e-12)
    assert left(worth, row["bid_cpm_micros"], stratum) >= best_bid(worth, stratum) * (1 - 1e-3)
    assert row["bid_cpm_micros"] <= worth


def test_codes_are_those_of_the_features_that_tables_are_written_with() -> None:
    """Every level that may be fitted on is read where `raw_features` reads it."""
    from bidder.core.opportunity import RAW_FEATURES, hour_of_week, raw_features
    from bidder.core.shading import _READ

    made = engine()
    seen = {}

    class Reads(Batch):
        def add(self, pending, hour, pod_first):
            seen.update(pending=pending, hour=hour)
            super().add(pending, hour, pod_first)

    made._batch.__class__ = Reads
    device = {"os": "iOS", "ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1",
              "devicetype": 4, "geo": {"region": "CA", "city": "Fresno", "country": "USA"}}  # fmt: skip
    make.decide(made, ask(more={"device": device}, domain="news.example"), now_ns=NOW_NS)
    pending, hour = seen["pending"], seen["hour"]
    assert hour == hour_of_week(NOW_NS)
    audience, (size, position) = pending.call.visitor.audience, pending.slots[0].features
    raw = dict(zip(RAW_FEATURES, raw_features(audience, "p1", size, position, 0, hour), strict=True))
    assert {level: _READ[level]((audience, "p1", (size, position), hour)) for level in LEVELS} == {
        level: raw[level] for level in LEVELS
    }
    assert raw["size"] == "300x250"


def test_a_second_price_and_a_deal_are_bid_as_before() -> None:
    deal = make.campaign(budget_nanos=RICH, targeting=Targeting(deal=Rule(include=("d1",))))
    private = {"pmp": {"private_auction": 1, "deals": [{"id": "d1", "at": 1}]}}
    request = orjson.loads(ask())
    request["imp"][0] |= private
    for campaigns, asked in (((), make.body(Offer(at=2))), ((deal,), orjson.dumps(request))):
        rows = [
            make.decide(engine(one, campaigns=campaigns), asked, now_ns=NOW_NS)
            for one in (shading(), Shading.none())
        ]
        assert rows[0] == rows[1]
        assert rows[0][0]["reason"] == Reason.BID
        assert "arm" not in rows[0][0]


def test_a_floor_below_the_worth_is_bid_and_one_above_it_is_not() -> None:
    (free,) = make.decide(engine(), ask(), now_ns=NOW_NS)
    bid, worth = free["bid_cpm_micros"], free["worth_cpm_micros"]
    assert bid < worth * 0.9
    for floor, reason, offered in (
        (bid - 10_000, Reason.BID, bid),
        (worth - 10_000, Reason.BID, worth - 10_000),
        (worth, Reason.BELOW_FLOOR, None),
        (worth + 10_000, Reason.BELOW_FLOOR, None),
    ):
        (row,) = make.decide(engine(), ask(floor_cpm_micros=floor), now_ns=NOW_NS)
        assert (row["reason"], row.get("bid_cpm_micros")) == (reason, offered)


def test_without_a_landscape_rows_are_as_they_were() -> None:
    (row,) = make.decide(engine(Shading.none()), ask(), now_ns=NOW_NS)
    assert row["bid_cpm_micros"] == int(0.001 * 2 * S * 0.5 * 0.7)
    assert not row.keys() & {"arm", "stratum", "worth_cpm_micros", "log_density"}


def test_a_stratum_where_nothing_was_ever_won_keeps_the_share() -> None:
    """Else nothing would ever be bid that could win there."""
    hopeless = Landscape(**{
        name: getattr(landscape(), name) for name in Landscape.__slots__ if name != "survival"
    }, survival=np.ones_like(landscape().survival))  # fmt: skip
    (row,) = make.decide(engine(Shading.of(hopeless, "f" * 64)), ask(), now_ns=NOW_NS)
    assert row["bid_cpm_micros"] == int(0.001 * 2 * S * 0.5 * 0.7)


def test_a_level_that_no_request_has_is_refused() -> None:
    fitted = fit_landscape(read_market(market(4_000)), ("tag_id",))
    wrong = msgspec.structs.replace(fitted.strata, by=("weather",))
    made = Landscape(
        **{name: getattr(fitted, name) for name in Landscape.__slots__ if name != "strata"}, strata=wrong
    )
    with pytest.raises(InputError, match=r"must be among prediction, placement, exchange.*was weather"):
        Shading.of(made, "0" * 64)


# -- arms -------------------------------------------------------------------------------------------------------


def test_a_share_is_held_out_by_the_opportunity_alone_and_keeps_the_constant_share() -> None:
    settings = ShadingSettings(holdout=0.2)
    made = engine(shading=settings)
    rows = make.decide(made, *[ask(number) for number in range(1_000)], now_ns=NOW_NS)
    held = [row for row in rows if row["arm"] == "held"]
    assert abs(len(held) - 200) < 4 * math.sqrt(1_000 * 0.2 * 0.8)
    for row in held:
        assert row["bid_cpm_micros"] in {int(row["worth_cpm_micros"] * 0.7) + more for more in (0, 1)}
    again = [make.decide(engine(shading=settings), ask(number), now_ns=NOW_NS)[0] for number in range(50)]
    assert [row["arm"] for row in again] == [row["arm"] for row in rows[:50]]


def test_draws_of_one_seed_do_not_tell_of_each_other() -> None:
    seeds = np.random.default_rng(1).integers(0, 2**56, 20_000)
    columns = np.array([[draw(int(seed), number) for number in range(1, 5)] for seed in seeds[:4_000]])
    assert abs(np.corrcoef(columns.T) - np.eye(4)).max() < 0.07
    assert abs(columns.mean(axis=0) - 0.5).max() < 0.02
    assert ((columns > 0) & (columns < 1)).all()


# -- exploration --------------------------------------------------------------------------------------------------


EXPLORING = ShadingSettings(
    holdout=0.1, explore_share=0.3, explore_sigma=0.25, exploration_budget_ppm=1_000_000
)


@pytest.mark.parametrize(("low", "high"), [(1, 10**9), (900_000, 1_100_000), (999_999, 1_000_000)])
def test_densities_of_explored_bids_sum_to_the_share_that_is_explored(low: int, high: int) -> None:
    law = np.array([0.0, 0.04, 0.2])
    assert (L_HELD, L_SHARE, L_SIGMA) == (0, 1, 2)
    normals = np.linspace(-8, 8, 400_001)
    found = np.array([explored_bid(1_000_000, z, low, high, law) for z in normals])
    inside = (found[:, 0] > low) & (found[:, 0] < high)
    smooth = np.exp(found[inside, 1]).sum() * (normals[1] - normals[0]) * law[2]
    ends = [math.exp(found[at, 1]) for at in (0, -1) if found[at, 0] in (low, high)]
    assert smooth + sum(ends) == pytest.approx(0.04, rel=1e-3)


def test_explored_bids_keep_to_worth_and_floor_and_say_their_density() -> None:
    made = engine(shading=EXPLORING)
    floor = 200_000
    rows = make.decide(made, *[ask(n, floor_cpm_micros=floor) for n in range(600)], now_ns=NOW_NS)
    moved = [row for row in rows if "explore_factor" in row]
    assert 0.2 < len(moved) / len(rows) < 0.34
    assert not [row for row in moved if row["arm"] == "held"]
    assert all(floor <= row["bid_cpm_micros"] <= row["worth_cpm_micros"] for row in moved)
    still = [row for row in rows if "explore_factor" not in row and row["arm"] == "landscape"]
    assert {row["log_density"] for row in still} == {math.log1p(-0.3)}
    assert all("log_density" not in row for row in rows if row["arm"] == "held")
    factors = np.log([row["explore_factor"] for row in moved])
    assert abs(factors.std() - 0.25) < 0.06


def test_second_price_is_explored_too_but_never_above_the_worth() -> None:
    made = engine(Shading.none(), shading=EXPLORING)
    rows = make.decide(made, *[make.body(Offer(id=f"r{n}")) for n in range(300)], now_ns=NOW_NS)
    moved = [row for row in rows if "explore_factor" in row]
    assert moved
    assert all(row["bid_cpm_micros"] <= 0.001 * 2 * S * row["multiplier"] for row in rows)
    assert {row["explore_factor"] <= 1.0 for row in moved} == {True}


def test_explored_bids_stay_within_their_share_of_the_day() -> None:
    """Counted until they are lost; the next day begins anew."""
    day = 86_400 * S
    campaign = make.campaign(budget_nanos=1_000 * S, start_ns=NOW_NS, end_ns=NOW_NS + 10 * day)
    settings = ShadingSettings(holdout=0.0, explore_share=0.5, exploration_budget_ppm=100)
    made = engine(budget=1_000 * S, campaigns=(campaign,), shading=settings)
    limit = 1_000 * S * 100 // 10**6 // 10

    def explored(first: int, now_ns: int) -> list[dict[str, object]]:
        rows = make.decide(made, *[ask(n) for n in range(first, first + 400)], now_ns=now_ns)
        return [row for row in rows if "explore_factor" in row]

    first = explored(0, NOW_NS)
    cost = sum(row["bid_cpm_micros"] for row in first)
    assert 0.8 * limit < cost <= limit
    assert made.explored.left.tolist() == [limit - cost]
    assert explored(1_000, NOW_NS) == [] or made.explored.left[0] < limit // 10
    made.tick(NOW_NS + S)
    lost = [make.settlement(SettlementKind.VOIDED, row["bid_id"]) for row in first]
    made.settle(lost, NOW_NS + 2 * S)
    made.tick(NOW_NS + 3 * S)
    assert made.explored.left[0] >= limit - limit // 5
    assert explored(2_000, NOW_NS + 4 * S)
    made.tick(NOW_NS + day)
    assert made.explored.left.tolist() == [limit]


def test_nothing_is_explored_before_the_budget_is_known() -> None:
    made = engine(shading=EXPLORING, leased=False)
    assert made.explored.left.tolist() == [0]


# -- explained ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(12))
def test_an_explanation_comes_to_the_same_bid(number: int) -> None:
    settings = ShadingSettings(holdout=0.3, explore_share=0.4, exploration_budget_ppm=1_000_000)
    made = engine(shading=settings)
    asked = ask(number, floor_cpm_micros=150_000)
    found = explain(made, asked, "c1", NOW_NS)
    price = orjson.loads(msgspec.json.encode(found.opportunities[0].price))
    (row,) = make.decide(made, asked, now_ns=NOW_NS)
    assert price["offer_nanos"] == row["bid_cpm_micros"] == bid_again(price)
    assert (price["arm"], price.get("explore_factor") or None) == (row["arm"], row.get("explore_factor"))
    assert int(price["most_nanos"]) == row["worth_cpm_micros"]
    assert price["win_probability"] == row["win_probability"]
    assert price["stratum"] == landscape().strata.name(row["stratum"])
    story = price_table(found.opportunities[0].price)
    said = " ".join(str(cell) for column in story.columns for cell in column.cells)
    assert ("held out of the landscape" in said) == (row["arm"] == "held")
    assert ("x exploration" in said) == ("explore_factor" in row)
    assert "chance to win at the bid" in said


# -- files and replay ---------------------------------------------------------------------------------------------


def controls() -> list[Message]:
    campaign = make.campaign(budget_nanos=RICH)
    change = CampaignChange(version=1, campaign_id="c1", campaign=campaign)
    lease = make.lease("c1", granted_nanos=RICH, budget_nanos=RICH, bid_until_ns=FOREVER_NS)
    return [
        Message(CAMPAIGNS, 0, 0, None, encode(change), 0),
        Message(LEASES, 0, 1, None, encode(lease), 0),
    ]


def played(folder: Path, files: list[Path]) -> list[dict[str, object]]:
    """A worker that prices by each of some landscapes in turn."""
    settings = EngineSettings(external_scores=True, shading=EXPLORING)
    first = load_and_keep(files[0], folder)
    with open_journal(folder, settings, make.KEY, None, make.START, first.hash) as journal:
        worker = Worker(Engine(settings, make.KEY, None, make.START, first), journal)
        worker.on_control(controls(), NOW_NS)
        rows = []
        for number, file in enumerate(files):
            if number:
                worker.adopt_shading(load_and_keep(file, folder), NOW_NS + number)
            asked = [Message("", 0, n, None, ask(100 * number + n), 0) for n in range(60)]
            for run in worker.decide(asked, NOW_NS + number, 0):
                if run.topic == "decisions":
                    rows += [orjson.loads(line) for value in run.values for line in value.splitlines()]
    return rows


def test_a_replay_prices_by_the_landscapes_that_priced(tmp_path: Path) -> None:
    files = [tmp_path / "a.landscape", tmp_path / "b.landscape"]
    hashes = [save_landscape(file, landscape(seed)) for file, seed in zip(files, (3, 4), strict=True)]
    folder = tmp_path / "run"
    rows = played(folder, files)
    assert {row["arm"] for row in rows} == {"landscape", "held"}
    assert [row for row in rows if "explore_factor" in row]
    changes = [entry for entry in read_journal(folder / JOURNAL) if isinstance(entry, LandscapeChange)]
    assert [one.hash for one in changes] == hashes[1:]
    assert replay_journal(folder / JOURNAL, [], make.KEY).identical
    moved = tmp_path / "elsewhere"
    (folder / KEPT / hashes[1]).rename(moved)
    with pytest.raises(InputError, match="name it with --landscape"):
        replay_journal(folder / JOURNAL, [], make.KEY)
    assert replay_journal(folder / JOURNAL, [], make.KEY, landscapes=[moved]).identical


def test_a_broken_file_is_no_landscape(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_landscape(path, landscape())
    assert load_shading(path).levels == ("prediction", "tag_id", "hour")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="cut short or altered"):
        load_shading(path)
    assert landscape_mark(tmp_path / "none") is None


async def test_a_newer_file_prices_while_bidding_goes_on_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path, other = tmp_path / "x", tmp_path / "y"
    first = save_landscape(path, landscape(3))
    second = save_landscape(other, landscape(4))
    worker = Worker(engine(load_shading(path)))
    file = LandscapeFile(path, load_shading, landscape_mark, landscape_mark(path), 0.01)
    renewal = Renewal(worker, SystemClock(), landscapes=file)
    stop = asyncio.Event()
    task = asyncio.create_task(renewal.run_landscapes(stop))

    async def until(done) -> None:
        async with asyncio.timeout(20):
            while not done():  # noqa: ASYNC110 - a count tells nobody
                await asyncio.sleep(0.005)

    assert worker.engine.shading.hash == first
    path.write_bytes(b"nothing")
    await until(lambda: renewal.refused_landscapes)
    assert (worker.engine.shading.hash, renewal.landscapes) == (first, 0)
    other.replace(path)
    await until(lambda: renewal.landscapes)
    assert worker.engine.shading.hash == second
    (row,) = make.decide(worker.engine, ask(), now_ns=NOW_NS)
    assert row["arm"] == "landscape"
    stop.set()
    await task


def test_where_a_batch_is_split_changes_nothing() -> None:
    """Arms, draws and the money to explore with are those of one request after the other."""
    settings = ShadingSettings(holdout=0.1, explore_share=0.4, exploration_budget_ppm=30)
    bodies = [ask(n, pctr=0.0005 * (1 + n % 7), tag=f"p{n % 5}") for n in range(120)]
    whole, parts = (engine(shading=settings) for _ in range(2))
    together = make.decide(whole, *bodies, now_ns=NOW_NS)
    apart = [row for body in bodies for row in make.decide(parts, body, now_ns=NOW_NS)]
    assert together == apart
    assert {"explore_factor" in row for row in together} == {True, False}
    assert whole.explored.left.tolist() == parts.explored.left.tolist()


def test_a_landscape_needs_no_other_compiled_code() -> None:
    """What was compiled before traffic came must do when a landscape comes: a compiler takes half a minute."""
    made = engine(Shading.none())
    make.decide(made, ask(1), now_ns=NOW_NS)
    compiled = getattr(decide_rows, "signatures", None)
    before = list(compiled or ())
    made.adopt_shading(shading(), NOW_NS)
    (row,) = make.decide(made, ask(2), now_ns=NOW_NS)
    assert row["arm"] == "landscape"
    assert list(getattr(decide_rows, "signatures", None) or ()) == before


def test_the_command_explains_by_a_landscape(tmp_path: Path) -> None:
    path, request = tmp_path / "x.landscape", tmp_path / "r.json"
    save_landscape(path, landscape())
    request.write_bytes(make.body(Offer(at=1, external=None)) + b"\n")
    asked = ["explain", "--line-item", "sample-banner", "--request", str(request)]
    told = [
        CliRunner().invoke(build_app(), [*asked, *more], catch_exceptions=False).output
        for more in ((), ("--landscape", str(path)), ("--landscape", str(path), "--json"))
    ]
    assert "x shade (first price)" in told[0]
    assert "by the landscape" in told[1].replace("\n", " ") or "held out of the landscape" in told[1]
    price = orjson.loads(told[2])["opportunities"][0]["price"]
    assert price["arm"] in ("landscape", "held")
    assert price["stratum"].startswith("prediction tenth")
