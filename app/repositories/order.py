"""Orders and their items.

Writing is set-based and the same for one order, a batch and a file: the statements read a relation
of incoming orders, which is a list of arrays for a request and a temporary table for a file.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import driver_of
from app.domain.errors import NotFound
from app.domain.order import OrderStatus, PaymentMethod
from app.repositories import owner
from app.repositories.owner import Locked


class IncomingOrder(NamedTuple):
    """An order as it is to be, in minor units, with the external ids of what it refers to."""

    id: str
    customer_id: str
    store_id: str | None
    status: str
    ordered_at: datetime
    total_amount: int
    discount_amount: int
    refund_amount: int
    payment_method: str | None
    channel: str | None
    item_count: int | None
    notes: str | None
    source_updated_at: datetime | None


class IncomingItem(NamedTuple):
    """One line of a recorded order, as it is to be."""

    order_sk: int
    line_no: int
    product_id: str
    product_name: str | None
    category: str | None
    brand: str | None
    quantity: Decimal
    unit_price: int
    discount_amount: int


class Previous(NamedTuple):
    """An order as it was before it was written over."""

    sk: int
    customer_sk: int
    source_updated_at: datetime | None


class Upserted(NamedTuple):
    """What an upsert found and did, by external order id.

    `written` has the keys of the orders that were inserted or changed, `previous` those that were
    there before.
    """

    written: dict[str, int]
    previous: dict[str, Previous]


@dataclass(frozen=True, slots=True)
class OrderItem:
    """One line of an order; money in minor units."""

    product_id: str
    product_name: str | None
    category: str | None
    brand: str | None
    quantity: Decimal
    unit_price: int
    discount_amount: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order; money in minor units, `net_amount` is what it adds to revenue."""

    sk: int
    id: str
    customer_id: str
    store_id: str | None
    status: OrderStatus
    ordered_at: datetime
    total_amount: int
    discount_amount: int
    refund_amount: int
    net_amount: int
    payment_method: PaymentMethod | None
    channel: str | None
    item_count: int | None
    notes: str | None
    source_updated_at: datetime | None
    recorded_at: datetime
    items: tuple[OrderItem, ...] = ()


_LOCK_TOUCHED = owner.lock_statement("orders")
_LOCK_STAGED = owner.lock_statement("orders", "incoming_orders AS wanted")


async def lock_touched(
    connection: AsyncConnection,
    tenant_id: int,
    *,
    customer_ids: Sequence[str],
    store_ids: Sequence[str],
    order_ids: Sequence[str] | None,
) -> Locked:
    """Lock the named customers and the present owners of the named orders, in key order.

    The orders are the staged ones where no ids are given.
    """
    wanted = (tenant_id, customer_ids, store_ids)
    if order_ids is None:
        return await owner.lock(connection, _LOCK_STAGED, *wanted)
    return await owner.lock(connection, _LOCK_TOUCHED, *wanted, order_ids)


_ARRAYS = """unnest(
        $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::integer[], $14::text[],
        $15::timestamptz[]
    ) AS incoming (
        id, customer_id, store_id, status, ordered_at, total_amount, discount_amount,
        refund_amount, payment_method, channel, item_count, notes, source_updated_at
    )"""

# What an upsert sets, and when there is nothing to set: for a request and for a file alike.
_INSERT = """
    INSERT INTO orders AS o (
        tenant_id, id, customer_sk, store_sk, status, ordered_at, local_at, total_amount,
        discount_amount, refund_amount, payment_method, channel, item_count, notes,
        source_updated_at
    )
    SELECT $1, id, customer_sk, store_sk, status, ordered_at,
           ordered_at AT TIME ZONE (SELECT timezone FROM tenants WHERE tenants.id = $1),
           total_amount, discount_amount, refund_amount, payment_method, channel, item_count,
           notes, source_updated_at
    FROM stated
    WHERE customer_sk IS NOT NULL AND (store_id IS NULL OR store_sk IS NOT NULL)
    ORDER BY id
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        customer_sk = excluded.customer_sk,
        store_sk = excluded.store_sk,
        status = excluded.status,
        ordered_at = excluded.ordered_at,
        local_at = excluded.local_at,
        total_amount = excluded.total_amount,
        discount_amount = excluded.discount_amount,
        refund_amount = excluded.refund_amount,
        payment_method = excluded.payment_method,
        channel = excluded.channel,
        item_count = excluded.item_count,
        notes = excluded.notes,
        source_updated_at = coalesce(excluded.source_updated_at, o.source_updated_at),
        recorded_at = now()
    WHERE {condition}(o.source_updated_at > excluded.source_updated_at) IS NOT TRUE
      AND (o.customer_sk, o.store_sk, o.status, o.ordered_at, o.local_at, o.total_amount,
           o.discount_amount, o.refund_amount, o.payment_method, o.channel, o.item_count, o.notes,
           o.source_updated_at)
          IS DISTINCT FROM
          (excluded.customer_sk, excluded.store_sk, excluded.status, excluded.ordered_at,
           excluded.local_at, excluded.total_amount, excluded.discount_amount,
           excluded.refund_amount, excluded.payment_method, excluded.channel,
           excluded.item_count, excluded.notes,
           coalesce(excluded.source_updated_at, o.source_updated_at))
    RETURNING o.id, o.sk"""

# `previous` is read in the snapshot of the statement, before it writes.
_RESOLVE = """
WITH stated AS MATERIALIZED (
    SELECT incoming.*, c.sk AS customer_sk, s.sk AS store_sk
    FROM {incoming}
    LEFT JOIN LATERAL (
        SELECT sk FROM customers
        WHERE tenant_id = (SELECT $1::integer)
          AND id BETWEEN incoming.customer_id AND incoming.customer_id
        ORDER BY id LIMIT 1
    ) AS c ON true
    LEFT JOIN stores s ON s.tenant_id = (SELECT $1::integer) AND s.id = incoming.store_id
), previous AS MATERIALIZED (
    SELECT stated.id, o.sk, o.customer_sk, o.source_updated_at,
           o.customer_sk <> stated.customer_sk AS moves,
           o.source_updated_at > stated.source_updated_at AS is_newer
    FROM stated
    CROSS JOIN LATERAL (
        SELECT sk, customer_sk, source_updated_at
        FROM orders WHERE tenant_id = (SELECT $1::integer) AND id BETWEEN stated.id AND stated.id
        ORDER BY id LIMIT 1
    ) AS o
    WHERE stated.customer_sk IS NOT NULL
)"""

# Owners in $2 are locked by this transaction, so what it reads of their orders cannot have changed
# since. The two lists are put together by the caller: the planner knows nothing of their lengths.
_UPSERT_LOCKED = """
{resolve}, written AS (
    {insert}
)
SELECT true AS written, id, sk, NULL AS customer_sk, NULL AS source_updated_at FROM written
UNION ALL
SELECT false, id, sk, customer_sk, source_updated_at FROM previous
"""
_INSERT_LOCKED = _INSERT.format(condition="o.customer_sk IN (SELECT unnest($2::bigint[])) AND ")
_STAGED = "incoming_orders AS incoming"
_UPSERT = _UPSERT_LOCKED.format(resolve=_RESOLVE.format(incoming=_ARRAYS), insert=_INSERT_LOCKED)
_UPSERT_STAGED_LOCKED = _UPSERT_LOCKED.format(
    resolve=_RESOLVE.format(incoming=_STAGED), insert=_INSERT_LOCKED
)

_UPSERT_STAGED = f"""
{_RESOLVE.format(incoming=_STAGED)}, written AS (
    {_INSERT.format(condition="")}
)
SELECT (SELECT count(*) FROM written) AS written,
       (SELECT count(*) FROM written JOIN previous USING (id)) AS updated,
       (SELECT count(*) FROM previous) AS previous,
       (SELECT count(*) FROM previous WHERE is_newer) AS stale,
       ARRAY (SELECT DISTINCT customer_sk FROM previous WHERE moves) AS left_customers,
       ARRAY (SELECT id FROM stated WHERE customer_sk IS NULL) AS without_customer,
       ARRAY (
           SELECT id FROM stated
           WHERE customer_sk IS NOT NULL AND store_id IS NOT NULL AND store_sk IS NULL
       ) AS without_store
"""
_STAGE = """
CREATE TEMPORARY TABLE incoming_orders (
    id text, customer_id text, store_id text, status text, ordered_at timestamptz,
    total_amount bigint, discount_amount bigint, refund_amount bigint, payment_method text,
    channel text, item_count integer, notes text, source_updated_at timestamptz
) ON COMMIT DROP
"""


async def upsert_many(
    connection: AsyncConnection,
    tenant_id: int,
    locked_customer_sks: Sequence[int],
    orders: Sequence[IncomingOrder],
) -> Upserted:
    """Write orders with distinct ids, in the order of their ids.

    Left alone: an order whose customer or store does not exist, one that belongs to a customer who
    is not among the locked ones, one that has a newer `source_updated_at`, one that is the same.
    """
    result = await connection.exec_driver_sql(
        _UPSERT,
        (tenant_id, locked_customer_sks, *map(list, zip(*orders, strict=True))),
    )
    return _upserted(result)


async def upsert_staged_locked(
    connection: AsyncConnection, tenant_id: int, locked_customer_sks: Sequence[int]
) -> Upserted:
    """`upsert_many` for the staged orders."""
    result = await connection.exec_driver_sql(
        _UPSERT_STAGED_LOCKED, (tenant_id, locked_customer_sks)
    )
    return _upserted(result)


@dataclass(frozen=True, slots=True)
class StagedOrders:
    """What became of a stage: how many orders, and the ids of those that refer to nothing.

    `left_customers` are the keys of customers who lost an order to another one.
    """

    created: int
    updated: int
    unchanged: int
    stale: int
    left_customers: list[int]
    without_customer: list[str]
    without_store: list[str]


async def stage(
    connection: AsyncConnection, tenant_id: int, orders: Sequence[IncomingOrder]
) -> None:
    """Copy thousands of orders into a temporary table that lasts as long as the transaction."""
    await connection.exec_driver_sql(owner.SHARE_CLOCK, (tenant_id,))
    await connection.exec_driver_sql(_STAGE)
    await driver_of(connection).copy_records_to_table(
        "incoming_orders", records=orders, columns=IncomingOrder._fields
    )


_STAGED_WITHOUT_CUSTOMER = """
SELECT incoming.id FROM incoming_orders AS incoming
WHERE NOT EXISTS (
    SELECT FROM customers c
    WHERE c.tenant_id = (SELECT $1::integer) AND c.id = incoming.customer_id
)
"""


async def list_staged_without_customer(connection: AsyncConnection, tenant_id: int) -> list[str]:
    """The ids of staged orders whose customer does not exist."""
    result = await connection.exec_driver_sql(_STAGED_WITHOUT_CUSTOMER, (tenant_id,))
    return list(result.scalars())


async def upsert_staged(connection: AsyncConnection, tenant_id: int) -> StagedOrders:
    """`upsert_many` for the staged orders.

    No customer is locked: for writers whose customers are scored afterwards.
    """
    row: Any = (await connection.exec_driver_sql(_UPSERT_STAGED, (tenant_id,))).one()
    return StagedOrders(
        created=row.written - row.updated,
        updated=row.updated,
        unchanged=row.previous - row.updated - row.stale,
        stale=row.stale,
        left_customers=row.left_customers,
        without_customer=row.without_customer,
        without_store=row.without_store,
    )


def _upserted(rows: Iterable[Any]) -> Upserted:
    written: dict[str, int] = {}
    previous: dict[str, Previous] = {}
    for is_written, order_id, sk, customer_sk, source_updated_at in rows:
        if is_written:
            written[order_id] = sk
        else:
            previous[order_id] = Previous(sk, customer_sk, source_updated_at)
    return Upserted(written, previous)


# Lines beyond the stated ones go, the others are written over; the two sets of rows are disjoint.
_REPLACE_ITEMS = """
WITH incoming AS MATERIALIZED (
    SELECT * FROM unnest(
        $3::bigint[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::numeric[], $10::bigint[], $11::bigint[]
    ) AS lines (order_sk, line_no, product_id, product_name, category, brand, quantity,
                unit_price, discount_amount)
), surplus AS (
    DELETE FROM order_items i
    WHERE i.tenant_id = (SELECT $1::integer) AND i.order_sk = ANY ($2::bigint[])
      AND NOT EXISTS (
          SELECT FROM incoming n WHERE n.order_sk = i.order_sk AND n.line_no = i.line_no
      )
    RETURNING i.order_sk
), written AS (
    INSERT INTO order_items AS i (
        tenant_id, order_sk, line_no, product_id, product_name, category, brand, quantity,
        unit_price, discount_amount
    )
    SELECT $1, * FROM incoming ORDER BY order_sk, line_no
    ON CONFLICT (tenant_id, order_sk, line_no) DO UPDATE SET
        product_id = excluded.product_id,
        product_name = excluded.product_name,
        category = excluded.category,
        brand = excluded.brand,
        quantity = excluded.quantity,
        unit_price = excluded.unit_price,
        discount_amount = excluded.discount_amount
    WHERE (i.product_id, i.product_name, i.category, i.brand, i.quantity, i.unit_price,
           i.discount_amount)
          IS DISTINCT FROM
          (excluded.product_id, excluded.product_name, excluded.category, excluded.brand,
           excluded.quantity, excluded.unit_price, excluded.discount_amount)
    RETURNING i.order_sk
)
SELECT order_sk FROM surplus UNION SELECT order_sk FROM written
"""


async def replace_items(
    connection: AsyncConnection,
    tenant_id: int,
    order_sks: Collection[int],
    items: Sequence[IncomingItem],
) -> frozenset[int]:
    """Make `items` the whole of the lines of the orders; returns the orders that it changed."""
    columns = (
        [list(column) for column in zip(*items, strict=True)] if items else [[] for _ in range(9)]
    )
    result = await connection.exec_driver_sql(
        _REPLACE_ITEMS, (tenant_id, list(order_sks), *columns)
    )
    return frozenset(result.scalars())


async def change(
    connection: AsyncConnection,
    tenant_id: int,
    order_sk: int,
    *,
    status: OrderStatus,
    refund_amount: int,
    notes: str | None,
) -> int:
    """Change one order; returns the customer it belongs to."""
    result = await connection.exec_driver_sql(
        """
        UPDATE orders SET status = $3, refund_amount = $4, notes = $5, recorded_at = now()
        WHERE tenant_id = (SELECT $1::integer) AND sk = $2
        RETURNING customer_sk
        """,
        (tenant_id, order_sk, status.value, refund_amount, notes),
    )
    customer_sk: int = result.scalar_one()
    return customer_sk


async def mark_recorded(
    connection: AsyncConnection, tenant_id: int, order_sks: Collection[int]
) -> None:
    """Note that the orders changed now, where only their items did."""
    await connection.exec_driver_sql(
        "UPDATE orders SET recorded_at = now() WHERE tenant_id = $1 AND sk = ANY ($2::bigint[])",
        (tenant_id, list(order_sks)),
    )


_ORDER = """
SELECT o.sk, o.id, c.id AS customer_id, s.id AS store_id, o.status, o.ordered_at, o.total_amount,
       o.discount_amount, o.refund_amount, o.net_amount, o.payment_method, o.channel,
       o.item_count, o.notes, o.source_updated_at, o.recorded_at
FROM orders o
JOIN customers c ON c.tenant_id = o.tenant_id AND c.sk = o.customer_sk
LEFT JOIN stores s ON s.tenant_id = o.tenant_id AND s.sk = o.store_sk
"""
_GET = _ORDER + "WHERE o.tenant_id = (SELECT $1::integer) AND o.id = $2"
_LIST_OF_CUSTOMER = (
    _ORDER
    + """
WHERE o.tenant_id = (SELECT $1::integer) AND o.customer_sk = $2 AND (o.ordered_at, o.sk) < ($3, $4)
ORDER BY o.ordered_at DESC, o.sk DESC
LIMIT $5
"""
)
_ITEMS = """
SELECT product_id, product_name, category, brand, quantity, unit_price, discount_amount
FROM order_items
WHERE tenant_id = (SELECT $1::integer) AND order_sk = $2
ORDER BY line_no
"""


async def get(connection: AsyncConnection, tenant_id: int, order_id: str) -> Order:
    """The order with its items. Raises NotFound."""
    result = await connection.exec_driver_sql(_GET, (tenant_id, order_id))
    row = result.one_or_none()
    if row is None:
        raise NotFound("order", order_id)
    items = await connection.exec_driver_sql(_ITEMS, (tenant_id, row.sk))
    return _order(row, tuple(OrderItem(**line._mapping) for line in items))


async def list_of_customer(
    connection: AsyncConnection,
    tenant_id: int,
    customer_sk: int,
    *,
    before: tuple[datetime, int],
    limit: int,
) -> list[Order]:
    """The customer's orders before a time and a key, newest first, without their items."""
    result = await connection.exec_driver_sql(
        _LIST_OF_CUSTOMER, (tenant_id, customer_sk, *before, limit)
    )
    return [_order(row, ()) for row in result]


def _order(row: Row[Any], items: tuple[OrderItem, ...]) -> Order:
    values = dict(row._mapping)
    values["status"] = OrderStatus(values["status"])
    if values["payment_method"] is not None:
        values["payment_method"] = PaymentMethod(values["payment_method"])
    return Order(**values, items=items)


class InvoiceLine(NamedTuple):
    """A line of a file of invoice lines, as it was read; `document` is what the row says."""

    order_id: str
    row_number: int
    document: str


_LINE_STAGE = """
CREATE TEMPORARY TABLE invoice_lines (order_id text COLLATE "C", row_number bigint, document text)
"""
_LINES_AFTER = """
SELECT order_id, row_number, document
FROM invoice_lines
WHERE order_id > $1 AND order_id <= (
    SELECT max(order_id) FROM (
        SELECT order_id FROM invoice_lines WHERE order_id > $1 ORDER BY order_id LIMIT $2
    ) AS next
)
ORDER BY order_id, row_number
"""


async def stage_lines(connection: AsyncConnection) -> None:
    """Make room for the lines of a file, for as long as the connection lasts."""
    await connection.exec_driver_sql("DROP TABLE IF EXISTS pg_temp.invoice_lines")
    await connection.exec_driver_sql(_LINE_STAGE)


async def add_lines(connection: AsyncConnection, lines: Sequence[InvoiceLine]) -> None:
    """Copy lines into the room that was made."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.copy_records_to_table("invoice_lines", records=lines, columns=InvoiceLine._fields)


async def index_lines(connection: AsyncConnection) -> None:
    """Prepare for reading the lines by order."""
    await connection.exec_driver_sql("CREATE INDEX ON invoice_lines (order_id)")
    await connection.exec_driver_sql("ANALYZE invoice_lines")


async def list_lines(connection: AsyncConnection, *, after: str, limit: int) -> list[InvoiceLine]:
    """The lines of the next orders, all of each: those of about `limit` lines."""
    result = await connection.exec_driver_sql(_LINES_AFTER, (after, limit))
    return [InvoiceLine._make(row) for row in result]


async def drop_lines(connection: AsyncConnection) -> None:
    """Give the room back."""
    await connection.exec_driver_sql("DROP TABLE IF EXISTS pg_temp.invoice_lines")
