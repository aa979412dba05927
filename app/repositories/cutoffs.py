"""What splits the tenant's buyers into quintiles, as the last full run left it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rfm import Cutoffs


@dataclass(frozen=True, slots=True)
class StoredCutoffs:
    """The cutoffs of one run over so many buyers; monetary ones in minor units."""

    cutoffs: Cutoffs
    buyers: int
    computed_at: datetime


_LATEST = text("""
    SELECT recency_cutoffs, frequency_cutoffs, monetary_cutoffs, buyers, computed_at
    FROM rfm_cutoffs WHERE tenant_id = :tenant_id
    ORDER BY computed_at DESC LIMIT 1
""")


async def find_latest(connection: AsyncConnection, tenant_id: int) -> StoredCutoffs | None:
    """The cutoffs that customers are scored against; None before the first full run."""
    row = (await connection.execute(_LATEST, {"tenant_id": tenant_id})).one_or_none()
    if row is None:
        return None
    bounds = Cutoffs(
        tuple(row.recency_cutoffs), tuple(row.frequency_cutoffs), tuple(row.monetary_cutoffs)
    )
    return StoredCutoffs(bounds, row.buyers, row.computed_at)
