"""Outlines on the map, as GeoJSON (RFC 7946)."""

from collections.abc import Sequence
from typing import Any

from app.domain.geometry import Box

Position = tuple[float, float]


def hull(positions: Sequence[Position], middle: float) -> dict[str, Any]:
    """The smallest convex area around places, given as longitude and latitude in degrees.

    `middle` is a longitude amid them: places are taken to lie within 180 degrees of it. One place
    is a Point, places on a line a LineString; what crosses the antimeridian is cut there.
    """
    unrolled = sorted({(_beside(lon, middle), lat) for lon, lat in positions})
    ring = _convex(unrolled)
    parts = [part for part in (_cut(ring, shift) for shift in (-360.0, 0.0, 360.0)) if part]
    if len(ring) >= 3:
        rings = [[[*part, part[0]]] for part in parts if len(part) >= 3]
        return _one_or_many("Polygon", rings)
    if len(ring) == 2:
        return _one_or_many("LineString", [part for part in parts if len(part) == 2])
    return {"type": "Point", "coordinates": parts[0][0]}


def rectangle(box: Box) -> dict[str, Any]:
    """What a box covers that does not cross the antimeridian."""
    corners = [
        [box.west, box.south],
        [box.east, box.south],
        [box.east, box.north],
        [box.west, box.north],
        [box.west, box.south],
    ]
    return {"type": "Polygon", "coordinates": [corners]}


def _one_or_many(kind: str, coordinates: list[Any]) -> dict[str, Any]:
    if len(coordinates) == 1:
        return {"type": kind, "coordinates": coordinates[0]}
    return {"type": f"Multi{kind}", "coordinates": coordinates}


def _beside(longitude: float, middle: float) -> float:
    """The same meridian, counted on beyond 180 degrees where that is nearer to `middle`."""
    if longitude - middle > 180:
        return longitude - 360
    return longitude + 360 if longitude - middle < -180 else longitude


def _convex(points: Sequence[Position]) -> list[Position]:
    """Counter-clockwise corners of sorted points (Andrew's monotone chain)."""
    if len(points) <= 2:
        return list(points)
    lower = _chain(points)
    upper = _chain(points[::-1])
    return lower[:-1] + upper[:-1]


def _chain(points: Sequence[Position]) -> list[Position]:
    chain: list[Position] = []
    for point in points:
        while len(chain) >= 2 and _turns_right(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return chain


def _turns_right(a: Position, b: Position, c: Position) -> bool:
    """Whether c lies to the right of the way from a to b, or straight ahead."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def _cut(ring: Sequence[Position], shift: float) -> list[list[float]]:
    """What of a convex ring, shifted eastwards, lies on the map of -180 to 180 degrees."""
    part = [(lon + shift, lat) for lon, lat in ring]
    for edge, sign in ((-180.0, 1.0), (180.0, -1.0)):
        part = _beyond(part, edge, sign)
    corners: list[list[float]] = []
    for lon, lat in part:
        if [lon, lat] not in corners:
            corners.append([lon, lat])
    return corners


def _beyond(ring: list[Position], edge: float, sign: float) -> list[Position]:
    """The part of a ring, or of a line, on one side of a meridian (Sutherland and Hodgman)."""
    kept: list[Position] = []
    for index, (lon, lat) in enumerate(ring):
        before_lon, before_lat = ring[index - 1]
        inside, was_inside = (sign * (each - edge) >= 0 for each in (lon, before_lon))
        if inside != was_inside:
            share = (edge - before_lon) / (lon - before_lon)
            kept.append((edge, before_lat + share * (lat - before_lat)))
        if inside:
            kept.append((lon, lat))
    return kept
