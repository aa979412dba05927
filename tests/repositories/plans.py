"""What PostgreSQL does for a repository: the plans of the statements that a call executes."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import event, text

from app.database import Connection, driver_of


@contextmanager
def _recorded(connection: Connection) -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """What is executed meanwhile, by SQLAlchemy or straight by the driver."""
    statements: list[tuple[str, Sequence[Any]]] = []
    driver = driver_of(connection)
    fetch = driver.fetch

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        statements.append((statement, parameters))

    async def fetch_and_note(statement: str, *parameters: Any) -> Any:
        statements.append((statement, parameters))
        return await fetch(statement, *parameters)

    event.listen(connection.sync_connection, "before_cursor_execute", note)
    try:
        with patch.object(type(driver), "fetch", side_effect=fetch_and_note):
            yield statements
    finally:
        event.remove(connection.sync_connection, "before_cursor_execute", note)


async def plans_of(connection: Connection, work: Awaitable[object]) -> list[str]:
    """The plan of each statement of `work`, run as the service runs it: generic, by its role."""
    assert await connection.scalar(text("SELECT current_user")) == "bps_app"
    with _recorded(connection) as statements:
        await work
    plans = []
    for statement, parameters in statements:
        await connection.exec_driver_sql(f"PREPARE seen AS {statement}")
        given = f"({', '.join(map(_literal, parameters))})" if parameters else ""
        rows = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE seen{given}")
        plans.append("\n".join(row[0] for row in rows))
        await connection.exec_driver_sql("DEALLOCATE seen")
    return plans


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return f"ARRAY[{', '.join(map(_literal, value))}]" if value else "'{}'"
    if isinstance(value, bool | int | float):
        return repr(value)
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"


async def analyze(connection: Connection, *tables: str) -> None:
    """Count the rows, which only the owner may."""
    await connection.execute(text("SET LOCAL ROLE NONE"))
    for table in tables:
        await connection.execute(text(f"ANALYZE {table}"))
    await connection.execute(text("SET LOCAL ROLE bps_app"))
