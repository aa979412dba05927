"""Areas as GeoJSON: what is read, and where what is refused is wrong."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.domain.geojson import MOST_POSITIONS, feature_properties, geometry, parse_area

RING = [[106.8, -6.3], [106.9, -6.3], [106.9, -6.2], [106.8, -6.3]]
HOLE = [[106.85, -6.28], [106.88, -6.28], [106.88, -6.25], [106.85, -6.28]]
ACROSS = [[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]]


def _polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def _pairs(ring: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return [tuple(position) for position in ring]


def test_a_polygon_keeps_its_holes() -> None:
    assert parse_area(_polygon(RING, HOLE)) == [[_pairs(RING), _pairs(HOLE)]]


def test_every_part_of_a_multipolygon_is_kept() -> None:
    other = [[longitude + 1, latitude] for longitude, latitude in RING]
    area = {"type": "MultiPolygon", "coordinates": [[RING, HOLE], [other]]}
    assert parse_area(area) == [[_pairs(RING), _pairs(HOLE)], [_pairs(other)]]
    assert geometry(parse_area(area))["type"] == "MultiPolygon"


def test_a_height_is_left_out() -> None:
    assert parse_area(_polygon([[*position, 12.5] for position in RING])) == [[_pairs(RING)]]


def test_a_feature_gives_its_geometry_and_its_properties() -> None:
    feature = {"type": "Feature", "geometry": _polygon(RING), "properties": {"fee": 3}}
    assert parse_area(feature) == [[_pairs(RING)]]
    assert feature_properties(feature) == {"fee": 3}
    assert feature_properties(_polygon(RING)) is None


def test_an_edge_of_the_antimeridian_is_no_crossing() -> None:
    ring = [[170, 0], [180, 0], [180, 10], [170, 0]]
    assert parse_area(_polygon(ring)) == [[_pairs(ring)]]


def test_more_than_half_the_world_is_an_area_where_its_edges_say_which_way() -> None:
    ring = [[-170, 0], [0, 0], [170, 0], [170, 10], [0, 10], [-170, 10], [-170, 0]]
    assert parse_area(_polygon(ring)) == [[_pairs(ring)]]


@pytest.mark.parametrize(
    ("area", "pointer", "reason"),
    [
        ("somewhere", "/area", "Polygon or MultiPolygon"),
        ({}, "/area/type", "missing"),
        ({"type": "Point", "coordinates": [1, 2]}, "/area/type", "not 'Point'"),
        ({"type": ["Polygon"]}, "/area/type", "Polygon or MultiPolygon"),
        ({"type": "Polygon"}, "/area/coordinates", "missing"),
        (_polygon(), "/area/coordinates", "empty"),
        ({"type": "MultiPolygon", "coordinates": []}, "/area/coordinates", "empty"),
        ({"type": "MultiPolygon", "coordinates": [[]]}, "/area/coordinates/0", "empty"),
        ({"type": "FeatureCollection", "features": []}, "/area/type", "one zone for each"),
        ({"type": "Feature", "geometry": None}, "/area/geometry", "Polygon or MultiPolygon"),
        (
            {"type": "Feature", "geometry": {"type": "Feature"}},
            "/area/geometry/type",
            "not another Feature",
        ),
        (
            {"type": "Feature", "geometry": _polygon(RING[:3])},
            "/area/geometry/coordinates/0",
            "4 at least",
        ),
        (_polygon(RING[:3]), "/area/coordinates/0", "4 at least"),
        (_polygon([*RING[:3], [0, 0]]), "/area/coordinates/0/3", "closed"),
        (_polygon(RING, HOLE[:3]), "/area/coordinates/1", "4 at least"),
        (_polygon([[1], *RING[1:]]), "/area/coordinates/0/0", "longitude, latitude"),
        (_polygon([["1", 2], *RING[1:]]), "/area/coordinates/0/0/0", "number"),
        (_polygon([[True, 2], *RING[1:]]), "/area/coordinates/0/0/0", "number"),
        (_polygon([[None, 2], *RING[1:]]), "/area/coordinates/0/0/0", "number"),
        (_polygon([[float("nan"), 2], *RING[1:]]), "/area/coordinates/0/0", "finite"),
        (_polygon([[10**400, 2], *RING[1:]]), "/area/coordinates/0/0", "globe"),
        (_polygon([[-6.3, 106.8], *RING[1:]]), "/area/coordinates/0/0/1", "swapped"),
        (_polygon([[106.8, 95], *RING[1:]]), "/area/coordinates/0/0/1", "beyond 90"),
        (_polygon([[190, 2], *RING[1:]]), "/area/coordinates/0/0/0", "antimeridian"),
        (_polygon(ACROSS), "/area/coordinates/0/1", "antimeridian"),
        ({**_polygon(RING), "crs": {"type": "name"}}, "/area/crs", "WGS 84"),
    ],
)
def test_what_is_no_area_is_refused_where_it_is_wrong(area: Any, pointer: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_area(area)
    assert refused.value.field == pointer
    assert reason in refused.value.reason


def test_the_number_of_positions_is_limited() -> None:
    half = [[106.8, -6.2]] * (MOST_POSITIONS // 2)
    assert len(parse_area(_polygon(half, half))[0][0]) == MOST_POSITIONS // 2
    with pytest.raises(InvalidInput, match="simplify") as refused:
        parse_area(_polygon(half, half, RING))
    assert refused.value.field == "/area/coordinates/2"
