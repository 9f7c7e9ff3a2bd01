"""From a table to segments: behaviour, directions, groups, names, traits, words, answers."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from models.dataset import TrainingTable
from models.pages.text import counted
from models.segments.behaviour import Behaviour, Ints, behaviour_of
from models.segments.clusters import APART, STABLE, Clusters, clusters_of
from models.segments.folder import Before
from models.segments.matching import Named, name_groups
from models.segments.report import FOUND, NO_STABLE, NO_STRUCTURE, Report, Segment, TraitTold, TrialTold
from models.segments.response import Answers, answers_of, best_of
from models.segments.space import Space, space_of
from models.segments.traits import Trait, rows_each, traits_of
from models.segments.words import words_of

Progress = Callable[[str, int, int], None]
"""Called with the stage (`shuffle`, `groups`), how much of it is done and how much there is."""

SMALLEST = 50
_FOUND_SHARE = 0.7
"""Of the window, where clicks help to find groups; the rest says how these answer."""
_NO_EXPERIMENT = (
    "Which users saw what was the bidder's choice: a lift says how a segment answered, not what showing it more "
    "would bring. Try a segment with a small budget before moving much money."
)
_MANY = "Each segment's interval is of 95 % by itself: of twenty segments, one lies off by chance."
_UTC = "Parts of the day and of the week are UTC."


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        groups: how many, None to choose. smallest: least users of a segment and of whatever is told.
        seed: of all that is drawn. clicks: whether the click rate helps to find groups.
    """

    groups: int | None = None
    smallest: int = SMALLEST
    seed: int = 1
    clicks: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Segments.

    Attributes:
        report: what is told. users: keys, sorted. segment: of each; None where it is in none.
        next_number: of the next new segment.
    """

    report: Report
    users: tuple[str, ...]
    segment: tuple[str | None, ...]
    next_number: int


def find_segments(
    table: TrainingTable, wish: Wish, progress: Progress, before: Before | None = None
) -> Found:
    """Finds audiences in a table and says what they are.

    Args:
        table: with the column `user`, read with `behaviour.DECLARATIONS` and lost bids.
        wish: how many, how small, and so on.
        progress: hears of the stages.
        before: the set that this one refreshes.

    Raises:
        TableError: no users, too few, or nothing known of them.
        ModelError: scikit-learn is not installed.
    """
    cut_ns = _cut_ns(table) if wish.clicks else int(table.at_ns[0])
    behaviour = behaviour_of(table, wish.smallest, cut_ns if wish.clicks else None)
    space = space_of(behaviour, wish.seed, lambda done, total: progress("shuffle", done, total))
    clusters = _groups(space, wish, progress)
    found = clusters.count > 1
    if found:
        named = name_groups(
            behaviour.users,
            clusters.labels,
            before.segment_of if before is not None else None,
            before.next_number if before is not None else 1,
            before.removed if before is not None else (),
        )
    else:
        named = _none_named(behaviour, before)
    answers = (
        answers_of(table, behaviour, clusters.labels, named.names, cut_ns, wish.smallest) if found else None
    )
    report = _report(table, wish, behaviour, space, clusters, named, answers, cut_ns)
    members: list[str | None] = [named.names[label] if found else None for label in clusters.labels.tolist()]
    # Who left is told so once: the bidder must not keep a segment that nobody vouches for.
    users, segment = (*behaviour.users, *named.left), (*members, *(None for _ in named.left))
    return Found(report, users, segment, named.next_number)


def _cut_ns(table: TrainingTable) -> int:
    first, last = int(table.at_ns[0]), int(table.at_ns[-1])
    return first + int((last - first) * _FOUND_SHARE)


def _groups(space: Space, wish: Wish, progress: Progress) -> Clusters:
    # Where no direction is more than chance, k-means would still cut noise in two, and do it again the same way.
    if space.kept == 0 and wish.groups is None:
        labels: Ints = np.zeros(len(space.points), dtype=np.int64)
        return Clusters(labels, np.zeros((1, space.points.shape[1])), ())
    return clusters_of(
        space.points,
        wish.smallest,
        wish.groups,
        wish.seed,
        lambda done, total: progress("groups", done, total),
    )


def _none_named(behaviour: Behaviour, before: Before | None) -> Named:
    if before is None:
        return Named((), 1, None, ())
    labels: Ints = np.zeros(len(behaviour.users), dtype=np.int64)
    named = name_groups(behaviour.users, labels, before.segment_of, before.next_number, before.removed)
    assert named.churn is not None, "there was a set before"
    known = len(behaviour.users) - named.churn.joined
    churn = msgspec.structs.replace(
        named.churn,
        kept=(),
        new=(),
        retired=tuple(sorted(set(before.segment_of.values()))),
        stayed=0,
        moved=known - named.churn.had_none,
    )
    return Named((), before.next_number, churn, named.left)


def _report(
    table: TrainingTable,
    wish: Wish,
    behaviour: Behaviour,
    space: Space,
    clusters: Clusters,
    named: Named,
    answers: Answers | None,
    cut_ns: int,
) -> Report:
    at_ns = table.at_ns[behaviour.rows]
    return Report(
        verdict=_verdict(space, clusters),
        table=table.source,
        table_sha256=table.sha256,
        window_ns=(int(at_ns[0]), int(at_ns[-1])),
        rows=len(behaviour.rows),
        rows_unknown_user=behaviour.unknown,
        users=len(behaviour.users),
        columns={block.name: len(block.values) for block in behaviour.blocks},
        smallest=wish.smallest,
        seed=wish.seed,
        asked=wish.groups,
        directions=space.kept,
        trials=tuple(
            TrialTold(one.asked, one.groups, one.smallest, one.silhouette, one.stability, one.stable)
            for one in clusters.trials
        ),
        response_from_ns=cut_ns,
        segments=_segments(behaviour, clusters, named, answers, wish.smallest) if answers is not None else (),
        cells=answers.cells if answers is not None else (),
        best=best_of(answers.cells) if answers is not None else {},
        churn=named.churn,
        cautions=_cautions(space, clusters, wish),
    )


def _verdict(space: Space, clusters: Clusters) -> str:
    """Whether there is something to build on; groups that were asked for are made either way."""
    if space.kept == 0:
        return NO_STRUCTURE
    return FOUND if clusters.taken is not None and clusters.taken.stable else NO_STABLE


def _segments(
    behaviour: Behaviour, clusters: Clusters, named: Named, answers: Answers, smallest: int
) -> tuple[Segment, ...]:
    labels, sizes = clusters.labels, np.bincount(clusters.labels)
    each = rows_each(behaviour, labels)
    traits = traits_of(behaviour, labels, smallest)
    total, users = float(behaviour.count.sum()), len(labels)
    found = []
    for group, name in enumerate(named.names):
        others = (total - each[group] * sizes[group]) / (users - sizes[group])
        ctr = answers.ctr[group]
        found.append(
            Segment(
                name=name,
                words=words_of(traits[group], float(each[group]), float(others), ctr),
                users=int(sizes[group]),
                share=float(sizes[group] / users),
                rows_each=float(each[group]),
                rows_each_others=float(others),
                traits=tuple(map(_told, traits[group])),
                ctr=ctr,
                cvr=answers.cvr[group],
                value_nanos=answers.value[group] if answers.value is not None else None,
            )
        )
    return tuple(found)


def _told(one: Trait) -> TraitTold:
    return TraitTold(
        one.column, one.value, one.share, one.share_others, one.odds, one.odds_low, one.odds_high, one.z
    )


def _cautions(space: Space, clusters: Clusters, wish: Wish) -> tuple[str, ...]:
    found = [_UTC]
    if clusters.count > 1:
        found = [_NO_EXPERIMENT, _MANY, *found]
    if wish.clicks:
        found.append(
            "Clicks helped to find the groups, so only impressions after those clicks count as answers."
        )
    if clusters.taken is not None and clusters.taken.silhouette < APART:
        found.append(
            f"The groups overlap (silhouette {clusters.taken.silhouette:.2f}, apart from {APART} on): users at their "
            f"edges will change with a refresh."
        )
    if wish.groups is not None and space.kept == 0:
        found.append(
            "No direction of behaviour is more than chance: these groups were asked for, and are not there."
        )
    if wish.groups is not None and clusters.trials and not clusters.trials[0].stable:
        found.append(
            f"These groups were asked for and are not stable: halves of the users agree by "
            f"{clusters.trials[0].stability:.2f}, {STABLE} is the least that is chosen."
        )
    if clusters.trials and clusters.trials[0].groups < clusters.trials[0].asked and wish.groups is not None:
        found.append(
            f"{clusters.trials[0].asked} groups were asked for: "
            f"{counted(clusters.trials[0].groups, 'has', 'have')} {wish.smallest} users, the others were merged in."
        )
    return tuple(found)
