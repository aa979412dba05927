"""Customers of the oracle in the database, and the rows that scoring left there."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.database import Connection, Database
from app.domain.rfm import Cutoffs
from app.domain.tenant import Tenant
from app.repositories.tables import (
    contacts,
    customer_analytics,
    customers,
    feedback,
    order_items,
    orders,
    rfm_cutoffs,
    stores,
)
from tests.scoring_oracle import Customer, Order, Ranks

#: Not scores: whose the row is, and when it was written.
BOOKKEEPING = {
    "tenant_id",
    "customer_sk",
    "as_of",
    "computed_at",
    "standing_since",
    "recommended_products",
    "external_as_of",
    "external_model_version",
}

#: Stores that orders may be of.
STORES = (901, 902)


async def record(database: Database, tenant: Tenant, made: Sequence[Customer]) -> dict[str, int]:
    """Write the customers with all that is theirs, unscored; the sks by id."""
    async with database.tenant_transaction(tenant.id) as connection:
        sks: dict[str, int] = {}
        await connection.execute(
            upsert(stores).on_conflict_do_nothing(),
            [{"tenant_id": tenant.id, "sk": sk, "id": f"s{sk}", "name": "Store"} for sk in STORES],
        )
        for customer in made:
            sk = await connection.scalar(
                insert(customers)
                .values(
                    tenant_id=tenant.id,
                    id=customer.id,
                    name=customer.id,
                    membership_tier=customer.membership_tier,
                    referred_by_sk=sks[customer.referred_by] if customer.referred_by else None,
                    loyalty_points=customer.loyalty_points,
                    gender=customer.gender,
                    date_of_birth=customer.date_of_birth,
                    age_estimate=customer.age_estimate,
                )
                .returning(customers.c.sk)
            )
            assert sk is not None
            sks[customer.id] = sk
        placed = [(sks[customer.id], order) for customer in made for order in customer.orders]
        await add_orders(connection, tenant, placed)
        for customer in made:
            await _add_voice(connection, tenant, sks[customer.id], customer)
    return sks


async def _add_voice(
    connection: Connection, tenant: Tenant, customer_sk: int, customer: Customer
) -> None:
    whose = {"tenant_id": tenant.id, "customer_sk": customer_sk}
    for number, contact in enumerate(customer.contacts):
        await connection.execute(
            insert(contacts).values(
                **whose,
                id=f"{customer.id}/{number}",
                channel=contact.channel,
                purpose="promo",
                sent_at=contact.sent_at,
                responded_at=contact.responded_at,
            )
        )
    for number, opinion in enumerate(customer.opinions):
        await connection.execute(
            insert(feedback).values(
                **whose,
                id=f"{customer.id}/{number}",
                kind=opinion.kind.value,
                score=opinion.score,
                given_at=opinion.given_at,
                local_at=tenant.local(opinion.given_at),
            )
        )


async def add_orders(
    connection: Connection, tenant: Tenant, placed: Sequence[tuple[int, Order]]
) -> list[int]:
    """Write orders of the customers with these sks, in this sequence; the orders' sks."""
    if not placed:
        return []
    result = await connection.execute(
        insert(orders).returning(orders.c.sk, sort_by_parameter_order=True),
        [order_columns(tenant, customer_sk, order) for customer_sk, order in placed],
    )
    order_sks = list(result.scalars())
    items = [
        {
            "tenant_id": tenant.id,
            "order_sk": order_sk,
            "line_no": line_no,
            "product_id": f"p{line_no}",
            "category": item.category,
            "brand": item.brand,
            "quantity": item.quantity,
            "unit_price": 1,
        }
        for order_sk, (_, order) in zip(order_sks, placed, strict=True)
        for line_no, item in enumerate(order.items, 1)
    ]
    if items:
        await connection.execute(insert(order_items), items)
    return order_sks


_numbers = iter(range(10**9))


def order_columns(tenant: Tenant, customer_sk: int, order: Order) -> dict[str, Any]:
    """The order as a row, under an id of its own."""
    return {
        "tenant_id": tenant.id,
        "id": f"ord-{next(_numbers)}",
        "customer_sk": customer_sk,
        "store_sk": order.store_sk,
        "status": order.status.value,
        "ordered_at": order.ordered_at,
        "local_at": tenant.local(order.ordered_at),
        "total_amount": order.total_amount,
        "refund_amount": order.refund_amount,
        "discount_amount": order.discount_amount,
        "payment_method": order.payment_method,
        "item_count": order.item_count,
        "notes": order.notes,
    }


async def read_rows(database: Database, tenant: Tenant) -> dict[str, dict[str, Any]]:
    """Every column of `customer_analytics`, by the id of the customer."""
    query = select(customers.c.id, customer_analytics).join(
        customers, customers.c.sk == customer_analytics.c.customer_sk
    )
    async with database.tenant_transaction(tenant.id) as connection:
        found = (await connection.execute(query)).mappings().all()
    return {
        row["id"]: {column.name: row[column.name] for column in customer_analytics.columns}
        for row in found
    }


async def read_ranks(database: Database, tenant: Tenant) -> Ranks | None:
    """What the last full run stored about the buyers."""
    query = select(rfm_cutoffs).order_by(rfm_cutoffs.c.computed_at.desc()).limit(1)
    async with database.tenant_transaction(tenant.id) as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Ranks(
        Cutoffs(*(tuple(bounds) for bounds in (row.recency_cutoffs, row.frequency_cutoffs,
                                               row.monetary_cutoffs))),
        row.recency_percentiles,
        row.frequency_percentiles,
        row.monetary_percentiles,
        row.clv_percentiles,
    )  # fmt: skip


def scores(row: dict[str, Any]) -> dict[str, Any]:
    """The row without its bookkeeping."""
    return {name: value for name, value in row.items() if name not in BOOKKEEPING}
