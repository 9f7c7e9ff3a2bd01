"""A model directory as the bidder uses it."""

import hashlib
from pathlib import Path

from bidder.core.scoring import Model
from bidder.errors import InputError


def model_mark(directory: Path) -> str | None:
    """Tells states of a model directory apart at the cost of one small file; None where no bundle is whole.

    A bundle's manifest names the contents of all its other files, and is written last. Of a registry it is the
    alias of its champion, so that a promotion is seen.
    """
    from models.aliases import CHAMPION, alias_text, is_registry
    from models.artifact import MANIFEST_FILE

    if is_registry(directory):
        return alias_text(directory, CHAMPION)
    try:
        return hashlib.sha256((directory / MANIFEST_FILE).read_bytes()).hexdigest()
    except OSError:
        return None


def load_model(directory: Path) -> Model:
    """Reads a bundle, or a registry's champion, checks it whole, compiles it, compares it with LightGBM's scores.

    Raises:
        ArtifactError: missing, altered or broken files, a kind of model that is not supported, or compiled
            scores that differ from LightGBM's.
        InputError: models that want a feature which no request has.
    """
    # LightGBM and the compiler take a second to import: only who serves a model pays for it.
    from models.artifact import load_bundle
    from models.scorer import Scorer

    bundle = load_bundle(directory)
    scorer = Scorer(bundle)
    try:
        return Model.of(bundle.spec, scorer.table, bundle.hash)
    except ValueError as error:
        raise InputError(f"model {directory} does not fit this bidder: {error}") from error
