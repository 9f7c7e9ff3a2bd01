"""A model directory as the bidder uses it."""

import hashlib
import logging
from pathlib import Path

from bidder.core.scoring import Model
from bidder.core.valuing import ValueForest
from bidder.errors import InputError

_log = logging.getLogger(__name__)


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


def load_model(directory: Path, *, native: bool = False) -> Model:
    """Reads a bundle, or a registry's champion, checks it whole, compiles it, compares it with LightGBM's scores.

    Where they differ, LightGBM itself scores, and a warning says so: bids are right then, but the kernel takes ten
    times as long. The check is the same for the same bundle and libraries, and the mode is part
    of the model's hash, so that a replay scores as the worker did.

    Args:
        directory: of the bundle. native: let LightGBM score in any case.

    Raises:
        ArtifactError: missing, altered or broken files, or a kind of model that is not supported.
        InputError: models that want a feature which no request has.
    """
    # LightGBM and the compiler take a second to import: only who serves a model pays for it.
    from models.artifact import MODEL_NAMES, load_bundle
    from models.compile import compile_bundle, compile_value
    from models.errors import MismatchError
    from models.saying import few_said
    from models.schema import serving_faults
    from models.scorer import check_native, check_table

    bundle = load_bundle(directory)
    if faults := serving_faults(bundle.spec.features):
        raise InputError(
            f"model {directory} does not fit this bidder: {few_said(faults)}; train it without them"
        )
    texts = [bundle.texts[name] for name in MODEL_NAMES]
    table, value = compile_bundle(bundle), None
    if bundle.value is not None:
        value = ValueForest(compile_value(bundle.value, len(bundle.spec)), bundle.value.table.scale_nanos)
    try:
        check_table(table, texts)
        if bundle.value is not None and value is not None:
            check_table(value.table, bundle.value.texts)
    except MismatchError as error:
        native = True
        _log.warning("model %s is scored by LightGBM itself from now on, slowly: %s", directory, error)
    if not native:
        return Model.of(bundle.spec, table, bundle.hash, None, value)
    texts += bundle.value.texts if bundle.value is not None else ()
    return Model.of(bundle.spec, table, bundle.hash, check_native(table, texts), value)
