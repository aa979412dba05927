"""Behaviour events: taken in one by one and in batches.

Single ones are gathered: those of concurrent requests share a commit, and none is answered before.
"""

from typing import Annotated

from fastapi import Body, Request, Response

from app.api.batch import Batch, Results, answer_batch, batch_route
from app.api.dependencies import (
    Caller,
    DatabaseAccess,
    UserId,
    admits,
    check_user_id,
    gathers,
)
from app.api.route import router as routes
from app.api.schemas.event import EXAMPLE, EventAnswer
from app.api.single import answer_single
from app.domain.access import Scope
from app.services.event_recording import record_event_batch
from app.services.gathering import Gathering
from app.services.outcomes import ItemOutcome
from app.services.records import EventRecord

router = routes("events", "/api/segmentation")

#: The single events of a process that wait for their commit.
Events = Gathering[EventRecord, ItemOutcome]


@router.post("/events/batch", **batch_route(EventRecord, EXAMPLE))
async def record_events(
    request: Request,
    caller: Annotated[Caller, admits(Scope.EVENTS_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
    user_id: UserId = None,
) -> Response:
    """Record many events, each once, and bring the summaries of their customers up to date.

    An event whose id was recorded before, or comes twice in the batch, is answered `duplicate`.
    """
    check_user_id(caller, user_id)
    batch = Batch(EventRecord, record_event_batch, caller.tenant, database, subject="customerId")
    return await answer_batch(request, batch, results)


@router.post(
    "/events",
    status_code=201,
    response_model=EventAnswer,
    responses={200: {"model": EventAnswer, "description": "The event was there already."}},
)
async def record_event(
    request: Request,
    record: Annotated[EventRecord, Body(examples=[EXAMPLE])],
    caller: Annotated[Caller, gathers(Scope.EVENTS_WRITE)],
    user_id: UserId = None,
) -> Response:
    """Record one event, once: an `eventId` that was recorded before is answered `duplicate`.

    The summary of the customer is up to date with the answer.
    """
    check_user_id(caller, user_id)
    check_user_id(caller, record.user_id)
    gathering: Events = request.app.state.events
    return await answer_single(request, caller.tenant, record, gathering, EventAnswer.of)
