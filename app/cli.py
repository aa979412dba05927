"""The `bps` command: one function a command, each a thin call of a service.

Every command prints exactly one JSON object on stdout; progress and logs go to stderr. It exits
with 0, with 1 after one line that says what failed, or with 2 when it was called wrongly.

What a command needs is imported inside it, so that `bps --help` answers at once.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.domain.access import ROLES, Scope
from app.domain.errors import DomainError, NotFound
from app.embedded import Cluster, EmbeddedError

if TYPE_CHECKING:
    from rich.console import Console

    from app.database import Database
    from app.domain.access import NewKey
    from app.domain.tenant import Tenant
    from app.repositories.sanity import SanityResult
    from app.services.importing import FileFormat, ImportReport

Result = TypeVar("Result")

app = typer.Typer(
    name="bps",
    help="Business Partner Service: customer intelligence on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tenants = typer.Typer(help="Businesses.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(tenants, name="tenant")
app.add_typer(keys, name="key")
imports = typer.Typer(help="Customers and orders from files.", no_args_is_help=True)
app.add_typer(imports, name="import")

DataDir = Annotated[
    Path | None,
    typer.Option(help="Directory of the private database; DATABASE_URL comes first. [.bps]"),
]
TenantSlug = Annotated[str, typer.Option("--tenant", help="Slug of the tenant.")]


# -- serving ----------------------------------------------------------------------------------


@app.command()
def up(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="[8000]")] = None,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Load demo data into an empty database.")
    ] = True,
) -> None:
    """Serve everything on this machine: database, API and worker."""
    from app.settings import Settings
    from app.up import serve

    settings = Settings()
    serve(
        database_url=settings.database_url,
        data_dir=data_dir or settings.data_dir,
        host=host or settings.host,
        port=port or settings.port,
        demo=demo,
        ready=answer,
    )


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema."""
    from app.migration import migrate as migrate_to_newest

    with database_url(data_dir) as url:
        answer({"revision": migrate_to_newest(url)})


@app.command()
def worker(
    data_dir: DataDir = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="End when stdin ends.")
    ] = False,
) -> None:
    """Run queued and periodic jobs until stopped."""
    from app.settings import Settings
    from app.worker import run

    if with_parent:
        _end_with_parent()
    # Photos lie beside the private cluster.
    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    with database_url(data_dir) as url:
        asyncio.run(run(url, settings))
    answer({"stopped": True})


# -- tenants ----------------------------------------------------------------------------------


@tenants.command("create")
def create_tenant(
    slug: str,
    name: Annotated[str | None, typer.Option(help="Name for people. [the slug]")] = None,
    profile: Annotated[
        str, typer.Option(help="Preset of rules: retail, ticketing, commerce or appointments.")
    ] = "retail",
    timezone: Annotated[str, typer.Option(help="IANA name of the business's zone.")] = "UTC",
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "USD",
    as_of: Annotated[
        str | None,
        typer.Option(help="Instant (ISO 8601) a closed log is scored for, instead of now."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Create a tenant."""
    from app.services import tenancy

    document: dict[str, Any] = {"preset": profile}
    if as_of:
        document["asOf"] = parse_instant(as_of).isoformat()

    async def work(database: "Database") -> "Tenant":
        async with database.transaction() as connection:
            return await tenancy.create_tenant(
                connection,
                slug,
                name=name or slug,
                timezone=timezone,
                currency=currency,
                profile=document,
            )

    answer(_tenant_document(with_database(data_dir, work)))


@tenants.command("list")
def list_tenants(data_dir: DataDir = None) -> None:
    """List the tenants."""
    from app.services import tenancy

    async def work(database: "Database") -> "list[Tenant]":
        async with database.transaction() as connection:
            return await tenancy.list_tenants(connection)

    answer({"items": [_tenant_document(each) for each in with_database(data_dir, work)]})


def _tenant_document(tenant: "Tenant") -> dict[str, Any]:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "timezone": tenant.timezone,
        "currency": tenant.currency,
        "profile": tenant.profile.document(),
    }


# -- keys -------------------------------------------------------------------------------------


@keys.command("create")
def create_key(
    tenant: TenantSlug,
    role: Annotated[str | None, typer.Option(help=f"One of {', '.join(ROLES)}.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="A scope; may be repeated.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="[never]")] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key. It is shown this once and cannot be shown again."""
    from app.services import tenancy

    if (role is None) == (not scope):
        raise typer.BadParameter("give either --role or one or more --scope")
    if role is not None and role not in ROLES:
        raise typer.BadParameter(f"--role is one of {', '.join(ROLES)}")
    scopes = ROLES[role] if role else frozenset(scope or ())
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None

    async def work(database: "Database") -> "NewKey":
        async with database.transaction() as connection:
            return await tenancy.create_key(
                connection,
                await tenancy.enter_tenant(connection, tenant),
                name=name or role or "unnamed",
                scopes=scopes,
                expires_at=expires_at,
            )

    created = with_database(data_dir, work)
    answer({"id": created.id, "key": created.token})


@keys.command("list")
def list_keys(tenant: TenantSlug, data_dir: DataDir = None) -> None:
    """List the keys of a tenant, without their secrets."""
    from app.services import tenancy

    async def work(database: "Database") -> Any:
        async with database.transaction() as connection:
            await tenancy.enter_tenant(connection, tenant)
            return await tenancy.list_keys(connection)

    answer({"items": with_database(data_dir, work)})


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID")], data_dir: DataDir = None
) -> None:
    """Revoke a key at once."""
    from app.services import tenancy

    async def work(database: "Database") -> None:
        async with database.transaction() as connection:
            for tenant in await tenancy.list_tenants(connection):
                await tenancy.enter_tenant(connection, tenant.slug)
                if any(key.id == key_id for key in await tenancy.list_keys(connection)):
                    await tenancy.revoke_key(connection, key_id)
                    return
        raise NotFound("key", key_id)

    with_database(data_dir, work)
    answer({"revoked": key_id})


# -- data and scores --------------------------------------------------------------------------


@app.command()
def demo(
    tenant: TenantSlug,
    customers: Annotated[int, typer.Option(min=1, help="How many customers.")] = 5_000,
    orders_per_customer: Annotated[float, typer.Option(help="On average.")] = 10.0,
    items: Annotated[bool, typer.Option("--items/--no-items")] = True,
    engagement: Annotated[
        bool, typer.Option("--engagement/--no-engagement", help="Contacts and feedback.")
    ] = True,
    places: Annotated[
        bool, typer.Option("--places/--no-places", help="Addresses and GPS traces.")
    ] = True,
    events: Annotated[
        bool, typer.Option("--events/--no-events", help="What customers look at.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Another seed gives another business.")] = 20_231,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First day after the history. [today]"),
    ] = None,
    score: Annotated[bool, typer.Option("--score/--no-score", help="Score them after.")] = True,
    data_dir: DataDir = None,
) -> None:
    """Load a made-up business into an empty tenant."""
    from app.domain.demo.options import DemoOptions
    from app.domain.scoring_run import RunMode
    from app.services import demo as demo_data
    from app.services import scoring, tenancy

    async def work(database: "Database") -> Any:
        async with database.transaction() as connection:
            owner = await tenancy.enter_tenant(connection, tenant)
        now = datetime.now(UTC)
        options = DemoOptions(
            as_of=as_of.date() if as_of else owner.local_day(now),
            customers=customers,
            orders_per_customer=orders_per_customer,
            seed=seed,
            with_items=items,
            with_engagement=engagement,
            with_places=places,
            with_events=events,
        )
        loaded = await demo_data.load_demo(database, owner.id, options)
        if score:
            await scoring.run_scores(
                database, owner, mode=RunMode.FULL, as_of=owner.as_of(now), requested_by="bps demo"
            )
        return loaded

    answer(with_database(data_dir, work))


@app.command()
def refresh(
    tenant: TenantSlug,
    full: Annotated[
        bool, typer.Option("--full/--recent", help="Everybody, or whoever changed lately.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Compute features and scores as of now, or as of the instant the profile pins."""
    _run_scores(tenant, full=full, as_of=None, data_dir=data_dir)


@app.command()
def score(
    tenant: TenantSlug,
    as_of: Annotated[
        str | None, typer.Option(help="Instant (ISO 8601) to score for. [now, or the profile's]")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Score every customer anew, cutoffs included, as of any instant."""
    _run_scores(tenant, full=True, as_of=parse_instant(as_of) if as_of else None, data_dir=data_dir)


@app.command()
def check(tenant: TenantSlug, data_dir: DataDir = None) -> None:
    """Verify every figure against its sources; exits with 1 where one does not hold."""
    from app.services import sanity, tenancy

    async def work(database: "Database") -> "SanityResult":
        async with database.transaction() as connection:
            owner = await tenancy.enter_tenant(connection, tenant)
        return await sanity.check_tenant(database, owner, now=datetime.now(UTC))

    result = with_database(data_dir, work)
    _print_checks(result)
    answer(
        {
            "checked_at": result.checked_at,
            "passed": result.passed,
            "checks": [
                {
                    "name": each.name,
                    "passed": each.passed,
                    "figure": each.figure,
                    "offenders": each.offenders,
                    "examples": list(each.examples),
                }
                for each in result.checks
            ],
        }
    )
    if not result.passed:
        raise typer.Exit(1)


def _print_checks(result: "SanityResult") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "Check", "Looked at", "Offending", "Such as")
    for each in result.checks:
        table.add_row(
            "[green]ok[/]" if each.passed else "[bold red]FAILED[/]",
            each.name,
            f"{each.figure:,}",
            f"{each.offenders:,}",
            escape(", ".join(each.examples)),
        )
    _stderr().print(table)


def _run_scores(slug: str, *, full: bool, as_of: datetime | None, data_dir: Path | None) -> None:
    from app.domain.scoring_run import RunMode
    from app.repositories import job
    from app.services import scoring, tenancy

    async def work(database: "Database") -> Any:
        async with database.transaction() as connection:
            owner = await tenancy.enter_tenant(connection, slug)
        run_id = await scoring.run_scores(
            database,
            owner,
            mode=RunMode.FULL if full else RunMode.RECENT,
            as_of=as_of or owner.as_of(datetime.now(UTC)),
            requested_by="bps",
        )
        async with database.tenant_transaction(owner.id) as connection:
            return await job.get(connection, run_id)

    answer(with_database(data_dir, work))


# -- files ------------------------------------------------------------------------------------

ImportFile = Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet.", show_default=False)]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="FIELD=HEADER", help="Which column holds a field."),
]
Rejects = Annotated[
    Path | None, typer.Option(help="Write refused rows, with the reason, to this CSV file.")
]
Delimiter = Annotated[str | None, typer.Option(help="[found out]")]
Encoding = Annotated[str | None, typer.Option(help="[found out]")]
DateFormat = Annotated[
    str | None, typer.Option(help="d/m/y, m/d/y or a strptime format. [found out]")
]
CreateCustomers = Annotated[
    bool,
    typer.Option(
        "--create-customers/--no-create-customers", help="Of orders whose customer is unknown."
    ),
]
Score = Annotated[bool, typer.Option("--score/--no-score", help="Score the tenant after.")]


@imports.command("orders")
def import_orders(
    file: ImportFile,
    tenant: TenantSlug,
    column: Columns = None,
    rejects: Rejects = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    date_format: DateFormat = None,
    create_customers: CreateCustomers = True,
    score: Score = True,
    data_dir: DataDir = None,
) -> None:
    """Import a file with a row for each order; importing it again changes nothing."""
    from app.services import importing

    _import(
        partial(importing.import_orders, create_customers=create_customers),
        file,
        tenant,
        file_format=_file_format(column, delimiter, encoding, date_format),
        rejects=rejects,
        score=score,
        data_dir=data_dir,
    )


@imports.command("order-lines")
def import_order_lines(
    file: ImportFile,
    tenant: TenantSlug,
    column: Columns = None,
    rejects: Rejects = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    date_format: DateFormat = None,
    create_customers: CreateCustomers = True,
    score: Score = True,
    data_dir: DataDir = None,
) -> None:
    """Import a file with a row for each line of an invoice; lines of one id are one order."""
    from app.services import importing

    _import(
        partial(importing.import_order_lines, create_customers=create_customers),
        file,
        tenant,
        file_format=_file_format(column, delimiter, encoding, date_format),
        rejects=rejects,
        score=score,
        data_dir=data_dir,
    )


@imports.command("customers")
def import_customers(
    file: ImportFile,
    tenant: TenantSlug,
    column: Columns = None,
    rejects: Rejects = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    date_format: DateFormat = None,
    data_dir: DataDir = None,
) -> None:
    """Import a file with a row for each customer; columns it lacks stay as they are."""
    from app.services import importing

    _import(
        importing.import_customers,
        file,
        tenant,
        file_format=_file_format(column, delimiter, encoding, date_format),
        rejects=rejects,
        score=False,
        data_dir=data_dir,
    )


@imports.command("events")
def import_events(
    file: ImportFile,
    tenant: TenantSlug,
    column: Columns = None,
    rejects: Rejects = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    date_format: DateFormat = None,
    data_dir: DataDir = None,
) -> None:
    """Import a file with a row for each behaviour event; importing it again changes nothing."""
    from app.services import importing

    _import(
        importing.import_events,
        file,
        tenant,
        file_format=_file_format(column, delimiter, encoding, date_format),
        rejects=rejects,
        score=False,
        data_dir=data_dir,
    )


@imports.command("locations")
def import_locations(
    file: ImportFile,
    tenant: TenantSlug,
    column: Columns = None,
    rejects: Rejects = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    date_format: DateFormat = None,
    data_dir: DataDir = None,
) -> None:
    """Import a file with a row for each captured place; importing it again changes nothing."""
    from app.services import importing

    _import(
        importing.import_locations,
        file,
        tenant,
        file_format=_file_format(column, delimiter, encoding, date_format),
        rejects=rejects,
        score=False,
        data_dir=data_dir,
    )


def _file_format(
    column: list[str] | None, delimiter: str | None, encoding: str | None, date_format: str | None
) -> "FileFormat":
    from app.services.importing import FileFormat

    columns = {}
    for assignment in column or ():
        field, equals, header = assignment.partition("=")
        if not equals or not field or not header:
            raise typer.BadParameter(f"--column is FIELD=HEADER, not {assignment!r}")
        columns[field] = header
    return FileFormat(
        columns=columns, delimiter=delimiter, encoding=encoding, date_format=date_format
    )


def _import(
    read: "Callable[..., Awaitable[ImportReport]]",
    file: Path,
    slug: str,
    *,
    file_format: "FileFormat",
    rejects: Path | None,
    score: bool,
    data_dir: Path | None,
) -> None:
    """Read the file into the tenant, score whom it touched, and say what became of it."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from app.services import scoring, tenancy

    async def work(database: "Database") -> "ImportReport":
        async with database.transaction() as connection:
            owner = await tenancy.enter_tenant(connection, slug)
        columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_stderr(), transient=True) as bar:
            task = bar.add_task("", total=None)
            report = await read(
                database,
                owner,
                file,
                format=file_format,
                rejects=rejects,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                actor="bps import",
            )
        if score and (report.created or report.updated):
            await scoring.score_after_import(database, owner, now=datetime.now(UTC))
        return report

    report = with_database(data_dir, work)
    answer(report)
    if report.error:
        print(f"bps: stopped before the end of {file}: {report.error}", file=sys.stderr)
        raise typer.Exit(1)


def _stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


# -- the database -----------------------------------------------------------------------------


@contextmanager
def database_url(data_dir: Path | None) -> Iterator[str]:
    """The address of DATABASE_URL, or of the private cluster, which runs inside the block."""
    from app.settings import Settings

    settings = Settings()
    if settings.database_url:
        yield settings.database_url
        return
    with Cluster(data_dir or settings.data_dir) as url:
        yield url


def with_database(data_dir: Path | None, work: Callable[["Database"], Awaitable[Result]]) -> Result:
    """What `work` returns for the database; a private one gets the newest schema first."""
    from app.database import Database
    from app.migration import migrate
    from app.settings import Settings

    async def run(url: str) -> Result:
        database = Database(url, pool_size=2)
        try:
            return await work(database)
        finally:
            await database.close()

    with database_url(data_dir) as url:
        # A server that others run is migrated when they say so, by `bps migrate`.
        if not Settings().database_url:
            migrate(url)
        return asyncio.run(run(url))


# -- the contract with the caller -------------------------------------------------------------


def answer(value: Any) -> None:
    """Print the one JSON object of a command, its keys in camelCase.

    `value` is a dict or a dataclass; instants become ISO 8601, money and ids stay what they are.
    """
    from pydantic.alias_generators import to_camel
    from pydantic_core import to_jsonable_python

    def camel(part: Any) -> Any:
        if isinstance(part, dict):
            return {to_camel(name): camel(each) for name, each in part.items()}
        if isinstance(part, list):
            return [camel(each) for each in part]
        return part

    print(json.dumps(camel(to_jsonable_python(value)), ensure_ascii=False), flush=True)


def parse_instant(text: str) -> datetime:
    """An ISO 8601 instant; without an offset it is UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 date or time") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _end_with_parent() -> None:
    """Stop this process, in order, when the one that holds the other end of stdin is gone.

    The kernel closes a pipe whatever way its holder dies, so not even a kill leaves us behind.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _reason(error: Exception) -> str | None:
    """One line for a failure that is no fault of this program; None for one that is."""
    from asyncpg import PostgresError

    if isinstance(error, DomainError | EmbeddedError):
        return str(error)
    if isinstance(error, OSError | PostgresError):
        return f"The database or a file failed: {str(error) or type(error).__name__}"
    return None


def main() -> None:
    """Entry of the `bps` command."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # talks on import
    try:
        app()
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        print(f"bps: {' '.join(reason.split())}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
