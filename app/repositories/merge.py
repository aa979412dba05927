"""Moving what belongs to a duplicate to the customer it is a duplicate of."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.repositories.event import ADD_TO_SUMMARY

# History that is counted anew for the customer it moves to. Computed rows of the duplicate (scores,
# their history, written scores, search words) are not among it: they go.
_MOVED = ("orders", "contacts", "feedback", "location_history", "behavior_events", "stage_moves")
_RECORDED = frozenset({"orders", "contacts", "feedback"})

#: What a customer has once, and the other columns of its key. Where the target has it, that stays.
_MOVED_WHERE_FREE = {"cohort_members": ["cohort_sk"], "customer_stages": [], "ltv_predictions": []}

_MOVE_ADDRESSES = """
UPDATE addresses
SET customer_sk = $3,
    is_primary = is_primary AND NOT EXISTS (
        SELECT FROM addresses own
        WHERE own.tenant_id = $1 AND own.customer_sk = $3 AND own.is_primary
    ),
    updated_at = now()
WHERE tenant_id = $1 AND customer_sk = $2
"""
_MOVE_REFERRED = """
UPDATE customers SET referred_by_sk = $3, updated_at = now()
WHERE tenant_id = $1 AND referred_by_sk = $2 AND sk <> $3
"""
_MOVE_ALIASES = """
UPDATE customer_aliases SET customer_sk = $3 WHERE tenant_id = $1 AND customer_sk = $2
"""

# Members by hand stay so under the other name; who is one by criteria is told anew.
_MOVE_MEMBERSHIPS = """
UPDATE segment_members m SET customer_sk = $3
WHERE tenant_id = $1 AND customer_sk = $2 AND manual AND left_at IS NULL AND NOT EXISTS (
    SELECT FROM segment_members own
    WHERE own.tenant_id = $1 AND own.segment_sk = m.segment_sk AND own.customer_sk = $3
      AND own.left_at IS NULL
)
"""
_KEEP_MEMBERSHIPS = """
UPDATE segment_members own SET manual = true
FROM segment_members m
WHERE own.tenant_id = $1 AND own.customer_sk = $3 AND own.left_at IS NULL AND NOT own.manual
  AND m.tenant_id = $1 AND m.segment_sk = own.segment_sk AND m.customer_sk = $2 AND m.manual
  AND m.left_at IS NULL
"""


# What was kept of events stays for good, while the events themselves may be gone: the two are added
# up, not counted anew.
_ADD_UP_BEHAVIOR = f"""
INSERT INTO behavior_summaries AS s
SELECT tenant_id, $3, events, page_views, product_views, cart_additions, purchases, spent,
       first_event_at, last_event_at, first_purchase_at, last_purchase_at, categories, devices,
       sources, created_at, updated_at
FROM behavior_summaries
WHERE tenant_id = $1 AND customer_sk = $2
{ADD_TO_SUMMARY}
"""


async def move_history(
    connection: AsyncConnection, tenant_id: int, *, duplicate: int, target: int
) -> dict[str, int]:
    """Give the target all that happened to the duplicate; how many rows of each table.

    `referrals` counts the customers whom the duplicate brought in.
    """
    statements = {
        table: f"UPDATE {table} SET customer_sk = $3"
        f"{', recorded_at = now()' if table in _RECORDED else ''}"
        " WHERE tenant_id = $1 AND customer_sk = $2"
        for table in _MOVED
    } | {
        "addresses": _MOVE_ADDRESSES,
        "referrals": _MOVE_REFERRED,
        "customer_aliases": _MOVE_ALIASES,
        "segment_members": _MOVE_MEMBERSHIPS,
    }
    for table, keys in _MOVED_WHERE_FREE.items():
        same = "".join(f" AND own.{key} = {table}.{key}" for key in keys)
        statements[table] = (
            f"UPDATE {table} SET customer_sk = $3 WHERE tenant_id = $1 AND customer_sk = $2"
            f" AND NOT EXISTS (SELECT FROM {table} own"
            f" WHERE own.tenant_id = $1 AND own.customer_sk = $3{same})"
        )
    moved: dict[str, int] = {}
    for name, statement in statements.items():
        result = await connection.exec_driver_sql(statement, (tenant_id, duplicate, target))
        if result.rowcount:
            moved[name] = result.rowcount
    await connection.exec_driver_sql(_ADD_UP_BEHAVIOR, (tenant_id, duplicate, target))
    await connection.exec_driver_sql(_KEEP_MEMBERSHIPS, (tenant_id, duplicate, target))
    return moved


_COMPUTED = (
    "customer_analytics",
    "score_history",
    "external_run_rows",
    "customer_terms",
    "behavior_summaries",
    "segment_members",
    "segment_touched",
)


async def delete_computed(connection: AsyncConnection, tenant_id: int, duplicate: int) -> None:
    """Delete what was computed of the duplicate, and what the target has of its own."""
    for table in (*_COMPUTED, *_MOVED_WHERE_FREE):
        await connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE tenant_id = $1 AND customer_sk = $2",
            (tenant_id, duplicate),
        )


#: Attributes filled one by one where the target has none.
_FILLED = (
    "code",
    "email",
    "phone",
    "company_name",
    "npwp",
    "credit_limit",
    "credit_used",
    "payment_term_days",
    "membership_tier",
    "home_store_sk",
    "service_area",
    "preferred_delivery_zone",
    "date_of_birth",
    "income_bracket",
    "occupation",
    "education_level",
    "preferred_contact_channel",
    "acquisition_source",
    "acquisition_campaign",
    "source_updated_at",
)
#: Attributes that mean something together only: filled where the target lacks the first.
_FILLED_TOGETHER = (
    ("age_estimate", "age_range_min", "age_range_max"),
    ("gender", "gender_confidence"),
)
#: The later place is the last known one; one whose time nobody knows gives way to any.
_PLACE = (
    "last_known_latitude",
    "last_known_longitude",
    "last_location_accuracy",
    "last_location_source",
    "last_location_captured_at",
    "last_location_captured_by",
)
_MOVED_ON = """gone.last_known_latitude IS NOT NULL AND (
        t.last_known_latitude IS NULL
        OR coalesce(gone.last_location_captured_at, '-infinity')
           > coalesce(t.last_location_captured_at, '-infinity'))"""
_UNITED = ("community_tags", "social_connections")


def _absorb_statement() -> str:
    changes = [f"{name} = coalesce(t.{name}, gone.{name})" for name in _FILLED]
    for first, *others in _FILLED_TOGETHER:
        changes += [
            f"{name} = CASE WHEN t.{first} IS NULL THEN gone.{name} ELSE t.{name} END"
            for name in (first, *others)
        ]
    changes += [
        f"{name} = CASE WHEN {_MOVED_ON} THEN gone.{name} ELSE t.{name} END" for name in _PLACE
    ]
    changes += [
        f"{name} = t.{name} || ARRAY (SELECT each FROM unnest(gone.{name}) AS each"
        f" WHERE each <> ALL (t.{name}))"
        for name in _UNITED
    ]
    # Only names of columns written above go into the text.
    return f"""
WITH gone AS (
    DELETE FROM customers WHERE tenant_id = $1 AND sk = $2 RETURNING *
)
UPDATE customers t
SET {", ".join(changes)},
    -- What was never named by anything but its id takes the duplicate's name.
    name = CASE WHEN t.name = t.id THEN gone.name ELSE t.name END,
    loyalty_points = CASE
        WHEN t.loyalty_points IS NULL THEN gone.loyalty_points
        ELSE least(t.loyalty_points::bigint + coalesce(gone.loyalty_points, 0), 2000000000)::integer
    END,
    referred_by_sk = $4, updated_at = now(), updated_by = $5
FROM gone
WHERE t.tenant_id = $1 AND t.sk = $3
RETURNING gone.id
"""


_ABSORB = _absorb_statement()


async def absorb(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    duplicate: int,
    target: int,
    referrer: int | None,
    actor: str | None,
) -> str:
    """Delete the duplicate's row and fill the target's blanks from it; the duplicate's id.

    What the target declares stays, points are added, lists united; `referrer` is who brought the
    target in from now on.
    """
    # The referrer may not point at the row that goes while it goes.
    await connection.exec_driver_sql(
        "UPDATE customers SET referred_by_sk = NULL"
        " WHERE tenant_id = $1 AND sk = $3 AND referred_by_sk = $2",
        (tenant_id, duplicate, target),
    )
    result = await connection.exec_driver_sql(
        _ABSORB, (tenant_id, duplicate, target, referrer, actor)
    )
    former_id: str = result.scalar_one()
    return former_id


async def add_alias(
    connection: AsyncConnection,
    tenant_id: int,
    former_id: str,
    *,
    target: int,
    merged_by: str | None,
) -> None:
    """Let `former_id` lead to the target from now on."""
    await connection.exec_driver_sql(
        "INSERT INTO customer_aliases (tenant_id, id, customer_sk, merged_by)"
        " VALUES ($1, $2, $3, $4)",
        (tenant_id, former_id, target, merged_by),
    )


_REFERRERS = """
WITH RECURSIVE chain (sk, level) AS (
    SELECT referred_by_sk, 1 FROM customers
    WHERE tenant_id = $1 AND sk = $2 AND referred_by_sk IS NOT NULL
    UNION
    SELECT c.referred_by_sk, chain.level + 1
    FROM chain JOIN customers c ON c.tenant_id = $1 AND c.sk = chain.sk
    WHERE c.referred_by_sk IS NOT NULL AND chain.level < 1000
)
SELECT sk FROM chain ORDER BY level
"""


async def list_referrers(connection: AsyncConnection, tenant_id: int, sk: int) -> list[int]:
    """Who brought the customer in, who brought that one in, and so on."""
    result = await connection.exec_driver_sql(_REFERRERS, (tenant_id, sk))
    return list(dict.fromkeys(result.scalars()))


async def list_words_of(
    connection: AsyncConnection, tenant_id: int, sk: int
) -> tuple[list[str | None], str | None]:
    """The texts and the telephone number that the customer is found by."""
    result = await connection.exec_driver_sql(
        "SELECT name, company_name, email, code, id, phone FROM customers"
        " WHERE tenant_id = $1 AND sk = $2",
        (tenant_id, sk),
    )
    row: Any = result.one()
    return [row.name, row.company_name, row.email, row.code, row.id], row.phone
