"""Why a file could not be read, in the words of whoever asked for it."""

_MOST = 200


def why(error: Exception) -> str:
    """The reason alone, in one line: an error of the system names its file again, and one of a library its insides.

    Args:
        error: what was raised.
    """
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error).partition("\n")[0].strip()[:_MOST]
