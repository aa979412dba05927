"""Leading customers along their journeys, by rules or by hand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.database import Connection, Database
from app.domain.criteria import AnyOf, clock_of
from app.domain.errors import InvalidInput, NotFound
from app.domain.stage import DEFAULT_RULES, Stage, StageRule, parse_rules
from app.domain.tenant import Tenant
from app.repositories import customer as customers
from app.repositories import former, job, population
from app.repositories import stage as stages
from app.repositories.criteria import Compiler
from app.services.segmentation import check_references

#: Customers that the worker takes up at a time.
TOUCHED_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules a tenant goes by, and who changed them when; nobody did where they are default."""

    rules: list[StageRule]
    updated_at: datetime | None
    updated_by: str | None


async def get_rules(connection: Connection, tenant: Tenant) -> Rules:
    """The rules of the tenant, in the order of their stages."""
    own = await stages.find_rules(connection, tenant.id)
    if own is None:
        return Rules(parse_rules(DEFAULT_RULES, tenant), None, None)
    stated = [(Stage(each["stage"]), each["criteria"]) for each in own.rules]
    return Rules(parse_rules(stated, tenant), own.updated_at, own.updated_by)


async def change_rules(
    connection: Connection,
    tenant: Tenant,
    rules: Sequence[tuple[Stage, dict[str, Any]]],
    *,
    actor: str,
) -> None:
    """Make these the tenant's rules, and have all customers looked at by them.

    Raises InvalidInput where criteria will not do.
    """
    parsed = parse_rules(rules, tenant)
    places = {stage: index for index, (stage, _) in enumerate(rules)}
    for rule in parsed:
        try:
            await check_references(connection, tenant, rule.criteria)
        except InvalidInput as error:
            raise InvalidInput(f"/rules/{places[rule.stage]}{error.field}", error.reason) from None
    document = [{"stage": str(rule.stage), "criteria": rule.document} for rule in parsed]
    await stages.put_rules(connection, tenant.id, document, actor)
    await request_advance(connection, tenant)


async def reset_rules(connection: Connection, tenant: Tenant) -> None:
    """Let the tenant go by the default rules again."""
    await stages.delete_rules(connection, tenant.id)
    await request_advance(connection, tenant)


async def request_advance(connection: Connection, tenant: Tenant) -> None:
    """Have all customers looked at soon; once, however often it is asked for."""
    await job.enqueue_once(
        connection, "advance_stages", f"advance_stages-{tenant.id}", {"tenant_id": tenant.id}
    )


async def advance_customers(
    connection: Connection,
    tenant: Tenant,
    customer_sks: Collection[int] | None,
    *,
    now: datetime,
) -> int:
    """Lead these customers, or all, to where the rules find them; how many went on."""
    if customer_sks is not None and not customer_sks:
        return 0
    rules = (await get_rules(connection, tenant)).rules
    compiler = await _compiler(connection, tenant, rules)
    return await stages.advance(
        connection,
        tenant.id,
        rules=rules,
        compiler=compiler,
        clock=clock_of(tenant, now),
        customer_sks=customer_sks,
    )


async def advance_touched(database: Database, tenant: Tenant) -> int:
    """Look at the customers who have changed lately, in transactions of some thousands."""
    moved = 0
    while True:
        async with database.tenant_transaction(tenant.id) as connection:
            touched = await stages.take_touched(connection, tenant.id, TOUCHED_BATCH)
            moved += await advance_customers(
                connection, tenant, set(touched), now=datetime.now(UTC)
            )
        if len(touched) < TOUCHED_BATCH:
            return moved


async def advance_everybody(database: Database, tenant: Tenant) -> int:
    """Look at all customers, in one transaction."""
    async with database.tenant_transaction(tenant.id) as connection:
        await population.read_everybody(connection)
        return await advance_customers(connection, tenant, None, now=datetime.now(UTC))


async def _compiler(connection: Connection, tenant: Tenant, rules: Sequence[StageRule]) -> Compiler:
    return await check_references(connection, tenant, AnyOf(tuple(rule.criteria for rule in rules)))


async def place_customer(
    connection: Connection, tenant: Tenant, customer_id: str, stage: Stage, *, actor: str
) -> str:
    """Place a customer at a stage by hand; their present id. Raises NotFound.

    The rules lead on from there, and never back.
    """
    present_id = await former.find_present_id(connection, tenant.id, customer_id) or customer_id
    locked = await customers.lock(connection, tenant.id, {present_id: False}, ())
    if present_id not in locked:
        raise NotFound("customer", customer_id)
    await stages.put(
        connection,
        tenant.id,
        locked[present_id].sk,
        stage,
        entered_at=tenant.as_of(datetime.now(UTC)),
        actor=actor,
    )
    return present_id
