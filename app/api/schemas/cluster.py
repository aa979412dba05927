"""Customers by cell or by crowd, over HTTP."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Self

import numpy as np
from pydantic import Field

from app.api.schemas.figures import mean
from app.api.schemas.profile import View
from app.api.schemas.store import Location
from app.domain.geodesy import centre_of
from app.domain.geometry import cell_box
from app.domain.hull import hull, rectangle
from app.domain.money import from_minor
from app.repositories.cluster import Cell, together

_COORDINATE_DIGITS = 7
_CHURN_DIGITS = 4


class ClusterView(View):
    """Customers who are near each other."""

    geohash: str | None = Field(description="The cell; null of a crowd.", examples=["qqguw"])
    customers: int
    revenue: Decimal = Field(description="Net revenue of all time.")
    value_at_risk: Decimal
    average_churn: float | None = Field(
        description="Mean churn score of those who have one; null where nobody has."
    )
    segments: dict[str, int] = Field(
        description="Customers by RFM segment; the rest of `customers` are in none.",
        examples=[{"champion": 12, "loyal": 30}],
    )
    centroid: Location = Field(description="Mean of the places; if anonymized, of the districts.")
    area: dict[str, Any] = Field(
        description="GeoJSON: the polygon of the cell, or the convex hull of the crowd, which is a "
        "Point or a LineString where the places make no area."
    )

    @classmethod
    def of_cell(cls, cell: Cell, currency: str) -> Self:
        """The customers of one cell of the geohash grid."""
        centroid = cell.latitudes / cell.customers, cell.longitudes / cell.customers
        return cls._of(cell, cell.geohash, centroid, rectangle(cell_box(cell.geohash)), currency)

    @classmethod
    def of_crowd(cls, places: Sequence[Cell], currency: str) -> Self:
        """The customers of `places`, each of which is one point."""
        counts = np.array([each.customers for each in places])
        latitudes = np.array([each.latitudes for each in places]) / counts
        longitudes = np.array([each.longitudes for each in places]) / counts
        centroid = centre_of(np.repeat(latitudes, counts), np.repeat(longitudes, counts))
        positions = list(zip(longitudes.tolist(), latitudes.tolist(), strict=True))
        total = together(places)
        return cls._of(total, None, centroid, hull(positions, centroid[1]), currency)

    @classmethod
    def _of(
        cls,
        cell: Cell,
        geohash: str | None,
        centroid: tuple[float, float],
        area: dict[str, Any],
        currency: str,
    ) -> Self:
        churn = mean(cell.churn, cell.rated)
        return cls(
            geohash=geohash,
            customers=cell.customers,
            revenue=from_minor(cell.revenue, currency),
            value_at_risk=from_minor(cell.value_at_risk, currency),
            average_churn=None if churn is None else round(churn, _CHURN_DIGITS),
            segments=cell.segments,
            centroid=Location(
                latitude=round(centroid[0], _COORDINATE_DIGITS),
                longitude=round(centroid[1], _COORDINATE_DIGITS),
            ),
            area=area,
        )


class ClustersView(View):
    """Clusters: cells by geohash, in pages, or crowds by size, all at once."""

    method: str = Field(examples=["geohash"])
    precision: int | None = Field(description="Characters of the cells; null with dbscan.")
    radius: float | None = Field(description="Metres; null with geohash.")
    min_points: int | None
    noise: int | None = Field(description="Customers in no cluster; null with geohash.")
    currency: str
    items: Sequence[ClusterView]
    next_cursor: str | None = None
