"""`clearbid track pixel`: the URLs by which an advertiser reports conversions."""

from typing import Annotated

import typer

from bidder.cli.options import ConfigOption, JsonOption, configured


def print_pixel(
    advertiser: Annotated[str, typer.Option(help="Id of the advertiser.", metavar="ID")],
    goal: Annotated[str, typer.Option(help="What it reports, such as `purchase`.", metavar="NAME")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print the URLs by which an advertiser reports conversions: an image for its pages, a call for its servers.

    They are signed with the current secret. What stands in braces is to be filled in, or left out.
    """
    import html

    import msgspec

    from bidder.core.pixels import Pixel, sign_pixel
    from bidder.core.urls import CLICK_ID, TrackingUrls

    settings = configured(config)
    url = TrackingUrls(settings.track.public_url).conversion_of_a_user(
        sign_pixel(Pixel(advertiser, goal), settings.key())
    )
    worth = f"&v={{worth}}&c={settings.account.currency}"
    seen = html.escape(f"{url}&o={{order}}{worth}&u={{user}}")
    image = f'<img src="{seen}" width="1" height="1" alt="">'
    postback = f"{url}&t={{click_id}}&o={{order}}{worth}&u={{user}}&d={{device}}&at={{seconds}}"
    if json:
        typer.echo(msgspec.json.encode({"image": image, "postback": postback}))
        return
    typer.echo(f"image     {image}")
    typer.echo(f"postback  {postback}")
    typer.echo(f"click_id  is what {CLICK_ID} in the landing page of a creative became")
