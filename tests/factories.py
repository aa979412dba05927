"""Tenants, keys, customers and orders with readable defaults, in transactions of their own."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, insert, select

from app.database import Database
from app.domain import search
from app.domain.access import ROLES, Scope
from app.domain.tenant import Tenant
from app.repositories.tables import (
    addresses,
    contacts,
    customer_terms,
    customers,
    feedback,
    orders,
)
from app.services import tenancy


async def make_tenant(
    database: Database,
    slug: str = "kidz",
    *,
    timezone: str = "Asia/Jakarta",
    currency: str = "IDR",
    profile: dict[str, Any] | None = None,
) -> Tenant:
    """A tenant with the retail profile unless told otherwise."""
    async with database.transaction() as connection:
        return await tenancy.create_tenant(
            connection,
            slug,
            name=slug.title(),
            timezone=timezone,
            currency=currency,
            profile=profile or {"preset": "retail"},
        )


async def make_key(
    database: Database,
    tenant: Tenant,
    *,
    scopes: Collection[Scope] = ROLES["admin"],
    expires_at: datetime | None = None,
) -> str:
    """The token of a new key of `tenant`, with every scope unless told otherwise."""
    async with database.tenant_transaction(tenant.id) as connection:
        key = await tenancy.create_key(
            connection, tenant, name="test", scopes=scopes, expires_at=expires_at
        )
    return key.token


async def make_customer(
    database: Database, tenant: Tenant, customer_id: str = "cus-1", **columns: Any
) -> int:
    """The sk of a new retail customer; `columns` are columns of the table."""
    values = {"name": "Siti Rahayu", **columns}
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await connection.scalar(
            insert(customers)
            .values(tenant_id=tenant.id, id=customer_id, **values)
            .returning(customers.c.sk)
        )
        assert sk is not None
        terms = search.terms(
            texts=[values["name"], values.get("email"), values.get("code"), customer_id],
            phone=values.get("phone"),
        )
        await connection.execute(
            insert(customer_terms),
            [{"tenant_id": tenant.id, "term": term, "customer_sk": sk} for term in sorted(terms)],
        )
    return int(sk)


async def make_order(
    database: Database,
    tenant: Tenant,
    customer_id: str = "cus-1",
    order_id: str = "ord-1",
    *,
    ordered_at: datetime = datetime(2026, 3, 2, 3, 30, tzinfo=UTC),
    status: str = "completed",
    total_amount: int = 250_000_00,
    **columns: Any,
) -> int:
    """The sk of a new order of an existing customer; amounts in minor units."""
    async with database.tenant_transaction(tenant.id) as connection:
        customer_sk = await connection.scalar(
            select(customers.c.sk).where(customers.c.id == customer_id)
        )
        sk = await connection.scalar(
            insert(orders)
            .values(
                tenant_id=tenant.id,
                id=order_id,
                customer_sk=customer_sk,
                status=status,
                ordered_at=ordered_at,
                local_at=tenant.local(ordered_at),
                total_amount=total_amount,
                **columns,
            )
            .returning(orders.c.sk)
        )
        assert sk is not None
    return int(sk)


async def make_contact(
    database: Database,
    tenant: Tenant,
    customer_id: str = "cus-1",
    contact_id: str = "con-1",
    *,
    sent_at: datetime = datetime(2026, 3, 2, 3, 30, tzinfo=UTC),
    **columns: Any,
) -> int:
    """The sk of a new contact with an existing customer; a promotion by WhatsApp."""
    values = {"channel": "whatsapp", "purpose": "promo", "sent_at": sent_at, **columns}
    return await _make_of_customer(database, tenant, contacts, customer_id, contact_id, values)


async def make_feedback(
    database: Database,
    tenant: Tenant,
    customer_id: str = "cus-1",
    feedback_id: str = "fb-1",
    *,
    given_at: datetime = datetime(2026, 3, 3, 3, 30, tzinfo=UTC),
    **columns: Any,
) -> int:
    """The sk of new feedback of an existing customer; a complaint unless told otherwise."""
    values = {
        "kind": "complaint",
        "given_at": given_at,
        "local_at": tenant.local(given_at),
        **columns,
    }
    return await _make_of_customer(database, tenant, feedback, customer_id, feedback_id, values)


async def make_address(
    database: Database,
    tenant: Tenant,
    customer_id: str = "cus-1",
    address_id: str = "adr-1",
    **columns: Any,
) -> int:
    """The sk of a new address of an existing customer."""
    return await _make_of_customer(
        database, tenant, addresses, customer_id, address_id, {"city": "Jakarta", **columns}
    )


async def _make_of_customer(
    database: Database,
    tenant: Tenant,
    table: Table,
    customer_id: str,
    identity: str,
    values: dict[str, Any],
) -> int:
    async with database.tenant_transaction(tenant.id) as connection:
        customer_sk = await connection.scalar(
            select(customers.c.sk).where(customers.c.id == customer_id)
        )
        sk = await connection.scalar(
            insert(table)
            .values(tenant_id=tenant.id, id=identity, customer_sk=customer_sk, **values)
            .returning(table.c.sk)
        )
        assert sk is not None
    return int(sk)
