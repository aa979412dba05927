"""Captures of places: one at a time from an app, or all that it kept while it was offline.

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
from app.api.errors import problems
from app.api.route import router as routes
from app.api.schemas.capture import EXAMPLE, CaptureAnswer
from app.api.single import answer_single
from app.domain.access import Scope
from app.services.capturing import (
    CaptureOutcome,
    record_capture_batch,
)
from app.services.gathering import Gathering
from app.services.records import CaptureRecord

router = routes("geo", "/api/geo")

#: The single captures of a process that wait for their commit.
Captures = Gathering[CaptureRecord, CaptureOutcome]


@router.post(
    "/capture",
    status_code=201,
    response_model=CaptureAnswer,
    responses={
        200: {"model": CaptureAnswer, "description": "It was received before."},
        **problems(403),
    },
)
async def capture_location(
    request: Request,
    record: Annotated[CaptureRecord, Body(examples=[EXAMPLE])],
    caller: Annotated[Caller, gathers(Scope.GEO_WRITE)],
    user_id: UserId = None,
) -> Response:
    """Record where a customer is; the last known place moves only forward in time.

    A `captureId` that was received before is a success that changes nothing. What is suspicious is
    stored with flags.
    """
    check_user_id(caller, user_id)
    check_user_id(caller, record.user_id)
    gathering: Captures = request.app.state.captures
    return await answer_single(request, caller.tenant, record, gathering, CaptureAnswer.of)


@router.post("/capture/batch", **batch_route(CaptureRecord, EXAMPLE))
async def capture_location_batch(
    request: Request,
    caller: Annotated[Caller, admits(Scope.GEO_WRITE)],
    database: DatabaseAccess,
    results: Results = "all",
    user_id: UserId = None,
) -> Response:
    """Record the backlog of an app that was offline, in any order and as often as it is sent."""
    check_user_id(caller, user_id)
    batch = Batch(
        CaptureRecord, record_capture_batch, caller.tenant, database, subject="customerId"
    )
    return await answer_batch(request, batch, results)
