"""Single items that come by the thousand: those of concurrent requests share a commit."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from app.api import idempotency
from app.database import Database
from app.domain.tenant import Tenant
from app.services.gathering import Gathering
from app.services.outcomes import ItemOutcome, invalid
from app.services.records import IdentifiedRecord

R = TypeVar("R", bound=IdentifiedRecord)
O = TypeVar("O", bound=ItemOutcome)  # noqa: E741 - stands beside R


async def answer_single(
    request: Request,
    tenant: Tenant,
    record: R,
    gathering: Gathering[R, O],
    view: Callable[[O], BaseModel],
) -> Response:
    """Write an item together with those of other requests, and answer after the commit.

    With an Idempotency-Key it is written by itself, with the answer that the key is to get again.
    Raises InvalidInput where the item is refused, and what `Gathering.submit` and
    `idempotency.claim` raise.
    """
    database: Database = request.app.state.database
    if idempotency.HEADER not in request.headers:
        return _answer(await gathering.submit(database, tenant, record), view)
    async with database.tenant_transaction(tenant.id) as connection:
        await idempotency.claim(request, connection, tenant.id)
        [outcome] = await gathering.write(connection, tenant, [record])
        response = _answer(outcome, view)
        await idempotency.keep(request, response)
    return response


def _answer(outcome: O, view: Callable[[O], BaseModel]) -> Response:
    if outcome.error is not None:
        raise invalid(outcome.error)
    return Response(
        view(outcome).model_dump_json(by_alias=True),
        status_code=201 if outcome.status == "created" else 200,
        media_type="application/json",
    )
