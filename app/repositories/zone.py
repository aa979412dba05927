"""Delivery zones: the areas that a tenant delivers to."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound
from app.repositories.tables import delivery_zones


async def get_sk(connection: AsyncConnection, tenant_id: int, zone_id: str) -> int:
    """What refers to the zone called `zone_id`. Raises NotFound."""
    sk = await connection.scalar(
        select(delivery_zones.c.sk).where(
            delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.id == zone_id
        )
    )
    if sk is None:
        raise NotFound("zone", zone_id)
    return int(sk)
