"""Erased customers stay away, their sales stay in the totals; duplicates; old reads are forgotten.

**Totals after an erasure.** Past revenue and past answers do not change because somebody was
erased: their rows go without the trigger, and what they added up to is kept without the person in
tables of retained amounts, so that adding up everything anew comes to the same totals. Who adds up
anew takes its share of the lock that an erasure has for itself, and so never counts a sale twice.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RETAINED = """
CREATE TABLE retained_sales_days (
    tenant_id integer NOT NULL REFERENCES tenants (id),
    day       date NOT NULL,
    store_sk  bigint NOT NULL,
    orders    bigint NOT NULL,
    revenue   numeric NOT NULL,
    PRIMARY KEY (tenant_id, day, store_sk)
);

CREATE TABLE retained_satisfaction_months (
    tenant_id   integer NOT NULL REFERENCES tenants (id),
    month       date NOT NULL,
    store_sk    bigint NOT NULL,
    rfm_segment text NOT NULL,
    kind        text NOT NULL,
    answers     bigint NOT NULL,
    score_sum   bigint NOT NULL,
    promoters   bigint NOT NULL,
    detractors  bigint NOT NULL,
    PRIMARY KEY (tenant_id, month, store_sk, rfm_segment, kind)
);

ALTER FUNCTION rebuild_sales_days(integer) RENAME TO rebuild_present_sales_days;
CREATE FUNCTION rebuild_sales_days(tenant integer) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT pg_advisory_xact_lock_shared(hashtext('local clock'), tenant);
    SELECT rebuild_present_sales_days(tenant);
    INSERT INTO sales_days (tenant_id, day, store_sk, orders, revenue)
    SELECT tenant_id, day, store_sk, orders, revenue
    FROM retained_sales_days WHERE tenant_id = tenant;
$$;

ALTER FUNCTION rebuild_satisfaction_months(integer) RENAME TO rebuild_present_satisfaction_months;
CREATE FUNCTION rebuild_satisfaction_months(tenant integer) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT pg_advisory_xact_lock_shared(hashtext('local clock'), tenant);
    SELECT rebuild_present_satisfaction_months(tenant);
    INSERT INTO satisfaction_months (
        tenant_id, month, store_sk, rfm_segment, kind, answers, score_sum, promoters, detractors
    )
    SELECT tenant_id, month, store_sk, rfm_segment, kind, answers, score_sum, promoters, detractors
    FROM retained_satisfaction_months WHERE tenant_id = tenant;
$$;
"""

# HMAC-SHA-256 by its definition (RFC 2104), with the pads made once for all ids. The key has 32
# bytes, so it is padded with zeros to the 64 of a block. Whoever creates customers asks first and
# has a reason to give for each; the trigger is for those who asked just before an erasure was
# committed: they try again, as after any conflict of two transactions, and get the reason then.
TOMBSTONES = """
CREATE FUNCTION erased_among(tenant integer, ids text[])
RETURNS TABLE (id text, erased_at timestamptz)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    key bytea;
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    IF NOT EXISTS (SELECT FROM erasures e WHERE e.tenant_id = tenant) THEN
        RETURN;
    END IF;
    SELECT t.pseudonym_key INTO key FROM tenants t WHERE t.id = tenant;
    FOR place IN 0 .. octet_length(key) - 1 LOOP
        inner_pad := set_byte(inner_pad, place, get_byte(inner_pad, place) # get_byte(key, place));
        outer_pad := set_byte(outer_pad, place, get_byte(outer_pad, place) # get_byte(key, place));
    END LOOP;
    RETURN QUERY
    SELECT hashed.id, e.erased_at
    FROM (
        SELECT DISTINCT wanted.id,
               sha256(outer_pad || sha256(inner_pad || convert_to(wanted.id, 'UTF8'))) AS id_hash
        FROM unnest(ids) AS wanted (id)
    ) AS hashed
    JOIN erasures e ON e.tenant_id = tenant AND e.id_hash = hashed.id_hash;
END $$;

CREATE FUNCTION refuse_former_customers() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    tenant integer := nullif(current_setting('app.tenant_id', true), '')::integer;
BEGIN
    IF EXISTS (SELECT FROM erasures e WHERE e.tenant_id = tenant)
       AND EXISTS (
           SELECT FROM erased_among(tenant, (SELECT array_agg(n.id) FROM now_there n))
       )
    THEN
        RAISE serialization_failure USING MESSAGE = 'a customer to be added was erased';
    END IF;
    IF EXISTS (SELECT FROM customer_aliases a WHERE a.tenant_id = tenant)
       AND EXISTS (
           SELECT FROM now_there n
           JOIN customer_aliases a ON a.tenant_id = tenant AND a.id = n.id
       )
    THEN
        RAISE serialization_failure USING MESSAGE = 'a customer to be added was merged';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER customers_refuse_former AFTER INSERT ON customers
REFERENCING NEW TABLE AS now_there
FOR EACH STATEMENT EXECUTE FUNCTION refuse_former_customers();
"""

# A pair once, the customer recorded first in front. `score` is what the reasons weigh together.
DUPLICATES = """
CREATE TABLE duplicate_pairs (
    tenant_id   integer NOT NULL,
    customer_sk bigint NOT NULL,
    other_sk    bigint NOT NULL,
    score       smallint NOT NULL,
    reasons     text[] NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_sk, other_sk),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, other_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE,
    CHECK (customer_sk < other_sk)
);
CREATE INDEX duplicate_pairs_score_idx
    ON duplicate_pairs (tenant_id, score DESC, customer_sk, other_sk);
CREATE INDEX duplicate_pairs_other_idx ON duplicate_pairs (tenant_id, other_sk);
"""

# Runs as the owner of the tables, because the service's role may not drop any.
FORGETTING = """
CREATE FUNCTION drop_old_access_log(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    partition text;
    dropped integer := 0;
BEGIN
    IF before > now() - interval '90 days' THEN
        RAISE EXCEPTION 'the reads of the last 90 days are kept';
    END IF;
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'access_log'::regclass
          -- The month that a partition ends with has to be over.
          AND c.relname ~ '^access_log_[0-9]{6}$'
          AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= before
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION drop_old_access_log(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_old_access_log(date) TO bps_app;
"""

NEW_TABLES = ("retained_sales_days", "retained_satisfaction_months", "duplicate_pairs")

CURRENT_TENANT = "(SELECT nullif(current_setting('app.tenant_id', true), '')::integer)"


def upgrade() -> None:
    for script in (RETAINED, TOMBSTONES, DUPLICATES, FORGETTING):
        _run(script)
    for table in NEW_TABLES:
        _run(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
            CREATE POLICY own_tenant ON {table} TO PUBLIC
                USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT});
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO bps_app;
        """)


def downgrade() -> None:
    _run("""
        DROP TRIGGER customers_refuse_former ON customers;
        DROP FUNCTION refuse_former_customers(), erased_among(integer, text[]),
            drop_old_access_log(date), rebuild_sales_days(integer),
            rebuild_satisfaction_months(integer);
        ALTER FUNCTION rebuild_present_sales_days(integer) RENAME TO rebuild_sales_days;
        ALTER FUNCTION rebuild_present_satisfaction_months(integer)
            RENAME TO rebuild_satisfaction_months;
    """)
    _run(f"DROP TABLE {', '.join(NEW_TABLES)};")


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
