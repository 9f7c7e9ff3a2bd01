"""Circles on the globe: their text, and which of them hold a point."""

import math
import struct
from typing import Any

import msgspec
import pytest

from bidder.core.circles import EARTH_RADIUS_KM, Circle, CircleIndex, parse_circle
from bidder.errors import InputError

DEGREE_KM = math.radians(1.0) * EARTH_RADIUS_KM
"""Along a meridian: about 111.195 km."""
PARIS = Circle(48.8566, 2.3522, 25.0)


def holds(circle: Circle, lat: float, lon: float) -> bool:
    return CircleIndex([circle]).containing(lat, lon) == (0,)


@pytest.mark.parametrize(
    ("text", "circle"),
    [
        ("48.8566,2.3522,25km", PARIS),
        (" 48.8566 , +2.3522 , 25.0 km ", PARIS),
        ("-33.87,151.2,0.5km", Circle(-33.87, 151.2, 0.5)),
        ("90,-180,1000km", Circle(90.0, -180.0, 1000.0)),
    ],
)
def test_a_circle_is_read(text: str, circle: Circle) -> None:
    assert parse_circle(text) == circle


@pytest.mark.parametrize(
    ("circle", "text"),
    [
        (PARIS, "48.8566,2.3522,25km"),
        (Circle(-0.0, -180.0, 0.25), "0,-180,0.25km"),
        (Circle(1e-7, 0.1 + 0.2, 1e3), "0.0000001,0.30000000000000004,1000km"),
    ],
)
def test_a_circle_is_written_without_exponents_and_needless_digits(circle: Circle, text: str) -> None:
    assert str(circle) == text
    assert parse_circle(text) == circle


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "circle must be latitude,longitude,radius such as 48.8566,2.3522,25km, was ''"),
        ("48.8,2.3", "circle must be"),
        ("48.8,2.3,25", "circle must be"),
        ("48.8,2.3,25mi", "circle must be"),
        ("48.8,2.3,25,1km", "circle must be"),
        ("48.8,2.3,25km\nx", "circle must be"),
        ("north,2.3,25km", "latitude of a circle must be a number such as 48.8566, was 'north'"),
        ("48.8,,25km", "longitude of a circle must be a number such as 48.8566, was ''"),
        ("48.8,2.3,nankm", "radius of a circle must be a number such as 48.8566, was 'nan'"),
        ("48.8,1e2,25km", "longitude of a circle must be a number"),
        ("48.8,\u0661,25km", "longitude of a circle must be a number"),
        ("90.01,2.3,25km", "latitude of a circle must be from -90 to 90, was 90.01"),
        ("48.8,-180.5,25km", "longitude of a circle must be from -180 to 180, was -180.5"),
        ("48.8,2.3,0km", "radius of a circle must be above 0 and at most 1000 km, was 0.0"),
        ("48.8,2.3,1000.1km", "radius of a circle must be above 0 and at most 1000 km, was 1000.1"),
    ],
)
def test_a_text_that_is_no_circle_is_told(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_circle(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "values", [(math.nan, 0, 1), (0, math.nan, 1), (0, 0, math.nan), (0, 0, -1), (0, math.inf, 1)]
)
def test_a_circle_cannot_be_made_out_of_range(values: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InputError):
        Circle(*values)


def test_a_circle_is_stored_as_its_numbers() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PARIS), type=Circle) == PARIS


@pytest.mark.parametrize(("south", "is_in"), [(0.0, True), (0.2248, True), (0.2249, False), (1.0, False)])
def test_a_circle_reaches_as_far_as_its_radius(south: float, is_in: bool) -> None:
    """25 km are 0.224831 degrees of a meridian."""
    assert holds(PARIS, PARIS.lat - south, PARIS.lon) is is_in
    assert holds(PARIS, PARIS.lat + south, PARIS.lon) is is_in


def test_known_distances_are_kept() -> None:
    """Paris to London is 343.556 km on the sphere."""
    london = (51.5074, -0.1278)
    assert not holds(Circle(PARIS.lat, PARIS.lon, 343.5), *london)
    assert holds(Circle(PARIS.lat, PARIS.lon, 343.6), *london)


def test_all_circles_of_a_point_are_told_rising() -> None:
    circles = [
        Circle(0, 0, 10),
        Circle(0, 1, 300),
        Circle(50, 50, 10),
        Circle(0.5, 0.5, 200),
        Circle(0, 0, 5),
    ]
    index = CircleIndex(circles)
    assert index.containing(0.0, 0.0) == (0, 1, 3, 4)
    assert index.containing(0.0, 0.07) == (0, 1, 3)
    assert index.containing(50.0, 50.0) == (2,)
    assert index.containing(-50.0, 50.0) == ()


def test_no_circles_hold_nothing() -> None:
    assert CircleIndex([]).containing(0.0, 0.0) == ()


@pytest.mark.parametrize(
    ("circle", "inside", "outside"),
    [
        (Circle(0.0, 179.9, 50), (0.0, -179.9), (0.0, -179.6)),
        (Circle(0.0, -179.9, 50), (0.0, 179.9), (0.0, 179.6)),
        (Circle(0.0, 180.0, 50), (0.0, -180.0), (0.0, -179.5)),
        (Circle(0.0, -180.0, 50), (0.0, 180.0), (0.0, 179.5)),
        (Circle(-17.7, 179.0, 500), (-17.7, -177.0), (-17.7, -176.0)),
    ],
)
def test_circles_go_over_the_date_line(
    circle: Circle, inside: tuple[float, float], outside: tuple[float, float]
) -> None:
    assert holds(circle, *inside)
    assert not holds(circle, *outside)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("lon", [-180.0, -91.5, 0.0, 90.0, 180.0])
def test_circles_go_over_the_poles(side: float, lon: float) -> None:
    circle = Circle(side * 89.0, 0.0, 3 * DEGREE_KM)
    assert holds(circle, side * 90.0, lon)
    assert holds(circle, side * 88.0001, lon)
    assert holds(Circle(side * 90.0, 12.0, DEGREE_KM), side * 89.0001, lon)
    assert not holds(Circle(side * 90.0, 12.0, DEGREE_KM), side * 88.9999, lon)


@pytest.mark.parametrize("lat", [89.9, 89.0, 80.0, -80.0, -89.9])
def test_circles_beside_a_pole_are_wide_in_degrees(lat: float) -> None:
    """A circle that the pole is just outside of reaches nearly a quarter round to either side."""
    circle = Circle(lat, 30.0, min((90.0 - abs(lat)) * DEGREE_KM * 0.99, 1000.0))
    reach = math.degrees(math.asin(math.sin(circle.km / EARTH_RADIUS_KM) / math.cos(math.radians(lat))))
    touch = math.degrees(math.asin(math.sin(math.radians(lat)) / math.cos(circle.km / EARTH_RADIUS_KM)))
    assert holds(circle, touch, 30.0 + reach - 1e-7)
    assert holds(circle, touch, 30.0 - reach + 1e-7)
    assert not holds(circle, touch, 30.0 + reach + 1e-3)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (math.nan, 0.0),
        (0.0, math.nan),
        (math.inf, 0.0),
        (0.0, -math.inf),
        (90.1, 0.0),
        (0.0, 180.1),
        (0.0, -200.0),
        (struct.unpack("<d", struct.pack("<q", 0x7FF0000000000001))[0], 0.0),
    ],
)
def test_a_point_that_is_none_is_in_no_circle(lat: float, lon: float) -> None:
    everywhere = [Circle(lat, lon, 1000) for lat in range(-90, 91, 10) for lon in range(-180, 180, 10)]
    assert CircleIndex(everywhere).containing(lat, lon) == ()
    assert CircleIndex(everywhere).containing(0.0, 0.0) != ()


def test_a_point_in_whole_numbers_is_a_point() -> None:
    assert CircleIndex([Circle(48, 2, 25)]).containing(48, 2) == (0,)
