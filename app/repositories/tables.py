"""The tables as SQLAlchemy sees them. Migrations make them; `alembic check` holds the two together.

Columns that the database computes itself (`counted`, `net_amount`, the local weekday and hour, the
geohashes) are declared as fetched: they are read here and never written.
"""

from geoalchemy2 import Geography, Geometry
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    column,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, JSONB
from sqlalchemy.types import TypeEngine

metadata = MetaData()

Instant = DateTime(timezone=True)
NOW = text("now()")


def _geometry(kind: str) -> TypeEngine[object]:
    # Spatial indexes are declared one by one, so that the migration stays their only maker.
    return Geometry(kind, srid=4326, spatial_index=False)


def _geography(kind: str) -> TypeEngine[object]:
    return Geography(kind, srid=4326, spatial_index=False)


def _tenant() -> Column[int]:
    return Column("tenant_id", ForeignKey("tenants.id"), nullable=False)


def _customers_tenant() -> Column[int]:
    """The tenant of a table whose key to a customer vouches for it."""
    return Column("tenant_id", Integer, nullable=False)


def _surrogate() -> Column[int]:
    return Column("sk", BigInteger, Identity(always=False), nullable=False)


def _timestamps() -> tuple[Column[object], ...]:
    return (
        Column("created_at", Instant, nullable=False, server_default=NOW),
        Column("updated_at", Instant, nullable=False, server_default=NOW),
    )


def _belongs_to(parent: str, column: str, *, cascade: bool = False) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{parent}.tenant_id", f"{parent}.sk"],
        ondelete="CASCADE" if cascade else None,
    )


tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, Identity(always=False), primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("profile", JSONB, nullable=False),
    *_timestamps(),
    Column(
        "pseudonym_key",
        LargeBinary,
        nullable=False,
        server_default=text(
            "decode(replace((gen_random_uuid())::text || (gen_random_uuid())::text,"
            " '-', ''), 'hex')"
        ),
    ),
    Column("location_retention_days", Integer, server_default=text("730")),
    Column("event_retention_days", Integer, server_default=text("730")),
)

api_keys = Table(
    "api_keys",
    metadata,
    _tenant(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("api_keys_id_key", "id", unique=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _tenant(),
    Column("key", Text, nullable=False),
    Column("request_sha256", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "key"),
    Index("idempotency_keys_created_at_idx", "created_at", postgresql_using="brin"),
)

stores = Table(
    "stores",
    metadata,
    _tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text),
    Column("address", Text),
    Column("city", Text),
    Column("location", _geometry("POINT")),
    *_timestamps(),
    Column("geography", _geography("POINT"), Computed("location::geography", persisted=True)),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    Index(
        "stores_location_idx",
        "tenant_id",
        "location",
        postgresql_using="gist",
        postgresql_where=text("location IS NOT NULL"),
    ),
    Index(
        "stores_geography_idx",
        "tenant_id",
        "geography",
        postgresql_using="gist",
        postgresql_where=text("geography IS NOT NULL"),
    ),
)

delivery_zones = Table(
    "delivery_zones",
    metadata,
    _tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("store_sk", BigInteger),
    Column("area", _geometry("MULTIPOLYGON"), nullable=False),
    *_timestamps(),
    Column("description", Text),
    Column("properties", JSONB, nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("stores", "store_sk"),
    Index("delivery_zones_area_idx", "tenant_id", "area", postgresql_using="gist"),
)

customers = Table(
    "customers",
    metadata,
    _tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("code", Text),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("phone", Text),
    Column("customer_type", Text, nullable=False, server_default=text("'retail'")),
    Column("company_name", Text),
    Column("npwp", Text),
    Column("credit_limit", BigInteger),
    Column("credit_used", BigInteger),
    Column("payment_term_days", Integer),
    Column("loyalty_points", Integer),
    Column("membership_tier", Text),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("home_store_sk", BigInteger),
    Column("service_area", _geometry("POLYGON")),
    Column("preferred_delivery_zone", Text),
    Column("last_known_latitude", Double),
    Column("last_known_longitude", Double),
    Column(
        "last_known_geohash",
        Text(collation="C"),
        Computed(
            "st_geohash(st_setsrid(st_makepoint(last_known_longitude, last_known_latitude),"
            " 4326), 9)",
            persisted=True,
        ),
    ),
    Column("last_location_accuracy", Double),
    Column("last_location_source", Text),
    Column("last_location_captured_at", Instant),
    Column("last_location_captured_by", Text),
    Column("date_of_birth", Date),
    Column("age_estimate", SmallInteger),
    Column("age_range_min", SmallInteger),
    Column("age_range_max", SmallInteger),
    Column("gender", Text),
    Column("gender_confidence", Double),
    Column("income_bracket", Text),
    Column("occupation", Text),
    Column("education_level", Text),
    Column("preferred_contact_channel", Text),
    Column("opt_in_whatsapp", Boolean, nullable=False, server_default=text("false")),
    Column("opt_in_email", Boolean, nullable=False, server_default=text("false")),
    Column("opt_in_sms", Boolean, nullable=False, server_default=text("false")),
    Column("opt_in_push", Boolean, nullable=False, server_default=text("false")),
    Column("acquisition_source", Text),
    Column("acquisition_campaign", Text),
    Column("referred_by_sk", BigInteger),
    Column("community_tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("social_connections", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("source_updated_at", Instant),
    *_timestamps(),
    Column("created_by", Text),
    Column("updated_by", Text),
    Column(
        "last_known_location",
        _geometry("POINT"),
        Computed(
            "st_setsrid(st_makepoint(last_known_longitude, last_known_latitude), 4326)",
            persisted=True,
        ),
    ),
    Column(
        "last_known_geography",
        _geography("POINT"),
        Computed(
            "st_setsrid(st_makepoint(last_known_longitude, last_known_latitude), 4326)::geography",
            persisted=True,
        ),
    ),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("stores", "home_store_sk"),
    _belongs_to("customers", "referred_by_sk"),
    Index(
        "customers_code_key",
        "tenant_id",
        "code",
        unique=True,
        postgresql_where=text("code IS NOT NULL"),
    ),
    Index(
        "customers_referred_by_idx",
        "tenant_id",
        "referred_by_sk",
        postgresql_where=text("referred_by_sk IS NOT NULL"),
    ),
    Index(
        "customers_home_store_idx",
        "tenant_id",
        "home_store_sk",
        "sk",
        postgresql_where=text("home_store_sk IS NOT NULL"),
    ),
    Index(
        "customers_location_idx",
        "tenant_id",
        "last_known_location",
        postgresql_using="gist",
        postgresql_where=text("last_known_location IS NOT NULL"),
    ),
    Index(
        "customers_geography_idx",
        "tenant_id",
        "last_known_geography",
        postgresql_using="gist",
        postgresql_where=text("last_known_geography IS NOT NULL"),
    ),
    Index(
        "customers_geohash_idx",
        "tenant_id",
        "last_known_geohash",
        "sk",
        postgresql_where=text("last_known_geohash IS NOT NULL"),
    ),
)

customer_terms = Table(
    "customer_terms",
    metadata,
    _customers_tenant(),
    Column("term", Text(collation="C"), nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "term", "customer_sk"),
    _belongs_to("customers", "customer_sk", cascade=True),
    Index("customer_terms_customer_idx", "tenant_id", "customer_sk"),
)

addresses = Table(
    "addresses",
    metadata,
    _customers_tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("label", Text),
    Column("line", Text),
    Column("city", Text),
    Column("postal_code", Text),
    Column("location", _geometry("POINT")),
    Column("is_primary", Boolean, nullable=False, server_default=text("false")),
    *_timestamps(),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk"),
    Index("addresses_customer_idx", "tenant_id", "customer_sk"),
    Index(
        "addresses_location_idx",
        "tenant_id",
        "location",
        postgresql_using="gist",
        postgresql_where=text("location IS NOT NULL"),
    ),
)

orders = Table(
    "orders",
    metadata,
    _customers_tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("store_sk", BigInteger),
    Column("status", Text, nullable=False),
    Column("ordered_at", Instant, nullable=False),
    Column("local_at", DateTime, nullable=False),
    Column(
        "local_weekday",
        SmallInteger,
        Computed("(EXTRACT(isodow FROM local_at))::smallint", persisted=True),
        nullable=False,
    ),
    Column(
        "local_hour",
        SmallInteger,
        Computed("(EXTRACT(hour FROM local_at))::smallint", persisted=True),
        nullable=False,
    ),
    Column("total_amount", BigInteger, nullable=False),
    Column("discount_amount", BigInteger, nullable=False, server_default=text("0")),
    Column("refund_amount", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "counted",
        Boolean,
        Computed(
            "status IN ('accepted', 'completed')"
            " AND (refund_amount = 0 OR refund_amount < total_amount)",
            persisted=True,
        ),
        nullable=False,
    ),
    Column(
        "net_amount",
        BigInteger,
        Computed(
            "CASE WHEN status IN ('accepted', 'completed') THEN total_amount - refund_amount"
            " WHEN total_amount < 0 THEN total_amount ELSE 0 END",
            persisted=True,
        ),
        nullable=False,
    ),
    Column("payment_method", Text),
    Column("channel", Text),
    Column("item_count", Integer),
    Column("notes", Text),
    Column("source_updated_at", Instant),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk"),
    _belongs_to("stores", "store_sk"),
    Index("orders_customer_idx", "tenant_id", "customer_sk", "ordered_at", "sk"),
    Index("orders_recorded_at_idx", "recorded_at", postgresql_using="brin"),
)

order_items = Table(
    "order_items",
    metadata,
    _customers_tenant(),
    Column("order_sk", BigInteger, nullable=False),
    Column("line_no", Integer, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("product_name", Text),
    Column("category", Text),
    Column("brand", Text),
    Column("quantity", Numeric(14, 3), nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    Column("discount_amount", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "order_sk", "line_no"),
    _belongs_to("orders", "order_sk", cascade=True),
)

contacts = Table(
    "contacts",
    metadata,
    _customers_tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("responded_at", Instant),
    Column("converted", Boolean, nullable=False, server_default=text("false")),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    Column("source_updated_at", Instant),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk"),
    Index("contacts_customer_idx", "tenant_id", "customer_sk", "sent_at"),
    Index("contacts_recorded_at_idx", "recorded_at", postgresql_using="brin"),
)

feedback = Table(
    "feedback",
    metadata,
    _customers_tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("store_sk", BigInteger),
    Column("kind", Text, nullable=False),
    Column("score", SmallInteger),
    Column("sentiment", Double),
    Column("comment", Text),
    Column("given_at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    Column("local_at", DateTime, nullable=False),
    Column("rfm_segment", Text),
    Column("source_updated_at", Instant),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk"),
    _belongs_to("stores", "store_sk"),
    Index("feedback_customer_idx", "tenant_id", "customer_sk", "given_at"),
    Index("feedback_recorded_at_idx", "recorded_at", postgresql_using="brin"),
    Index(
        "feedback_unplaced_idx",
        "tenant_id",
        "customer_sk",
        postgresql_where=text("rfm_segment IS NULL"),
    ),
)

location_history = Table(
    "location_history",
    metadata,
    _customers_tenant(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("captured_at", Instant, nullable=False),
    Column("location", _geometry("POINT"), nullable=False),
    Column("geohash", Text, Computed("st_geohash(location, 9)", persisted=True), nullable=False),
    Column("accuracy", Double),
    Column("altitude", Double),
    Column("speed", Double),
    Column("heading", Double),
    Column("source", Text, nullable=False),
    Column("captured_by", Text),
    Column("device_id", Text),
    Column("visit_type", Text),
    Column("visit_notes", Text),
    Column("photo_url", Text),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    Column("flags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("tenant_id", "captured_at", "id"),
    _belongs_to("customers", "customer_sk"),
    Index("location_history_customer_idx", "tenant_id", "customer_sk", "captured_at"),
    Index(
        "location_history_device_idx",
        "tenant_id",
        "device_id",
        "captured_at",
        postgresql_where=text("device_id IS NOT NULL"),
    ),
    Index(
        "location_history_captured_by_idx",
        "tenant_id",
        "captured_by",
        "captured_at",
        postgresql_where=text("captured_by IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (captured_at)",
)

behavior_events = Table(
    "behavior_events",
    metadata,
    _customers_tenant(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("event_category", Text),
    Column("product_id", Text),
    Column("product_name", Text),
    Column("product_category", Text),
    Column("event_value", BigInteger),
    Column("properties", JSONB),
    Column("session_id", Text),
    Column("device_type", Text),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("page_url", Text),
    Column("referrer_url", Text),
    Column("ip_network", CIDR),
    Column("user_agent", Text),
    Column("browser", Text),
    Column("os", Text),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("country", Text),
    Column("city", Text),
    PrimaryKeyConstraint("tenant_id", "occurred_at", "id"),
    _belongs_to("customers", "customer_sk"),
    CheckConstraint("(latitude IS NULL) = (longitude IS NULL)"),
    Index("behavior_events_customer_idx", "tenant_id", "customer_sk", "occurred_at"),
    Index(
        "behavior_events_type_idx",
        "tenant_id",
        "event_type",
        "occurred_at",
        postgresql_include=["customer_sk"],
    ),
    postgresql_partition_by="RANGE (occurred_at)",
)

#: What the events of each customer add up to, kept as they arrive and for good.
behavior_summaries = Table(
    "behavior_summaries",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("page_views", BigInteger, nullable=False),
    Column("product_views", BigInteger, nullable=False),
    Column("cart_additions", BigInteger, nullable=False),
    Column("purchases", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("first_event_at", Instant, nullable=False),
    Column("last_event_at", Instant, nullable=False),
    Column("first_purchase_at", Instant),
    Column("last_purchase_at", Instant),
    Column("categories", JSONB, nullable=False),
    Column("devices", JSONB, nullable=False),
    Column("sources", JSONB, nullable=False),
    *_timestamps(),
    PrimaryKeyConstraint("tenant_id", "customer_sk"),
    _belongs_to("customers", "customer_sk"),
    CheckConstraint("(first_purchase_at IS NULL) = (purchases = 0)"),
    CheckConstraint("(last_purchase_at IS NULL) = (purchases = 0)"),
)

#: What clients sent under ids of their own, captures and events, so that it is taken once.
received_ids = Table(
    "received_ids",
    metadata,
    _customers_tenant(),
    Column("kind", Text, nullable=False),
    Column("digest", Uuid, nullable=False),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "kind", "digest"),
    Index("received_ids_received_at_idx", "received_at", postgresql_using="brin"),
)

customer_analytics = Table(
    "customer_analytics",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("as_of", Instant, nullable=False),
    Column("computed_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("model_version", Text, nullable=False),
    Column("total_orders", Integer, nullable=False),
    Column("counted_orders", Integer, nullable=False),
    Column("pending_orders", Integer, nullable=False),
    Column("accepted_orders", Integer, nullable=False),
    Column("completed_orders", Integer, nullable=False),
    Column("cancelled_orders", Integer, nullable=False),
    Column("no_show_orders", Integer, nullable=False),
    Column("refunded_orders", Integer, nullable=False),
    Column("first_order_at", Instant),
    Column("last_order_at", Instant),
    Column("revenue", BigInteger, nullable=False),
    Column("refunded_amount", BigInteger, nullable=False),
    Column("discount_amount", BigInteger, nullable=False),
    Column("average_order_value", BigInteger),
    Column("orders_30d", Integer, nullable=False),
    Column("orders_90d", Integer, nullable=False),
    Column("orders_180d", Integer, nullable=False),
    Column("orders_365d", Integer, nullable=False),
    Column("revenue_30d", BigInteger, nullable=False),
    Column("revenue_90d", BigInteger, nullable=False),
    Column("revenue_180d", BigInteger, nullable=False),
    Column("revenue_365d", BigInteger, nullable=False),
    Column("order_frequency_trend", Text),
    Column("spend_trend", Text),
    Column("order_interval_change", Double),
    Column("tenure_days", Integer),
    Column("days_since_last_order", Integer),
    Column("purchase_frequency_days", Double),
    Column("orders_per_month", Double),
    Column("monthly_revenue", BigInteger),
    Column("preferred_shopping_day", SmallInteger),
    Column("preferred_shopping_hour", SmallInteger),
    Column("preferred_payment_method", Text),
    Column("preferred_categories", ARRAY(Text)),
    Column("preferred_brands", ARRAY(Text)),
    Column("basket_size", Double),
    Column("discount_sensitivity", Double),
    Column("order_notes", ARRAY(Text)),
    Column("rfm_status", Text, nullable=False),
    Column("rfm_recency_days", Integer),
    Column("rfm_frequency", Integer, nullable=False),
    Column("rfm_monetary", BigInteger, nullable=False),
    Column("rfm_recency_score", SmallInteger),
    Column("rfm_frequency_score", SmallInteger),
    Column("rfm_monetary_score", SmallInteger),
    Column("rfm_code", Text),
    Column("rfm_segment", Text),
    Column("rfm_recency_percentile", SmallInteger),
    Column("rfm_frequency_percentile", SmallInteger),
    Column("rfm_monetary_percentile", SmallInteger),
    Column("clv_status", Text, nullable=False),
    Column("clv", BigInteger),
    Column("clv_1_year", BigInteger),
    Column("clv_3_year", BigInteger),
    Column("clv_percentile", SmallInteger),
    Column("clv_confidence", SmallInteger),
    Column("churn_status", Text, nullable=False),
    Column("churn_score", Double),
    Column("churn_band", Text),
    Column("churn_reasons", ARRAY(Text), nullable=False),
    Column("value_at_risk", BigInteger),
    Column("lifecycle_segment", Text, nullable=False),
    Column("membership_tier", Text),
    Column("standing_since", Date, nullable=False),
    Column(
        "risk_rank",
        SmallInteger,
        Computed(
            "CASE WHEN value_at_risk > 0"
            " THEN floor(50 * log(value_at_risk::double precision))::smallint"
            " WHEN value_at_risk IS NOT NULL THEN 0 END",
            persisted=True,
        ),
    ),
    Column("first_order_day", Date),
    Column("first_store_sk", BigInteger),
    Column("loyalty_points", Integer),
    Column("gender", Text),
    Column("age_group", Text),
    Column("contacts", Integer, nullable=False, server_default=text("0")),
    Column("responses", Integer, nullable=False, server_default=text("0")),
    Column("response_rate", Double),
    Column("last_contact_at", Instant),
    Column("last_contact_channel", Text),
    Column("preferred_contact_channel", Text),
    Column("feedback_count", Integer, nullable=False, server_default=text("0")),
    Column("complaint_count", Integer, nullable=False, server_default=text("0")),
    Column("complaints_90d", Integer, nullable=False, server_default=text("0")),
    Column("satisfaction_score", Double),
    Column("satisfaction_at", Instant),
    Column("referred_customers", Integer, nullable=False, server_default=text("0")),
    Column("referral_revenue", BigInteger, nullable=False, server_default=text("0")),
    Column("influence_score", Double),
    Column("response_level", Text),
    Column("spending_level", Text),
    Column("engagement_quadrant", Text),
    Column(
        "next_purchase_status", Text, nullable=False, server_default=text("'insufficient_data'")
    ),
    Column("next_purchase_on", Date),
    Column("next_purchase_confidence", Double),
    Column("clv_tier", Text),
    Column("clv_bucket", SmallInteger),
    Column("recommended_products", ARRAY(Text)),
    Column("external_scores", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("external_as_of", Instant),
    Column("external_model_version", Text),
    Column(
        "clv_rank",
        SmallInteger,
        Computed(
            "CASE WHEN clv > 0 THEN floor(50 * log(clv::double precision))::smallint"
            " WHEN clv IS NOT NULL THEN 0 END",
            persisted=True,
        ),
    ),
    PrimaryKeyConstraint("tenant_id", "customer_sk"),
    _belongs_to("customers", "customer_sk"),
    Index("customer_analytics_segment_idx", "tenant_id", "rfm_segment", "customer_sk"),
    Index(
        "customer_analytics_first_order_idx",
        "tenant_id",
        "first_order_day",
        "customer_sk",
        postgresql_where=text("first_order_day IS NOT NULL"),
    ),
    Index(
        "customer_analytics_influence_idx",
        "tenant_id",
        text("influence_score DESC"),
        "customer_sk",
        postgresql_where=text("referred_customers > 0"),
    ),
    Index(
        "customer_analytics_clv_idx",
        "tenant_id",
        text("clv_rank DESC"),
        postgresql_where=text("clv_rank IS NOT NULL"),
    ),
    Index(
        "customer_analytics_at_risk_idx",
        "tenant_id",
        text("risk_rank DESC"),
        postgresql_where=text("risk_rank IS NOT NULL"),
    ),
    Index(
        "customer_analytics_churn_band_idx",
        "tenant_id",
        "churn_band",
        text("risk_rank DESC"),
        postgresql_where=text("risk_rank IS NOT NULL"),
    ),
)

score_history = Table(
    "score_history",
    metadata,
    _customers_tenant(),
    Column("day", Date, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("rfm_code", Text),
    Column("rfm_segment", Text),
    Column("lifecycle_segment", Text, nullable=False),
    Column("churn_band", Text),
    Column("churn_score", Double),
    Column("clv", BigInteger),
    Column("membership_tier", Text),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "day", "customer_sk"),
    _belongs_to("customers", "customer_sk"),
    Index("score_history_customer_idx", "tenant_id", "customer_sk", text("day DESC")),
    postgresql_partition_by="RANGE (day)",
)

rfm_cutoffs = Table(
    "rfm_cutoffs",
    metadata,
    _tenant(),
    Column("as_of", Instant, nullable=False),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    Column("model_version", Text, nullable=False),
    Column("buyers", Integer, nullable=False),
    Column("recency_cutoffs", ARRAY(Double), nullable=False),
    Column("frequency_cutoffs", ARRAY(Double), nullable=False),
    Column("monetary_cutoffs", ARRAY(Double), nullable=False),
    Column("recency_percentiles", ARRAY(Double), nullable=False),
    Column("frequency_percentiles", ARRAY(Double), nullable=False),
    Column("monetary_percentiles", ARRAY(Double), nullable=False),
    Column("clv_percentiles", ARRAY(Double), nullable=False),
    PrimaryKeyConstraint("tenant_id", "computed_at"),
)

job_runs = Table(
    "job_runs",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'queued'")),
    Column("requested_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("requested_by", Text),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("as_of", Instant),
    Column("rows_read", BigInteger),
    Column("rows_written", BigInteger),
    Column("error", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed')"),
    Index("job_runs_kind_idx", "tenant_id", "kind", text("requested_at DESC")),
    Index(
        "job_runs_waiting_key",
        "tenant_id",
        "kind",
        unique=True,
        postgresql_where=text("status = 'queued'"),
    ),
)

external_runs = Table(
    "external_runs",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("as_of", Instant, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'open'")),
    Column("opened_at", Instant, nullable=False, server_default=NOW),
    Column("opened_by", Text),
    Column("closed_at", Instant),
    Column("outcome", JSONB),
    PrimaryKeyConstraint("tenant_id", "id"),
)

external_run_rows = Table(
    "external_run_rows",
    metadata,
    _customers_tenant(),
    Column("run_id", Uuid, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("rfm_segment", Text),
    Column("rfm_recency_score", SmallInteger),
    Column("rfm_frequency_score", SmallInteger),
    Column("rfm_monetary_score", SmallInteger),
    Column("clv", BigInteger),
    Column("clv_percentile", SmallInteger),
    Column("churn_score", Double),
    Column("churn_reasons", ARRAY(Text)),
    Column("influence_score", Double),
    Column("recommended_products", ARRAY(Text)),
    Column("next_purchase_on", Date),
    Column("next_purchase_confidence", Double),
    PrimaryKeyConstraint("tenant_id", "run_id", "customer_sk"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"],
        ["external_runs.tenant_id", "external_runs.id"],
        ondelete="CASCADE",
    ),
    _belongs_to("customers", "customer_sk"),
    Index("external_run_rows_customer_idx", "tenant_id", "customer_sk"),
)

sanity_checks = Table(
    "sanity_checks",
    metadata,
    _tenant(),
    Column("checked_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("passed", Boolean, nullable=False),
    Column("checks", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant_id", "checked_at"),
)


def _summand() -> Column[int]:
    """Tells apart the rows of one key, which are to be added up."""
    return Column("seq", BigInteger, Identity(always=False), nullable=False)


def _counts(*names: str) -> tuple[Column[int], ...]:
    return tuple(Column(name, BigInteger, nullable=False) for name in names)


def _amounts(*names: str) -> tuple[Column[object], ...]:
    return tuple(Column(name, Numeric, nullable=False) for name in names)


population_totals = Table(
    "population_totals",
    metadata,
    _customers_tenant(),
    Column("figure", Text, nullable=False),
    Column("a", Text, nullable=False),
    Column("b", Text, nullable=False),
    _summand(),
    *_counts("customers", "buyers", "repeat_buyers"),
    *_amounts("revenue", "revenue_365d", "revenue_90d"),
    *_counts("orders_365d", "orders_90d"),
    *_amounts("order_values"),
    *_counts("days_since", "active_30d", "inactive_90d", "tenure_days"),
    *_amounts("clv", "value_at_risk"),
    *_counts("churn_rated", "churn_points", "declining_orders", "declining_spend"),
    *_counts("loyalty_points", "contacts", "responses"),
    PrimaryKeyConstraint("tenant_id", "figure", "a", "b", "seq"),
)

sales_days = Table(
    "sales_days",
    metadata,
    _customers_tenant(),
    Column("day", Date, nullable=False),
    Column("store_sk", BigInteger, nullable=False, autoincrement=False),
    _summand(),
    *_counts("orders"),
    *_amounts("revenue"),
    PrimaryKeyConstraint("tenant_id", "day", "store_sk", "seq"),
)

satisfaction_months = Table(
    "satisfaction_months",
    metadata,
    _customers_tenant(),
    Column("month", Date, nullable=False),
    Column("store_sk", BigInteger, nullable=False, autoincrement=False),
    Column("rfm_segment", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _summand(),
    *_counts("answers", "score_sum", "promoters", "detractors"),
    PrimaryKeyConstraint("tenant_id", "month", "store_sk", "rfm_segment", "kind", "seq"),
)

place_totals = Table(
    "place_totals",
    metadata,
    _customers_tenant(),
    Column("zoom", SmallInteger, nullable=False),
    Column("code", BigInteger, nullable=False, autoincrement=False),
    _summand(),
    Column("x", Integer, nullable=False),
    Column("y", Integer, nullable=False),
    *_counts("customers"),
    Column("compacted", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("tenant_id", "zoom", "code", "seq"),
    Index(
        "place_totals_appended_idx",
        "tenant_id",
        "zoom",
        "code",
        postgresql_where=text("NOT compacted"),
    ),
)

population_total_days = Table(
    "population_total_days",
    metadata,
    _customers_tenant(),
    Column("day", Date, nullable=False),
    Column("figure", Text, nullable=False),
    Column("a", Text, nullable=False),
    Column("b", Text, nullable=False),
    *_counts("customers", "buyers", "repeat_buyers"),
    *_amounts("revenue_365d", "clv", "value_at_risk"),
    *_counts("loyalty_points"),
    PrimaryKeyConstraint("tenant_id", "day", "figure", "a", "b"),
)

standing_moves = Table(
    "standing_moves",
    metadata,
    _customers_tenant(),
    Column("kind", Text, nullable=False),
    Column("from_day", Date, nullable=False),
    Column("to_day", Date, nullable=False),
    Column("from_value", Text, nullable=False),
    Column("to_value", Text, nullable=False),
    *_counts("customers"),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "kind", "from_day", "to_day", "from_value", "to_value"),
)

referral_networks = Table(
    "referral_networks",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    *_counts("customers"),
    *_amounts("revenue"),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "customer_sk"),
    _belongs_to("customers", "customer_sk", cascade=True),
)

venue_segments = Table(
    "venue_segments",
    metadata,
    _customers_tenant(),
    Column("store_sk", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("segment", Text, nullable=False),
    *_counts("customers", "revenue"),
    Column("as_of", Instant, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("computed_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("tenant_id", "store_sk", "kind", "segment"),
    _belongs_to("stores", "store_sk", cascade=True),
)

segments = Table(
    "segments",
    metadata,
    _tenant(),
    _surrogate(),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("segment_type", Text, nullable=False),
    Column("criteria", JSONB),
    Column("normalized", JSONB),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    Column("evaluated_revision", BigInteger),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("requested_at", Instant, nullable=False, server_default=NOW),
    Column("started_at", Instant),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("computed_at", Instant),
    Column("last_error", Text),
    *_timestamps(),
    Column("created_by", Text),
    Column("updated_by", Text),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')"),
)

segment_members = Table(
    "segment_members",
    metadata,
    _customers_tenant(),
    Column("segment_sk", BigInteger, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("joined_at", Instant, nullable=False),
    Column("left_at", Instant),
    Column("manual", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("tenant_id", "segment_sk", "joined_at", "customer_sk"),
    Index(
        "segment_members_present_key",
        "tenant_id",
        "segment_sk",
        "customer_sk",
        unique=True,
        postgresql_where=text("left_at IS NULL"),
    ),
    Index(
        "segment_members_left_idx",
        "tenant_id",
        "segment_sk",
        "left_at",
        "customer_sk",
        postgresql_where=text("left_at IS NOT NULL"),
    ),
    Index("segment_members_customer_idx", "tenant_id", "customer_sk"),
)

#: To be added up for each segment: how many members it has.
segment_sizes = Table(
    "segment_sizes",
    metadata,
    _customers_tenant(),
    Column("segment_sk", BigInteger, nullable=False),
    Column("seq", BigInteger, Identity(always=False), nullable=False),
    Column("members", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "segment_sk", "seq"),
)

#: Customers whose memberships are to be told by a job.
segment_touched = Table(
    "segment_touched",
    metadata,
    _customers_tenant(),
    Column("seq", BigInteger, Identity(always=False), nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
)

segment_versions = Table(
    "segment_versions",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("version", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("asks_of_events", Boolean, nullable=False, server_default=text("true")),
)

customer_aliases = Table(
    "customer_aliases",
    metadata,
    _customers_tenant(),
    Column("id", Text, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("merged_at", Instant, nullable=False, server_default=NOW),
    Column("merged_by", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk"),
    Index("customer_aliases_customer_idx", "tenant_id", "customer_sk"),
)

erasures = Table(
    "erasures",
    metadata,
    _tenant(),
    Column("id_hash", LargeBinary, nullable=False),
    Column("receipt_id", Uuid, nullable=False),
    Column("erased_at", Instant, nullable=False, server_default=NOW),
    Column("erased_by", Text),
    Column("receipt", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id_hash"),
)

access_log = Table(
    "access_log",
    metadata,
    _customers_tenant(),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    _summand(),
    Column("key_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("subject", Text),
    Column("customers", Integer, nullable=False),
    Column("anonymized", Boolean, nullable=False),
    Column("request_id", Text),
    PrimaryKeyConstraint("tenant_id", "at", "seq"),
    Index(
        "access_log_subject_idx",
        "tenant_id",
        "subject",
        "at",
        postgresql_where=text("subject IS NOT NULL"),
    ),
    postgresql_partition_by="RANGE (at)",
)

#: What erased customers bought and answered, added up without them.
retained_sales_days = Table(
    "retained_sales_days",
    metadata,
    _tenant(),
    Column("day", Date, nullable=False),
    Column("store_sk", BigInteger, nullable=False, autoincrement=False),
    *_counts("orders"),
    *_amounts("revenue"),
    PrimaryKeyConstraint("tenant_id", "day", "store_sk"),
)

retained_satisfaction_months = Table(
    "retained_satisfaction_months",
    metadata,
    _tenant(),
    Column("month", Date, nullable=False),
    Column("store_sk", BigInteger, nullable=False, autoincrement=False),
    Column("rfm_segment", Text, nullable=False),
    Column("kind", Text, nullable=False),
    *_counts("answers", "score_sum", "promoters", "detractors"),
    PrimaryKeyConstraint("tenant_id", "month", "store_sk", "rfm_segment", "kind"),
)

duplicate_pairs = Table(
    "duplicate_pairs",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("other_sk", BigInteger, nullable=False),
    Column("score", SmallInteger, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("found_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "customer_sk", "other_sk"),
    _belongs_to("customers", "customer_sk", cascade=True),
    _belongs_to("customers", "other_sk", cascade=True),
    CheckConstraint("customer_sk < other_sk"),
    Index(
        "duplicate_pairs_score_idx",
        "tenant_id",
        text("score DESC"),
        "customer_sk",
        "other_sk",
    ),
    Index("duplicate_pairs_other_idx", "tenant_id", "other_sk"),
)

face_settings = Table(
    "face_settings",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True, autoincrement=False),
    Column("collection_id", Text, nullable=False),
    Column("threshold", Double, nullable=False, server_default=text("99")),
    Column("margin", Double, nullable=False, server_default=text("1")),
    Column("attributes_on", Boolean, nullable=False, server_default=text("false")),
    Column("emotions_on", Boolean, nullable=False, server_default=text("false")),
    Column("retention_days", Integer, nullable=False, server_default=text("1095")),
    Column("searches_per_day", Integer),
    Column("indexes_per_day", Integer),
    Column("updated_at", Instant, nullable=False, server_default=NOW),
    Column("updated_by", Text),
)

face_consents = Table(
    "face_consents",
    metadata,
    _customers_tenant(),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("customer_sk", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("notice_version", Text, nullable=False),
    Column("notice_sha256", LargeBinary, nullable=False),
    Column("method", Text, nullable=False),
    Column("evidence", Text),
    Column("given_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("recorded_at", Instant, nullable=False, server_default=NOW),
    Column("recorded_by", Text),
    Column("ended_at", Instant),
    Column("ended_as", Text),
    Column("ended_by", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk", cascade=True),
    Index(
        "face_consents_current_key",
        "tenant_id",
        "customer_sk",
        "purpose",
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("face_consents_customer_idx", "tenant_id", "customer_sk", "given_at"),
    Index(
        "face_consents_expiry_idx",
        "tenant_id",
        "expires_at",
        postgresql_where=text("ended_at IS NULL"),
    ),
)

face_users = Table(
    "face_users",
    metadata,
    _customers_tenant(),
    Column("user_id", Uuid, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("created_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("last_seen_at", Instant),
    Column("age_range_min", SmallInteger),
    Column("age_range_max", SmallInteger),
    Column("gender", Text),
    Column("gender_confidence", Double),
    PrimaryKeyConstraint("tenant_id", "user_id"),
    _belongs_to("customers", "customer_sk", cascade=True),
    Index(
        "face_users_active_key",
        "tenant_id",
        "customer_sk",
        unique=True,
        postgresql_where=text("status = 'active'"),
    ),
    Index("face_users_customer_idx", "tenant_id", "customer_sk"),
)

faces = Table(
    "faces",
    metadata,
    _customers_tenant(),
    Column("id", Uuid, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("face_id", Text),
    Column("photo_key", Text),
    Column("brightness", Double),
    Column("sharpness", Double),
    Column("confidence", Double),
    Column("model_version", Text),
    Column("created_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("created_by", Text),
    Column("indexed_at", Instant),
    PrimaryKeyConstraint("tenant_id", "id"),
    _belongs_to("customers", "customer_sk", cascade=True),
    ForeignKeyConstraint(
        ["tenant_id", "user_id"],
        ["face_users.tenant_id", "face_users.user_id"],
        ondelete="CASCADE",
    ),
    Index(
        "faces_face_key",
        "tenant_id",
        "face_id",
        unique=True,
        postgresql_where=text("face_id IS NOT NULL"),
    ),
    Index("faces_customer_idx", "tenant_id", "customer_sk", "created_at"),
    Index("faces_user_idx", "tenant_id", "user_id"),
    Index("faces_created_at_idx", "tenant_id", "created_at"),
)

#: The searches made, without images. Candidates are the opaque ids of `face_users`.
face_searches = Table(
    "face_searches",
    metadata,
    _tenant(),
    _surrogate(),
    Column("searched_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("purpose", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("margin", Double),
    Column("candidates", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("similarities", ARRAY(Double), nullable=False, server_default=text("'{}'")),
    Column("actor", Text),
    Column("key_id", Text, nullable=False),
    Column("store_sk", BigInteger),
    Column("provider", Text, nullable=False),
    Column("provider_request_id", Text),
    Column("request_id", Text),
    PrimaryKeyConstraint("tenant_id", "sk"),
    _belongs_to("stores", "store_sk"),
    Index("face_searches_searched_at_idx", "tenant_id", "searched_at"),
)

face_sightings = Table(
    "face_sightings",
    metadata,
    _customers_tenant(),
    Column("day", Date, nullable=False),
    Column("store_sk", BigInteger, nullable=False, autoincrement=False),
    Column("customer_sk", BigInteger, nullable=False, autoincrement=False),
    Column("age_range_min", SmallInteger),
    Column("age_range_max", SmallInteger),
    Column("gender", Text),
    Column("emotion", Text),
    PrimaryKeyConstraint("tenant_id", "day", "store_sk", "customer_sk"),
    _belongs_to("customers", "customer_sk", cascade=True),
    Index("face_sightings_customer_idx", "tenant_id", "customer_sk"),
)

#: No key to customers: what is to be removed elsewhere has to be known after they are gone.
face_erasures = Table(
    "face_erasures",
    metadata,
    _tenant(),
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("user_id", Uuid, nullable=False),
    Column("face_ids", ARRAY(Text), nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("requested_by", Text),
    Column("steps", JSONB, nullable=False, server_default=text("'{}'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("next_attempt_at", Instant, nullable=False, server_default=NOW),
    Column("completed_at", Instant),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index(
        "face_erasures_open_idx",
        "tenant_id",
        "next_attempt_at",
        postgresql_where=text("completed_at IS NULL"),
    ),
)

cohorts = Table(
    "cohorts",
    metadata,
    _tenant(),
    _surrogate(),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("cohort_type", Text, nullable=False),
    Column("acquisition_start", Date),
    Column("acquisition_end", Date),
    Column("criteria", JSONB),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("created_by", Text),
    PrimaryKeyConstraint("tenant_id", "sk"),
    UniqueConstraint("tenant_id", "id"),
)

cohort_members = Table(
    "cohort_members",
    metadata,
    _customers_tenant(),
    Column("cohort_sk", BigInteger, nullable=False),
    Column("customer_sk", BigInteger, nullable=False),
    Column("joined_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "cohort_sk", "customer_sk"),
    _belongs_to("cohorts", "cohort_sk", cascade=True),
    _belongs_to("customers", "customer_sk"),
    Index("cohort_members_customer_idx", "tenant_id", "customer_sk"),
)

#: A view: the members of every cohort, those of a range of days among them.
cohort_membership = table(
    "cohort_membership",
    column("tenant_id", Integer),
    column("cohort_sk", BigInteger),
    column("customer_sk", BigInteger),
)

cohort_months = Table(
    "cohort_months",
    metadata,
    _tenant(),
    Column("cohort_month", Date, nullable=False),
    Column("month", Date, nullable=False),
    *_counts("customers", "orders"),
    *_amounts("revenue"),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "cohort_month", "month"),
)

customer_stages = Table(
    "customer_stages",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("entered_at", Instant, nullable=False),
    Column("set_by", Text),
    PrimaryKeyConstraint("tenant_id", "customer_sk"),
    _belongs_to("customers", "customer_sk"),
    Index("customer_stages_stage_idx", "tenant_id", "stage", "customer_sk"),
)

stage_moves = Table(
    "stage_moves",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("entered_at", Instant, nullable=False),
    _summand(),
    Column("from_stage", Text),
    Column("stage", Text, nullable=False),
    Column("set_by", Text),
    PrimaryKeyConstraint("tenant_id", "customer_sk", "entered_at", "seq"),
    _belongs_to("customers", "customer_sk"),
    Index("stage_moves_entered_at_idx", "tenant_id", "entered_at"),
)

stage_touched = Table(
    "stage_touched",
    metadata,
    _customers_tenant(),
    _summand(),
    Column("customer_sk", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
)

journey_rules = Table(
    "journey_rules",
    metadata,
    _tenant(),
    Column("rules", JSONB, nullable=False),
    Column("updated_at", Instant, nullable=False, server_default=NOW),
    Column("updated_by", Text),
    PrimaryKeyConstraint("tenant_id"),
)

ltv_predictions = Table(
    "ltv_predictions",
    metadata,
    _customers_tenant(),
    Column("customer_sk", BigInteger, nullable=False),
    Column("predicted_at", Instant, nullable=False),
    Column("current_ltv", BigInteger, nullable=False),
    Column("predicted_1_year", BigInteger, nullable=False),
    Column("predicted_3_year", BigInteger),
    Column("predicted_5_year", BigInteger),
    Column("churn_probability", Double, nullable=False),
    Column("growth_potential", Text, nullable=False),
    Column("confidence", Double),
    Column("model_version", Text),
    *_timestamps(),
    PrimaryKeyConstraint("tenant_id", "customer_sk"),
    _belongs_to("customers", "customer_sk"),
    Index(
        "ltv_predictions_churn_idx",
        "tenant_id",
        text("churn_probability DESC"),
        "customer_sk",
    ),
)

behavioral_analytics = Table(
    "behavioral_analytics",
    metadata,
    _tenant(),
    Column("day", Date, nullable=False),
    *_counts("total_customers", "new_customers", "active_customers"),
    Column("at_risk_customers", BigInteger),
    Column("churned_customers", BigInteger),
    *_counts("page_views", "product_views", "cart_additions", "purchases"),
    *_counts("visitors", "converted", "sessions", "bounces"),
    Column("session_seconds", Double, nullable=False),
    *_counts("buyers", "repeat_buyers", "orders"),
    *_amounts("revenue"),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "day"),
)

segment_performance = Table(
    "segment_performance",
    metadata,
    _customers_tenant(),
    Column("segment_sk", BigInteger, nullable=False),
    Column("day", Date, nullable=False),
    *_counts("member_count", "active_members"),
    Column("stayed", BigInteger),
    Column("lost", BigInteger),
    *_counts("valued"),
    *_amounts("value"),
    *_counts("orders_30d"),
    *_amounts("revenue_30d"),
    *_counts("visitors", "converted", "emailed", "email_opened", "email_clicked"),
    *_counts("texted", "text_opened"),
    Column("engagement", Double, nullable=False),
    *_amounts("revenue"),
    Column("computed_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("tenant_id", "segment_sk", "day"),
    _belongs_to("segments", "segment_sk", cascade=True),
)
