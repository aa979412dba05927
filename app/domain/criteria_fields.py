"""What criteria may ask of a customer: every field by name, its kind, and where it is kept.

One list serves the parser, the published schema, the statements and the explanations.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the values of a field are, which says how they may be compared."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"
    BOOLEAN = "boolean"
    INSTANT = "instant"
    DAY = "day"
    TEXTS = "texts"


class Operator(StrEnum):
    """How a value is compared; `exists` asks whether there is one."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NOT_IN = "notIn"
    EXISTS = "exists"
    CONTAINS = "contains"
    STARTS_WITH = "startsWith"
    WITHIN = "within"
    WITHIN_NEXT = "withinNext"
    BEFORE = "before"
    AFTER = "after"


_ORDERED = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
_NUMERIC = (
    Operator.EQ,
    Operator.NE,
    *_ORDERED,
    Operator.IN,
    Operator.NOT_IN,
    Operator.EXISTS,
)
_OF_TIME = (
    *_ORDERED,
    Operator.BEFORE,
    Operator.AFTER,
    Operator.WITHIN,
    Operator.WITHIN_NEXT,
    Operator.EXISTS,
)

OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    Kind.TEXT: (
        Operator.EQ,
        Operator.NE,
        Operator.IN,
        Operator.NOT_IN,
        Operator.CONTAINS,
        Operator.STARTS_WITH,
        Operator.EXISTS,
    ),
    Kind.INTEGER: _NUMERIC,
    Kind.NUMBER: _NUMERIC,
    Kind.MONEY: _NUMERIC,
    Kind.BOOLEAN: (Operator.EQ, Operator.NE, Operator.EXISTS),
    Kind.INSTANT: _OF_TIME,
    Kind.DAY: (Operator.EQ, Operator.NE, *_OF_TIME),
    Kind.TEXTS: (Operator.CONTAINS, Operator.EXISTS),
}


class Source(StrEnum):
    """Where a field is kept."""

    CUSTOMER = "customer"
    ANALYTICS = "analytics"
    BEHAVIOR = "behavior"


@dataclass(frozen=True, slots=True)
class Field:
    """A field by the name it has in answers. `drifts` says that it changes with the clock alone."""

    name: str
    kind: Kind
    source: Source
    column: str
    drifts: bool = False
    personal: bool = False


def _camel(column: str) -> str:
    first, *others = column.split("_")
    return first + "".join(part.capitalize() for part in others)


def _fields(
    source: Source,
    columns: dict[Kind, str],
    *,
    personal: str = "",
) -> list[Field]:
    return [
        Field(_camel(column), kind, source, column, personal=column in personal.split())
        for kind, names in columns.items()
        for column in names.split()
    ]


_DECLARED = _fields(
    Source.CUSTOMER,
    {
        Kind.TEXT: "id code name email phone customer_type company_name npwp membership_tier status"
        " preferred_delivery_zone last_known_geohash last_location_source"
        " last_location_captured_by gender income_bracket occupation education_level"
        " acquisition_source acquisition_campaign created_by updated_by",
        Kind.INTEGER: "payment_term_days loyalty_points age_estimate age_range_min age_range_max",
        Kind.NUMBER: "last_known_latitude last_known_longitude last_location_accuracy"
        " gender_confidence",
        Kind.MONEY: "credit_limit credit_used",
        Kind.BOOLEAN: "opt_in_whatsapp opt_in_email opt_in_sms opt_in_push",
        Kind.INSTANT: "last_location_captured_at source_updated_at created_at updated_at",
        Kind.DAY: "date_of_birth",
        Kind.TEXTS: "community_tags social_connections",
    },
    personal="id code name email phone company_name npwp last_known_latitude last_known_longitude"
    " last_known_geohash last_location_accuracy last_location_captured_by date_of_birth occupation"
    " community_tags social_connections",
)
_REFERENCES = [
    Field("homeStoreId", Kind.TEXT, Source.CUSTOMER, "home_store_sk"),
    Field("referredByCustomerId", Kind.TEXT, Source.CUSTOMER, "referred_by_sk", personal=True),
]
_COMPUTED = _fields(
    Source.ANALYTICS,
    {
        Kind.INTEGER: "total_orders counted_orders pending_orders accepted_orders completed_orders"
        " cancelled_orders no_show_orders refunded_orders orders_30d orders_90d orders_180d"
        " orders_365d tenure_days days_since_last_order preferred_shopping_day"
        " preferred_shopping_hour rfm_recency_days rfm_frequency rfm_recency_score"
        " rfm_frequency_score rfm_monetary_score rfm_recency_percentile rfm_frequency_percentile"
        " rfm_monetary_percentile clv_percentile clv_confidence contacts responses feedback_count"
        " complaint_count complaints_90d referred_customers",
        Kind.MONEY: "revenue refunded_amount discount_amount average_order_value revenue_30d"
        " revenue_90d revenue_180d revenue_365d monthly_revenue rfm_monetary clv clv_1_year"
        " clv_3_year value_at_risk referral_revenue",
        Kind.NUMBER: "order_interval_change purchase_frequency_days orders_per_month basket_size"
        " discount_sensitivity churn_score response_rate satisfaction_score influence_score"
        " next_purchase_confidence",
        Kind.TEXT: "order_frequency_trend spend_trend preferred_payment_method rfm_status rfm_code"
        " rfm_segment clv_status churn_status churn_band lifecycle_segment age_group"
        " last_contact_channel preferred_contact_channel response_level spending_level"
        " engagement_quadrant next_purchase_status clv_tier external_model_version",
        Kind.INSTANT: "first_order_at last_order_at last_contact_at satisfaction_at external_as_of",
        Kind.DAY: "standing_since first_order_day next_purchase_on",
        Kind.TEXTS: "preferred_categories preferred_brands churn_reasons recommended_products"
        " external_scores order_notes",
    },
    personal="order_notes",
)

#: Of the summary of behaviour events; a customer without any has none of them.
_OBSERVED = [
    Field(name, kind, Source.BEHAVIOR, column)
    for name, kind, column in (
        ("eventCount", Kind.INTEGER, "events"),
        ("pageViews", Kind.INTEGER, "page_views"),
        ("productViews", Kind.INTEGER, "product_views"),
        ("cartAdditions", Kind.INTEGER, "cart_additions"),
        ("purchaseEvents", Kind.INTEGER, "purchases"),
        ("purchaseEventValue", Kind.MONEY, "spent"),
        ("firstEventAt", Kind.INSTANT, "first_event_at"),
        ("lastEventAt", Kind.INSTANT, "last_event_at"),
        ("firstPurchaseEventAt", Kind.INSTANT, "first_purchase_at"),
        ("lastPurchaseEventAt", Kind.INSTANT, "last_purchase_at"),
    )
]

#: Completed years, by the date of birth, else by the estimate; as `app.domain.demographics.age`.
AGE = Field("age", Kind.INTEGER, Source.CUSTOMER, "age", drifts=True)

FIELDS: dict[str, Field] = {
    field.name: field for field in (*_DECLARED, *_REFERENCES, AGE, *_COMPUTED, *_OBSERVED)
}
