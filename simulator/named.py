"""Named tuples as JSON objects: what is read by people and programs has names, not places."""

from typing import Any


def named(value: Any) -> Any:
    """The same with each named tuple as a dict, all the way down."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: named(one) for name, one in zip(value._fields, value, strict=True)}
    if isinstance(value, list | tuple):
        return [named(one) for one in value]
    if isinstance(value, dict):
        return {name: named(one) for name, one in value.items()}
    return value
