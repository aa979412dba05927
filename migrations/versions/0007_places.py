"""Places of customers by GiST and by geohash, flags of captures, ids once received, retention.

**Indexes under row-level security.** A condition is looked up in an index only if its operator is
known not to leak what it is given, since it is put to rows that the policy has not yet approved.
PostGIS does not say so of `&&`. It may be said: the operator compares two bounding boxes, and
neither fails nor tells anything by the way. Only a superuser may say it. Where migrations run as
somebody else, spatial queries stay right and become slow, and `docs/how-to/run-in-production.md`
says what to ask of whoever owns the server.

Each index begins with the tenant, which is what `btree_gist` is for. A place is there twice: as
longitude and latitude for boxes, tiles and zones, which are drawn on the map, and as a point of the
globe for distances in metres, which hold across the antimeridian and at the poles.
"""

from alembic import op

from migrations.spatial import LEAKPROOF

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# A prefix of a geohash is a range of texts only where texts are compared byte by byte.
PLACES = """
DROP VIEW customer_360;
ALTER TABLE customers
    ALTER COLUMN last_known_geohash TYPE text COLLATE "C",
    ADD COLUMN last_known_location geometry(Point, 4326) GENERATED ALWAYS AS (
        ST_SetSRID(ST_MakePoint(last_known_longitude, last_known_latitude), 4326)
    ) STORED,
    ADD COLUMN last_known_geography geography(Point, 4326) GENERATED ALWAYS AS (
        ST_SetSRID(ST_MakePoint(last_known_longitude, last_known_latitude), 4326)::geography
    ) STORED;
CREATE INDEX customers_location_idx ON customers
    USING gist (tenant_id, last_known_location) WHERE last_known_location IS NOT NULL;
CREATE INDEX customers_geography_idx ON customers
    USING gist (tenant_id, last_known_geography) WHERE last_known_geography IS NOT NULL;
CREATE INDEX customers_geohash_idx ON customers
    (tenant_id, last_known_geohash, sk) WHERE last_known_geohash IS NOT NULL;

ALTER TABLE stores ADD COLUMN geography geography(Point, 4326)
    GENERATED ALWAYS AS (location::geography) STORED;
DROP INDEX stores_location_idx;
CREATE INDEX stores_location_idx ON stores
    USING gist (tenant_id, location) WHERE location IS NOT NULL;
CREATE INDEX stores_geography_idx ON stores
    USING gist (tenant_id, geography) WHERE geography IS NOT NULL;

DROP INDEX addresses_location_idx;
CREATE INDEX addresses_location_idx ON addresses
    USING gist (tenant_id, location) WHERE location IS NOT NULL;

ALTER TABLE delivery_zones
    ADD COLUMN description text,
    ADD COLUMN properties jsonb NOT NULL DEFAULT '{}';
DROP INDEX delivery_zones_area_idx;
CREATE INDEX delivery_zones_area_idx ON delivery_zones USING gist (tenant_id, area);
"""

# As it was; only the columns of `customers` are others.
CUSTOMER_360 = """
CREATE VIEW customer_360 WITH (security_invoker = true) AS
SELECT c.*,
       a.as_of, a.computed_at, a.model_version,
       a.total_orders, a.counted_orders, a.first_order_at, a.last_order_at, a.revenue,
       a.average_order_value, a.orders_30d, a.orders_90d, a.orders_180d, a.orders_365d,
       a.days_since_last_order, a.purchase_frequency_days, a.rfm_code, a.rfm_segment,
       a.clv, a.clv_percentile, a.churn_score, a.churn_band, a.churn_reasons, a.value_at_risk,
       a.lifecycle_segment, a.standing_since
FROM customers c
LEFT JOIN customer_analytics a ON a.tenant_id = c.tenant_id AND a.customer_sk = c.sk;
GRANT SELECT ON customer_360 TO bps_app;
"""

# Captures are looked up by customer, by device and by who captured them, never by place.
CAPTURES = """
ALTER TABLE location_history ADD COLUMN flags text[] NOT NULL DEFAULT '{}';
DROP INDEX location_history_location_idx;
CREATE INDEX location_history_device_idx ON location_history (tenant_id, device_id, captured_at)
    WHERE device_id IS NOT NULL;
CREATE INDEX location_history_captured_by_idx
    ON location_history (tenant_id, captured_by, captured_at) WHERE captured_by IS NOT NULL;
"""

# The unique key of a partitioned table has to hold its month, and a client may send the same
# capture again with another time. So what was received is remembered here, as a digest, because an
# id may tell of a person.
RECEIVED = """
CREATE TABLE received_ids (
    tenant_id   integer NOT NULL,
    kind        text NOT NULL,
    digest      uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, digest)
);
CREATE INDEX received_ids_received_at_idx ON received_ids USING brin (received_at);
ALTER TABLE received_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE received_ids FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON received_ids TO PUBLIC
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON received_ids TO bps_app;
"""

# A partition holds a month of every tenant. It goes as a whole once nobody keeps it any more; a
# tenant that keeps less deletes its own rows. Runs as the owner of the tables, because the
# service's role may not drop any.
RETENTION = """
ALTER TABLE tenants
    ADD COLUMN location_retention_days integer DEFAULT 730 CHECK (location_retention_days > 0),
    ADD COLUMN event_retention_days integer DEFAULT 730 CHECK (event_retention_days > 0);

CREATE FUNCTION drop_expired_partitions(parent text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept_days integer;
    partition text;
    dropped integer := 0;
BEGIN
    -- No row, or a tenant that keeps everything: nothing is dropped.
    SELECT CASE
               WHEN bool_and(days IS NOT NULL) THEN max(days)
           END
      INTO kept_days
      FROM (
          SELECT CASE parent
                     WHEN 'location_history' THEN location_retention_days
                     WHEN 'behavior_events' THEN event_retention_days
                 END AS days
          FROM tenant_directory()
      ) AS kept;
    IF kept_days IS NULL THEN
        RETURN 0;
    END IF;
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass
          AND c.relname ~ ('^' || parent || '_[0-9]{6}$')
          -- The month that a partition ends with has to be over, wherever the tenant is.
          AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month 1 day'
              <= now() - kept_days * interval '1 day'
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION drop_expired_partitions(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_expired_partitions(text) TO bps_app;
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    for script in (LEAKPROOF, PLACES, CUSTOMER_360, CAPTURES, RECEIVED, RETENTION):
        _run(script)


def downgrade() -> None:
    _run("""
        DROP FUNCTION drop_expired_partitions(text);
        DROP TABLE received_ids;
        ALTER TABLE tenants
            DROP COLUMN location_retention_days, DROP COLUMN event_retention_days;
        DROP INDEX location_history_device_idx, location_history_captured_by_idx;
        ALTER TABLE location_history DROP COLUMN flags;
        CREATE INDEX location_history_location_idx ON location_history USING gist (location);
        DROP INDEX delivery_zones_area_idx, addresses_location_idx, stores_location_idx;
        CREATE INDEX delivery_zones_area_idx ON delivery_zones USING gist (area);
        CREATE INDEX addresses_location_idx ON addresses USING gist (location);
        CREATE INDEX stores_location_idx ON stores USING gist (location);
        ALTER TABLE delivery_zones DROP COLUMN description, DROP COLUMN properties;
        ALTER TABLE stores DROP COLUMN geography;
        DROP VIEW customer_360;
        DROP INDEX customers_geohash_idx;
        ALTER TABLE customers
            DROP COLUMN last_known_location, DROP COLUMN last_known_geography,
            ALTER COLUMN last_known_geohash TYPE text COLLATE "default";
    """)
    _run(CUSTOMER_360)


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
