"""Targeting by distance: which of many circles on the globe hold a point.

Distance is that of the haversine formula on a sphere with the mean radius of the Earth. A grid of whole degrees
names the few circles that can hold a point; each of these is then measured.
"""

import math
import re
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from bidder.errors import InputError

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth (IUGG, R1)."""
MAX_KM = 1_000.0
_SLACK_DEGREES = 1e-6
"""Widens boxes and bands against rounding; what they let in too much is measured anyway."""
_FORM = re.compile(r"\s*(?P<lat>[^,]*?)\s*,\s*(?P<lon>[^,]*?)\s*,\s*(?P<km>[^,]*?)\s*km\s*\Z")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?\Z", re.ASCII)

_Candidate = tuple[int, float, float, float, float, float, float]
"""Index, latitude in degrees, half height in degrees, latitude and longitude in radians, cosine of the latitude,
squared sine of half the radius' angle."""


class Circle(msgspec.Struct, frozen=True):
    """All points at most `km` from a place.

    Attributes:
        lat: degrees north, -90 to 90.
        lon: degrees east, -180 to 180.
        km: radius, above 0, at most 1000.

    Raises:
        InputError: if one of them is out of range.
    """

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        """Checks the ranges; a value that is not a number is in none."""
        if not -90.0 <= self.lat <= 90.0:
            raise InputError(f"latitude of a circle must be from -90 to 90, was {self.lat}")
        if not -180.0 <= self.lon <= 180.0:
            raise InputError(f"longitude of a circle must be from -180 to 180, was {self.lon}")
        if not 0.0 < self.km <= MAX_KM:
            raise InputError(f"radius of a circle must be above 0 and at most 1000 km, was {self.km}")

    def __str__(self) -> str:
        """The text that `parse_circle` reads back as the same circle."""
        return f"{_text(self.lat)},{_text(self.lon)},{_text(self.km)}km"


def parse_circle(text: str) -> Circle:
    """Reads a circle: latitude, longitude and radius, such as `48.8566,2.3522,25km`.

    Raises:
        InputError: if the text has another form or a value is out of range.
    """
    match = _FORM.match(text)
    if match is None:
        raise InputError(
            f"circle must be latitude,longitude,radius such as 48.8566,2.3522,25km, was {text!r:.80}"
        )
    names = {"lat": "latitude", "lon": "longitude", "km": "radius"}
    for group, name in names.items():
        if not _NUMBER.match(match[group]):
            raise InputError(
                f"{name} of a circle must be a number such as 48.8566, was {match[group]!r:.40} in {text!r:.80}"
            )
    return Circle(float(match["lat"]), float(match["lon"]), float(match["km"]))


class CircleIndex:
    """Finds the circles that hold a point; immutable.

    Args:
        circles: in the order by which `containing` numbers them.
    """

    __slots__ = ("_cells",)

    def __init__(self, circles: Sequence[Circle]) -> None:
        cells: dict[int, list[_Candidate]] = {}
        for index, circle in enumerate(circles):
            candidate = _candidate(index, circle)
            for cell in _cells_of(circle):
                cells.setdefault(cell, []).append(candidate)
        self._cells = {cell: tuple(candidates) for cell, candidates in cells.items()}

    def containing(self, lat: float, lon: float) -> tuple[int, ...]:
        """Places of the circles that hold a point, rising.

        Args:
            lat: degrees north.
            lon: degrees east.

        Returns:
            Nothing where either is out of range or not a number.
        """
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            return ()
        candidates = self._cells.get(_cell(math.floor(lat), math.floor(lon)))
        if candidates is None:
            return ()
        phi, lam = math.radians(lat), math.radians(lon)
        cos_phi, sin = math.cos(phi), math.sin
        found = []
        for index, middle, band, phi_i, lam_i, cos_phi_i, most in candidates:
            # In cells with many small circles most fall here, at a quarter of the cost of the formula.
            if not -band <= lat - middle <= band:
                continue
            # Haversine: sin2(dphi/2) + cos(phi1) cos(phi2) sin2(dlambda/2) = sin2(angle/2).
            a, b = sin((phi - phi_i) * 0.5), sin((lam - lam_i) * 0.5)
            if a * a + cos_phi * cos_phi_i * b * b <= most:
                found.append(index)
        return tuple(found)


def _candidate(index: int, circle: Circle) -> _Candidate:
    angle = circle.km / EARTH_RADIUS_KM
    phi = math.radians(circle.lat)
    band = math.degrees(angle) + _SLACK_DEGREES
    most = math.sin(angle / 2) ** 2
    return index, circle.lat, band, phi, math.radians(circle.lon), math.cos(phi), most


def _cell(south: int, west: int) -> int:
    """Number of the cell by its whole degrees; those of a longitude and of the same plus 360 are one."""
    return south * 360 + west % 360


def _cells_of(circle: Circle) -> Iterator[int]:
    """Cells of the smallest box of latitudes and longitudes that holds a circle."""
    height = math.degrees(circle.km / EARTH_RADIUS_KM) + _SLACK_DEGREES
    souths = range(
        math.floor(max(circle.lat - height, -90.0)), math.floor(min(circle.lat + height, 90.0)) + 1
    )
    width = _half_width(circle.lat, height)
    wests = range(math.floor(circle.lon - width), math.floor(circle.lon + width) + 1)
    for south in souths:
        for west in wests[:360]:
            yield _cell(south, west)


def _half_width(lat: float, height: float) -> float:
    """Degrees of longitude from the middle of a circle to where meridians touch it; 180 if a pole is in it."""
    if abs(lat) + height >= 90.0:
        return 180.0
    touching = math.sin(math.radians(height)) / math.cos(math.radians(lat))
    return math.degrees(math.asin(touching)) + _SLACK_DEGREES


def _text(number: float) -> str:
    """The shortest decimal text that reads back as the same number, without an exponent."""
    return np.format_float_positional(number + 0.0, trim="-")
