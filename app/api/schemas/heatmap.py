"""Heat maps over HTTP."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.api.schemas.profile import View
from app.domain.geometry import Box
from app.domain.heat_grid import LEVELS_BELOW_TILE, Grid
from app.domain.money import from_minor
from app.repositories.heatmap import Square, Weight

_COORDINATE_DIGITS = 7
_CHURN_DIGITS = 4
_INTENSITY_DIGITS = 4


class HeatCellView(View):
    """A square of the grid that has customers."""

    latitude: float = Field(description="Of the middle of the square.")
    longitude: float
    customers: int
    weight: Decimal
    intensity: float = Field(
        description="`weight` as a share of the greatest weight in this answer; 0 where it is "
        "negative."
    )


class HeatmapView(View):
    """The squares that have customers, from north to south and west to east."""

    weight: Weight
    zoom: int
    grid_zoom: int = Field(
        description="The zoom of the map whose squares these are: `zoom`, or less where the box "
        "would hold too many; less than 0 where one tile has fewer than 32 on a side."
    )
    bbox: tuple[float, float, float, float] | None = Field(
        description="west, south, east, north: as asked for, or around the places; null of nobody."
    )
    currency: str
    greatest: Decimal | None = Field(description="The greatest weight; null without cells.")
    cells: Sequence[HeatCellView]

    @classmethod
    def of(
        cls,
        squares: Sequence[Square],
        *,
        weight: Weight,
        zoom: int,
        grid: Grid,
        box: Box | None,
        currency: str,
    ) -> Self:
        """`squares` of `grid`, amounts of money in `currency`."""
        greatest = max((each.weight for each in squares), default=0.0)
        cells = []
        for each in squares:
            latitude, longitude = grid.centre_of(each.column, each.row)
            intensity = max(each.weight, 0.0) / greatest if greatest > 0 else 0.0
            cells.append(
                HeatCellView(
                    latitude=round(latitude, _COORDINATE_DIGITS),
                    longitude=round(longitude, _COORDINATE_DIGITS),
                    customers=each.customers,
                    weight=_shown(each.weight, weight, currency),
                    intensity=round(intensity, _INTENSITY_DIGITS),
                )
            )
        return cls(
            weight=weight,
            zoom=zoom,
            grid_zoom=grid.level - LEVELS_BELOW_TILE,
            bbox=None if box is None else (box.west, box.south, box.east, box.north),
            currency=currency,
            greatest=_shown(greatest, weight, currency) if squares else None,
            cells=cells,
        )


def _shown(value: float, weight: Weight, currency: str) -> Decimal:
    if weight in {Weight.REVENUE, Weight.VALUE_AT_RISK}:
        return from_minor(round(value), currency)
    return (
        Decimal(repr(round(value, _CHURN_DIGITS)))
        if weight is Weight.CHURN
        else Decimal(round(value))
    )
