"""Addresses of customers. At most one of a customer's is the primary one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound


@dataclass(frozen=True, slots=True)
class Address:
    """An address; latitude and longitude in degrees (WGS 84)."""

    sk: int
    id: str
    label: str | None
    line: str | None
    city: str | None
    postal_code: str | None
    latitude: float | None
    longitude: float | None
    geohash: str | None
    is_primary: bool
    created_at: datetime
    updated_at: datetime


_ADDRESS = """
SELECT a.sk, a.id, a.label, a.line, a.city, a.postal_code,
       ST_Y(a.location) AS latitude, ST_X(a.location) AS longitude,
       ST_GeoHash(a.location, 9) AS geohash, a.is_primary, a.created_at, a.updated_at
FROM addresses a
"""
_GET = (
    _ADDRESS
    + "WHERE a.tenant_id = (SELECT $1::integer) AND a.id BETWEEN $3 AND $3 AND a.customer_sk = $2"
)
_LIST = (
    _ADDRESS
    + """
WHERE a.tenant_id = (SELECT $1::integer) AND a.customer_sk = $2 AND a.sk > $3
ORDER BY a.sk
LIMIT $4
"""
)

# One statement for both rows: nobody reads a customer with two primary addresses, or with none.
_NO_LONGER_PRIMARY = """
WITH former AS (
    UPDATE addresses SET is_primary = false, updated_at = now()
    WHERE tenant_id = (SELECT $1::integer) AND customer_sk = $2 AND is_primary AND $10
      AND id <> $3
)"""
_ADD = (
    _NO_LONGER_PRIMARY
    + """
INSERT INTO addresses (
    tenant_id, customer_sk, id, label, line, city, postal_code, location, is_primary
)
VALUES ($1, $2, $3, $4, $5, $6, $7, ST_SetSRID(ST_MakePoint($8, $9), 4326), $10)
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING sk
"""
)
_CHANGE = (
    _NO_LONGER_PRIMARY
    + """
UPDATE addresses a
SET label = $4, line = $5, city = $6, postal_code = $7,
    location = ST_SetSRID(ST_MakePoint($8, $9), 4326), is_primary = $10, updated_at = now()
WHERE a.tenant_id = (SELECT $1::integer) AND a.customer_sk = $2 AND a.id = $3
  AND (a.label, a.line, a.city, a.postal_code, ST_X(a.location), ST_Y(a.location), a.is_primary)
      IS DISTINCT FROM ($4, $5, $6, $7, $8::double precision, $9::double precision, $10)
"""
)


async def get(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, address_id: str
) -> Address:
    """The customer's address called `address_id`. Raises NotFound."""
    result = await connection.exec_driver_sql(_GET, (tenant_id, customer_sk, address_id))
    row = result.one_or_none()
    if row is None:
        raise NotFound("address", address_id)
    return _read(row)


async def list_of_customer(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, after: int, limit: int
) -> list[Address]:
    """Up to `limit` addresses of the customer beyond a key, those recorded first in front."""
    result = await connection.exec_driver_sql(_LIST, (tenant_id, customer_sk, after, limit))
    return [_read(row) for row in result]


def _read(row: Row[Any]) -> Address:
    return Address(**row._mapping)


async def add(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    address_id: str,
    *,
    label: str | None,
    line: str | None,
    city: str | None,
    postal_code: str | None,
    longitude: float | None,
    latitude: float | None,
    is_primary: bool,
) -> bool:
    """Add an address to a customer whose row is locked; False where the id is taken."""
    place = (label, line, city, postal_code, longitude, latitude, is_primary)
    result = await connection.exec_driver_sql(_ADD, (tenant_id, customer_sk, address_id, *place))
    return result.first() is not None


async def change(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    address_id: str,
    *,
    label: str | None,
    line: str | None,
    city: str | None,
    postal_code: str | None,
    longitude: float | None,
    latitude: float | None,
    is_primary: bool,
) -> None:
    """Write an address over, of a customer whose row is locked."""
    place = (label, line, city, postal_code, longitude, latitude, is_primary)
    await connection.exec_driver_sql(_CHANGE, (tenant_id, customer_sk, address_id, *place))


async def remove(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, address_id: str
) -> None:
    """Remove the customer's address. Raises NotFound."""
    result = await connection.exec_driver_sql(
        """
        DELETE FROM addresses
        WHERE tenant_id = (SELECT $1::integer) AND customer_sk = $2 AND id = $3
        """,
        (tenant_id, customer_sk, address_id),
    )
    if result.rowcount == 0:
        raise NotFound("address", address_id)
