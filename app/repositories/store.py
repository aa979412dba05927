"""Stores: the shops, venues and branches of a tenant."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Row, Select, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.repositories.tables import stores


@dataclass(frozen=True, slots=True)
class Store:
    """A venue. Latitude and longitude are WGS 84 degrees, both or neither."""

    sk: int
    id: str
    name: str
    kind: str | None
    address: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    created_at: datetime
    updated_at: datetime


_SELECT: Select[Any] = select(
    stores.c.sk,
    stores.c.id,
    stores.c.name,
    stores.c.kind,
    stores.c.address,
    stores.c.city,
    func.ST_Y(stores.c.location, type_=None).label("latitude"),
    func.ST_X(stores.c.location, type_=None).label("longitude"),
    stores.c.created_at,
    stores.c.updated_at,
)


async def get(connection: AsyncConnection, tenant_id: int, store_id: str) -> Store:
    """The store called `store_id`. Raises NotFound."""
    row = (
        await connection.execute(
            _SELECT.where(stores.c.tenant_id == tenant_id, stores.c.id == store_id)
        )
    ).first()
    if row is None:
        raise NotFound("store", store_id)
    return _read(row)


async def list_page(
    connection: AsyncConnection, tenant_id: int, *, after: int, limit: int
) -> list[Store]:
    """Up to `limit` stores with an `sk` beyond `after`, in the order they were first recorded."""
    rows = await connection.execute(
        _SELECT.where(stores.c.tenant_id == tenant_id, stores.c.sk > after)
        .order_by(stores.c.sk)
        .limit(limit)
    )
    return [_read(row) for row in rows]


async def list_known(
    connection: AsyncConnection, tenant_id: int, sks: Collection[int]
) -> dict[int, tuple[str, str]]:
    """The ids and names of the stores with these sks."""
    rows = await connection.execute(
        select(stores.c.sk, stores.c.id, stores.c.name).where(
            stores.c.tenant_id == tenant_id, stores.c.sk == any_(bindparam("sks", type_=_SKS))
        ),
        {"sks": list(sks)},
    )
    return {row.sk: (row.id, row.name) for row in rows}


_SKS = ARRAY(BigInteger)


def _read(row: Row[Any]) -> Store:
    return Store(**row._mapping)


_UPSERT = """
INSERT INTO stores AS s (tenant_id, id, name, kind, address, city, location)
VALUES ($1, $2, $3, $4, $5, $6, ST_SetSRID(ST_MakePoint($7, $8), 4326))
ON CONFLICT (tenant_id, id) DO UPDATE SET
    name = excluded.name,
    kind = excluded.kind,
    address = excluded.address,
    city = excluded.city,
    location = excluded.location,
    updated_at = now()
RETURNING xmax = 0
"""


async def upsert(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    store_id: str,
    name: str,
    kind: str | None,
    address: str | None,
    city: str | None,
    longitude: float | None,
    latitude: float | None,
) -> bool:
    """Write the store; True where it is new."""
    result = await connection.exec_driver_sql(
        _UPSERT, (tenant_id, store_id, name, kind, address, city, longitude, latitude)
    )
    return bool(result.scalar_one())
