"""How far it is to the stores: from a point, and from each customer."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from geoalchemy2 import Geography
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Double,
    FromClause,
    Select,
    Subquery,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.geodesy import in_order, is_settled
from app.domain.geometry import AFTER_GEOHASH
from app.domain.privacy import ROUGH_GEOHASH
from app.repositories.customer import CustomerFilter, conditions
from app.repositories.district import (
    District,
    Point,
    centre_on_map,
    point_on_globe,
    without_places,
)
from app.repositories.page import page_size
from app.repositories.tables import customers, stores


@dataclass(frozen=True, slots=True)
class NearStore:
    """A store near a point. `distance` is in metres on the ellipsoid, `sphere` on a sphere.

    `bearing` is in degrees clockwise from north; None at the same place.
    """

    sk: int
    id: str
    name: str
    kind: str | None
    city: str | None
    latitude: float
    longitude: float
    distance: float
    bearing: float | None
    sphere: float


@dataclass(frozen=True, slots=True)
class CustomerStores:
    """A customer, the store nearest to the last known place, and the home store.

    Distances are metres on the ellipsoid. The nearest store is None where no store has a place, the
    home store where the customer has none; its distance where it has no place.
    """

    sk: int
    id: str
    code: str | None
    name: str
    last_known_latitude: float
    last_known_longitude: float
    last_known_geohash: str
    nearest_id: str | None
    nearest_name: str | None
    nearest_distance: float | None
    nearest_bearing: float | None
    home_id: str | None
    home_name: str | None
    home_distance: float | None


_STORE: list[ColumnElement[Any]] = [
    stores.c.sk,
    stores.c.id,
    stores.c.name,
    stores.c.kind,
    stores.c.city,
    func.ST_Y(stores.c.location, type_=Double).label("latitude"),
    func.ST_X(stores.c.location, type_=Double).label("longitude"),
]


async def list_near(
    connection: AsyncConnection,
    tenant_id: int,
    point: Point,
    *,
    after: tuple[float, int] | None,
    limit: int,
) -> list[NearStore]:
    """Up to `limit` stores by true distance and sk, beyond that distance and sk `after`."""
    asked = limit + max(4, limit // 16)
    middle = point_on_globe(point)
    distance = func.ST_Distance(stores.c.geography, middle, type_=Double).label("distance")
    sphere: ColumnElement[float] = stores.c.geography.op("<->", return_type=Double())(middle)
    azimuth = func.ST_Azimuth(middle, stores.c.geography)
    bearing = func.degrees(azimuth, type_=Double).label("bearing")
    statement = select(*_STORE, distance, bearing, sphere.label("sphere")).where(
        stores.c.tenant_id == tenant_id, stores.c.geography.is_not(None)
    )
    if after is not None:
        statement = statement.where(
            or_(distance > after[0], and_(distance == after[0], stores.c.sk > after[1]))
        )
    nearest = statement.order_by(sphere).limit(page_size(asked))
    found = [NearStore(**row._mapping) for row in await connection.execute(nearest)]
    ordered = in_order(found)
    if len(found) < asked or is_settled(ordered, limit):
        return ordered[:limit]
    # Many are about as far: everybody up to the distance found.
    farthest = ordered[limit - 1].distance
    within = (
        statement.where(
            stores.c.geography.op("&&", is_comparison=True)(func._ST_Expand(middle, farthest)),
            distance <= farthest,
        )
        .order_by(distance, stores.c.sk)
        .limit(page_size(limit))
    )
    return [NearStore(**row._mapping) for row in await connection.execute(within)]


async def list_of_customers(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    districts: Sequence[District] | None,
    after: int,
    limit: int,
) -> list[CustomerStores]:
    """Up to `limit` of the wanted customers with a known place and an `sk` beyond `after`.

    With `districts`, only the customers of these, as if each were in the middle of the district.
    """
    statement = _of_customers(tenant_id, wanted, districts, after, limit)
    rows = await connection.execute(statement, _cells(districts))
    return [CustomerStores(*row) for row in rows]


async def stream_of_customers(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    districts: Sequence[District] | None,
) -> AsyncGenerator[list[CustomerStores]]:
    """All of `list_of_customers`, some at a time; inside the caller's transaction."""
    after = 0
    while True:
        found = await list_of_customers(
            connection,
            tenant_id,
            wanted,
            districts=districts,
            after=after,
            limit=_STREAMED_ROWS,
        )
        yield found
        if len(found) < _STREAMED_ROWS:
            return
        after = found[-1].sk


#: Customers that a stream reads at once.
_STREAMED_ROWS = 5_000


def _cells(districts: Sequence[District] | None) -> dict[str, Any]:
    return {} if districts is None else {"cells": [each.geohash for each in districts]}


def _of_customers(
    tenant_id: int,
    wanted: CustomerFilter,
    districts: Sequence[District] | None,
    after: int,
    limit: int,
) -> Select[Any]:
    page = _page(tenant_id, wanted, districts, after, limit)
    nearest = _nearest(tenant_id, page)
    home_distance = func.ST_Distance(page.c.place, stores.c.geography, type_=Double)
    home = (
        select(stores.c.id, stores.c.name, home_distance.label("distance"))
        .where(stores.c.tenant_id == tenant_id, stores.c.sk == page.c.home_store_sk)
        .offset(literal_column("0"))
        .lateral("home")
    )
    return (
        select(
            *(page.c[name] for name in _CUSTOMER),
            nearest.c.id,
            nearest.c.name,
            nearest.c.distance,
            nearest.c.bearing,
            home.c.id,
            home.c.name,
            home.c.distance,
        )
        .select_from(page.outerjoin(nearest, true()).outerjoin(home, true()))
        .order_by(page.c.sk)
    )


_CUSTOMER = (
    "sk",
    "id",
    "code",
    "name",
    "last_known_latitude",
    "last_known_longitude",
    "last_known_geohash",
)


def _page(
    tenant_id: int,
    wanted: CustomerFilter,
    districts: Sequence[District] | None,
    after: int,
    limit: int,
) -> Subquery:
    """The customers of one page, with their `place` on the globe."""
    geohash = customers.c.last_known_geohash
    district = func.left(geohash, literal_column(f"{ROUGH_GEOHASH}"))
    place: ColumnElement[Any] = customers.c.last_known_geography
    if districts is not None:
        place = cast(centre_on_map(district), Geography(srid=4326))
    statement = (
        select(
            *(customers.c[name] for name in _CUSTOMER),
            customers.c.home_store_sk,
            # Without the wrapping that a selected geography gets.
            case((true(), place), else_=None).label("place"),
        )
        .where(customers.c.tenant_id == tenant_id, customers.c.sk > after, geohash.is_not(None))
        .order_by(customers.c.sk)
        .limit(page_size(limit))
    )
    in_part = wanted.box is not None or wanted.zone_sk is not None or wanted.geohash is not None
    if in_part:
        # Found by where they are, however few; following the sk could read everybody.
        chosen = _chosen(tenant_id, wanted, districts)
        statement = statement.where(customers.c.sk.in_(select(chosen.c.sk)))
    else:
        statement = statement.where(*conditions(tenant_id, wanted))
        if districts is not None:
            cells = bindparam("cells", type_=ARRAY(Text(collation="C")))
            statement = statement.where(district == any_(cells))
    return statement.subquery("page")


def _chosen(tenant_id: int, wanted: CustomerFilter, districts: Sequence[District] | None) -> CTE:
    found = select(customers.c.sk).where(customers.c.tenant_id == tenant_id)
    if districts is None:
        found = found.where(*conditions(tenant_id, wanted))
    else:
        told = (
            func.unnest(bindparam("cells", type_=ARRAY(Text)))
            .table_valued("geohash")
            .render_derived("told")
        )
        cell: ColumnElement[str] = cast(told.c.geohash, Text(collation="C"))
        geohash = customers.c.last_known_geohash
        found = found.select_from(told.join(customers, true())).where(
            geohash >= cell,
            geohash < cell + AFTER_GEOHASH,
            *conditions(tenant_id, without_places(wanted)),
        )
    return found.cte("chosen").prefix_with("MATERIALIZED")


def _nearest(tenant_id: int, page: FromClause) -> Any:
    """The store nearest to `page.place`, by true distance and sk."""
    geography = stores.c.geography
    distance = func.ST_Distance(page.c.place, geography, type_=Double)
    place = page.c.place
    # The nearest on the sphere says how far to look.
    first = (
        select(distance.label("distance"))
        .where(stores.c.tenant_id == tenant_id, geography.is_not(None))
        .order_by(geography.op("<->")(place))
        .limit(page_size(1))
        .correlate(page)
        .scalar_subquery()
    )
    return (
        select(
            stores.c.id,
            stores.c.name,
            distance.label("distance"),
            func.degrees(func.ST_Azimuth(place, geography), type_=Double).label("bearing"),
        )
        .where(
            stores.c.tenant_id == tenant_id,
            geography.is_not(None),
            geography.op("&&", is_comparison=True)(func._ST_Expand(place, first)),
        )
        .order_by(distance, stores.c.sk)
        .limit(page_size(1))
        .lateral("nearest")
    )
