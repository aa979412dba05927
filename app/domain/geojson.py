"""Areas as GeoJSON (RFC 7946): read strictly, so that what is stored is what was meant.

What a ring may be is checked here; whether rings cross themselves or each other is for the database
to say, which has to work on them.
"""

import math
from itertools import pairwise
from typing import Any, NoReturn

from app.domain.errors import InvalidInput

#: All positions of an area together: the border of a country in good detail.
MOST_POSITIONS = 50_000

#: A ring with its end: a triangle.
_FEWEST_POSITIONS = 4

Position = tuple[float, float]
#: The outer ring first, then those of the holes.
Polygon = list[list[Position]]

_EXPECTED = "has to be a GeoJSON Polygon or MultiPolygon, or a Feature of one"


def parse_area(value: Any, at: str = "/area") -> list[Polygon]:
    """The polygons of a GeoJSON Polygon, a MultiPolygon, or a Feature of one of them.

    Positions are longitude and latitude; a height is left out. Raises InvalidInput with the JSON
    pointer of what will not do, which begins with `at`.
    """
    kind = _member(value, "type", at)
    if kind == "Feature":
        return parse_area(_geometry_of(value, at), f"{at}/geometry")
    if kind == "FeatureCollection":
        _refuse(f"{at}/type", f"{_EXPECTED}; send one zone for each feature of a collection")
    if kind not in ("Polygon", "MultiPolygon"):
        _refuse(f"{at}/type", f"{_EXPECTED}, not {kind!r}"[:200])
    if value.get("crs") is not None:
        _refuse(f"{at}/crs", "has no place in GeoJSON; positions are WGS 84 degrees")
    coordinates = _member(value, "coordinates", at)
    counter = _Counter()
    inside = f"{at}/coordinates"
    if kind == "Polygon":
        return [_polygon(coordinates, inside, counter)]
    parts = _list(coordinates, inside, "polygons")
    if not parts:
        _refuse(inside, "is empty; an area has one polygon at least")
    return [_polygon(part, f"{inside}/{number}", counter) for number, part in enumerate(parts)]


def feature_properties(value: Any) -> dict[str, Any] | None:
    """The properties of a Feature; None for anything else, and where it has none."""
    if isinstance(value, dict) and value.get("type") == "Feature":
        properties = value.get("properties")
        if properties is not None and not isinstance(properties, dict):
            _refuse("/area/properties", "has to be an object or null")
        return properties
    return None


def geometry(polygons: list[Polygon]) -> dict[str, Any]:
    """The polygons as one GeoJSON MultiPolygon."""
    return {"type": "MultiPolygon", "coordinates": polygons}


class _Counter:
    """How many positions were read so far."""

    def __init__(self) -> None:
        self.positions = 0

    def add(self, more: int, at: str) -> None:
        self.positions += more
        if self.positions > MOST_POSITIONS:
            _refuse(at, f"is more than {MOST_POSITIONS} positions together; simplify the area")


def _polygon(value: Any, at: str, counter: _Counter) -> Polygon:
    rings = _list(value, at, "rings")
    if not rings:
        _refuse(at, "is empty; a polygon has an outer ring")
    return [_ring(ring, f"{at}/{number}", counter) for number, ring in enumerate(rings)]


def _ring(value: Any, at: str, counter: _Counter) -> list[Position]:
    positions = _list(value, at, "positions")
    counter.add(len(positions), at)
    ring = [_position(each, f"{at}/{number}") for number, each in enumerate(positions)]
    if len(ring) < _FEWEST_POSITIONS:
        _refuse(at, f"has {len(ring)} positions; a ring has 4 at least, the last like the first")
    if ring[0] != ring[-1]:
        _refuse(f"{at}/{len(ring) - 1}", "has to be like the first position: a ring is closed")
    for number, ((here, _), (there, _)) in enumerate(pairwise(ring), start=1):
        if abs(there - here) > 180:
            _refuse(
                f"{at}/{number}",
                f"is {abs(there - here):g} degrees from the position before; an area across the "
                "antimeridian is cut there into the parts of a MultiPolygon (RFC 7946, 3.1.9), and "
                "an edge longer than half the world needs a position on its way",
            )
    return ring


def _position(value: Any, at: str) -> Position:
    numbers = _list(value, at, "numbers")
    if len(numbers) < 2:
        _refuse(at, "has to be [longitude, latitude]")
    for number, each in enumerate(numbers[:3]):
        # Python counts true as 1, and knows integers that no double holds.
        if isinstance(each, bool) or not isinstance(each, int | float):
            _refuse(f"{at}/{number}", "has to be a number")
    try:
        longitude, latitude = float(numbers[0]), float(numbers[1])
    except OverflowError:
        _refuse(at, "is not on the globe")
    if not (math.isfinite(longitude) and math.isfinite(latitude)):
        _refuse(at, "has to be finite numbers")
    if abs(latitude) > 90:
        swapped = abs(longitude) <= 90 and abs(latitude) <= 180
        hint = "; longitude comes first, these may be swapped" if swapped else ""
        _refuse(f"{at}/1", f"the latitude {latitude:g} is beyond 90 degrees{hint}")
    if abs(longitude) > 180:
        _refuse(
            f"{at}/0",
            f"the longitude {longitude:g} is beyond 180 degrees; an area across the antimeridian "
            "is cut there into the parts of a MultiPolygon (RFC 7946, 3.1.9)",
        )
    return longitude, latitude


def _geometry_of(feature: dict[str, Any], at: str) -> Any:
    inner = _member(feature, "geometry", at)
    if isinstance(inner, dict) and inner.get("type") == "Feature":
        _refuse(f"{at}/geometry/type", "a Feature has a geometry, not another Feature")
    return inner


def _member(value: Any, name: str, at: str) -> Any:
    if not isinstance(value, dict):
        _refuse(at, _EXPECTED)
    if name not in value:
        _refuse(f"{at}/{name}", "is missing")
    return value[name]


def _list(value: Any, at: str, of: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(at, f"has to be a list of {of}")
    return value


def _refuse(at: str, reason: str) -> NoReturn:
    raise InvalidInput(at, reason)
