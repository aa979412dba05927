"""Consents, faces under opaque names, searches, erasures that outlive the customer.

A person is known outside by `user_id` only, a random number that leads to a customer here and to
nobody there. What an erasure has to remove outside is copied into `face_erasures`, which has no key
to customers: it has to be there after the customer is gone.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE face_settings (
    tenant_id        integer PRIMARY KEY REFERENCES tenants (id),
    collection_id    text NOT NULL,
    threshold        double precision NOT NULL DEFAULT 99,
    margin           double precision NOT NULL DEFAULT 1,
    attributes_on    boolean NOT NULL DEFAULT false,
    emotions_on      boolean NOT NULL DEFAULT false,
    retention_days   integer NOT NULL DEFAULT 1095,
    searches_per_day integer,
    indexes_per_day  integer,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    updated_by       text,
    CHECK (threshold BETWEEN 80 AND 100),
    CHECK (margin BETWEEN 0 AND 20),
    CHECK (retention_days BETWEEN 1 AND 1095),
    CHECK (attributes_on OR NOT emotions_on)
);

CREATE TABLE face_consents (
    tenant_id      integer NOT NULL,
    id             uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_sk    bigint NOT NULL,
    purpose        text NOT NULL,
    notice_version text NOT NULL,
    notice_sha256  bytea NOT NULL,
    method         text NOT NULL,
    evidence       text,
    given_at       timestamptz NOT NULL,
    expires_at     timestamptz,
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    recorded_by    text,
    ended_at       timestamptz,
    ended_as       text,
    ended_by       text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE,
    CHECK (purpose IN ('enrol', 'identify', 'verify_visit', 'attributes')),
    CHECK (ended_as IN ('withdrawn', 'expired', 'replaced', 'merged')),
    CHECK ((ended_at IS NULL) = (ended_as IS NULL)),
    CHECK (octet_length(notice_sha256) = 32)
);
CREATE UNIQUE INDEX face_consents_current_key
    ON face_consents (tenant_id, customer_sk, purpose) WHERE ended_at IS NULL;
CREATE INDEX face_consents_customer_idx ON face_consents (tenant_id, customer_sk, given_at);
CREATE INDEX face_consents_expiry_idx ON face_consents (tenant_id, expires_at)
    WHERE ended_at IS NULL;

CREATE TABLE face_users (
    tenant_id         integer NOT NULL,
    user_id           uuid NOT NULL,
    customer_sk       bigint NOT NULL,
    status            text NOT NULL DEFAULT 'active',
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at      timestamptz,
    age_range_min     smallint,
    age_range_max     smallint,
    gender            text,
    gender_confidence double precision,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE,
    CHECK (status IN ('active', 'erasing', 'erased'))
);
CREATE UNIQUE INDEX face_users_active_key ON face_users (tenant_id, customer_sk)
    WHERE status = 'active';
CREATE INDEX face_users_customer_idx ON face_users (tenant_id, customer_sk);

CREATE TABLE faces (
    tenant_id     integer NOT NULL,
    id            uuid NOT NULL,
    customer_sk   bigint NOT NULL,
    user_id       uuid NOT NULL,
    status        text NOT NULL DEFAULT 'pending',
    face_id       text,
    photo_key     text,
    brightness    double precision,
    sharpness     double precision,
    confidence    double precision,
    model_version text,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by    text,
    indexed_at    timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, user_id) REFERENCES face_users (tenant_id, user_id) ON DELETE CASCADE,
    CHECK (status IN ('pending', 'stored')),
    CHECK ((status = 'stored') = (face_id IS NOT NULL AND indexed_at IS NOT NULL))
);
CREATE UNIQUE INDEX faces_face_key ON faces (tenant_id, face_id) WHERE face_id IS NOT NULL;
CREATE INDEX faces_customer_idx ON faces (tenant_id, customer_sk, created_at);
CREATE INDEX faces_user_idx ON faces (tenant_id, user_id);
CREATE INDEX faces_created_at_idx ON faces (tenant_id, created_at);

CREATE TABLE face_searches (
    tenant_id           integer NOT NULL REFERENCES tenants (id),
    sk                  bigint GENERATED ALWAYS AS IDENTITY,
    searched_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    purpose             text NOT NULL,
    outcome             text NOT NULL,
    threshold           double precision NOT NULL,
    margin              double precision,
    candidates          uuid[] NOT NULL DEFAULT '{}',
    similarities        double precision[] NOT NULL DEFAULT '{}',
    actor               text,
    key_id              text NOT NULL,
    store_sk            bigint,
    provider            text NOT NULL,
    provider_request_id text,
    request_id          text,
    PRIMARY KEY (tenant_id, sk),
    FOREIGN KEY (tenant_id, store_sk) REFERENCES stores (tenant_id, sk),
    CHECK (purpose IN ('identify', 'verify_visit'))
);
CREATE INDEX face_searches_searched_at_idx ON face_searches (tenant_id, searched_at);

CREATE TABLE face_sightings (
    tenant_id     integer NOT NULL,
    day           date NOT NULL,
    store_sk      bigint NOT NULL,
    customer_sk   bigint NOT NULL,
    age_range_min smallint,
    age_range_max smallint,
    gender        text,
    emotion       text,
    PRIMARY KEY (tenant_id, day, store_sk, customer_sk),
    FOREIGN KEY (tenant_id, customer_sk) REFERENCES customers (tenant_id, sk) ON DELETE CASCADE
);
CREATE INDEX face_sightings_customer_idx ON face_sightings (tenant_id, customer_sk);

CREATE TABLE face_erasures (
    tenant_id       integer NOT NULL REFERENCES tenants (id),
    id              uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id         uuid NOT NULL,
    face_ids        text[] NOT NULL,
    reason          text NOT NULL,
    requested_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by    text,
    steps           jsonb NOT NULL DEFAULT '{}',
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    completed_at    timestamptz,
    PRIMARY KEY (tenant_id, id),
    CHECK (reason IN ('withdrawn', 'requested', 'expired', 'retention', 'privacy', 'merged',
                      'abandoned'))
);
CREATE INDEX face_erasures_open_idx ON face_erasures (tenant_id, next_attempt_at)
    WHERE completed_at IS NULL;
"""

NEW_TABLES = (
    "face_settings",
    "face_consents",
    "face_users",
    "faces",
    "face_searches",
    "face_sightings",
    "face_erasures",
)

# What was consented to is never rewritten: the service may say that it ended, and whose it is.
CONSENTS_STAND = """
REVOKE UPDATE ON face_consents FROM bps_app;
GRANT UPDATE (customer_sk, ended_at, ended_as, ended_by) ON face_consents TO bps_app;
"""

CURRENT_TENANT = "(SELECT nullif(current_setting('app.tenant_id', true), '')::integer)"


def upgrade() -> None:
    _run(TABLES)
    for table in NEW_TABLES:
        _run(f"""
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
            CREATE POLICY own_tenant ON {table} TO PUBLIC
                USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT});
            GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO bps_app;
        """)
    _run(CONSENTS_STAND)


def downgrade() -> None:
    _run(f"DROP TABLE {', '.join(reversed(NEW_TABLES))};")


def _run(script: str) -> None:
    """Run a script of several statements as one round trip."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda driver: driver.execute(script))
