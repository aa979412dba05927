"""`?anonymize=true`, and the scope that allows nothing else."""

from typing import Annotated

from fastapi import Depends, Query, Request

from app import database as db
from app.api.dependencies import Caller, Connection, admitted_caller
from app.domain.access import Scope
from app.domain.privacy import FULL, Disclosure
from app.repositories import tenant as tenants

Anonymize = Annotated[
    bool,
    Query(
        description="Answer with pseudonyms for ids, without names, contacts and exact places. "
        "A key with the scope `customers:anonymized` is answered so in any case."
    ),
]


async def disclosure_to(connection: db.Connection, caller: Caller, anonymize: bool) -> Disclosure:
    """What `caller` may be told; for routes that open transactions of their own."""
    if not anonymize and Scope.CUSTOMERS_ANONYMIZED not in caller.scopes:
        return FULL
    return Disclosure(await tenants.get_pseudonym_key(connection))


async def _disclosure(
    request: Request, connection: Connection, anonymize: Anonymize = False
) -> Disclosure:
    return await disclosure_to(connection, admitted_caller(request), anonymize)


#: What the answer of a list may tell of customers; declares the query parameter.
Disclosed = Annotated[Disclosure, Depends(_disclosure)]
