"""Whether a bundle is whole: every file as its manifest says, those too that no reader of today knows."""

import hashlib
import re

from models.artifact import ModelBundle
from models.errors import ArtifactError

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_files(bundle: ModelBundle) -> None:
    """Checks all files that a manifest names, of which `load_bundle` reads those that it knows.

    Args:
        bundle: as it was read.

    Raises:
        ArtifactError: a file is missing, altered, or has a name with more than a name in it.
    """
    for name, expected in bundle.manifest.files.items():
        # Names come from a file that anyone may have written.
        if not _FILE_NAME.fullmatch(name):
            raise ArtifactError(f"a file of model {bundle.path} must have a plain name, was {name!r}")
        try:
            was = hashlib.sha256((bundle.path / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ArtifactError(
                f"model file {bundle.path / name} must be readable: {error.strerror}"
            ) from error
        if was != expected:
            raise ArtifactError(
                f"model file {bundle.path / name} must have sha256 {expected}, was {was}: add the model again"
            )
