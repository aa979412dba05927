"""Traces and visits over HTTP."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.profile import View
from app.domain import trace
from app.domain.trace import Point
from app.repositories.capture import Capture, NearestStore

Position = tuple[float, float]


class TraceProperties(View):
    """What is known of the way besides its geometry."""

    customer_id: str
    captures: int = Field(description="How many captures the trace is made of, as received.")
    from_: datetime | None = Field(alias="from", description="Time of the first capture.")
    to: datetime | None = Field(description="Time of the last capture.")
    length_metres: float = Field(
        description="Geodesic, of the way as received; without what was passed in gaps."
    )
    times: Any = Field(description="Times of the positions: an array of the coordinates' shape.")
    accuracies: Any = Field(description="Accuracies of the positions in metres, likewise.")


class TraceGeometry(BaseModel):
    """A Point, MultiPoint, LineString or MultiLineString in longitude and latitude."""

    type: Literal["Point", "MultiPoint", "LineString", "MultiLineString"]
    coordinates: Any


class TraceFeature(BaseModel):
    """A GeoJSON feature (RFC 7946) of the way of one customer."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "Feature",
                "bbox": [106.8456, -6.2088, 106.846, -6.208],
                "geometry": {
                    "type": "LineString",
                    "coordinates": [[106.8456, -6.2088], [106.846, -6.208]],
                },
                "properties": {
                    "customerId": "cus-123",
                    "captures": 2,
                    "from": "2026-11-11T09:30:00Z",
                    "to": "2026-11-11T09:31:00Z",
                    "lengthMetres": 99.0,
                    "times": ["2026-11-11T09:30:00Z", "2026-11-11T09:31:00Z"],
                    "accuracies": [12.5, 8.0],
                },
            }
        }
    )

    type: Literal["Feature"] = "Feature"
    bbox: tuple[float, float, float, float] | None
    geometry: TraceGeometry | None
    properties: TraceProperties

    @classmethod
    def of(
        cls,
        customer_id: str,
        captures: Sequence[Capture],
        *,
        gap: timedelta,
        tolerance_metres: float,
    ) -> Self:
        """The way through `captures`, which are in the order of their times."""
        points = [point_of(capture) for capture in captures]
        parts = trace.split_at_gaps(points, gap)
        kind, lines = _lines([trace.simplify(part, tolerance_metres) for part in parts])
        geometry = None
        if kind is not None:
            geometry = TraceGeometry(
                type=kind, coordinates=_shaped(kind, lines, lambda each: each[:2])
            )
        return cls(
            bbox=trace.bounds(points),
            geometry=geometry,
            properties=TraceProperties(
                customer_id=customer_id,
                captures=len(points),
                from_=points[0].at if points else None,
                to=points[-1].at if points else None,
                length_metres=round(trace.length_metres(parts), 1),
                times=_shaped(kind, lines, lambda each: each.at),
                accuracies=_shaped(kind, lines, lambda each: each.accuracy),
            ),
        )


Kind = Literal["Point", "MultiPoint", "LineString", "MultiLineString"]


def _lines(parts: Sequence[Sequence[Point]]) -> tuple[Kind | None, list[list[Point]]]:
    """The kind of geometry, and its lines, which for points have one position each."""
    if not parts:
        return None, []
    if all(len(part) == 1 for part in parts):
        return ("Point" if len(parts) == 1 else "MultiPoint"), [list(part) for part in parts]
    lines: list[list[Point]] = []
    for part in parts:
        if len(part) == 1:
            # A line has two positions at least, and what was captured is not left out.
            lines.append([part[0], part[0]])
        else:
            # A piece of one position is an end on the antimeridian, which the next piece has too.
            lines += [piece for piece in trace.cut_at_antimeridian(part) if len(piece) > 1]
    return ("LineString" if len(lines) == 1 else "MultiLineString"), lines


def _shaped(kind: Kind | None, lines: Sequence[Sequence[Point]], value: Any) -> Any:
    """What `value` has of each position, in the shape of the geometry's coordinates."""
    if kind is None:
        return []
    nested = [[value(point) for point in line] for line in lines]
    if kind == "MultiLineString":
        return nested
    if kind == "LineString":
        return nested[0]
    flat = [line[0] for line in nested]
    return flat[0] if kind == "Point" else flat


def point_of(capture: Capture) -> Point:
    """`capture` as a point of a trace."""
    return Point(
        capture.longitude,
        capture.latitude,
        capture.captured_at,
        capture.accuracy,
        capture.step_metres,
    )


class StoreNearby(View):
    """The nearest store."""

    id: str
    name: str
    distance_metres: float


class SalesVisit(View):
    """A capture of a sales visit, and whether it was made where the customer is."""

    capture_id: str
    customer_id: str
    captured_at: datetime
    verified: bool | None = Field(
        description="Whether it was near an address of the customer; null where none has a place."
    )
    distance_metres: float | None = Field(description="To the nearest address of the customer.")


class VisitView(View):
    """A place where somebody stayed, or where a visit was captured in passing."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "arrival": "2026-11-11T09:30:00Z",
                "departure": "2026-11-11T09:52:00Z",
                "minutes": 22.0,
                "stayed": True,
                "latitude": -6.2088,
                "longitude": 106.8456,
                "captures": 44,
                "customerIds": ["cus-123"],
                "nearestStore": {
                    "id": "store-1",
                    "name": "Kemang",
                    "distanceMetres": 840.2,
                },
                "salesVisits": [
                    {
                        "captureId": "cap-1",
                        "customerId": "cus-123",
                        "capturedAt": "2026-11-11T09:31:00Z",
                        "verified": True,
                        "distanceMetres": 18.4,
                    }
                ],
            }
        }
    )

    arrival: datetime
    departure: datetime
    minutes: float
    stayed: bool = Field(
        description="Whether it was a stay; else it is a capture with a visitType outside of any."
    )
    latitude: float = Field(description="Of the middle of its captures, the accurate ones first.")
    longitude: float
    captures: int
    customer_ids: list[str] = Field(description="Whose captures they are.")
    nearest_store: StoreNearby | None
    sales_visits: list[SalesVisit]

    @classmethod
    def of(
        cls,
        made: Sequence[Capture],
        *,
        stayed: bool,
        latitude: float,
        longitude: float,
        store: NearestStore | None,
        sales_visits: list[SalesVisit],
    ) -> Self:
        """The visit during which `made` were captured."""
        arrival, departure = made[0].captured_at, made[-1].captured_at
        return cls(
            arrival=arrival,
            departure=departure,
            minutes=round((departure - arrival) / timedelta(minutes=1), 1),
            stayed=stayed,
            latitude=round(latitude, 7),
            longitude=round(longitude, 7),
            captures=len(made),
            customer_ids=list(dict.fromkeys(each.customer_id for each in made)),
            nearest_store=None
            if store is None
            else StoreNearby(
                id=store.store_id,
                name=store.name,
                distance_metres=round(store.distance_metres, 1),
            ),
            sales_visits=sales_visits,
        )
