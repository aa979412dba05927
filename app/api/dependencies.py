"""What routes ask for: who is calling, and the transaction of the request."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator

from app import database as db
from app.api.idempotency import claim
from app.database import Database
from app.domain.access import PresentedKey, Scope, key_holds, parse_key
from app.domain.errors import Forbidden, Unauthenticated
from app.domain.tenant import Tenant
from app.repositories import tenant as tenants
from app.repositories.tenant import Credential
from app.services.gathering import Line


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the tenant, the key, and what the key covers."""

    tenant: Tenant
    key_id: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that was let in: who asks, and the connection to serve it with."""

    caller: Caller
    connection: db.Connection


_ADMITTED = "bps.admitted"
_CALLER = "bps.caller"
_READING = frozenset({"GET", "HEAD"})


async def _connection(request: Request) -> db.Connection:
    return admitted_connection(request)


#: The request's connection, which sees and writes the caller's tenant only. Behind a route that
#: writes it is one transaction, committed before the answer is sent.
Connection = Annotated[db.Connection, Depends(_connection)]


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


#: The pool, for the few routes that need transactions of their own.
DatabaseAccess = Annotated[Database, Depends(_database)]


class Requires:
    """A dependency on the Caller of a route that is for holders of `scope`; see `admit`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        return admitted_caller(request)


def admitted_caller(request: Request) -> Caller:
    """Who sent the request that `admit` let in."""
    admitted: Admitted = request.scope[_ADMITTED]
    return admitted.caller


def admitted_connection(request: Request) -> db.Connection:
    """The connection of a request that `admit` let in."""
    admitted: Admitted = request.scope[_ADMITTED]
    return admitted.connection


def caller_of(request: Request) -> Caller:
    """Who sent a request that was let in, with a connection of its own or without."""
    caller: Caller = request.scope[_CALLER]
    return caller


class Admits:
    """`Requires` for a route that opens transactions of its own: its check takes one by itself."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request, database: DatabaseAccess) -> Caller:
        presented = presented_key(request)
        async with database.transaction() as connection:
            credential = await tenants.authenticate(connection, presented)
            caller = check_credential(
                presented, credential, self.scope, writes=request.method not in _READING
            )
            request.scope[_CALLER] = caller
            return caller


#: The keys of a process that wait for their check.
KeyChecks = Line[tuple[Database, PresentedKey], Credential | None]


async def check_keys(
    presented: Sequence[tuple[Database, PresentedKey]],
) -> list[Credential | None]:
    """The stored sides of keys that were all presented before this began, in one statement."""
    return await tenants.authenticate_many(presented[0][0], [key for _, key in presented])


class Gathers(Admits):
    """`Admits` for a route whose requests come by the thousand: they share the check, too.

    A key is looked up anew for each request, so that one revoked is refused at once.
    """

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        presented = presented_key(request)
        checks: KeyChecks = request.app.state.key_checks
        credential = await checks.join((request.app.state.database, presented))
        caller = check_credential(
            presented, credential, self.scope, writes=request.method not in _READING
        )
        request.scope[_CALLER] = caller
        return caller


def requires(scope: Scope) -> object:
    """`Annotated[Caller, requires(Scope.X)]`: the caller, on the request's own connection."""
    return Depends(Requires(scope))


def admits(scope: Scope) -> object:
    """`Annotated[Caller, admits(Scope.X)]`: the caller, with no transaction left open."""
    return Depends(Admits(scope))


def gathers(scope: Scope) -> object:
    """`Annotated[Caller, gathers(Scope.X)]`: as `admits`, checked with concurrent requests."""
    return Depends(Gathers(scope))


@asynccontextmanager
async def admit(request: Request, scope: Scope) -> AsyncIterator[None]:
    """Let the request in with a connection of its own, if its key covers `scope`.

    A request that writes gets one transaction, which ends with this block; and its Idempotency-Key
    is claimed in it. Raises Unauthenticated, Forbidden and what `claim` raises.
    """
    presented = presented_key(request)
    database: Database = request.app.state.database
    if request.method in _READING:
        opening = (tenants.AUTHENTICATE_READER, presented.id, presented.secret_sha256)
        async with database.reading(*opening) as (connection, row):
            credential = None if row is None else tenants.read_credential(presented, row)
            caller = check_credential(presented, credential, scope, writes=False)
            request.scope[_CALLER] = caller
            request.scope[_ADMITTED] = Admitted(caller, connection)
            yield
    else:
        async with database.transaction() as connection:
            credential = await tenants.authenticate(connection, presented)
            caller = check_credential(presented, credential, scope, writes=True)
            request.scope[_CALLER] = caller
            request.scope[_ADMITTED] = Admitted(caller, connection)
            await claim(request, connection, caller.tenant.id)
            yield


def check_credential(
    presented: PresentedKey, credential: Credential | None, scope: Scope, *, writes: bool
) -> Caller:
    """The caller behind a key that holds and covers `scope`. Raises Unauthenticated, Forbidden."""
    if credential is None or not key_holds(
        presented,
        secret_sha256=credential.secret_sha256,
        expires_at=credential.expires_at,
        revoked_at=credential.revoked_at,
        now=datetime.now(UTC),
    ):
        raise Unauthenticated("The API key is unknown, expired or revoked.")
    if scope not in credential.scopes:
        raise Forbidden(f"This needs a key with the scope {scope}.")
    if writes and Scope.CUSTOMERS_ANONYMIZED in credential.scopes:
        raise Forbidden("A key with the scope customers:anonymized may only read.")
    return Caller(credential.tenant, credential.key_id, credential.scopes)


def presented_key(request: Request) -> PresentedKey:
    """The key in the headers, unchecked. Raises Unauthenticated where there is none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        token = request.headers.get("x-api-key", "")
    presented = parse_key(token.strip())
    if presented is None:
        raise Unauthenticated(
            "Send an API key as `Authorization: Bearer bps_…` or as `X-API-Key: bps_…`."
        )
    return presented


def check_user_id(caller: Caller, user_id: str | None) -> None:
    """Let a `userId` pass that names the caller's own tenant. Raises Forbidden for another."""
    if user_id is not None and not caller.tenant.is_named(user_id):
        raise Forbidden("userId names another tenant than the key's.")


#: `?userId=`, for routes whose callers have always sent it; hand it to `check_user_id`.
UserId = Annotated[
    str | None,
    Query(alias="userId", description="The tenant's slug or id; must be the tenant of the key."),
]

#: Stands for an escaped slash while a path is routed; no id may hold a control character.
SLASH_IN_ID = "\x1f"


def _restore_slashes(path_id: str) -> str:
    return path_id.replace(SLASH_IN_ID, "/")


#: An id of the tenant's own making in the path; a slash in it is sent as `%2F`.
PathId = Annotated[
    str, Path(description="A slash in it is sent as `%2F`."), AfterValidator(_restore_slashes)
]

#: Two ids of the tenant's own making in one path.
VenueId = Annotated[
    str,
    Path(alias="venueId", description="Id of the store; a slash in it is sent as `%2F`."),
    AfterValidator(_restore_slashes),
]
CustomerId = Annotated[
    str,
    Path(alias="customerId", description="A slash in it is sent as `%2F`."),
    AfterValidator(_restore_slashes),
]
