"""Audiences found in behaviour: planted ones are found and named, none are found where there are none."""

import json
from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_rand_score

from models.dataset import table_from_arrow
from models.errors import ModelError, TableError
from models.segments.behaviour import DECLARATIONS
from models.segments.clusters import STABLE, clusters_of
from models.segments.find import Found, Wish, find_segments
from models.segments.folder import Before, Manifest
from models.segments.page import segments_page
from models.segments.report import FOUND, NO_STRUCTURE
from models.segments.words import structure_words
from tests.support.audiences import INTERESTS, KINDS, TOPICS, Kind, key, make_users

FOUR = Wish(groups=4)
SPANS = [(1, 3), (1, 12), (14, 3), (14, 12)]
PARTS = {(18, 24): "evening", (6, 12): "morning", (12, 18): "afternoon", (0, 6): "night"}


def find(arrow: pa.Table, wish: Wish | None = None, before: Before | None = None) -> Found:
    table = table_from_arrow(arrow, DECLARATIONS, source="rows.parquet", lost=True)
    return find_segments(table, wish or Wish(), lambda *_: None, before)


@cache
def planted() -> tuple[Found, dict[str, int]]:
    arrow, truth = make_users(unknown=300)
    return find(arrow), truth


def agreement(found: Found, truth: dict[str, int]) -> float:
    pairs = [
        (truth[user], segment) for user, segment in zip(found.users, found.segment, strict=True) if segment
    ]
    return float(adjusted_rand_score(*zip(*pairs, strict=True)))


def kind_of(found: Found, name: str, truth: dict[str, int]) -> int:
    """The planted group that most users of a segment are of."""
    pairs = zip(found.users, found.segment, strict=True)
    return Counter(truth[user] for user, segment in pairs if segment == name).most_common(1)[0][0]


def test_planted_groups_are_found_and_counted() -> None:
    found, truth = planted()
    assert found.report.verdict == FOUND
    assert len(found.report.segments) == len(KINDS)
    assert agreement(found, truth) > 0.95
    assert 'class="verdict good"' in segments_page(found.report)


def test_weakly_planted_groups_are_found_too() -> None:
    arrow, truth = make_users(purity=0.45)
    found = find(arrow)
    assert len(found.report.segments) == len(KINDS)
    assert agreement(found, truth) > 0.8


def test_traits_and_words_name_what_was_planted() -> None:
    found, truth = planted()
    for segment in found.report.segments:
        kind = KINDS[kind_of(found, segment.name, truth)]
        told = {(trait.column, trait.value.split("-")[0]) for trait in segment.traits}
        assert told == {
            ("part of the day", PARTS[kind.hours]),
            ("device_type", kind.device),
            ("segments", kind.interest),
            ("domain", kind.topic),
        }
        for word in (PARTS[kind.hours], kind.interest, f"{kind.topic}-"):
            assert word in segment.words.lower()
        assert f"{segment.ctr.lift:.1f} x the clicks" in segment.words


def test_lifts_are_those_that_were_planted() -> None:
    found, truth = planted()
    for segment in found.report.segments:
        own = KINDS[kind_of(found, segment.name, truth)]
        others = [kind.click for kind in KINDS if kind is not own]
        lift = own.click / (sum(others) / len(others))
        assert segment.ctr.lift_low is not None
        assert segment.ctr.lift_high is not None
        # The intervals are of 95 %, a few users are in the wrong group: a little room on both sides.
        assert segment.ctr.lift_low * 0.9 < lift < segment.ctr.lift_high * 1.1


def test_each_campaign_is_answered_best_by_the_group_that_clicks_most() -> None:
    found, truth = planted()
    assert set(found.report.best) == {"c0", "c1"}
    assert {kind_of(found, best, truth) for best in found.report.best.values() if best} == {0}


@pytest.mark.parametrize("seed", range(4))
def test_users_who_are_all_alike_give_no_segments(seed: int) -> None:
    found = find(make_users(kinds=(), seed=seed)[0])
    assert found.report.verdict == NO_STRUCTURE
    assert found.report.segments == found.report.cells == ()
    assert set(found.segment) == {None}


def structured(days: int, rows_each: int, users: int, tables: int) -> int:
    """Of so many tables of users who are all alike, how many are told to have structure."""
    made = (make_users(users, seed, kinds=(), days=days, rows_each=rows_each)[0] for seed in range(tables))
    return sum(find(one).report.directions > 0 for one in made)


@pytest.mark.parametrize(("days", "rows_each"), SPANS)
def test_chance_is_taken_for_structure_in_few_tables(days: int, rows_each: int) -> None:
    """Eight tables of each kind: at a rate of 5 of 100 three of eight come once in 170 times."""
    assert structured(days, rows_each, users=300, tables=8) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("days", "rows_each"), SPANS)
def test_chance_is_taken_for_structure_in_few_of_a_hundred_tables(days: int, rows_each: int) -> None:
    assert structured(days, rows_each, users=600, tables=100) <= 5


def test_when_users_were_seen_is_no_group_of_its_own() -> None:
    """One row a user: its time says the part of the day and how long ago it was, of everybody alike."""
    found = find(make_users(kinds=(), rows_each=1, days=1)[0])
    assert found.report.verdict == NO_STRUCTURE


def test_the_same_seed_gives_the_same_bytes_and_rows_may_come_in_any_order() -> None:
    arrow, _ = make_users(400)
    first, again = find(arrow, FOUR), find(arrow, FOUR)
    assert msgspec.json.encode(again.report) == msgspec.json.encode(first.report)
    assert again.segment == first.segment
    mixed = find(arrow.take(np.random.default_rng(1).permutation(arrow.num_rows)), FOUR)
    assert adjusted_rand_score(*(list(map(str, one.segment)) for one in (mixed, first))) > 0.98


def test_rows_without_a_user_are_left_out_and_counted() -> None:
    found, truth = planted()
    assert found.report.rows_unknown_user == 300
    assert set(found.users) == set(truth)


def test_no_key_of_a_user_is_told() -> None:
    found, truth = planted()
    told = msgspec.json.encode(found.report).decode()
    assert not [user for user in truth if user in told]


def test_no_segment_is_smaller_than_asked_and_small_ones_join_the_nearest() -> None:
    rare = Kind("music", (0, 6), "4", "concerts", 0.01)
    arrow, _ = make_users(400, kinds=(*KINDS[:3],) * 6 + (rare,))  # 21 of 400 users
    small, large = (find(arrow, Wish(groups=4, smallest=size)) for size in (10, 50))
    assert 21 <= min(one.users for one in small.report.segments) < 50
    assert min(one.users for one in large.report.segments) >= 50
    assert "4 groups were asked for" in " ".join(large.report.cautions)


def test_nothing_is_told_of_a_value_that_few_users_have() -> None:
    arrow, truth = make_users(400, purity=0.9)
    odd = set(list(truth)[:8])  # eight users of one site
    site = ["secret.example" if user in odd else domain for user, domain in _pairs(arrow, "domain")]
    arrow = arrow.set_column(arrow.column_names.index("domain"), "domain", pa.array(site))
    for smallest, is_told in ((4, True), (50, False)):
        report = find(arrow, Wish(groups=4, smallest=smallest)).report
        assert report.columns["domain"] == (21 if is_told else 20)
        assert ("secret" in json.dumps(msgspec.to_builtins(report))) <= is_told


def test_asked_for_groups_that_are_not_there_come_with_a_warning() -> None:
    report = find(make_users(400, kinds=())[0], Wish(groups=3)).report
    assert len(report.segments) == 3
    assert report.verdict == NO_STRUCTURE
    measured = structure_words(report)
    for words in ("0 directions of behaviour are more than chance", f"{STABLE} is needed", "silhouette 0."):
        assert words in measured
    page = segments_page(report)
    assert 'class="verdict bad"' in page
    assert 'class="verdict good"' not in page
    assert f"No structure found, do not build on this: {measured}" in page
    said = " ".join(report.cautions)
    assert "these groups were asked for, and are not there" in said
    assert "not stable" in said


def test_with_clicks_answers_are_those_of_later_impressions_only() -> None:
    arrow, _ = make_users(600)
    report = find(arrow, Wish(groups=4, clicks=True)).report
    first, last = report.window_ns
    assert report.response_from_ns == pytest.approx(first + 0.7 * (last - first), rel=1e-12)
    later = sum(at >= report.response_from_ns for at in arrow["at_ns"].to_pylist())
    assert sum(segment.ctr.trials for segment in report.segments) == later
    assert report.columns["habits"] == 2


def test_lost_bids_tell_of_behaviour_and_are_no_impressions() -> None:
    arrow, _ = make_users(600)
    won = np.arange(arrow.num_rows) % 2
    click = [int(one) if w else None for one, w in zip(arrow["click"].to_pylist(), won, strict=True)]
    arrow = arrow.set_column(1, "click", pa.array(click, pa.int64())).append_column("won", pa.array(won))
    report = find(arrow, FOUR).report
    assert report.rows == arrow.num_rows
    assert sum(segment.ctr.trials for segment in report.segments) == won.sum()


def test_a_row_of_weight_two_counts_as_two() -> None:
    arrow, _ = make_users(400)
    doubled = find(pa.concat_tables([arrow, arrow]), Wish(groups=4)).report
    weighted = find(arrow.append_column("weight", pa.array([2.0] * arrow.num_rows)), Wish(groups=4)).report
    for name in ("trials", "events"):
        sums = [sum(getattr(one.ctr, name) for one in report.segments) for report in (doubled, weighted)]
        assert sums[0] == sums[1] > 0


def test_names_stay_with_their_people_and_churn_is_counted() -> None:
    first, truth = planted()
    before = _before(first)
    arrow, later = make_users(1_300, seed=9, first_user=200)
    again = find(arrow, FOUR, before)
    churn = again.report.churn
    assert churn is not None
    assert set(churn.kept) == {segment.name for segment in first.report.segments}
    assert (churn.new, churn.retired, churn.joined, churn.left) == ((), (), 300, 200)
    assert churn.stayed + churn.moved == 1_000
    assert churn.stayed > 950
    for name in churn.kept:
        assert kind_of(first, name, truth) == kind_of(again, name, later | truth)
    gone = [segment for user, segment in zip(again.users, again.segment, strict=True) if user not in later]
    assert gone == [None] * 200


def test_a_refresh_that_finds_nothing_retires_every_name_and_gives_no_number_twice() -> None:
    first, _ = planted()
    none = find(make_users(400, kinds=())[0], before=_before(first))
    assert none.report.churn is not None
    assert set(none.report.churn.retired) == {f"found-{number:02d}" for number in range(1, 5)}
    again = find(make_users(400)[0], FOUR, _before(none))
    assert {segment.name for segment in again.report.segments} == {
        f"found-{number:02d}" for number in range(5, 9)
    }


def test_users_who_were_in_no_segment_have_not_joined() -> None:
    first = find(make_users(400, kinds=())[0])
    again = find(make_users(500, seed=9)[0], FOUR, _before(first))
    churn = again.report.churn
    assert churn is not None
    assert (churn.stayed, churn.moved, churn.had_none, churn.joined, churn.left) == (0, 0, 400, 100, 0)
    none = find(make_users(500, kinds=())[0], before=_before(first)).report.churn
    assert none is not None
    assert (none.moved, none.had_none, none.joined) == (0, 400, 100)


def test_groups_that_overlap_wear_amber() -> None:
    found, _ = planted()
    trials = tuple(msgspec.structs.replace(one, silhouette=0.2) for one in found.report.trials)
    page = segments_page(msgspec.structs.replace(found.report, trials=trials))
    assert 'class="verdict care"' in page
    assert "Stable, but the groups overlap" in page


def test_a_table_without_users_is_refused() -> None:
    arrow, _ = make_users(200)
    with pytest.raises(TableError, match=r"rows.parquet must have the column user .*`clearbid export`"):
        find(arrow.drop_columns("user"))
    nobody = arrow.set_column(3, "user", pa.nulls(arrow.num_rows, pa.string()))
    with pytest.raises(TableError, match=r"must have rows whose user is known, all its .* are null"):
        find(nobody)


def test_too_few_users_and_no_behaviour_are_refused() -> None:
    arrow, _ = make_users(120)
    with pytest.raises(TableError, match="must have at least 200 users to make groups of 100, had 120"):
        find(arrow, Wish(smallest=100))
    bare = arrow.drop_columns(["domain", "os", "device_type", "segments"])
    with pytest.raises(TableError, match=r"must have a column of behaviour .* that 50 users have, has none"):
        find(bare)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ModelError, match=r"pip install 'clearbid\[offline\]'"):
        clusters_of(np.zeros((100, 2)), 10, None, 1, lambda *_: None)


def test_support_tables_are_what_they_say() -> None:
    arrow, truth = make_users(40, first_user=3)
    assert set(arrow["user"].to_pylist()) == set(truth) == {key(number) for number in range(3, 43)}
    assert set(INTERESTS) | {None} >= {one for ids in arrow["segments"].to_pylist() for one in ids}
    assert {domain.split("-")[0] for domain in arrow["domain"].to_pylist()} <= set(TOPICS)


def _pairs(arrow: pa.Table, column: str) -> list[tuple[str, str]]:
    return list(zip(arrow["user"].to_pylist(), arrow[column].to_pylist(), strict=True))


def _before(found: Found) -> Before:
    manifest = Manifest(
        format=1,
        files={},
        table_sha256="",
        window_ns=(0, 1),
        params={},
        next_number=found.next_number,
        versions={},
    )
    pairs = list(zip(found.users, found.segment, strict=True))
    return Before(
        manifest,
        found.report,
        {user: segment for user, segment in pairs if segment},
        tuple(user for user, segment in pairs if not segment),
    )
