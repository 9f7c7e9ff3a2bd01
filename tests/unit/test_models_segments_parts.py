"""The parts that segments are made by, each against naive code, another library or a closed form."""

import itertools
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from models.dataset import table_from_arrow
from models.errors import ArtifactError
from models.segments.behaviour import DAY_PART, DECLARATIONS, WEEK_PART, Behaviour, behaviour_of
from models.segments.find import Found, Wish, find_segments
from models.segments.folder import load_segments, save_segments
from models.segments.matching import LEAST_OVERLAP, name_groups
from models.segments.response import Rate, answers_of, best_of, holm_corrected
from models.segments.space import space_of
from models.segments.traits import PRIOR_USERS, log_odds_of
from models.segments.words import words_of
from tests.support.audiences import HOUR_NS, START_NS, make_users

ROW = {
    "at_ns": START_NS,
    "click": 0,
    "conversion": None,
    "user": "u1",
    "domain": "a.example",
    "segments": ["s1"],
    "campaign": "c1",
}


def behaviour(rows: list[dict[str, object]], smallest: int = 1) -> Behaviour:
    arrow = pa.Table.from_pylist([ROW | row for row in rows])
    return behaviour_of(table_from_arrow(arrow, DECLARATIONS, source="t", lost=True), smallest)


def shares(found: Behaviour, name: str) -> dict[str, dict[str, float]]:
    (block,) = (block for block in found.blocks if block.name == name)
    dense = block.shares.toarray()
    return {
        user: {value: float(share) for value, share in zip(block.values, row, strict=True) if share}
        for user, row in zip(found.users, dense, strict=True)
    }


def test_shares_are_of_a_user_s_own_rows() -> None:
    rows = [
        {"domain": "a.example", "segments": ["s1", "s2", "s2"]},
        {"domain": "a.example", "segments": ["s1"]},
        {"domain": "b.example", "segments": None},
        {"domain": None, "segments": ["s1"], "at_ns": START_NS + 20 * HOUR_NS},
        {"user": "u2", "domain": "b.example", "segments": ["s2"], "at_ns": START_NS + 5 * 24 * HOUR_NS},
        {"user": None, "domain": "never.example"},
    ]
    found = behaviour(rows)
    assert shares(found, "domain") == {"u1": {"a.example": 0.5, "b.example": 0.25}, "u2": {"b.example": 1.0}}
    assert shares(found, "segments") == {"u1": {"s1": 0.75, "s2": 0.25}, "u2": {"s2": 1.0}}
    assert shares(found, DAY_PART) == {"u1": {"night": 0.75, "evening": 0.25}, "u2": {"night": 1.0}}
    assert shares(found, WEEK_PART) == {"u1": {"weekday": 1.0}, "u2": {"weekend": 1.0}}
    assert (found.count.tolist(), found.unknown) == ([4, 1], 1)


def test_a_value_counts_where_enough_users_have_it_however_often_one_has() -> None:
    rows = [{"user": f"u{number}", "domain": "a.example"} for number in range(6)]
    rows += [{"user": "u0", "domain": "mine.example"}] * 9
    assert "mine.example" in shares(behaviour(rows), "domain")["u0"]
    assert shares(behaviour(rows, smallest=2), "domain")["u0"] == {"a.example": 0.1}


def test_directions_are_those_of_the_covariance_written_out() -> None:
    """Sparse shares with their average taken off only in the algebra, against the same in full."""
    arrow, _ = make_users(300, purity=0.6)
    found = behaviour_of(table_from_arrow(arrow, DECLARATIONS, source="t"), 20)
    space = space_of(found, 1, lambda *_: None)
    parts: dict[str, list[np.ndarray]] = {}
    for block in found.blocks:
        dense = block.shares.toarray()
        if block.kind != "habits":
            mean = dense.mean(axis=0)
            dense = (dense - mean) / np.sqrt(mean)
        if block.kind == "visits":
            dense = dense * (found.count / (found.count + 4.0))[:, None]
        theme = "device" if block.name in {"os", "device_type"} else block.name
        parts.setdefault(theme, []).append(dense)
    themes = [np.hstack(own) for own in parts.values()]
    full = np.hstack([own / np.sqrt(np.linalg.eigvalsh(own.T @ own / len(own))[-1]) for own in themes])
    values, vectors = np.linalg.eigh(full.T @ full / len(full))
    assert np.allclose(space.variances, values[::-1][: len(space.variances)], atol=1e-9)
    expected = full @ vectors[:, ::-1][:, : space.points.shape[1]]
    assert np.allclose(np.abs(space.points), np.abs(expected), atol=1e-7)


def test_log_odds_are_those_of_the_paper() -> None:
    """Monroe, Colaresi & Quinn (2008), equations 16 and 20, value by value."""
    own = np.array([[30.0, 5.0, 0.0], [10.0, 40.0, 2.0]])
    sizes = np.array([[60.0], [90.0]])
    delta, sigma = log_odds_of(own, sizes)
    for i, w in itertools.product(range(2), range(3)):
        j = 1 - i
        a_w = PRIOR_USERS * own[:, w].sum() / sizes.sum()
        odds = [(own[g, w] + a_w) / (sizes[g, 0] + PRIOR_USERS - own[g, w] - a_w) for g in (i, j)]
        assert delta[i, w] == pytest.approx(np.log(odds[0]) - np.log(odds[1]))
        variance = sum(
            1 / (own[g, w] + a_w) + 1 / (sizes[g, 0] + PRIOR_USERS - own[g, w] - a_w) for g in (i, j)
        )
        assert sigma[i, w] == pytest.approx(np.sqrt(variance))


def answers(
    clicks: list[list[int]], labels: list[int], campaigns: tuple[str, ...] = ("c1",)
) -> tuple[Rate, ...]:
    """Click rates of users with these clicks, an impression each."""
    rows = [
        {"user": f"u{user:05d}", "click": click, "campaign": campaigns[place % len(campaigns)]}
        for user, own in enumerate(clicks)
        for place, click in enumerate(own)
    ]
    arrow = pa.Table.from_pylist([ROW | row for row in rows])
    table = table_from_arrow(arrow, DECLARATIONS, source="t")
    return answers_of(table, behaviour_of(table, 1), np.array(labels), ("a", "b"), 0, 1).ctr


def test_independent_rows_have_jeffreys_interval() -> None:
    clicks = [[1]] * 7 + [[0]] * 93 + [[1]] * 10 + [[0]] * 40
    a, b = answers(clicks, [0] * 100 + [1] * 50)
    # The variance over users divides by one less than their number: a hundredth of a difference.
    for rate, events, trials in ((a, 7, 100), (b, 10, 50)):
        assert (rate.events, rate.trials) == (events, trials)
        low, high = beta.ppf([0.025, 0.975], events + 0.5, trials - events + 0.5)
        assert rate.low == pytest.approx(low, rel=0.02)
        assert rate.high == pytest.approx(high, rel=0.02)


def test_users_who_always_do_the_same_widen_the_interval() -> None:
    labels = [0] * 40 + [1] * 10
    alike = answers([[1] * 10] * 4 + [[0] * 10] * 36 + [[0, 1]] * 10, labels)[0]
    mixed = answers([[1] + [0] * 9] * 40 + [[0, 1]] * 10, labels)[0]
    assert alike.rate == mixed.rate == 0.1
    assert alike.low is not None
    assert mixed.low is not None
    assert alike.low < mixed.low


def test_no_clicks_have_a_rate_with_an_upper_end_and_no_lift() -> None:
    a, b = answers([[0]] * 50 + [[1], [0]], [0] * 50 + [1, 1])
    assert (a.rate, a.low, a.lift) == (0.0, 0.0, None)
    assert a.high == pytest.approx(beta.ppf(0.975, 0.5, 50.5))
    assert b.lift is None


def test_intervals_of_lifts_hold_what_they_promise() -> None:
    """500 markets of users with rates of their own, the same in both groups: 95 % intervals hold 1 in 92 to 98 %."""
    random = np.random.default_rng(11)
    held = 0
    for _ in range(500):
        rate = random.beta(1.0, 9.0, 160)  # few users click much, most hardly
        clicks = [random.binomial(1, p, 5).tolist() for p in rate]
        low, high = (getattr(answers_fast(clicks), name) for name in ("lift_low", "lift_high"))
        held += low < 1.0 < high
    assert 0.92 < held / 500 < 0.98


def answers_fast(clicks: list[list[int]]) -> Rate:
    from models.segments.response import _ByUser

    user = np.repeat(np.arange(len(clicks)), [len(own) for own in clicks])
    labels = np.arange(len(clicks)) % 2
    events = np.array(list(itertools.chain.from_iterable(clicks)), dtype=np.float64)
    ones = np.ones(len(events))
    return _ByUser(user, labels, 2).rates(events, ones, ones > 0)[0]


def test_interval_of_a_value_begins_above_nothing_and_holds_the_truth() -> None:
    from models.segments.response import _ByUser

    random = np.random.default_rng(4)
    users, truth, held, drawn = 400, 0.05 * np.exp(0.5), 0, 300
    labels, ones = np.zeros(users, dtype=np.int64), np.ones(users)
    for _ in range(drawn):
        worth = random.lognormal(0.0, 1.0, users) * (random.random(users) < 0.05)
        (rate,) = _ByUser(np.arange(users), labels, 1).rates(worth, ones, ones > 0, share=False)
        assert 0.0 < rate.low < rate.rate < rate.high
        held += rate.low < truth < rate.high
    assert 0.85 < held / drawn <= 1.0
    few = np.where(
        np.arange(users) == 3, 1.0, 0.0
    )  # one user brought it all: normal, it would begin at -0.96 of it
    (rate,) = _ByUser(np.arange(users), labels, 1).rates(few, ones, ones > 0, share=False)
    assert rate.low > 0.0
    (none,) = _ByUser(np.arange(users), labels, 1).rates(0.0 * few, ones, ones > 0, share=False)
    assert (none.rate, none.low, none.high) == (0.0, None, None)


def test_holm_takes_the_steps_of_the_paper() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm_corrected(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_corrected(np.array([])).tolist() == []


def test_many_campaigns_without_a_difference_give_no_best() -> None:
    random = np.random.default_rng(2)
    rows = [
        ROW
        | {
            "user": f"u{n % 300}",
            "click": int(random.random() < 0.1),
            "campaign": f"c{random.integers(0, 30)}",
        }
        for n in range(12_000)
    ]
    table = table_from_arrow(pa.Table.from_pylist(rows), DECLARATIONS, source="t")
    found = behaviour_of(table, 1)
    cells = answers_of(table, found, np.arange(300) % 3, ("a", "b", "c"), 0, 1).cells
    assert len(cells) == 90
    assert sum(cell.p is not None for cell in cells) > 80
    assert set(best_of(cells).values()) == {None}
    # Ninety questions asked one by one would have found something.
    assert (
        min((cell.lift_high or 9.0) for cell in cells) < 1.0
        or max((cell.lift_low or 0.0) for cell in cells) > 1.0
    )


def test_a_pair_of_few_users_is_not_told() -> None:
    rows = [ROW | {"user": f"u{n}", "campaign": "c1" if n < 190 else "c2"} for n in range(200)]
    table = table_from_arrow(pa.Table.from_pylist(rows), DECLARATIONS, source="t")
    found = behaviour_of(table, 1)
    cells = answers_of(table, found, (np.arange(200) % 2), ("a", "b"), 0, 50).cells
    assert [(cell.segment, cell.campaign) for cell in cells] == [("a", "c1"), ("b", "c1")]


groups = st.lists(st.integers(0, 3), min_size=8, max_size=24)


@settings(max_examples=80)
@given(groups, st.data())
def test_names_are_given_so_that_most_users_keep_theirs(now: list[int], data: st.DataObject) -> None:
    labels = np.unique(np.array(now), return_inverse=True)[1]
    was = data.draw(st.lists(st.integers(0, 3), min_size=len(now), max_size=len(now)))
    users = [f"u{number:02d}" for number in range(len(now))]
    before = {user: f"found-{old + 1:02d}" for user, old in zip(users, was, strict=True)}
    named = name_groups(users, labels, before, 5)
    assert len(set(named.names)) == len(named.names) == labels.max() + 1
    assert named.churn is not None
    assert named.churn.stayed + named.churn.moved == len(users)
    olds = sorted(set(before.values()))
    width = max(len(olds), len(named.names))
    shared = np.zeros((width, width), dtype=int)
    for label, user in zip(labels, users, strict=True):
        shared[label, olds.index(before[user])] += 1
    most = max(
        sum(shared[i, p] for i, p in enumerate(order)) for order in itertools.permutations(range(width))
    )
    dropped = sum(shared[i].max() for i, name in enumerate(named.names) if name not in olds)
    assert named.churn.stayed <= most <= named.churn.stayed + dropped
    for index, name in enumerate(named.names):
        if name in olds:
            a, b = (
                {u for u, l in zip(users, labels, strict=True) if l == index},
                {u for u in users if before[u] == name},
            )
            assert len(a & b) >= LEAST_OVERLAP * len(a | b)


def test_a_group_of_other_people_gets_a_new_name() -> None:
    users = [f"u{number}" for number in range(10)]
    before = dict.fromkeys(users[:5], "found-01") | dict.fromkeys(
        [f"x{number}" for number in range(9)], "found-02"
    )
    named = name_groups(users, np.array([0] * 5 + [1] * 5), before, 3)
    assert named.names == ("found-01", "found-03")
    assert named.churn is not None
    assert (named.churn.retired, named.churn.joined, named.churn.left) == (("found-02",), 5, 9)
    assert named.next_number == 4


def test_words_say_what_there_is_and_no_more() -> None:
    nothing = Rate(10.0, 1.0, 0.1, 0.0, 0.3, 2.0, 0.5, 8.0)
    assert words_of((), 3.0, 3.0, nothing) == "Users without a trait of their own"
    assert words_of((), 9.0, 3.0, nothing) == "Users, seen often (9.0 rows a user, others 3.0)"
    surely = Rate(10.0, 1.0, 0.1, 0.0, 0.3, 0.5, 0.3, 0.8)
    assert (
        words_of((), 2.0, 3.1, surely) == "Users, seen seldom (2.0 rows a user, others 3.1), 0.5 x the clicks"
    )


@pytest.fixture(scope="module")
def found() -> Found:
    arrow, _ = make_users(300)
    table = table_from_arrow(arrow, DECLARATIONS, source="t", lost=True)
    return find_segments(table, Wish(groups=4, smallest=20), lambda *_: None)


def save(found: Found, out: Path) -> None:
    save_segments(out, found.report, found.users, found.segment, {"groups": 4}, found.next_number)


def test_a_set_reads_as_it_was_written(found: Found, tmp_path: Path) -> None:
    save(found, tmp_path / "s")
    read = load_segments(tmp_path / "s")
    assert read.report == found.report
    assert read.segment_of == dict(zip(found.users, found.segment, strict=True))
    assert (read.removed, read.next_number) == ((), found.next_number)


def test_the_same_set_is_the_same_bytes(found: Found, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(found, tmp_path / name)
    for file in ("assignments.parquet", "segments.json", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_only_the_owner_may_read_who_is_in_what(found: Found, tmp_path: Path) -> None:
    save(found, tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s" / "assignments.parquet").stat().st_mode) == 0o600


@pytest.mark.parametrize("file", ["assignments.parquet", "segments.json", "manifest.json"])
@pytest.mark.parametrize("place", [0, 200, -2])
def test_one_changed_byte_is_refused_by_name(found: Found, tmp_path: Path, file: str, place: int) -> None:
    save(found, tmp_path / "s")
    data = bytearray((tmp_path / "s" / file).read_bytes())
    data[place] ^= 1
    (tmp_path / "s" / file).write_bytes(data)
    with pytest.raises(ArtifactError, match=file):
        load_segments(tmp_path / "s")


def test_a_missing_file_and_another_directory_are_refused(found: Found, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="find segments with `clearbid models segments`"):
        load_segments(tmp_path / "none")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "letters.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"must hold segments only.*holds letters\.txt"):
        save(found, tmp_path / "s")
    assert (tmp_path / "s" / "letters.txt").read_text() == "mine"


def test_a_set_is_replaced_as_a_whole_and_a_crash_between_the_moves_loses_none(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s"
    save(found, out)
    save(found, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
    move, moved = Path.rename, []

    def once(self: Path, target: Path) -> Path:
        moved.append(target)
        if len(moved) == 2:
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(ArtifactError, match="must be writable: No space left"):
        save(found, out)
    monkeypatch.undo()
    assert not out.exists()
    assert load_segments(out).report == found.report
    save(found, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
