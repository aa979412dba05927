"""Behaviour events: taken in one by one and in batches."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Body, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import (
    Caller,
    Connection,
    DatabaseAccess,
    admits,
    check_user_id,
    requires,
)
from app.api.route import router as routes
from app.api.schemas.event import EXAMPLE, EventAnswer
from app.database import Connection as Transaction
from app.domain.access import Scope
from app.domain.tenant import Tenant
from app.services import event_recording
from app.services.outcomes import ItemOutcome
from app.services.records import EventRecord

router = routes("events", "/api/segmentation")


@router.post("/events/batch", **batch_route(EventRecord, EXAMPLE))
async def record_event_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.EVENTS_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
) -> Response:
    """Record many events, each once, and bring the summaries of their customers up to date.

    An event whose id was recorded before, or comes twice in the batch, is answered `duplicate`.
    """

    async def write(
        connection: Transaction, tenant: Tenant, records: Sequence[EventRecord]
    ) -> Sequence[ItemOutcome]:
        return (await event_recording.record_events(connection, tenant, records)).outcomes

    batch = Batch(EventRecord, write, caller.tenant, database, id_field="eventId", repeatable=True)
    return await answer_batch(request, batch, results)


@router.post(
    "/events",
    status_code=201,
    responses={200: {"model": EventAnswer, "description": "The event was there already."}},
)
async def record_event(
    record: Annotated[EventRecord, Body(examples=[EXAMPLE])],
    caller: Annotated[Caller, requires(Scope.EVENTS_WRITE)],
    connection: Connection,
    response: Response,
) -> EventAnswer:
    """Record one event, once: an `eventId` that was recorded before is answered `duplicate`.

    The summary of the customer is up to date with the answer.
    """
    check_user_id(caller, record.user_id)
    event_id, created = await event_recording.record_event(connection, caller.tenant, record)
    if not created:
        response.status_code = 200
    return EventAnswer.of(event_id, created=created)
