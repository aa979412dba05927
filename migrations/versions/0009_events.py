"""Behaviour events with everything a source tells of them, and the summary of each customer."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Funnels, and counts of one type in a window, read that type alone and from the index alone.
# What is kept of the address of a device is the network it was in.
EVENTS = """
ALTER TABLE behavior_events
    ADD COLUMN page_url     text,
    ADD COLUMN referrer_url text,
    ADD COLUMN ip_network   cidr,
    ADD COLUMN user_agent   text,
    ADD COLUMN browser      text,
    ADD COLUMN os           text,
    ADD COLUMN latitude     double precision,
    ADD COLUMN longitude    double precision,
    ADD COLUMN country      text,
    ADD COLUMN city         text,
    ADD CHECK ((latitude IS NULL) = (longitude IS NULL));
CREATE INDEX behavior_events_type_idx
    ON behavior_events (tenant_id, event_type, occurred_at) INCLUDE (customer_sk);
"""

# A row is written again with each event of its customer: no index holds what changes, and a page
# keeps room for the new version, so that only the row itself is written.
SUMMARIES = """
CREATE TABLE behavior_summaries (
    tenant_id         integer NOT NULL,
    customer_sk       bigint NOT NULL,
    events            bigint NOT NULL,
    page_views        bigint NOT NULL,
    product_views     bigint NOT NULL,
    cart_additions    bigint NOT NULL,
    purchases         bigint NOT NULL,
    spent             bigint NOT NULL,
    first_event_at    timestamptz NOT NULL,
    last_event_at     timestamptz NOT NULL,
    first_purchase_at timestamptz,
    last_purchase_at  timestamptz,
    categories        jsonb NOT NULL,
    devices           jsonb NOT NULL,
    sources           jsonb NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_sk),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk),
    CHECK ((first_purchase_at IS NULL) = (purchases = 0)),
    CHECK ((last_purchase_at IS NULL) = (purchases = 0))
) WITH (fillfactor = 70);
ALTER TABLE behavior_summaries ENABLE ROW LEVEL SECURITY;
ALTER TABLE behavior_summaries FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON behavior_summaries TO PUBLIC
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON behavior_summaries TO bps_app;
"""

# Most events name one category, one device and one source or none. Setting one key costs a
# fraction of taking both objects apart and putting them together again.
ADD_COUNTS = """
CREATE FUNCTION add_counts(counts jsonb, added jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT jsonb_object_keys(added) LOOP
        counts := jsonb_set(counts, ARRAY[name],
                            to_jsonb(coalesce((counts ->> name)::bigint, 0)
                                     + (added ->> name)::bigint));
    END LOOP;
    RETURN counts;
END $$;
"""


# Two writers who meet a new month: the second waits, and then has to see what the first has made.
# to_regclass() answers from a cache that nothing has refreshed meanwhile; a query does not.
CACHED = "IF to_regclass(partition) IS NOT NULL THEN"
LOOKED_UP = """IF EXISTS (
        SELECT FROM pg_class
        WHERE relname = partition AND relnamespace = 'public'::regnamespace
    ) THEN"""
WAIT = "PERFORM pg_advisory_xact_lock(hashtext(partition));\n    "


def upgrade() -> None:
    for script in (EVENTS, SUMMARIES, ADD_COUNTS):
        _run(script)
    _look_after_waiting(CACHED, LOOKED_UP)


def _look_after_waiting(before: str, after: str) -> None:
    _run(f"""
        DO $do$ BEGIN EXECUTE replace(
            pg_get_functiondef('ensure_partition(text, date)'::regprocedure),
            $x${WAIT}{before}$x$, $x${WAIT}{after}$x$
        ); END $do$;
    """)


def downgrade() -> None:
    _look_after_waiting(LOOKED_UP, CACHED)
    _run("""
        DROP FUNCTION add_counts(jsonb, jsonb);
        DROP TABLE behavior_summaries;
        DROP INDEX behavior_events_type_idx;
        ALTER TABLE behavior_events
            DROP COLUMN page_url, DROP COLUMN referrer_url, DROP COLUMN ip_network,
            DROP COLUMN user_agent, DROP COLUMN browser, DROP COLUMN os, DROP COLUMN latitude,
            DROP COLUMN longitude, DROP COLUMN country, DROP COLUMN city;
    """)


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
