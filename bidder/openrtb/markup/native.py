"""Markup of native ads: the response object of Native 1.2 (section 5) as JSON text."""

from collections.abc import Sequence

from bidder.openrtb.markup.pieces import Pieces, Slot, ascii_json, json_pieces, url_pieces
from bidder.openrtb.native import NativeAnswer

_IMPRESSION, _VIEW = 1, 2  # Native 1.2 section 7.6: impression, viewable by half of the ad for a second


def native_markup(
    answer: NativeAnswer, click_url: str, pixel_url: str, *, view_url: str = "", billing_url: str = ""
) -> Pieces:
    """The response object around the assets that were asked for.

    The impression goes to `eventtrackers` where the request takes a pixel for it, else to `imptrackers`, which
    is all that versions before 1.2 know. A view (half of the ad for a second) is told where a pixel for it was asked
    for.

    Args:
        answer: the assets, and the form that the request wants.
        click_url: with `TOKEN` where the browser's token goes. pixel_url, view_url: the same.
        billing_url: called with the impression, with `TOKEN` where the exchange's token goes; or empty.
    """
    shown = [json_pieces(url_pieces(billing_url, Slot.EXCHANGE_TOKEN))] if billing_url else []
    shown.append(json_pieces(url_pieces(pixel_url)))
    events: list[Pieces] = []
    tracker: Pieces = ()
    if answer.pixel_event:
        events += [_event(_IMPRESSION, url) for url in shown]
    else:
        tracker = (',"imptrackers":[', *_listed(shown), "]")
    if answer.view_event and view_url:
        events.append(_event(_VIEW, json_pieces(url_pieces(view_url))))
    if events:
        tracker = (*tracker, ',"eventtrackers":[', *_listed(events), "]")
    return (
        '{"native":' if answer.rooted else "",
        f'{{"ver":{ascii_json(answer.ver)},"assets":{answer.assets},"link":{{"url":',
        *json_pieces(url_pieces(click_url)),
        "}",
        *tracker,
        "}}" if answer.rooted else "}",
    )


def _event(event: int, url: Pieces) -> Pieces:
    return (f'{{"event":{event},"method":1,"url":', *url, "}")


def _listed(parts: Sequence[Pieces]) -> Pieces:
    """`parts` with commas between."""
    return tuple(piece for number, part in enumerate(parts) for piece in ((",", *part) if number else part))
