"""Markup of native ads: the response object of Native 1.2 (section 5) as JSON text."""

from bidder.openrtb.markup.pieces import Pieces, ascii_json, json_pieces, url_pieces
from bidder.openrtb.native import NativeAnswer


def native_markup(answer: NativeAnswer, click_url: str, pixel_url: str) -> Pieces:
    """The response object around the assets that were asked for.

    The impression goes to `eventtrackers` where the request takes a pixel for it, else to `imptrackers`, which
    is all that versions before 1.2 know.

    Args:
        answer: the assets, and the form that the request wants.
        click_url: with `TOKEN` where the browser's token goes. pixel_url: the same.
    """
    url = json_pieces(url_pieces(pixel_url))
    if answer.pixel_event:
        tracker: Pieces = (',"eventtrackers":[{"event":1,"method":1,"url":', *url, "}]")
    else:
        tracker = (',"imptrackers":[', *url, "]")
    return (
        '{"native":' if answer.rooted else "",
        f'{{"ver":{ascii_json(answer.ver)},"assets":{answer.assets},"link":{{"url":',
        *json_pieces(url_pieces(click_url)),
        "}",
        *tracker,
        "}}" if answer.rooted else "}",
    )
