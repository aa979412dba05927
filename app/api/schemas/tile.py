"""What tells a map of the vector tiles."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from app.domain.geometry import Box
from app.domain.tile import MAX_LATITUDE, MAX_ZOOM

#: The layers in the order in which a tile has them, each with what its features say.
LAYERS: dict[str, dict[str, str]] = {
    "customers": {
        "id": "Id of one customer.",
        "name": "Name of one customer.",
        "rfmSegment": "RFM segment of one customer.",
        "churnBand": "Churn band of one customer.",
        "cluster": "True where the feature counts customers.",
        "customers": "How many customers the feature counts.",
    },
    "zones": {
        "id": "Id of the zone.",
        "name": "Name of the zone.",
        "storeId": "Id of the store that the zone belongs to.",
    },
    "stores": {
        "id": "Id of the store.",
        "name": "Name of the store.",
        "kind": "Kind of the store.",
        "city": "City of the store.",
    },
}
_OF_ONE = frozenset({"id", "name", "rfmSegment", "churnBand"})

_WORLD = Box(-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE)


class VectorLayerView(BaseModel):
    """A layer and the properties of its features."""

    id: str
    fields: dict[str, str]
    minzoom: int = 0
    maxzoom: int = MAX_ZOOM


class TileJsonView(BaseModel):
    """A TileJSON 3.0 document; its names are those of that specification."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str = "Customers, zones and stores"
    scheme: Literal["xyz"] = "xyz"
    tiles: list[str] = Field(
        examples=[["http://127.0.0.1:8000/api/geo/tiles/{z}/{x}/{y}.mvt"]],
        description="The templates of the tiles' addresses. They need the same key.",
    )
    minzoom: int = 0
    maxzoom: int = MAX_ZOOM
    bounds: list[float] = Field(
        description="West, south, east and north of what the tiles show; the world, where they show"
        " nothing, and where the answer is anonymized.",
        examples=[[106.5, -6.7, 107.2, -6.0]],
    )
    vector_layers: list[VectorLayerView]

    @classmethod
    def of(cls, template: str, bounds: Box | None, layers: list[str], *, anonymous: bool) -> Self:
        """The document of the tiles at `template` with these layers."""
        box = bounds or _WORLD
        values: dict[str, Any] = {
            layer: {
                name: meaning
                for name, meaning in LAYERS[layer].items()
                if not (anonymous and layer == "customers" and name in _OF_ONE)
            }
            for layer in layers
        }
        return cls(
            tiles=[template],
            bounds=[box.west, box.south, box.east, box.north],
            vector_layers=[
                VectorLayerView(id=layer, fields=fields) for layer, fields in values.items()
            ],
        )
