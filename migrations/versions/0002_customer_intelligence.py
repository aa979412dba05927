"""Engagement, influence and written scores; running totals for the dashboards; privacy.

**Running totals.** A dashboard over a million customers must not read a million rows, and a row
that every order of a day adds to would make all writers of that day wait for each other. So each
table of totals holds *amounts to be added up*: triggers append what a statement changed, readers
sum, and the worker sums older rows into one (`compact_totals`). The triggers see whole statements,
so a file of a million orders appends a few rows for each of its days.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SOURCES = """
ALTER TABLE contacts ADD COLUMN source_updated_at timestamptz;
CREATE INDEX contacts_recorded_at_idx ON contacts USING brin (recorded_at);

-- local_at is the tenant's wall clock, as in orders. rfm_segment is the segment the customer had
-- when the feedback was recorded, or the first one known after that.
ALTER TABLE feedback
    ADD COLUMN local_at timestamp,
    ADD COLUMN rfm_segment text,
    ADD COLUMN source_updated_at timestamptz;
ALTER TABLE feedback NO FORCE ROW LEVEL SECURITY;
ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY;
UPDATE feedback f SET local_at = f.given_at AT TIME ZONE t.timezone
FROM tenants t WHERE t.id = f.tenant_id;
ALTER TABLE feedback FORCE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE feedback
    ALTER COLUMN local_at SET NOT NULL,
    ADD CONSTRAINT feedback_score_check CHECK (
        CASE kind
            WHEN 'nps' THEN score IS NOT NULL AND score BETWEEN 0 AND 10
            WHEN 'csat' THEN score IS NOT NULL AND score BETWEEN 1 AND 10
            WHEN 'review' THEN score BETWEEN 1 AND 5
            ELSE score IS NULL
        END
    ) NOT VALID;
CREATE INDEX feedback_recorded_at_idx ON feedback USING brin (recorded_at);
CREATE INDEX feedback_unplaced_idx ON feedback (tenant_id, customer_sk) WHERE rfm_segment IS NULL;
"""

# clv_rank stands in for lifetime value as risk_rank does for value at risk: no index holds a number
# that drifts from night to night.
SCORES = """
ALTER TABLE customer_analytics
    ADD COLUMN first_order_day date,
    ADD COLUMN first_store_sk bigint,
    ADD COLUMN loyalty_points integer,
    ADD COLUMN gender text,
    ADD COLUMN age_group text,
    ADD COLUMN contacts integer NOT NULL DEFAULT 0,
    ADD COLUMN responses integer NOT NULL DEFAULT 0,
    ADD COLUMN response_rate double precision,
    ADD COLUMN last_contact_at timestamptz,
    ADD COLUMN last_contact_channel text,
    ADD COLUMN preferred_contact_channel text,
    ADD COLUMN feedback_count integer NOT NULL DEFAULT 0,
    ADD COLUMN complaint_count integer NOT NULL DEFAULT 0,
    ADD COLUMN complaints_90d integer NOT NULL DEFAULT 0,
    ADD COLUMN satisfaction_score double precision,
    ADD COLUMN satisfaction_at timestamptz,
    ADD COLUMN referred_customers integer NOT NULL DEFAULT 0,
    ADD COLUMN referral_revenue bigint NOT NULL DEFAULT 0,
    ADD COLUMN influence_score double precision,
    ADD COLUMN response_level text,
    ADD COLUMN spending_level text,
    ADD COLUMN engagement_quadrant text,
    ADD COLUMN next_purchase_status text NOT NULL DEFAULT 'insufficient_data',
    ADD COLUMN next_purchase_on date,
    ADD COLUMN next_purchase_confidence double precision,
    ADD COLUMN clv_tier text,
    ADD COLUMN clv_bucket smallint,
    ADD COLUMN recommended_products text[],
    ADD COLUMN external_scores text[] NOT NULL DEFAULT '{}',
    ADD COLUMN external_as_of timestamptz,
    ADD COLUMN external_model_version text,
    ADD COLUMN clv_rank smallint GENERATED ALWAYS AS (
        CASE
            WHEN clv > 0 THEN floor(50 * log(clv::double precision))::smallint
            WHEN clv IS NOT NULL THEN 0
        END
    ) STORED;
CREATE INDEX customer_analytics_influence_idx
    ON customer_analytics (tenant_id, influence_score DESC, customer_sk)
    WHERE referred_customers > 0;
CREATE INDEX customer_analytics_clv_idx
    ON customer_analytics (tenant_id, clv_rank DESC) WHERE clv_rank IS NOT NULL;

-- A run of scores that somebody else computed, kept apart until it is committed as a whole.
CREATE TABLE external_runs (
    tenant_id     integer NOT NULL REFERENCES tenants (id),
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    as_of         timestamptz NOT NULL,
    model_version text NOT NULL,
    status        text NOT NULL DEFAULT 'open',
    opened_at     timestamptz NOT NULL DEFAULT now(),
    opened_by     text,
    closed_at     timestamptz,
    outcome       jsonb,
    PRIMARY KEY (tenant_id, id),
    CHECK (status IN ('open', 'committed', 'discarded'))
);

CREATE TABLE external_run_rows (
    tenant_id                integer NOT NULL,
    run_id                   uuid NOT NULL,
    customer_sk              bigint NOT NULL,
    rfm_segment              text,
    rfm_recency_score        smallint,
    rfm_frequency_score      smallint,
    rfm_monetary_score       smallint,
    clv                      bigint,
    clv_percentile           smallint,
    churn_score              double precision,
    churn_reasons            text[],
    influence_score          double precision,
    recommended_products     text[],
    next_purchase_on         date,
    next_purchase_confidence double precision,
    PRIMARY KEY (tenant_id, run_id, customer_sk),
    FOREIGN KEY (tenant_id, run_id) REFERENCES external_runs (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk)
);
CREATE INDEX external_run_rows_customer_idx ON external_run_rows (tenant_id, customer_sk);

CREATE TABLE sanity_checks (
    tenant_id  integer NOT NULL REFERENCES tenants (id),
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    passed     boolean NOT NULL,
    checks     jsonb NOT NULL,
    PRIMARY KEY (tenant_id, checked_at)
);
"""

# In every table of totals `seq` tells apart the rows of one key that are to be added up.
TOTALS = """
CREATE TABLE population_totals (
    tenant_id          integer NOT NULL,
    figure             text NOT NULL,
    a                  text NOT NULL,
    b                  text NOT NULL,
    seq                bigint GENERATED BY DEFAULT AS IDENTITY,
    customers          bigint NOT NULL,
    buyers             bigint NOT NULL,
    repeat_buyers      bigint NOT NULL,
    revenue            numeric NOT NULL,
    revenue_365d       numeric NOT NULL,
    revenue_90d        numeric NOT NULL,
    orders_365d        bigint NOT NULL,
    orders_90d         bigint NOT NULL,
    order_values       numeric NOT NULL,
    days_since         bigint NOT NULL,
    active_30d         bigint NOT NULL,
    inactive_90d       bigint NOT NULL,
    tenure_days        bigint NOT NULL,
    clv                numeric NOT NULL,
    value_at_risk      numeric NOT NULL,
    churn_rated        bigint NOT NULL,
    churn_points       bigint NOT NULL,
    declining_orders   bigint NOT NULL,
    declining_spend    bigint NOT NULL,
    loyalty_points     bigint NOT NULL,
    contacts           bigint NOT NULL,
    responses          bigint NOT NULL,
    PRIMARY KEY (tenant_id, figure, a, b, seq)
);

CREATE TABLE sales_days (
    tenant_id integer NOT NULL,
    day       date NOT NULL,
    store_sk  bigint NOT NULL,
    seq       bigint GENERATED BY DEFAULT AS IDENTITY,
    orders    bigint NOT NULL,
    revenue   numeric NOT NULL,
    PRIMARY KEY (tenant_id, day, store_sk, seq)
);

CREATE TABLE satisfaction_months (
    tenant_id   integer NOT NULL,
    month       date NOT NULL,
    store_sk    bigint NOT NULL,
    rfm_segment text NOT NULL,
    kind        text NOT NULL,
    seq         bigint GENERATED BY DEFAULT AS IDENTITY,
    answers     bigint NOT NULL,
    score_sum   bigint NOT NULL,
    promoters   bigint NOT NULL,
    detractors  bigint NOT NULL,
    PRIMARY KEY (tenant_id, month, store_sk, rfm_segment, kind, seq)
);

-- What the totals were at the end of a day, kept by the nightly run for comparisons.
CREATE TABLE population_total_days (
    tenant_id     integer NOT NULL,
    day           date NOT NULL,
    figure        text NOT NULL,
    a             text NOT NULL,
    b             text NOT NULL,
    customers     bigint NOT NULL,
    buyers        bigint NOT NULL,
    repeat_buyers bigint NOT NULL,
    revenue_365d  numeric NOT NULL,
    clv           numeric NOT NULL,
    value_at_risk numeric NOT NULL,
    loyalty_points bigint NOT NULL,
    PRIMARY KEY (tenant_id, day, figure, a, b)
);

-- Who moved between segments from one day to another; computed once for each pair of days.
CREATE TABLE standing_moves (
    tenant_id    integer NOT NULL,
    kind         text NOT NULL,
    from_day     date NOT NULL,
    to_day       date NOT NULL,
    from_value   text NOT NULL,
    to_value     text NOT NULL,
    customers    bigint NOT NULL,
    computed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, from_day, to_day, from_value, to_value)
);
"""

_CUSTOMER_SUMS = {
    "customers": "1",
    "buyers": "(counted_orders > 0)::int",
    "repeat_buyers": "(counted_orders > 1)::int",
    "revenue": "revenue",
    "revenue_365d": "revenue_365d",
    "revenue_90d": "revenue_90d",
    "orders_365d": "orders_365d",
    "orders_90d": "orders_90d",
    "order_values": "coalesce(average_order_value, 0)",
    "days_since": "coalesce(days_since_last_order, 0)",
    "active_30d": "coalesce(days_since_last_order <= 30, false)::int",
    "inactive_90d": "coalesce(days_since_last_order > 90, false)::int",
    "tenure_days": "coalesce(tenure_days, 0)",
    "clv": "coalesce(clv, 0)",
    "value_at_risk": "coalesce(value_at_risk, 0)",
    "churn_rated": "(churn_score IS NOT NULL)::int",
    # A score has four digits: as a whole number it can be added and taken away for ever.
    "churn_points": "coalesce(round(churn_score * 10000)::int, 0)",
    "declining_orders": "coalesce(order_frequency_trend = 'decreasing', false)::int",
    "declining_spend": "coalesce(spend_trend = 'decreasing', false)::int",
    "loyalty_points": "coalesce(loyalty_points, 0)",
    "contacts": "contacts",
    "responses": "responses",
}

_ALL = frozenset(_CUSTOMER_SUMS)

# The figures by the keys they are made of, and the sums that are kept for them; the others stay 0.
# Those of a group are summed together first: a million rows become some thousands, and those become
# every figure.
_FIGURES = (
    (
        (
            "rfm_segment, rfm_recency_score, rfm_frequency_score, churn_band, lifecycle_segment,"
            " membership_tier, response_level, spending_level"
        ),
        """('segment', rfm_segment, ''),
           ('grid', rfm_recency_score::text, rfm_frequency_score::text),
           ('band', churn_band, ''),
           ('lifecycle', lifecycle_segment, ''),
           ('tier', coalesce(membership_tier, 'none'), ''),
           ('engagement', coalesce(response_level, 'none'), spending_level)""",
        _ALL,
    ),
    (
        "clv_tier, clv_bucket, age_group, gender",
        """('clv_tier', clv_tier, ''),
           ('clv_bucket', clv_bucket::text, ''),
           ('demographics', coalesce(age_group, 'unknown'), coalesce(gender, 'unknown'))""",
        _ALL
        - {
            "days_since",
            "active_30d",
            "inactive_90d",
            "churn_rated",
            "churn_points",
            "declining_orders",
            "declining_spend",
            "loyalty_points",
            "contacts",
            "responses",
        },
    ),
    (
        "first_order_day, first_store_sk",
        "('first_order', first_order_day::text, coalesce(first_store_sk, 0)::text)",
        frozenset({"customers"}),
    ),
)
_COLUMNS = ", ".join(_CUSTOMER_SUMS)
_ROLLED_UP = ", ".join(f"sum({name})" for name in _CUSTOMER_SUMS)


_OF_REASONS = frozenset({"customers", "clv", "value_at_risk", "churn_rated", "churn_points"})


def _sums(kept: frozenset[str]) -> str:
    return ", ".join(
        f"sum(sign * {expression}) AS {name}" if name in kept else f"0::bigint AS {name}"
        for name, expression in _CUSTOMER_SUMS.items()
    )


def _totals_of(source: str) -> str:
    """Select the totals that the rows of `source` (with a `sign` of 1 or -1) add up to."""
    parts = [
        f"""
        SELECT tenant_id, figure, a, b, {_ROLLED_UP}
        FROM (
            SELECT tenant_id, {keys}, {_sums(kept)} FROM {source} GROUP BY tenant_id, {keys}
        ) fine
        CROSS JOIN LATERAL (VALUES {figures}) AS named (figure, a, b)
        WHERE a IS NOT NULL AND b IS NOT NULL
        GROUP BY tenant_id, figure, a, b"""
        for keys, figures, kept in _FIGURES
    ]
    parts.append(f"""
        SELECT tenant_id, 'reason', reason, '', {_sums(_OF_REASONS)}
        FROM {source} CROSS JOIN LATERAL unnest(churn_reasons) AS reason
        GROUP BY tenant_id, reason""")
    return "\n        UNION ALL".join(parts)


def _nonzero(sums: tuple[str, ...]) -> str:
    return " OR ".join(f"{name} <> 0" for name in sums)


_SALES_OF = """
        SELECT tenant_id, local_at::date AS day, coalesce(store_sk, 0) AS store_sk,
               sum(sign * counted::int) AS orders, sum(sign * net_amount) AS revenue
        FROM {source} WHERE counted OR net_amount <> 0
        GROUP BY 1, 2, 3"""
_SATISFACTION_OF = """
        SELECT tenant_id, date_trunc('month', local_at)::date AS month,
               coalesce(store_sk, 0) AS store_sk, coalesce(rfm_segment, 'unknown') AS rfm_segment,
               kind, sum(sign) AS answers, sum(sign * coalesce(score, 0)) AS score_sum,
               sum(sign * (kind = 'nps' AND score >= 9)::int) AS promoters,
               sum(sign * (kind = 'nps' AND score <= 6)::int) AS detractors
        FROM {source}
        GROUP BY 1, 2, 3, 4, 5"""

_CHANGED = {
    "insert": "(SELECT *, 1 AS sign FROM now_there) changed",
    "update": (
        "(SELECT *, 1 AS sign FROM now_there UNION ALL SELECT *, -1 FROM was_there) changed"
    ),
    "delete": "(SELECT *, -1 AS sign FROM was_there) changed",
}
_LOOKED_AT = {"insert": "now_there", "update": "now_there", "delete": "was_there"}
_REFERENCING = {
    "insert": "NEW TABLE AS now_there",
    "update": "OLD TABLE AS was_there NEW TABLE AS now_there",
    "delete": "OLD TABLE AS was_there",
}


def _triggers(table: str, totals: str, columns: str, select: str) -> str:
    """Append to `totals` whatever a statement changes in `table`."""
    script = ""
    sums = tuple(name.strip() for name in columns.split(","))
    for event, changed in _CHANGED.items():
        name = f"{table}_{event}_totals"
        rows = select.replace("{source}", changed)
        script += f"""
CREATE FUNCTION {name}() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- A run that writes every row adds them all up afterwards instead. An upsert that only changed
    -- rows fires for the insertion of none as well.
    IF current_setting('app.totals', true) IS DISTINCT FROM 'off'
       AND EXISTS (SELECT FROM {_LOOKED_AT[event]}) THEN
        INSERT INTO {totals} ({_KEYS[totals]}, {columns})
        SELECT * FROM ({rows}) AS added ({_KEYS[totals]}, {columns})
        WHERE {_nonzero(sums)};
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {name} AFTER {event.upper()} ON {table} REFERENCING {_REFERENCING[event]}
FOR EACH STATEMENT EXECUTE FUNCTION {name}();
"""
    return script


_KEYS = {
    "population_totals": "tenant_id, figure, a, b",
    "sales_days": "tenant_id, day, store_sk",
    "satisfaction_months": "tenant_id, month, store_sk, rfm_segment, kind",
}
_SUMS = {
    "population_totals": _COLUMNS,
    "sales_days": "orders, revenue",
    "satisfaction_months": "answers, score_sum, promoters, detractors",
}
_SOURCE_OF = {
    "population_totals": "customer_analytics",
    "sales_days": "orders",
    "satisfaction_months": "feedback",
}


def _select_of(totals: str) -> str:
    return {
        "population_totals": _totals_of("{source}"),
        "sales_days": _SALES_OF,
        "satisfaction_months": _SATISFACTION_OF,
    }[totals]


def _rebuild(totals: str) -> str:
    """Add up everything anew, in one statement: what others append meanwhile stays right."""
    source = f"(SELECT *, 1 AS sign FROM {_SOURCE_OF[totals]} WHERE tenant_id = tenant) every_row"
    rows = _select_of(totals).replace("{source}", source)
    return f"""
CREATE FUNCTION rebuild_{totals}(tenant integer) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    WITH outdated AS (DELETE FROM {totals} WHERE tenant_id = tenant)
    INSERT INTO {totals} ({_KEYS[totals]}, {_SUMS[totals]})
    SELECT * FROM ({rows}) AS added ({_KEYS[totals]}, {_SUMS[totals]})
$$;
"""


def _compact(totals: str) -> str:
    added = ", ".join(f"sum({name}) AS {name}" for name in _SUMS[totals].split(", "))
    keys = _KEYS[totals]
    return f"""
    WITH taken AS (
        DELETE FROM {totals} t WHERE t.tenant_id = tenant
          AND ({keys}) IN (
              SELECT {keys} FROM {totals} WHERE tenant_id = tenant
              GROUP BY {keys} HAVING count(*) > 1
          )
        RETURNING t.*
    )
    INSERT INTO {totals} ({keys}, {_SUMS[totals]})
    SELECT * FROM (SELECT {keys}, {added} FROM taken GROUP BY {keys}) AS added
    WHERE {_nonzero(tuple(_SUMS[totals].split(", ")))};
"""


# Two compactions at once would each miss what the other has taken out: one at a time.
_COMPACTION = f"""
CREATE FUNCTION compact_totals(tenant integer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('compact totals'), tenant) THEN
        RETURN;
    END IF;
    {"".join(_compact(totals) for totals in _KEYS)}
END $$;
"""

PRIVACY = """
-- Two random UUIDs have 244 random bits.
ALTER TABLE tenants ADD COLUMN pseudonym_key bytea NOT NULL DEFAULT
    decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

-- The former ids of merged customers.
CREATE TABLE customer_aliases (
    tenant_id   integer NOT NULL,
    id          text NOT NULL,
    customer_sk bigint NOT NULL,
    merged_at   timestamptz NOT NULL DEFAULT now(),
    merged_by   text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk)
);
CREATE INDEX customer_aliases_customer_idx ON customer_aliases (tenant_id, customer_sk);

-- Who was erased, by the keyed hash of the id: enough to refuse the person, not to name them.
CREATE TABLE erasures (
    tenant_id  integer NOT NULL REFERENCES tenants (id),
    id_hash    bytea NOT NULL,
    receipt_id uuid NOT NULL,
    erased_at  timestamptz NOT NULL DEFAULT now(),
    erased_by  text,
    receipt    jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id_hash)
);

-- Who read what of whom. `subject` is the pseudonym of a customer, where it was one.
CREATE TABLE access_log (
    tenant_id  integer NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    seq        bigint GENERATED BY DEFAULT AS IDENTITY,
    key_id     text NOT NULL,
    operation  text NOT NULL,
    subject    text,
    customers  integer NOT NULL,
    anonymized boolean NOT NULL,
    request_id text,
    PRIMARY KEY (tenant_id, at, seq)
) PARTITION BY RANGE (at);
CREATE INDEX access_log_subject_idx ON access_log (tenant_id, subject, at)
    WHERE subject IS NOT NULL;
"""

NEW_TABLES = (
    "external_runs",
    "external_run_rows",
    "sanity_checks",
    "population_totals",
    "sales_days",
    "satisfaction_months",
    "population_total_days",
    "standing_moves",
    "customer_aliases",
    "erasures",
    "access_log",
)

PARTITIONED = "'location_history', 'behavior_events', 'score_history'"

CURRENT_TENANT = "(SELECT nullif(current_setting('app.tenant_id', true), '')::integer)"


def upgrade() -> None:
    for script in (SOURCES, SCORES, TOTALS, PRIVACY):
        _run(script)
    for totals, source in _SOURCE_OF.items():
        _run(_triggers(source, totals, _SUMS[totals], _select_of(totals)))
        _run(_rebuild(totals))
    _run(_COMPACTION)
    for table in NEW_TABLES:
        _run(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
            CREATE POLICY own_tenant ON {table} TO PUBLIC
                USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT});
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO bps_app;
        """)
    _run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bps_app;")
    _let_partition(f"{PARTITIONED}, 'access_log'")
    _run("""
        SELECT ensure_partition('access_log', (now() + step * interval '1 month')::date)
        FROM generate_series(-1, 3) AS step;
    """)
    _add_up_what_is_there()


def _add_up_what_is_there() -> None:
    """Totals of the rows that were there before the triggers, tenant by tenant."""
    _run("""
        DO $$
        DECLARE tenant integer;
        BEGIN
            FOR tenant IN SELECT id FROM tenant_directory() LOOP
                PERFORM set_config('app.tenant_id', tenant::text, true);
                PERFORM rebuild_population_totals(tenant);
                PERFORM rebuild_sales_days(tenant);
                PERFORM rebuild_satisfaction_months(tenant);
            END LOOP;
            PERFORM set_config('app.tenant_id', '', true);
        END $$;
    """)


def _let_partition(parents: str) -> None:
    """Let `ensure_partition` work on `parents`: the function of 0001 with another list."""
    _run(f"""
        DO $$
        DECLARE
            source text := pg_get_functiondef('ensure_partition(text, date)'::regprocedure);
        BEGIN
            EXECUTE regexp_replace(source, 'parent NOT IN \\([^)]*\\)',
                                   $r$parent NOT IN ({parents})$r$);
        END $$;
    """)


def downgrade() -> None:
    for totals, source in _SOURCE_OF.items():
        for event in _CHANGED:
            _run(f"DROP FUNCTION {source}_{event}_totals() CASCADE;")
        _run(f"DROP FUNCTION rebuild_{totals}(integer);")
    _run("DROP FUNCTION compact_totals(integer);")
    _let_partition(PARTITIONED)
    _run(f"DROP TABLE {', '.join(reversed(NEW_TABLES))};")
    _run("""
        ALTER TABLE tenants DROP COLUMN pseudonym_key;
        ALTER TABLE contacts DROP COLUMN source_updated_at;
        DROP INDEX contacts_recorded_at_idx, feedback_recorded_at_idx;
        ALTER TABLE feedback
            DROP CONSTRAINT feedback_score_check,
            DROP COLUMN local_at, DROP COLUMN rfm_segment, DROP COLUMN source_updated_at;
        ALTER TABLE customer_analytics
            DROP COLUMN first_order_day, DROP COLUMN first_store_sk, DROP COLUMN loyalty_points,
            DROP COLUMN gender, DROP COLUMN age_group, DROP COLUMN contacts,
            DROP COLUMN responses, DROP COLUMN response_rate, DROP COLUMN last_contact_at,
            DROP COLUMN last_contact_channel, DROP COLUMN preferred_contact_channel,
            DROP COLUMN feedback_count, DROP COLUMN complaint_count, DROP COLUMN complaints_90d,
            DROP COLUMN satisfaction_score, DROP COLUMN satisfaction_at,
            DROP COLUMN referred_customers, DROP COLUMN referral_revenue,
            DROP COLUMN influence_score, DROP COLUMN response_level, DROP COLUMN spending_level,
            DROP COLUMN engagement_quadrant, DROP COLUMN next_purchase_status,
            DROP COLUMN next_purchase_on, DROP COLUMN next_purchase_confidence,
            DROP COLUMN clv_tier, DROP COLUMN clv_bucket, DROP COLUMN recommended_products,
            DROP COLUMN external_scores, DROP COLUMN external_as_of,
            DROP COLUMN external_model_version, DROP COLUMN clv_rank;
    """)


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
