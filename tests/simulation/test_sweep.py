"""Sweeps, on markets whose truth is known, on every backend."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

from bidder.errors import InputError
from simulator.estimate.controller import Controller, played
from simulator.sweep.backends import Backend, Cores, Dask, Here, backend_of
from simulator.sweep.run import Swept, sweep
from simulator.sweep.space import axis_of, grid
from simulator.sweep.table import write_sweep
from simulator.whatif import compare
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.truth import true_outcome
from simulator.worlds.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(RECIPES["second"], 4, 15_000)


def swept(world: World, backend: Backend | None = None, **more: object) -> list[Swept]:
    unit = world.budget_nanos / 1e9
    points = grid([axis_of(f"budget={unit / 2},{unit},{2 * unit}")])
    return sweep(world.log, world.controller, 10**9, points, seed=1, draws=6, backend=backend, **more)  # type: ignore[arg-type]


def test_points_bring_what_they_really_bring(world: World) -> None:
    for row in swept(world):
        truth = true_outcome(world, round(row.point["budget"] * 1e9))
        assert row.spend_nanos.point == pytest.approx(truth.spend_nanos, rel=0.02)
        assert row.clicks.low is not None
        assert row.clicks.high is not None
        assert row.clicks.low * 0.9 <= truth.clicks <= row.clicks.high * 1.1
        value, spend = row.value_nanos.point or 0, row.spend_nanos.point or 1
        assert row.roi == pytest.approx((value - spend) / spend)


def test_each_point_is_played_once_a_draw(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(compare, "played", lambda *a: calls.append(1) or played(*a))
    assert len(swept(world)) == 3
    assert len(calls) == 3 * (6 + 1)


def test_the_best_comes_first(world: World) -> None:
    by_clicks = [row.clicks.point or 0 for row in swept(world, order="clicks")]
    assert by_clicks == sorted(by_clicks, reverse=True)
    by_roi = [row.roi for row in swept(world, order="roi")]
    assert by_roi == sorted(by_roi, reverse=True)
    assert by_roi[0] > by_roi[-1]


def test_cores_and_a_cluster_say_what_one_process_says(world: World) -> None:
    here = swept(world, Here())
    assert swept(world, Cores(2)) == here
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        assert swept(world, Dask(cluster.scheduler_address)) == here


def test_the_backend_is_the_one_that_is_asked_for() -> None:
    assert isinstance(backend_of(1, ""), Here)
    assert isinstance(backend_of(2, ""), Cores)
    with pytest.raises(InputError, match="address of a scheduler that answers"):
        backend_of(1, "tcp://127.0.0.1:1")


def test_a_file_has_a_row_a_point(world: World, tmp_path: Path) -> None:
    rows = swept(world)
    write_sweep(tmp_path / "s.parquet", rows)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.num_rows == 3
    assert table.column("budget").to_pylist() == [row.point["budget"] for row in rows]
    assert table.column("surplus_nanos_low").to_pylist() == [row.surplus_nanos.low for row in rows]
    with pytest.raises(InputError, match="must be a file to write"):
        write_sweep(tmp_path / "no" / "s.parquet", rows)


def test_what_cannot_be_swept_is_an_error(world: World) -> None:
    with pytest.raises(InputError, match="--order must be one of surplus"):
        swept(world, order="luck")
    for points, budget, said in (
        ([], 10**9, "must have a point"),
        ([{"shade": 0.5}], 0, "budget must be above 0"),
    ):
        with pytest.raises(InputError, match=said):
            sweep(world.log, Controller(0.5, 10**8), budget, points, seed=1)
