"""`?latitude=&longitude=`: a point that somebody asks about."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

from app.api.errors import bad_parameter

_LATITUDE = Query(allow_inf_nan=False, description="Degrees north, WGS 84.", examples=[-6.2145])
_LONGITUDE = Query(allow_inf_nan=False, description="Degrees east, WGS 84.", examples=[106.8451])


@dataclass(frozen=True, slots=True)
class Point:
    """A point on WGS 84, in degrees."""

    latitude: float
    longitude: float


def _checked(latitude: float, longitude: float) -> Point:
    if abs(latitude) > 90:
        swapped = "; are latitude and longitude swapped?" if abs(longitude) <= 90 else ""
        raise bad_parameter("query", "latitude", f"lies beyond 90 degrees{swapped}")
    if abs(longitude) > 180:
        raise bad_parameter("query", "longitude", "lies beyond 180 degrees")
    return Point(latitude, longitude)


async def _point(
    latitude: Annotated[float, _LATITUDE], longitude: Annotated[float, _LONGITUDE]
) -> Point:
    return _checked(latitude, longitude)


async def _point_or_none(
    latitude: Annotated[float | None, _LATITUDE] = None,
    longitude: Annotated[float | None, _LONGITUDE] = None,
) -> Point | None:
    if latitude is None and longitude is None:
        return None
    if latitude is None:
        raise bad_parameter("query", "latitude", "is missing; a longitude needs one")
    if longitude is None:
        raise bad_parameter("query", "longitude", "is missing; a latitude needs one")
    return _checked(latitude, longitude)


#: Both parameters, checked.
QueryPoint = Annotated[Point, Depends(_point)]

#: Both parameters, checked, or neither.
OptionalPoint = Annotated[Point | None, Depends(_point_or_none)]
