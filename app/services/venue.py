"""Counting the customers of a venue by segment, once an hour at most."""

from datetime import datetime, timedelta

from app.database import Database
from app.domain.scoring_run import run_clock
from app.domain.tenant import Tenant
from app.repositories import scoring, venue
from app.repositories import store as stores
from app.repositories.venue import VenueSegments
from app.services.scoring import statements_for

#: Counting reads every order at the venue; the answer may be this old.
FRESH_FOR = timedelta(hours=1)


async def count_segments(
    database: Database, tenant: Tenant, venue_id: str, *, now: datetime
) -> VenueSegments:
    """How the customers with an order at the venue divide, from their orders there only.

    What was counted within the hour under the same rules is the answer. Raises NotFound.
    """
    rules = tenant.profile.version
    since = now - FRESH_FOR
    async with database.tenant_transaction(tenant.id) as connection:
        store = await stores.get(connection, tenant.id, venue_id)
        kept = await venue.find_segments(
            connection, tenant.id, store.sk, model_version=rules, since=since
        )
        if kept is not None:
            return kept
        # Whoever waited here finds what the other one has counted.
        await venue.lock_segments(connection, store.sk)
        kept = await venue.find_segments(
            connection, tenant.id, store.sk, model_version=rules, since=since
        )
        if kept is not None:
            return kept
        clock = run_clock(tenant, tenant.as_of(now))
        counted = await scoring.compute_store_segments(
            connection, statements_for(tenant), tenant.id, clock, store_sk=store.sk
        )
        found = VenueSegments(clock.as_of, now, counted)
        await venue.replace_segments(connection, tenant.id, store.sk, found, model_version=rules)
        return found
