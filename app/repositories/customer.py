"""Customers as they were declared, and the words that find them."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, Select, and_, bindparam, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_sql, fetch_row
from app.domain.errors import NotFound
from app.domain.geometry import AFTER_GEOHASH, Box
from app.repositories.page import page_size
from app.repositories.tables import (
    customer_analytics,
    customer_terms,
    customers,
    delivery_zones,
    orders,
    stores,
)


@dataclass(frozen=True, slots=True)
class Customer:
    """Every declared attribute. Amounts are minor units; `service_area` is a GeoJSON polygon."""

    sk: int
    id: str
    code: str | None
    name: str
    email: str | None
    phone: str | None
    customer_type: str
    company_name: str | None
    npwp: str | None
    credit_limit: int | None
    credit_used: int | None
    payment_term_days: int | None
    loyalty_points: int | None
    membership_tier: str | None
    status: str
    home_store_id: str | None
    service_area: dict[str, Any] | None
    preferred_delivery_zone: str | None
    last_known_latitude: float | None
    last_known_longitude: float | None
    last_known_geohash: str | None
    last_location_accuracy: float | None
    last_location_source: str | None
    last_location_captured_at: datetime | None
    last_location_captured_by: str | None
    date_of_birth: date | None
    age_estimate: int | None
    age_range_min: int | None
    age_range_max: int | None
    gender: str | None
    gender_confidence: float | None
    income_bracket: str | None
    occupation: str | None
    education_level: str | None
    preferred_contact_channel: str | None
    opt_in_whatsapp: bool
    opt_in_email: bool
    opt_in_sms: bool
    opt_in_push: bool
    acquisition_source: str | None
    acquisition_campaign: str | None
    referred_by_customer_id: str | None
    community_tags: list[str]
    social_connections: list[str]
    source_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFilter:
    """Which customers to list; None filters nothing. `words` come from `domain.search.words`.

    `store_id` is that of the home store; `buys_at_store_sk` a store where there is an order. `box`,
    `zone_sk` and `geohash` are about the last known place; a customer without one is in none.
    """

    words: Collection[frozenset[str]] = ()
    customer_type: str | None = None
    membership_tier: str | None = None
    status: str | None = None
    rfm_segment: str | None = None
    churn_band: str | None = None
    store_id: str | None = None
    buys_at_store_sk: int | None = None
    updated_since: datetime | None = None
    box: Box | None = None
    zone_sk: int | None = None
    geohash: str | None = None


_referrer = customers.alias("referrer")
_COMPUTED = {
    "home_store_id": stores.c.id.label("home_store_id"),
    "service_area": func.ST_AsGeoJSON(customers.c.service_area, type_=None).label("service_area"),
    "referred_by_customer_id": _referrer.c.id.label("referred_by_customer_id"),
}
_NAMES = [field.name for field in fields(Customer)]

#: The columns of a Customer, in the order of its fields, and where they come from.
DECLARED: list[ColumnElement[Any]] = [
    _COMPUTED[name] if name in _COMPUTED else customers.c[name] for name in _NAMES
]
DECLARED_FROM = customers.outerjoin(
    stores,
    and_(
        stores.c.tenant_id == customers.c.tenant_id,
        stores.c.sk == customers.c.home_store_sk,
    ),
).outerjoin(
    _referrer,
    and_(
        _referrer.c.tenant_id == customers.c.tenant_id,
        _referrer.c.sk == customers.c.referred_by_sk,
    ),
)
_SELECT: Select[Any] = select(*DECLARED).select_from(DECLARED_FROM)
_SERVICE_AREA = _NAMES.index("service_area")

_GET = driver_sql(
    _SELECT.where(
        customers.c.tenant_id == bindparam("tenant"), customers.c.id == bindparam("customer")
    )
)

#: Sorts after every character, so that a range up to it holds every word with the same beginning.
_LAST_CHARACTER = "\U0010ffff"


async def get(connection: AsyncConnection, tenant_id: int, customer_id: str) -> Customer:
    """The customer called `customer_id`. Raises NotFound."""
    row = await fetch_row(connection, _GET, tenant_id, customer_id)
    if row is None:
        raise NotFound("customer", customer_id)
    return read_declared(row)


async def has_any(connection: AsyncConnection, tenant_id: int) -> bool:
    """Whether the tenant has a customer at all."""
    query = select(exists().where(customers.c.tenant_id == tenant_id))
    return bool((await connection.execute(query)).scalar_one())


async def list_page(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: CustomerFilter,
    *,
    after: int,
    limit: int,
) -> list[Customer]:
    """Up to `limit` customers with an `sk` beyond `after`, those recorded first in front."""
    statement = (
        _SELECT.where(customers.c.tenant_id == tenant_id, customers.c.sk > after)
        .where(*conditions(tenant_id, wanted))
        .order_by(customers.c.sk)
        .limit(page_size(limit))
    )
    return [read_declared(row) for row in await connection.execute(statement)]


def conditions(tenant_id: int, wanted: CustomerFilter) -> list[ColumnElement[bool]]:
    """What holds for the wanted rows of `customers`, all of it together."""
    plain = {
        customers.c.customer_type: wanted.customer_type,
        customers.c.membership_tier: wanted.membership_tier,
        customers.c.status: wanted.status,
    }
    scored = {
        customer_analytics.c.rfm_segment: wanted.rfm_segment,
        customer_analytics.c.churn_band: wanted.churn_band,
    }
    found = [column == value for column, value in plain.items() if value is not None]
    if wanted.store_id is not None:
        found.append(
            customers.c.home_store_sk
            == select(stores.c.sk)
            .where(stores.c.tenant_id == tenant_id, stores.c.id == wanted.store_id)
            .scalar_subquery()
        )
    scores = [column == value for column, value in scored.items() if value is not None]
    if scores:
        found.append(
            exists().where(
                customer_analytics.c.tenant_id == customers.c.tenant_id,
                customer_analytics.c.customer_sk == customers.c.sk,
                *scores,
            )
        )
    if wanted.buys_at_store_sk is not None:
        found.append(
            exists().where(
                orders.c.tenant_id == customers.c.tenant_id,
                orders.c.customer_sk == customers.c.sk,
                orders.c.store_sk == wanted.buys_at_store_sk,
            )
        )
    if wanted.updated_since is not None:
        found.append(customers.c.updated_at >= wanted.updated_since)
    found.extend(_places(tenant_id, wanted))
    found.extend(_has_term(spellings) for spellings in wanted.words)
    return found


def _places(tenant_id: int, wanted: CustomerFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.box is not None:
        found.append(or_(*(in_box(part) for part in wanted.box.parts())))
    if wanted.zone_sk is not None:
        found.append(in_area(area_of(tenant_id, wanted.zone_sk)))
    if wanted.geohash is not None:
        found.append(
            and_(
                customers.c.last_known_geohash >= wanted.geohash,
                customers.c.last_known_geohash < wanted.geohash + AFTER_GEOHASH,
            )
        )
    return found


def in_box(box: Box) -> ColumnElement[bool]:
    """Customers last known inside `box`, which does not cross the antimeridian."""
    # The index rounds its boxes to single precision; the columns decide.
    return and_(
        customers.c.last_known_location.op("&&", is_comparison=True)(
            func.ST_MakeEnvelope(box.west, box.south, box.east, box.north, 4326)
        ),
        customers.c.last_known_longitude.between(box.west, box.east),
        customers.c.last_known_latitude.between(box.south, box.north),
    )


def in_area(area: ColumnElement[Any]) -> ColumnElement[bool]:
    """Customers last known inside `area`, a geometry on the map, or on its edge."""
    location = customers.c.last_known_location
    return and_(
        location.op("&&", is_comparison=True)(area), func.ST_Covers(area, location, type_=Boolean)
    )


def area_of(tenant_id: int, zone_sk: int) -> ColumnElement[Any]:
    """The area of a zone, read once a statement."""
    return (
        select(delivery_zones.c.area)
        .where(delivery_zones.c.tenant_id == tenant_id, delivery_zones.c.sk == zone_sk)
        .scalar_subquery()
    )


def _has_term(spellings: Collection[str]) -> ColumnElement[bool]:
    term = customer_terms.c.term
    return exists().where(
        customer_terms.c.tenant_id == customers.c.tenant_id,
        customer_terms.c.customer_sk == customers.c.sk,
        or_(
            *(
                and_(term >= spelling, term < spelling + _LAST_CHARACTER)
                for spelling in sorted(spellings)
            )
        ),
    )


def read_declared(values: Sequence[Any]) -> Customer:
    """A Customer from the values of `DECLARED`."""
    area = values[_SERVICE_AREA]
    if area is None:
        return Customer(*values)
    named = dict(zip(_NAMES, values, strict=True))
    return Customer(**named | {"service_area": json.loads(area)})


class NewCustomer(NamedTuple):
    """A customer that was not there before."""

    sk: int
    id: str


_CREATE_MISSING = """
INSERT INTO customers (tenant_id, id, name, created_by, updated_by)
SELECT $1, stated.customer_id, stated.customer_id, $4, $4
FROM (
    SELECT DISTINCT customer_id
    FROM unnest($2::text[], $3::text[]) AS incoming (customer_id, store_id)
    LEFT JOIN stores s
        ON s.tenant_id = (SELECT $1::integer) AND s.id = incoming.store_id
    WHERE incoming.store_id IS NULL OR s.sk IS NOT NULL
) AS stated
LEFT JOIN LATERAL (
    SELECT sk FROM customers
    WHERE tenant_id = (SELECT $1::integer)
      AND id BETWEEN stated.customer_id AND stated.customer_id
    ORDER BY id LIMIT 1
) AS c ON true
WHERE c.sk IS NULL
  AND stated.customer_id NOT IN (SELECT id FROM erased_among($1, $2::text[]))
  AND NOT EXISTS (
      SELECT FROM customer_aliases a
      WHERE a.tenant_id = (SELECT $1::integer) AND a.id = stated.customer_id
  )
ORDER BY stated.customer_id
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING sk, id
"""


async def create_missing(
    connection: AsyncConnection,
    tenant_id: int,
    wanted: Sequence[tuple[str, str | None]],
    actor: str | None,
) -> list[NewCustomer]:
    """Create the customers of orders, in the order of their ids, where they do not exist.

    `wanted` has a customer and a store for each order; an order of an unknown store brings none,
    and neither does one of a customer who was erased or merged into another.
    """
    result = await connection.exec_driver_sql(
        _CREATE_MISSING,
        (tenant_id, [each[0] for each in wanted], [each[1] for each in wanted], actor),
    )
    return [NewCustomer(row.sk, row.id) for row in result]


async def touch(connection: AsyncConnection, tenant_id: int, sks: Sequence[int]) -> None:
    """Note that these customers changed now, in key order."""
    await connection.exec_driver_sql(_TOUCH, (tenant_id, sks))


_TOUCH = """
UPDATE customers SET updated_at = now()
WHERE tenant_id = $1 AND sk IN (
    SELECT sk FROM customers WHERE tenant_id = $1 AND sk = ANY ($2::bigint[])
    ORDER BY sk FOR NO KEY UPDATE
)
"""

_REPLACE_TERMS = """
WITH stated AS MATERIALIZED (
    SELECT * FROM unnest($2::bigint[], $3::text[]) AS t (customer_sk, term)
), dropped AS (
    DELETE FROM customer_terms t
    WHERE t.tenant_id = (SELECT $1::integer) AND t.customer_sk = ANY ($4::bigint[])
      AND NOT EXISTS (
          SELECT FROM stated s WHERE s.customer_sk = t.customer_sk AND s.term = t.term
      )
)
INSERT INTO customer_terms (tenant_id, term, customer_sk)
SELECT $1, term, customer_sk FROM stated
ON CONFLICT DO NOTHING
"""


async def replace_terms(
    connection: AsyncConnection, tenant_id: int, terms: Mapping[int, Collection[str]]
) -> None:
    """Make the given words the only ones that find the customers."""
    pairs = [(sk, term) for sk, words in terms.items() for term in words]
    await connection.exec_driver_sql(
        _REPLACE_TERMS,
        (
            tenant_id,
            [sk for sk, _ in pairs],
            [term for _, term in pairs],
            list(terms),
        ),
    )


class References(NamedTuple):
    """Which of the things that customers refer to exist; `codes` has the owner's id by code."""

    customers: frozenset[str]
    stores: frozenset[str]
    codes: dict[str, str]


_FIND_REFERENCES = """
SELECT 'customer' AS kind, c.id, NULL AS code
FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id FROM customers
    WHERE tenant_id = (SELECT $1::integer)
      AND id BETWEEN wanted.id AND wanted.id
    ORDER BY id LIMIT 1
) AS c
UNION ALL
SELECT 'store', id, NULL
FROM stores WHERE tenant_id = (SELECT $1::integer) AND id = ANY ($3::text[])
UNION ALL
SELECT 'code', c.id, c.code
FROM unnest($4::text[]) AS wanted (code)
CROSS JOIN LATERAL (
    SELECT id, code FROM customers
    WHERE tenant_id = (SELECT $1::integer) AND code BETWEEN wanted.code AND wanted.code
    ORDER BY code LIMIT 1
) AS c
"""


async def find_references(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    customer_ids: Collection[str],
    store_ids: Collection[str],
    codes: Collection[str],
) -> References:
    """Look up by external id what customers refer to."""
    rows: Iterable[Any] = await connection.exec_driver_sql(
        _FIND_REFERENCES, (tenant_id, list(customer_ids), list(store_ids), list(codes))
    )
    codes_found: dict[str, str] = {}
    customers_found: set[str] = set()
    stores_found: set[str] = set()
    for kind, identity, code in rows:
        if kind == "customer":
            customers_found.add(identity)
        elif kind == "store":
            stores_found.add(identity)
        else:
            codes_found[code] = identity
    return References(frozenset(customers_found), frozenset(stores_found), codes_found)


async def lock_codes(connection: AsyncConnection, tenant_id: int) -> None:
    """Let no other transaction of the tenant give out codes until this one ends.

    Without it, two batches that exchange codes would wait for each other in the unique index.
    """
    await connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended('customer codes', $1))", (tenant_id,)
    )


_ADD = """
INSERT INTO customers (tenant_id, id, name, created_by, updated_by)
SELECT $1, id, name, $4, $4
FROM unnest($2::text[], $3::text[]) AS stated (id, name)
ORDER BY id
ON CONFLICT (tenant_id, id) DO NOTHING
RETURNING sk, id
"""


async def add_missing(
    connection: AsyncConnection, tenant_id: int, names: Mapping[str, str], actor: str | None
) -> list[NewCustomer]:
    """Add customers by id and name, in the order of their ids; returns those that were new."""
    result = await connection.exec_driver_sql(
        _ADD, (tenant_id, list(names), list(names.values()), actor)
    )
    return [NewCustomer._make(row) for row in result]


async def lock_referrers(connection: AsyncConnection, tenant_id: int) -> None:
    """Let no other transaction of the tenant set referrers until this one ends.

    Each of two that saw nothing of the other's could close one half of a circle.
    """
    await connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended('customer referrers', $1))", (tenant_id,)
    )


_LIST_REFERRERS = """
WITH RECURSIVE upwards (sk, id, referred_by_sk) AS (
    SELECT c.sk, c.id, c.referred_by_sk
    FROM unnest($2::text[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT sk, id, referred_by_sk FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN wanted.id AND wanted.id
        ORDER BY id LIMIT 1
    ) AS c
    UNION
    SELECT c.sk, c.id, c.referred_by_sk
    FROM upwards
    CROSS JOIN LATERAL (
        SELECT sk, id, referred_by_sk FROM customers
        WHERE tenant_id = (SELECT $1::integer)
          AND sk BETWEEN upwards.referred_by_sk AND upwards.referred_by_sk
        ORDER BY sk LIMIT 1
    ) AS c
)
SELECT sk, id, referred_by_sk FROM upwards
"""


async def list_referrers(
    connection: AsyncConnection, tenant_id: int, customer_ids: Collection[str]
) -> dict[str, str]:
    """Who brought in these customers, who brought in those, and so on up: referrers by id."""
    rows: Sequence[Any] = (
        await connection.exec_driver_sql(_LIST_REFERRERS, (tenant_id, list(customer_ids)))
    ).all()
    ids = {sk: identity for sk, identity, _ in rows}
    return {identity: ids[referrer] for _, identity, referrer in rows if referrer is not None}


class LockedCustomer(NamedTuple):
    """A customer whose row is locked: when the source last changed it, and who brought it in."""

    sk: int
    id: str
    source_updated_at: datetime | None
    referred_by_sk: int | None


# A referrer may be another one by the time the rows are locked: what is returned is read then.
_LOCK = """
WITH stated AS MATERIALIZED (
    SELECT c.sk, CASE WHEN wanted.with_referrer THEN c.referred_by_sk END AS referred_by_sk
    FROM unnest($2::text[], $3::boolean[]) AS wanted (id, with_referrer)
    CROSS JOIN LATERAL (
        SELECT sk, referred_by_sk FROM customers
        WHERE tenant_id = (SELECT $1::integer)
          AND id BETWEEN wanted.id AND wanted.id
        ORDER BY id LIMIT 1
    ) AS c
), wanted AS MATERIALIZED (
    SELECT sk FROM stated
    UNION
    SELECT referred_by_sk FROM stated WHERE referred_by_sk IS NOT NULL
    UNION
    SELECT unnest($4::bigint[])
    ORDER BY sk
)
SELECT c.sk, c.id, c.source_updated_at, c.referred_by_sk
FROM wanted
CROSS JOIN LATERAL (
    SELECT sk, id, source_updated_at, referred_by_sk FROM customers
    WHERE tenant_id = (SELECT $1::integer) AND sk BETWEEN wanted.sk AND wanted.sk
    ORDER BY sk LIMIT 1
    FOR NO KEY UPDATE
) AS c
"""


async def lock(
    connection: AsyncConnection,
    tenant_id: int,
    customer_ids: Mapping[str, bool],
    sks: Collection[int],
) -> dict[str, LockedCustomer]:
    """Lock the customers named by id or key, in key order; returns them by id.

    With True for an id, the present referrer of that customer is locked as well.
    """
    rows: Iterable[Any] = await connection.exec_driver_sql(
        _LOCK, (tenant_id, list(customer_ids), list(customer_ids.values()), list(sks))
    )
    return {row[1]: LockedCustomer._make(row) for row in rows}


class ChangedCustomer(NamedTuple):
    """A customer that was changed, with what it is found by.

    `rescored` says whether something changed that scores are made of.
    """

    sk: int
    id: str
    code: str | None
    name: str
    company_name: str | None
    email: str | None
    phone: str | None
    rescored: bool
    referred_by_sk: int | None
    former_referred_by_sk: int | None


#: The columns a source may set, and the type each has in a JSON document.
_STATED = {
    "code": "text",
    "name": "text",
    "email": "text",
    "phone": "text",
    "customer_type": "text",
    "company_name": "text",
    "npwp": "text",
    "credit_limit": "bigint",
    "credit_used": "bigint",
    "payment_term_days": "integer",
    "loyalty_points": "integer",
    "membership_tier": "text",
    "status": "text",
    "preferred_delivery_zone": "text",
    "last_known_latitude": "double precision",
    "last_known_longitude": "double precision",
    "last_location_accuracy": "double precision",
    "last_location_source": "text",
    "last_location_captured_at": "timestamptz",
    "last_location_captured_by": "text",
    "date_of_birth": "date",
    "age_estimate": "smallint",
    "age_range_min": "smallint",
    "age_range_max": "smallint",
    "gender": "text",
    "gender_confidence": "double precision",
    "income_bracket": "text",
    "occupation": "text",
    "education_level": "text",
    "preferred_contact_channel": "text",
    "opt_in_whatsapp": "boolean",
    "opt_in_email": "boolean",
    "opt_in_sms": "boolean",
    "opt_in_push": "boolean",
    "acquisition_source": "text",
    "acquisition_campaign": "text",
    "community_tags": "text[]",
    "social_connections": "text[]",
    "source_updated_at": "timestamptz",
}
#: What scores are made of, besides orders, contacts and feedback.
_SCORED = (
    "membership_tier",
    "loyalty_points",
    "date_of_birth",
    "age_estimate",
    "gender",
    "referred_by_sk",
)
#: Columns whose value is made from another one of the document.
_DERIVED = {
    "home_store_sk": ("home_store_id", "store.sk"),
    "referred_by_sk": ("referred_by_customer_id", "referrer.sk"),
    "service_area": (
        "service_area",
        "ST_SetSRID(ST_GeomFromGeoJSON(nullif(stated.doc->>'service_area', '')), 4326)",
    ),
}


def _change_statement() -> str:
    kept = {column: (column, f"stated.{column}") for column in _STATED} | _DERIVED
    columns = ", ".join(kept)
    values = ",\n           ".join(
        f"CASE WHEN stated.doc ? '{key}' THEN {value} ELSE c.{column} END AS {column}"
        for column, (key, value) in kept.items()
    )
    types = ", ".join(f"{column} {kind}" for column, kind in _STATED.items())
    before = ", ".join(f"c.{column}" for column in kept)
    after = ", ".join(f"target.{column}" for column in kept)
    former = ", ".join(f"c.{column} AS former_{column}" for column in _SCORED)
    scored_before = ", ".join(f"target.former_{column}" for column in _SCORED)
    scored_after = ", ".join(f"target.{column}" for column in _SCORED)
    # Only names of columns written above go into the text.
    return f"""
WITH stated AS MATERIALIZED (
    SELECT document.doc, record.*
    FROM jsonb_array_elements($2::jsonb) AS document (doc)
    CROSS JOIN LATERAL jsonb_to_record(document.doc)
        AS record (id text, home_store_id text, referred_by_customer_id text, {types})
), target AS MATERIALIZED (
    SELECT c.sk, {former},
           {values}
    FROM stated
    CROSS JOIN LATERAL (
        SELECT * FROM customers
        WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN stated.id AND stated.id
        ORDER BY id LIMIT 1
    ) AS c
    LEFT JOIN LATERAL (
        SELECT sk FROM stores
        WHERE tenant_id = (SELECT $1::integer)
          AND id BETWEEN stated.home_store_id AND stated.home_store_id
        ORDER BY id LIMIT 1
    ) AS store ON true
    LEFT JOIN LATERAL (
        SELECT sk FROM customers
        WHERE tenant_id = (SELECT $1::integer)
          AND id BETWEEN stated.referred_by_customer_id AND stated.referred_by_customer_id
        ORDER BY id LIMIT 1
    ) AS referrer ON true
    WHERE (c.source_updated_at > stated.source_updated_at) IS NOT TRUE
)
UPDATE customers c
SET ({columns}) = ROW ({after}), updated_at = now(), updated_by = $3
FROM target
WHERE c.tenant_id = (SELECT $1::integer) AND c.sk = target.sk
  AND ({before}) IS DISTINCT FROM ({after})
RETURNING c.sk, c.id, c.code, c.name, c.company_name, c.email, c.phone,
          ({scored_before}) IS DISTINCT FROM ({scored_after}) AS rescored,
          c.referred_by_sk, target.former_referred_by_sk
"""


_CHANGE = _change_statement()


async def change_many(
    connection: AsyncConnection,
    tenant_id: int,
    documents: Sequence[Mapping[str, Any]],
    actor: str | None,
) -> list[ChangedCustomer]:
    """Overwrite what each document names, by column, and leave the rest as it is.

    A document has the `id`, and by external id `home_store_id` and `referred_by_customer_id`;
    `service_area` is GeoJSON. Left alone: a customer with a newer `source_updated_at`, one that is
    the same already.
    """
    result = await connection.exec_driver_sql(_CHANGE, (tenant_id, json.dumps(documents), actor))
    return [ChangedCustomer._make(row) for row in result]
