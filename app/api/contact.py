"""Contacts: messages, calls and visits to customers, and what came of them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import Caller, Connection, DatabaseAccess, PathId, admits, requires
from app.api.disclosure import Disclosed
from app.api.errors import problems
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_moment,
    encode,
    page_of,
)
from app.api.route import router as routes
from app.api.schemas.contact import EXAMPLE, ContactView
from app.database import Connection as Transaction
from app.domain.access import Scope
from app.domain.privacy import FULL
from app.domain.tenant import Tenant
from app.repositories import contact as contacts
from app.repositories import customer as customers
from app.services import engagement
from app.services.outcomes import ItemOutcome
from app.services.records import ContactPatch, ContactRecord

router = routes("contacts")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]


@router.post(
    "/api/contacts",
    status_code=201,
    responses={200: {"model": ContactView, "description": "The contact was there already."}},
)
async def record_contact(
    record: Annotated[ContactRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> ContactView:
    """Record a contact by its id; the customer's figures are up to date with the answer.

    `respondedAt` and `converted` stay as they are where they are left out.
    """
    if not await engagement.record_contact(connection, caller.tenant, record):
        response.status_code = 200
    return await _view(connection, caller, record.id)


@router.post("/api/contacts/batch", **batch_route(ContactRecord, EXAMPLE))
async def record_contact_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.CUSTOMERS_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
) -> Response:
    """Record many contacts by their ids, and bring the figures of their customers up to date."""

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[ContactRecord]
    ) -> list[ItemOutcome]:
        return await engagement.record_contacts(connection, tenant, records)

    batch = Batch(ContactRecord, write, caller.tenant, database)
    return await answer_batch(request, batch, results)


@router.get("/api/contacts/{id}")
async def get_contact(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> ContactView:
    """One contact."""
    return ContactView.of(await contacts.get(connection, caller.tenant.id, id), disclosure)


@router.patch("/api/contacts/{id}", responses=problems(409))
async def change_contact(
    id: PathId,
    patch: Annotated[
        ContactPatch,
        Body(examples=[{"respondedAt": "2026-02-11T10:05:00Z", "converted": True}]),
    ],
    caller: Writer,
    connection: Connection,
) -> ContactView:
    """Record what came of a contact: when the customer responded, whether it led to a sale.

    With `updatedAt`, a change older than the last one is refused with 409.
    """
    await engagement.change_contact(connection, caller.tenant, id, patch)
    return await _view(connection, caller, id)


@router.get("/api/customers/{id}/contacts")
async def list_customer_contacts(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ContactView]:
    """The contacts with a customer, newest first."""
    customer = await customers.get(connection, caller.tenant.id, id)
    found = await contacts.list_of_customer(
        connection, caller.tenant.id, customer.sk, before=decode_moment(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(
        found, limit, lambda contact: encode(contact.sent_at.isoformat(), contact.sk)
    )
    return Page(
        items=[ContactView.of(contact, disclosure) for contact in shown], next_cursor=next_cursor
    )


async def _view(connection: Connection, caller: Caller, contact_id: str) -> ContactView:
    return ContactView.of(await contacts.get(connection, caller.tenant.id, contact_id), FULL)
