"""The stages of customers' journeys: read, set by hand, and the rules that advance them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Body, Query

from app.api.dependencies import Caller, Connection, PathId, UserId, check_user_id, requires
from app.api.disclosure import Disclosed
from app.api.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_moment,
    decode_sk,
    encode,
    page_of,
)
from app.api.period import From, To, as_of_day, period_of
from app.api.route import router as routes
from app.api.schemas.stage import (
    RULES_EXAMPLE,
    CustomerStageView,
    JourneySummaryView,
    MoveView,
    RulesRecord,
    RulesView,
    StageChange,
    moves_of,
)
from app.domain.access import Scope
from app.domain.errors import NotFound
from app.domain.privacy import FULL
from app.domain.stage import Stage
from app.repositories import population
from app.repositories import stage as stages
from app.services import staging

router = routes("segmentation", "/api/segmentation/journeys")

Reader = Annotated[Caller, requires(Scope.SEGMENTS_READ)]
Writer = Annotated[Caller, requires(Scope.SEGMENTS_WRITE)]

_LONGEST_DAYS = 1100
_DEFAULT_DAYS = 90


@router.get("")
async def list_customer_stages(
    caller: Reader,
    connection: Connection,
    disclosure: Disclosed,
    user_id: UserId = None,
    stage: Annotated[
        Stage | None, Query(description="Only customers who were placed at this stage.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CustomerStageView]:
    """Where customers stand, in the order in which they were first recorded."""
    check_user_id(caller, user_id)
    found = await stages.list_page(
        connection, caller.tenant.id, stage=stage, after=decode_sk(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(found, limit, lambda each: encode(each.sk))
    as_of = caller.tenant.as_of(datetime.now(UTC))
    return Page(
        items=[CustomerStageView.of(each, as_of, disclosure) for each in shown],
        next_cursor=next_cursor,
    )


@router.get("/stages")
async def get_stages(
    caller: Reader,
    connection: Connection,
    user_id: UserId = None,
    first: From = None,
    last: To = None,
    stalled_after: Annotated[
        int,
        Query(alias="stalledAfter", ge=1, le=1000, description="Days after which nobody moves on."),
    ] = 60,
) -> JourneySummaryView:
    """Who is at each stage, and how many of those who entered it went on or dropped off.

    Of the last 90 days, unless `from` and `to` say otherwise.
    """
    check_user_id(caller, user_id)
    tenant = caller.tenant
    period = period_of(
        first, last, until=as_of_day(tenant), longest=_LONGEST_DAYS, days=_DEFAULT_DAYS
    )
    as_of = tenant.as_of(datetime.now(UTC))
    since = tenant.end_of(period.first - timedelta(days=1))
    until = tenant.end_of(period.last)
    counts = await stages.list_counts(connection, tenant.id, as_of)
    flow = await stages.list_flow(
        connection,
        tenant.id,
        since=since,
        until=until,
        stalled_before=min(until, as_of) - timedelta(days=stalled_after),
    )
    totals = await population.list_totals(connection, tenant.id, "lifecycle")
    customers = sum(each.customers for each in totals["lifecycle"])
    unplaced = max(customers - sum(each for each, _ in counts.values()), 0)
    return JourneySummaryView.of(counts, flow, unplaced, as_of)


@router.get("/rules")
async def get_journey_rules(caller: Reader, connection: Connection) -> RulesView:
    """The rules by which customers advance."""
    return RulesView.of(await staging.get_rules(connection, caller.tenant))


@router.put("/rules")
async def change_journey_rules(
    record: Annotated[RulesRecord, Body(examples=[RULES_EXAMPLE])],
    caller: Writer,
    connection: Connection,
) -> RulesView:
    """Replace all rules. Customers are looked at by the new ones soon; nobody is led back."""
    await staging.change_rules(
        connection,
        caller.tenant,
        [(each.stage, each.criteria) for each in record.rules],
        actor=caller.key_id,
    )
    return RulesView.of(await staging.get_rules(connection, caller.tenant))


@router.delete("/rules")
async def reset_journey_rules(caller: Writer, connection: Connection) -> RulesView:
    """Go by the default rules again."""
    await staging.reset_rules(connection, caller.tenant)
    return RulesView.of(await staging.get_rules(connection, caller.tenant))


@router.get("/{id}")
async def get_customer_stage(
    id: PathId, caller: Reader, connection: Connection, disclosure: Disclosed
) -> CustomerStageView:
    """Where a customer stands."""
    found = await stages.find(connection, caller.tenant.id, id)
    if found is None:
        raise NotFound("customer", id)
    return CustomerStageView.of(found, caller.tenant.as_of(datetime.now(UTC)), disclosure)


@router.put("/{id}")
async def change_customer_stage(
    id: PathId,
    change: Annotated[StageChange, Body(examples=[{"stage": "advocacy"}])],
    caller: Writer,
    connection: Connection,
) -> CustomerStageView:
    """Place a customer by hand, forward or back; the rules lead on from there."""
    check_user_id(caller, change.user_id)
    present_id = await staging.place_customer(
        connection, caller.tenant, id, change.stage, actor=caller.key_id
    )
    found = await stages.find(connection, caller.tenant.id, present_id)
    assert found is not None
    return CustomerStageView.of(found, caller.tenant.as_of(datetime.now(UTC)), FULL)


@router.get("/{id}/history")
async def list_stage_moves(
    id: PathId,
    caller: Reader,
    connection: Connection,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MoveView]:
    """How a customer came to where they are, the last move first."""
    found = await stages.find(connection, caller.tenant.id, id)
    if found is None:
        raise NotFound("customer", id)
    moves = await stages.list_moves(
        connection, caller.tenant.id, found.sk, before=decode_moment(cursor), limit=limit + 1
    )
    shown, next_cursor = page_of(
        moves, limit, lambda move: encode(move.entered_at.isoformat(), move.seq)
    )
    return Page(items=moves_of(shown), next_cursor=next_cursor)
