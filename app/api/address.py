"""Addresses of customers."""

from typing import Annotated
from urllib.parse import quote

from fastapi import Body, Response

from app.api.dependencies import Caller, Connection, PathId, requires
from app.api.disclosure import Disclosed
from app.api.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_sk, encode, page_of
from app.api.route import router as routes
from app.api.schemas.address import EXAMPLE, AddressView
from app.domain.access import Scope
from app.domain.privacy import FULL, Disclosure
from app.repositories import address as addresses
from app.repositories import customer as customers
from app.services import customer_records
from app.services.records import AddressPatch, AddressRecord

router = routes("addresses", "/api/customers/{id}/addresses")

Reader = Annotated[Caller, requires(Scope.CUSTOMERS_READ)]
Writer = Annotated[Caller, requires(Scope.CUSTOMERS_WRITE)]


@router.post("", status_code=201)
async def add_address(
    id: PathId,
    record: Annotated[AddressRecord, Body(examples=[EXAMPLE])],
    caller: Writer,
    connection: Connection,
    response: Response,
) -> AddressView:
    """Add an address to a customer; 409 if its id is taken.

    One without an id is given one. A primary address takes the place of the one before.
    """
    address_id = await customer_records.add_address(connection, caller.tenant, id, record)
    response.headers["Location"] = (
        f"/api/customers/{quote(id, safe='')}/addresses/{quote(address_id, safe='')}"
    )
    return await _view(connection, caller, (id, address_id), FULL)


@router.get("")
async def list_addresses(
    id: PathId,
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AddressView]:
    """The addresses of a customer, in the order in which they were first recorded."""
    customer = await customers.get(connection, caller.tenant.id, id)
    found = await addresses.list_of_customer(
        connection, caller.tenant.id, customer.sk, after=decode_sk(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, lambda address: encode(address.sk))
    return Page(
        items=[AddressView.of(address, disclosure) for address in shown], next_cursor=next_cursor
    )


@router.get("/{addressId}")
async def get_address(
    id: PathId,
    addressId: PathId,  # noqa: N803 - the name of the path's parameter
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
) -> AddressView:
    """One address of a customer."""
    return await _view(connection, caller, (id, addressId), disclosure)


@router.patch("/{addressId}")
async def change_address(
    id: PathId,
    addressId: PathId,  # noqa: N803 - the name of the path's parameter
    patch: Annotated[AddressPatch, Body(examples=[{"isPrimary": True}])],
    caller: Writer,
    connection: Connection,
) -> AddressView:
    """Change the attributes of an address that are given; null clears one."""
    await customer_records.change_address(connection, caller.tenant, id, addressId, patch)
    return await _view(connection, caller, (id, addressId), FULL)


@router.delete("/{addressId}", status_code=204)
async def remove_address(
    id: PathId,
    addressId: PathId,  # noqa: N803 - the name of the path's parameter
    caller: Writer,
    connection: Connection,
) -> None:
    """Remove an address of a customer."""
    await customer_records.remove_address(connection, caller.tenant, id, addressId)


async def _view(
    connection: Connection, caller: Caller, ids: tuple[str, str], disclosure: Disclosure
) -> AddressView:
    """The address of a customer, by the ids of both."""
    customer = await customers.get(connection, caller.tenant.id, ids[0])
    address = await addresses.get(connection, caller.tenant.id, customer.sk, ids[1])
    return AddressView.of(address, disclosure)
