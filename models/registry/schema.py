"""Whether a model may take the place of another: it must ask for the same features.

Vocabularies and the segments that got a column of their own differ from one training to the next, and the bidder
takes them from the bundle. Names, kinds and sides are what the requests and line items are read by: a change of
those is a change of what is served, and is made on purpose or not at all.
"""

from models.artifact import Manifest, ModelBundle
from models.errors import ArtifactError
from models.reports import TrainingReport
from models.schema import SEGMENT_PREFIX, SEGMENTS_COLUMN, FeatureSpec

DEFAULT_GOAL = "conversion"


def schema_of(spec: FeatureSpec) -> dict[str, str]:
    """Kind and side by column; features of segments are one column."""
    found: dict[str, str] = {}
    for feature in spec.features:
        if feature.name.startswith(SEGMENT_PREFIX):
            found[SEGMENTS_COLUMN] = f"segments of the {feature.side}"
        else:
            found[feature.name] = f"{feature.kind} of the {feature.side}"
    return found


def differences(old: FeatureSpec, new: FeatureSpec) -> list[str]:
    """How `new` differs from `old`, in words; empty where it may follow.

    That no segment was frequent enough for a column is no difference.
    """
    was, now = schema_of(old), schema_of(new)
    found = [f"{name} ({now[name]}) is new" for name in now if name not in was and name != SEGMENTS_COLUMN]
    found += [f"{name} ({was[name]}) is gone" for name in was if name not in now and name != SEGMENTS_COLUMN]
    found += [
        f"{name} is {now[name]}, was {was[name]}" for name in now if name in was and was[name] != now[name]
    ]
    return found


def goal_of(manifest: Manifest) -> str:
    """The column whose ones the model counts as conversions; `conversion` where the manifest does not say."""
    return manifest.training.goal if isinstance(manifest.training, TrainingReport) else DEFAULT_GOAL


def bundle_differences(old: ModelBundle, new: ModelBundle) -> list[str]:
    """As `differences`, and whether both predict the same: another goal is another meaning of every bid."""
    was, now = goal_of(old.manifest), goal_of(new.manifest)
    return differences(old.spec, new.spec) + ([f"the goal is {now}, was {was}"] if was != now else [])


def check_follows(old: ModelBundle, new: ModelBundle) -> None:
    """Raises `ArtifactError` where `new` may not take the place of `old`."""
    found = bundle_differences(old, new)
    if found:
        raise ArtifactError(
            f"model {new.hash[:12]} must have the features and the goal of the champion, but {'; '.join(found)}: "
            f"train it with the same declarations and goal, or promote it with --new-schema once every bidder has "
            f"the features"
        )
