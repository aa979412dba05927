"""Who moved between segments, and between membership tiers, from one day to another.

The standing of a customer on a day is the latest row of `score_history` on or before it. A pair of
days is counted once, for all customers, and the count kept in `standing_moves`.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Standing(StrEnum):
    """What customers move between."""

    SEGMENT = "segment"
    TIER = "tier"


@dataclass(frozen=True, slots=True)
class Move:
    """So many customers had `before` on the first day and `after` on the last.

    None stands for no segment; of tiers, for no standing at all, while `none` is no tier.
    """

    before: str | None
    after: str | None
    customers: int


@dataclass(frozen=True, slots=True)
class Moves:
    """Every pair of values that customers had, equal ones too."""

    computed_at: datetime
    moves: list[Move]


_FIND = text("""
    SELECT kind, from_value, to_value, customers, computed_at
    FROM standing_moves
    WHERE tenant_id = :tenant_id AND kind = ANY(CAST(:kinds AS text[]))
      AND from_day = :from_day AND to_day = :to_day AND computed_at >= :not_before
    ORDER BY kind, from_value, to_value
""")


async def find_moves(
    connection: AsyncConnection,
    tenant_id: int,
    standing: Standing,
    from_day: date,
    to_day: date,
    *,
    not_before: datetime,
) -> Moves | None:
    """The kept count of a pair of days; None where there is none, or only one from before."""
    parameters = {
        "tenant_id": tenant_id,
        "kinds": list(Standing),
        "from_day": from_day,
        "to_day": to_day,
        "not_before": not_before,
    }
    rows = (await connection.execute(_FIND, parameters)).all()
    if not rows:
        return None
    return Moves(
        computed_at=max(row.computed_at for row in rows),
        moves=[
            Move(row.from_value or None, row.to_value or None, row.customers)
            for row in rows
            if row.kind == standing
        ],
    )


# The newest row at or before a day is the first one that the customer's index meets, partition by
# partition backwards: a probe or two for each customer, however long the history.
_COUNT = text("""
    INSERT INTO standing_moves AS kept
        (tenant_id, kind, from_day, to_day, from_value, to_value, customers, computed_at)
    SELECT CAST(:tenant_id AS integer), kind, CAST(:from_day AS date), CAST(:to_day AS date),
           before, after, count(*), statement_timestamp()
    FROM customer_analytics c
    CROSS JOIN LATERAL (
        SELECT h.day, h.rfm_segment, h.membership_tier FROM score_history h
        WHERE h.tenant_id = :tenant_id AND h.customer_sk = c.customer_sk
          AND h.day <= CAST(:to_day AS date)
        ORDER BY h.day DESC LIMIT 1
    ) AS latest
    LEFT JOIN LATERAL (
        SELECT h.day, h.rfm_segment, h.membership_tier FROM score_history h
        WHERE latest.day > CAST(:from_day AS date)
          AND h.tenant_id = :tenant_id AND h.customer_sk = c.customer_sk
          AND h.day <= CAST(:from_day AS date)
        ORDER BY h.day DESC LIMIT 1
    ) AS earlier ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(earlier.day, CASE WHEN latest.day <= CAST(:from_day AS date)
                                          THEN latest.day END) AS known_day,
               CASE WHEN latest.day <= CAST(:from_day AS date)
                    THEN latest.rfm_segment ELSE earlier.rfm_segment END AS rfm_segment,
               CASE WHEN latest.day <= CAST(:from_day AS date)
                    THEN latest.membership_tier ELSE earlier.membership_tier END AS membership_tier
    ) AS former
    CROSS JOIN LATERAL (VALUES
        ('segment', coalesce(former.rfm_segment, ''), coalesce(latest.rfm_segment, '')),
        ('tier',
         CASE WHEN former.known_day IS NULL THEN '' ELSE coalesce(former.membership_tier, 'none')
         END,
         coalesce(latest.membership_tier, 'none'))
    ) AS moved (kind, before, after)
    WHERE c.tenant_id = :tenant_id AND (before <> '' OR after <> '')
    GROUP BY kind, before, after
    ON CONFLICT (tenant_id, kind, from_day, to_day, from_value, to_value) DO UPDATE
    SET customers = excluded.customers, computed_at = excluded.computed_at
""")

_FORGET_OUTDATED = text("""
    DELETE FROM standing_moves
    WHERE tenant_id = :tenant_id AND kind = ANY(CAST(:kinds AS text[]))
      AND from_day = CAST(:from_day AS date) AND to_day = CAST(:to_day AS date)
      AND computed_at < (
          SELECT max(computed_at) FROM standing_moves
          WHERE tenant_id = :tenant_id AND kind = ANY(CAST(:kinds AS text[]))
            AND from_day = CAST(:from_day AS date) AND to_day = CAST(:to_day AS date)
      )
""")


async def count_moves(
    connection: AsyncConnection, tenant_id: int, from_day: date, to_day: date
) -> None:
    """Count anew who had what on the two days, and keep it."""
    parameters = {"tenant_id": tenant_id, "from_day": from_day, "to_day": to_day}
    await connection.execute(_COUNT, parameters)
    await connection.execute(_FORGET_OUTDATED, parameters | {"kinds": list(Standing)})


async def get_moves(
    connection: AsyncConnection,
    tenant_id: int,
    standing: Standing,
    from_day: date,
    to_day: date,
    *,
    not_before: datetime,
) -> Moves:
    """`find_moves`, counted now where it finds none; the first to ask waits for the count."""
    kept = await find_moves(
        connection, tenant_id, standing, from_day, to_day, not_before=not_before
    )
    if kept is None:
        await count_moves(connection, tenant_id, from_day, to_day)
        kept = await find_moves(connection, tenant_id, standing, from_day, to_day, not_before=_EVER)
    return kept or Moves(datetime.now(UTC), [])


_EVER = datetime.min.replace(tzinfo=UTC)

_FORGET_BEFORE = text(
    "DELETE FROM standing_moves WHERE tenant_id = :tenant_id AND computed_at < :instant"
)


async def forget_moves(connection: AsyncConnection, tenant_id: int, before: datetime) -> int:
    """Drop the counts made before `before`; how many rows."""
    parameters = {"tenant_id": tenant_id, "instant": before}
    return (await connection.execute(_FORGET_BEFORE, parameters)).rowcount
