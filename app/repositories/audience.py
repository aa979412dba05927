"""Questions about customers and criteria that leave nothing behind.

How many would meet them, why a customer does, and who is like the members of a segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.criteria import Clock, Criteria, Leaf, Reading, leaves
from app.domain.errors import NotFound, TookTooLong
from app.domain.estimate import estimated_count
from app.domain.lookalike import FEATURES, FeatureMoments, Likeness
from app.repositories.criteria import Compiler

#: How long it may take to count exactly, and after that to estimate.
_EXACT_SECONDS = 1.3
_ESTIMATE_SECONDS = 0.6
#: A count estimated from so many is, with a confidence of 95 %, off by 0.7 % of everybody at most.
_ASKED_OF = 20_000
SAMPLE = 10
_LOOKALIKE_SECONDS = 30

_READ_MANY = text("""
    SELECT set_config('work_mem', '128MB', true),
           set_config('statement_timeout', CAST(:milliseconds AS text), true),
           set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'on', true),
           set_config('parallel_setup_cost', '10', true),
           set_config('parallel_tuple_cost', '0.005', true)
""")
_READ_FEW = text("""
    SELECT set_config('enable_nestloop', 'on', true), set_config('enable_seqscan', 'off', true)
""")
_LIMIT = text("SELECT set_config('statement_timeout', CAST(:milliseconds AS text), true)")
_SAVEPOINT = text("SAVEPOINT in_time")
_BACK_TO_SAVEPOINT = text("ROLLBACK TO SAVEPOINT in_time")
_QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class SampledCustomer:
    """A customer as shown in a sample."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Preview:
    """How many meet the criteria, of how many customers, and some of them.

    `between` is where the number lies, if it had to be estimated.
    """

    matching: int
    customers: int
    sample: list[SampledCustomer]
    between: tuple[int, int] | None


_EVERYBODY = text("SELECT count(*) FROM customers WHERE tenant_id = :tenant_id")
_SAMPLED = text("""
    SELECT c.id, c.name FROM unnest(CAST(:sks AS bigint[])) WITH ORDINALITY AS given (sk, place)
    CROSS JOIN LATERAL (
        SELECT id, name FROM customers WHERE tenant_id = :tenant_id AND sk = given.sk OFFSET 0
    ) c
    ORDER BY given.place
""")
# By a digest, so that the sample is of all ages of customers, and the same each time.
_COUNTED = f"""
    SELECT (SELECT count(*) FROM matching) AS matching,
           ARRAY (SELECT sk FROM matching ORDER BY hashint8(sk), sk LIMIT {SAMPLE}) AS sks"""


async def preview(
    connection: AsyncConnection,
    tenant_id: int,
    clock: Clock,
    criteria: Criteria,
    compiler: Compiler,
) -> Preview:
    """Count who meets the criteria; to be called in a transaction, whose settings it changes.

    Where there is no time to count, the number is estimated from some of the customers. Raises
    TookTooLong where there is none for that either.
    """
    predicate = compiler.predicate(criteria)
    await connection.execute(_READ_MANY, {"milliseconds": _milliseconds(_EXACT_SECONDS)})
    customers = (await connection.execute(_EVERYBODY, {"tenant_id": tenant_id})).scalar_one()
    exact = f"""
    WITH matching AS MATERIALIZED (
        SELECT c.sk {compiler.everybody()} AND {predicate}
    ){_COUNTED}"""
    # Of all that was compiled, and so after it.
    parameters = {"tenant_id": tenant_id} | compiler.parameters(clock)
    found = await _in_time(connection, exact, parameters)
    between: tuple[int, int] | None = None
    if found is not None:
        matching = found.matching
    else:
        await connection.execute(_READ_FEW)
        await connection.execute(_LIMIT, {"milliseconds": _milliseconds(_ESTIMATE_SECONDS)})
        estimate = f"""
    WITH asked AS MATERIALIZED (
        SELECT sk AS customer_sk FROM customers
        WHERE tenant_id = :tenant_id AND hashint8(sk) % :one_in = 0
    ), matching AS MATERIALIZED (
        SELECT c.sk {compiler.listed("asked")} WHERE {predicate}
    ){_COUNTED}, (SELECT count(*) FROM asked) AS asked"""
        one_in = max(customers // _ASKED_OF, 1)
        found = await _in_time(connection, estimate, parameters | {"one_in": one_in})
        if found is None:
            raise TookTooLong(
                "The criteria could be neither counted nor estimated in two seconds; save the "
                "segment, and it is computed however long that takes."
            )
        matching, *bounds = estimated_count(found.matching, found.asked, customers)
        between = bounds[0], bounds[1]
    await connection.execute(_READ_FEW)
    rows = await connection.execute(_SAMPLED, {"tenant_id": tenant_id, "sks": found.sks})
    sample = [SampledCustomer(*row) for row in rows]
    return Preview(matching, customers, sample, between)


async def _in_time(
    connection: AsyncConnection, statement: str, parameters: Mapping[str, object]
) -> Row[Any] | None:
    """The one row of `statement`; None where it took longer than the transaction allows."""
    await connection.execute(_SAVEPOINT)
    try:
        return (await connection.execute(text(statement), parameters)).one()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _QUERY_CANCELED:
            raise
    await connection.execute(_BACK_TO_SAVEPOINT)
    return None


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


_SK = text("SELECT sk FROM customers WHERE tenant_id = :tenant_id AND id = :id")


async def get_sk(connection: AsyncConnection, tenant_id: int, customer_id: str) -> int:
    """The key of a customer. Raises NotFound."""
    parameters = {"tenant_id": tenant_id, "id": customer_id}
    sk: int | None = await connection.scalar(_SK, parameters)
    if sk is None:
        raise NotFound("customer", customer_id)
    return sk


async def read_customer(
    connection: AsyncConnection,
    tenant_id: int,
    clock: Clock,
    criteria: Criteria,
    compiler: Compiler,
    *,
    customer_sk: int,
) -> dict[Leaf, Reading]:
    """What each clause observes of one customer."""
    found = list(dict.fromkeys(leaf for _, leaf in leaves(criteria)))
    readings = ", ".join(
        f"{compiler.reading(leaf)} AS reading_{place}" for place, leaf in enumerate(found)
    )
    statement = text(f"""
    WITH listed AS MATERIALIZED (SELECT CAST(:customer_sk AS bigint) AS customer_sk)
    SELECT {readings} {compiler.listed("listed")}""")
    parameters = {"tenant_id": tenant_id, "customer_sk": customer_sk} | compiler.parameters(clock)
    row = (await connection.execute(statement, parameters)).one()
    return dict(zip(found, row, strict=True))


# --- Who is like the members ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A customer who is no member, and how far from the members' mean."""

    id: str
    name: str
    distance: float


def _feature(name: str) -> str:
    return (
        f"ln(1 + greatest(CAST(a.{name} AS double precision), 0))"
        if FEATURES[name]
        else f"a.{name}"
    )


_MEMBERS = """
    LEFT JOIN segment_members m
      ON m.tenant_id = a.tenant_id AND m.segment_sk = :segment_sk
     AND m.customer_sk = a.customer_sk AND m.left_at IS NULL
    WHERE a.tenant_id = :tenant_id
"""
_MOMENTS = text(f"""
    SELECT {
    ", ".join(
        f"avg({_feature(name)}), stddev_pop({_feature(name)}),"
        f" avg({_feature(name)}) FILTER (WHERE m.customer_sk IS NOT NULL),"
        f" stddev_pop({_feature(name)}) FILTER (WHERE m.customer_sk IS NOT NULL)"
        for name in FEATURES
    )
}
    FROM customer_analytics a {_MEMBERS}
""")


async def measure_features(
    connection: AsyncConnection, tenant_id: int, segment_sk: int
) -> list[FeatureMoments]:
    """The moments of every feature; in a transaction, whose settings this changes."""
    await connection.execute(_READ_MANY, {"milliseconds": str(_LOOKALIKE_SECONDS * 1000)})
    parameters = {"tenant_id": tenant_id, "segment_sk": segment_sk}
    row: Sequence[float | None] = (await connection.execute(_MOMENTS, parameters)).one()
    return [
        FeatureMoments(name, *row[4 * place : 4 * place + 4]) for place, name in enumerate(FEATURES)
    ]


async def list_lookalikes(
    connection: AsyncConnection, tenant_id: int, segment_sk: int, likeness: Likeness, *, limit: int
) -> list[Lookalike]:
    """Customers who are no members, the nearest to the members' mean first."""
    squares = " + ".join(
        f"power(coalesce(({_feature(name)} - CAST(:mean_{place} AS double precision))"
        f" / CAST(:deviation_{place} AS double precision), 0)"
        f" - CAST(:centroid_{place} AS double precision), 2)"
        for place, name in enumerate(likeness.features)
    )
    statement = text(f"""
    SELECT c.id, c.name, sqrt(near.square) AS distance
    FROM (
        SELECT a.customer_sk, {squares} AS square
        FROM customer_analytics a {_MEMBERS} AND m.customer_sk IS NULL
        ORDER BY 2, 1 LIMIT {limit:d}
    ) near
    CROSS JOIN LATERAL (
        SELECT id, name FROM customers
        WHERE tenant_id = :tenant_id AND sk = near.customer_sk OFFSET 0
    ) c
    ORDER BY near.square, near.customer_sk""")
    parameters: dict[str, object] = {"tenant_id": tenant_id, "segment_sk": segment_sk}
    for name, values in (
        ("mean", likeness.means),
        ("deviation", likeness.deviations),
        ("centroid", likeness.centroid),
    ):
        parameters |= {f"{name}_{place}": value for place, value in enumerate(values)}
    return [Lookalike(*row) for row in await connection.execute(statement, parameters)]
