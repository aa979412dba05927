"""Concurrent single writes share a commit, and each still gets its own answer."""

import asyncio
from collections.abc import Sequence
from unittest.mock import ANY

import pytest
from sqlalchemy import text

from app.database import Connection, Database, DatabaseUnavailableError
from app.domain.tenant import Tenant
from app.services.gathering import WORTH_ANOTHER, Gathering, Line, LineFull
from tests.factories import make_tenant


class Spoiled(Exception):
    """What a bad item makes of the work it is in."""


async def test_those_who_come_meanwhile_are_served_together_in_order() -> None:
    calls: list[list[int]] = []

    async def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        await asyncio.sleep(0.01)
        return [2 * item for item in items]

    line = Line(double)
    first = asyncio.create_task(line.join(0))
    await asyncio.sleep(0.005)
    others = [asyncio.create_task(line.join(number)) for number in range(1, 8)]
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert calls == [[0], [1, 2, 3, 4, 5, 6, 7]]


async def test_another_piece_of_work_begins_when_enough_wait() -> None:
    calls: list[list[int]] = []
    ends = [asyncio.Event() for _ in range(4)]

    async def work(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        await ends[len(calls) - 1].wait()
        return list(items)

    async def join(*numbers: int) -> list[asyncio.Task[int]]:
        joined = [asyncio.create_task(line.join(number)) for number in numbers]
        for _ in range(5):
            await asyncio.sleep(0)
        return joined

    line = Line(work, at_once=2)
    everybody = await join(0, 1, 2)
    few = list(range(3, 2 + WORTH_ANOTHER))
    everybody += await join(*few)
    assert calls == [[0, 1, 2]]
    everybody += await join(99)
    assert calls == [[0, 1, 2], [*few, 99]]
    everybody += await join(*range(100, 100 + WORTH_ANOTHER))
    assert len(calls) == 2  # never three
    ends[1].set()
    everybody += await join()
    assert calls[2:] == [list(range(100, 100 + WORTH_ANOTHER))]
    for end in ends:
        end.set()
    assert await asyncio.gather(*everybody) == [item for call in calls for item in call]
    await line.drain()


async def test_no_more_are_served_together_than_agreed() -> None:
    calls: list[int] = []

    async def count(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        return list(items)

    line = Line(count, most_together=3)
    await asyncio.gather(*(line.join(number) for number in range(8)))
    assert calls == [3, 3, 2]


async def test_a_bad_item_fails_alone() -> None:
    async def work(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise Spoiled
        return list(items)

    line = Line(work)
    outcomes = await asyncio.gather(*(line.join(n) for n in range(5)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [int, int, int, Spoiled, int]


async def test_a_database_that_is_away_is_told_to_all_at_once() -> None:
    calls = 0

    async def work(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise DatabaseUnavailableError("away")

    line = Line(work)
    outcomes = await asyncio.gather(*(line.join(n) for n in range(5)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [DatabaseUnavailableError] * 5
    assert calls == 1


async def test_a_full_line_refuses_and_takes_again_later() -> None:
    going_on = asyncio.Event()

    async def work(items: Sequence[int]) -> list[int]:
        await going_on.wait()
        return list(items)

    line = Line(work, most_together=1, most_waiting=2)
    joined = [asyncio.create_task(line.join(0))]
    await asyncio.sleep(0.001)
    joined += [asyncio.create_task(line.join(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(LineFull):
        await line.join(3)
    going_on.set()
    assert await asyncio.gather(*joined) == [0, 1, 2]
    assert await line.join(4) == 4


async def test_who_leaves_the_line_is_not_served_and_holds_nobody_up() -> None:
    served: list[int] = []
    going_on = asyncio.Event()

    async def work(items: Sequence[int]) -> list[int]:
        served.extend(items)
        await going_on.wait()
        return list(items)

    line = Line(work)
    being_served = asyncio.create_task(line.join(0))
    await asyncio.sleep(0.001)
    leaving, staying = (asyncio.create_task(line.join(number)) for number in (1, 2))
    await asyncio.sleep(0)
    being_served.cancel()
    leaving.cancel()
    await asyncio.sleep(0)
    going_on.set()
    assert await staying == 2
    assert served == [0, 2]
    await line.drain()


async def test_an_outcome_is_handed_out_after_the_commit_only(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)
    together: list[int] = []

    async def write(connection: Connection, tenant: Tenant, items: Sequence[int]) -> list[int]:
        together.append(len(items))
        for item in items:
            await connection.execute(
                text("INSERT INTO stores (tenant_id, id, name) VALUES (:tenant, :id, :name)"),
                {"tenant": tenant.id, "id": f"s-{item}", "name": "Store"},
            )
        return list(items)

    async def submit_and_look(item: int) -> bool:
        await gathering.submit(fresh_database, tenant, item)
        async with fresh_database.tenant_transaction(tenant.id) as connection:
            found = await connection.execute(
                text("SELECT 1 FROM stores WHERE tenant_id = :tenant AND id = :id"),
                {"tenant": tenant.id, "id": f"s-{item}"},
            )
            return found.first() is not None

    gathering = Gathering(write)
    assert all(await asyncio.gather(*(submit_and_look(number) for number in range(20))))
    assert sum(together) == 20
    assert len(together) < 20


async def test_tenants_do_not_wait_for_each_other(fresh_database: Database) -> None:
    first = await make_tenant(fresh_database, "first")
    second = await make_tenant(fresh_database, "second")
    going_on = asyncio.Event()

    async def write(connection: Connection, tenant: Tenant, items: Sequence[int]) -> list[str]:
        if tenant == first:
            await going_on.wait()
        return [f"{tenant.slug}-{item}" for item in items]

    gathering = Gathering(write)
    waiting = asyncio.create_task(gathering.submit(fresh_database, first, 1))
    assert await gathering.submit(fresh_database, second, 1) == "second-1"
    assert not waiting.done()
    going_on.set()
    assert await waiting == "first-1"
    await gathering.drain()


async def test_a_bad_item_spoils_no_other_in_the_database(fresh_database: Database) -> None:
    tenant = await make_tenant(fresh_database)

    async def write(connection: Connection, tenant: Tenant, items: Sequence[str]) -> list[str]:
        for item in items:
            await connection.execute(
                text("INSERT INTO stores (tenant_id, id, name) VALUES (:tenant, :id, 'Store')"),
                {"tenant": tenant.id, "id": item},
            )
        return list(items)

    gathering = Gathering(write)
    outcomes = await asyncio.gather(
        *(gathering.submit(fresh_database, tenant, each) for each in ("a", "b\0", "c")),
        return_exceptions=True,
    )
    assert outcomes == ["a", ANY, "c"]
    assert isinstance(outcomes[1], Exception)
    async with fresh_database.tenant_transaction(tenant.id) as connection:
        found = await connection.execute(text("SELECT id FROM stores ORDER BY id"))
        assert list(found.scalars()) == ["a", "c"]
