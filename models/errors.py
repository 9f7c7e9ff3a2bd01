"""Errors of the models package.

    ModelError            the caller's fault, mended by other input; the command line exits with 2
    ├── TableError        a training table that is missing, unreadable, or lacks what training needs
    └── ArtifactError     a model file or artifact that is broken, altered, or of a kind we cannot score
        └── MismatchError compiled scores that are not LightGBM's: nobody's fault but ours

Every message names the thing, what it was, what is allowed and what to do.
"""


class ModelError(Exception):
    """A table or model that cannot be used as it is."""

    exit_code = 2


class TableError(ModelError):
    """A training table that is missing, unreadable or unfit."""


class ArtifactError(ModelError):
    """A model file or artifact that is broken, altered or of an unsupported kind."""


class MismatchError(ArtifactError):
    """A compiled model that does not score as LightGBM does."""
