"""What happened with one customer, from every source, in one sequence of time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.journey import JourneyKind


@dataclass(frozen=True, slots=True)
class Position:
    """Where a moment stands: newest first, then by kind, then by the key of its source."""

    at: datetime
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. `id` is that of its source; amounts in `details` are minor units."""

    at: datetime
    kind: JourneyKind
    key: str
    id: str
    details: dict[str, Any]

    @property
    def position(self) -> Position:
        """Where the next page goes on after this one."""
        return Position(self.at, self.kind, self.key)


# What a page may hold of a source. `{at}` is the column of its index, so that the range begins
# where the page does; ties of one instant are settled by key.
_WANTED = """
              s.tenant_id = :tenant_id AND s.customer_sk = :customer_sk{store}{kept}
              AND '{kind}' = ANY (CAST(:kinds AS text[]))
              AND {at} >= CAST(:since AS timestamptz) AND {at} < CAST(:until AS timestamptz)
              AND {at} <= CAST(:before AS timestamptz)
              AND ({at} < CAST(:before AS timestamptz)
                   OR '{kind}' COLLATE "C" > CAST(:kind AS text)
                   OR ('{kind}' = CAST(:kind AS text)
                       AND {key} COLLATE "C" > CAST(:key AS text)))"""

# Each source is read from its own index, newest first, and no further than a page: whatever the
# customer did over the years, a page costs a few rows of each source. The instant down to which to
# read is found first, because the index does not know the order by key, and the planner would
# rather sort everything. A kind that is not wanted is not read at all.
_SOURCE = (
    """
    (
        SELECT {at} AS at, '{kind}' COLLATE "C" AS kind, {key} COLLATE "C" AS key, s.id AS id,
               jsonb_build_object({details}) AS details
        FROM {table} s{store_name}
        WHERE"""
    + _WANTED
    + """
              AND {at} >= (
                  SELECT coalesce(min(at), 'infinity') FROM (
                      SELECT {at} AS at FROM {table} s WHERE"""
    + _WANTED
    + """
                      ORDER BY {at} DESC LIMIT :limit
                  ) newest
              )
        ORDER BY {at} DESC, {key} COLLATE "C"
        LIMIT :limit
    )"""
)
# What is past the tenant's retention is not told of, even where it has not been deleted yet.
_KEPT = """
              AND {at} >= coalesce((
                  SELECT now() - {days} * interval '1 day' FROM tenants WHERE id = :tenant_id
              ), '-infinity')"""
_STORE_NAME = " LEFT JOIN stores v ON v.tenant_id = s.tenant_id AND v.sk = s.store_sk"

_ORDER = {
    "kept": "",
    "kind": JourneyKind.ORDER,
    "at": "s.ordered_at",
    "key": "CAST(s.sk AS text)",
    "table": "orders",
    "store_name": _STORE_NAME,
    "details": """
        'status', s.status, 'total_amount', s.total_amount, 'net_amount', s.net_amount,
        'refund_amount', s.refund_amount, 'counted', s.counted, 'item_count', s.item_count,
        'channel', s.channel, 'payment_method', s.payment_method, 'store_id', v.id,
        'notes', s.notes""",
}
_CONTACT = {
    "kept": "",
    "kind": JourneyKind.CONTACT,
    "at": "s.sent_at",
    "key": "CAST(s.sk AS text)",
    "table": "contacts",
    "store_name": "",
    "details": """
        'channel', s.channel, 'purpose', s.purpose, 'responded_at', s.responded_at,
        'converted', s.converted""",
}
_FEEDBACK = {
    "kept": "",
    "kind": JourneyKind.FEEDBACK,
    "at": "s.given_at",
    "key": "CAST(s.sk AS text)",
    "table": "feedback",
    "store_name": _STORE_NAME,
    "details": """
        'feedback_kind', s.kind, 'score', s.score, 'sentiment', s.sentiment,
        'comment', s.comment, 'store_id', v.id""",
}
_CAPTURE = {
    "kept": _KEPT.format(at="s.captured_at", days="location_retention_days"),
    "kind": JourneyKind.CAPTURE,
    "at": "s.captured_at",
    "key": "s.id",
    "table": "location_history",
    "store_name": "",
    "details": """
        'latitude', ST_Y(s.location), 'longitude', ST_X(s.location), 'geohash', s.geohash,
        'accuracy', s.accuracy, 'source', s.source, 'captured_by', s.captured_by,
        'visit_type', s.visit_type, 'visit_notes', s.visit_notes""",
}
_EVENT = {
    "kept": _KEPT.format(at="s.occurred_at", days="event_retention_days"),
    "kind": JourneyKind.EVENT,
    "at": "s.occurred_at",
    "key": "s.id",
    "table": "behavior_events",
    "store_name": "",
    "details": """
        'event_type', s.event_type, 'event_category', s.event_category,
        'product_id', s.product_id, 'product_name', s.product_name,
        'product_category', s.product_category, 'event_value', s.event_value,
        'session_id', s.session_id, 'device_type', s.device_type, 'browser', s.browser,
        'os', s.os, 'page_url', s.page_url, 'referrer_url', s.referrer_url,
        'latitude', s.latitude, 'longitude', s.longitude, 'country', s.country, 'city', s.city,
        'properties', s.properties""",
}

# History knows days, not instants: a change stands at the beginning of the tenant's day, below
# everything that led to it on that day.
_STANDING = """
    (
        SELECT * FROM (
            SELECT CAST(s.day AS timestamp) AT TIME ZONE CAST(:timezone AS text) AS at,
                   'standing' COLLATE "C" AS kind, CAST(s.day AS text) COLLATE "C" AS key,
                   CAST(s.day AS text) AS id,
                   jsonb_build_object(
                       'rfm_code', s.rfm_code, 'rfm_segment', s.rfm_segment,
                       'lifecycle_segment', s.lifecycle_segment, 'churn_band', s.churn_band,
                       'churn_score', s.churn_score, 'clv', s.clv,
                       'membership_tier', s.membership_tier
                   ) AS details
            FROM score_history s
            WHERE s.tenant_id = :tenant_id AND s.customer_sk = :customer_sk
              AND 'standing' = ANY (CAST(:kinds AS text[]))
              AND s.day >= CAST(:first_day AS date) AND s.day <= CAST(:last_day AS date)
        ) changes
        WHERE at >= CAST(:since AS timestamptz) AND at < CAST(:until AS timestamptz)
          AND (at < CAST(:before AS timestamptz)
               OR (at = CAST(:before AS timestamptz)
                   AND ('standing' COLLATE "C" > CAST(:kind AS text)
                        OR ('standing' = CAST(:kind AS text) AND key > CAST(:key AS text)))))
        ORDER BY at DESC, key
        LIMIT :limit
    )"""


def _statement(*sources: str) -> str:
    return (
        "SELECT at, kind, key, id, details FROM ("
        + " UNION ALL".join(sources)
        + ") moments ORDER BY at DESC, kind, key LIMIT :limit"
    )


def _typed(statement: str) -> Any:
    return text(statement).columns(details=JSONB)


_LIST = _typed(
    _statement(
        *(
            _SOURCE.format(**source, store="")
            for source in (_ORDER, _CONTACT, _FEEDBACK, _CAPTURE, _EVENT)
        ),
        _STANDING,
    )
)
_AT_STORE = " AND s.store_sk = :store_sk"
_LIST_AT_STORE = _typed(
    _statement(*(_SOURCE.format(**source, store=_AT_STORE) for source in (_ORDER, _FEEDBACK)))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyFilter:
    """Which moments to list: of `kinds`, in [since, until).

    `timezone` is the tenant's; the days are the tenant's around the two instants.
    """

    kinds: Collection[JourneyKind]
    since: datetime
    until: datetime
    timezone: str
    first_day: date
    last_day: date


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    wanted: JourneyFilter,
    *,
    after: Position,
    limit: int,
) -> list[Moment]:
    """The moments of a customer after a position, newest first."""
    parameters = _parameters(tenant_id, customer_sk, wanted, after, limit)
    parameters |= {
        "timezone": wanted.timezone,
        "first_day": wanted.first_day,
        "last_day": wanted.last_day,
    }
    return [_moment(row) for row in await connection.execute(_LIST, parameters)]


async def list_page_at_store(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    store_sk: int,
    wanted: JourneyFilter,
    *,
    after: Position,
    limit: int,
) -> list[Moment]:
    """The orders and feedback of a customer at one store after a position, newest first."""
    parameters = _parameters(tenant_id, customer_sk, wanted, after, limit)
    parameters["store_sk"] = store_sk
    return [_moment(row) for row in await connection.execute(_LIST_AT_STORE, parameters)]


def _parameters(
    tenant_id: int, customer_sk: int, wanted: JourneyFilter, after: Position, limit: int
) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "customer_sk": customer_sk,
        "kinds": [kind.value for kind in wanted.kinds],
        "since": wanted.since,
        "until": wanted.until,
        "before": after.at,
        "kind": str(after.kind),
        "key": after.key,
        "limit": limit,
    }


def _moment(row: Any) -> Moment:
    return Moment(row.at, JourneyKind(row.kind), row.key, row.id, row.details)


@dataclass(frozen=True, slots=True)
class StandingChange:
    """What the standing became on a day on which it changed. `clv` in minor units."""

    day: date
    rfm_code: str | None
    rfm_segment: str | None
    lifecycle_segment: str
    churn_band: str | None
    churn_score: float | None
    clv: int | None
    membership_tier: str | None


_LIST_CHANGES = text("""
    SELECT day, rfm_code, rfm_segment, lifecycle_segment, churn_band, churn_score, clv,
           membership_tier
    FROM score_history
    WHERE tenant_id = :tenant_id AND customer_sk = :customer_sk
    ORDER BY day DESC LIMIT :limit
""")


async def list_standing_changes(
    connection: AsyncConnection, tenant_id: int, customer_sk: int, *, limit: int
) -> list[StandingChange]:
    """The last changes of a customer's standing, newest first."""
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk, "limit": limit}
    rows = await connection.execute(_LIST_CHANGES, parameters)
    return [StandingChange(**row._mapping) for row in rows]
