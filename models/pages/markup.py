"""HTML and SVG elements that escape what they hold.

Only `Markup` goes in as it is, and only `el` and `join` make it: text of a log or a sheet
cannot become markup. The result is also well-formed XML, which tests rely on.
"""

import re

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "rect", "line", "path", "circle", "polyline"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | Markup | None


def escape(text: str) -> Markup:
    """Text for an element or a quoted attribute; characters that no document may hold become U+FFFD."""
    if isinstance(text, Markup):
        return text
    text = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text).replace("&", "&amp;")
    for character, entity in (("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return Markup(text)


def join(*parts: Content) -> Markup:
    """Parts one after the other; None is nothing."""
    return Markup("".join(escape(part) for part in parts if part is not None))


def el(tag: str, *content: Content, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        tag: its name.
        content: text, escaped, or markup.
        attributes: an underscore is a hyphen, one at the end is dropped (`class_`); None leaves it out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written} />")
    return Markup(f"<{tag}{written}>{join(*content)}</{tag}>")


def _number(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
