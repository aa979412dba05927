"""An example of every operation, so that a test can walk them all.

A new route needs a row here: without one `test_tenancy` fails and says so. Ids are those of the
first tenant's things, which `furnish` makes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text

from app.api.schemas.cohort import EXAMPLE as COHORT
from app.api.schemas.contact import EXAMPLE as CONTACT
from app.api.schemas.customer import EXAMPLE as CUSTOMER
from app.api.schemas.event import EXAMPLE as EVENT
from app.api.schemas.face import CONSENT_EXAMPLE as CONSENT
from app.api.schemas.feedback import EXAMPLE as FEEDBACK
from app.api.schemas.ltv_prediction import EXAMPLE as PREDICTION
from app.api.schemas.segment import EXAMPLE as SEGMENT
from app.api.schemas.store import EXAMPLE as STORE
from app.api.schemas.zone import EXAMPLE as ZONE
from app.database import Database
from app.domain.tenant import Tenant
from app.repositories.tables import (
    customers,
    delivery_zones,
    external_runs,
    face_consents,
    face_erasures,
    face_searches,
    face_settings,
    face_users,
    faces,
    job_runs,
    segment_members,
    segment_sizes,
    segments,
    stores,
)
from tests.factories import (
    make_address,
    make_contact,
    make_customer,
    make_feedback,
    make_order,
)


@dataclass(frozen=True, slots=True)
class Example:
    """A request that succeeds for the tenant `furnish` was called for.

    `path` fills the path's parameters; a route with one must answer 404 to another tenant, unless
    it names something that is `common` to all. Another one answers `elsewhere` where it differs
    from `status`: what the body names is unknown there. What is `never_anonymized` is refused to
    callers who are not to recognise anybody.
    """

    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    media_type: str | None = None
    status: int = 200
    elsewhere: int | None = None
    common: bool = False
    never_anonymized: bool = False


#: Ids and words that only the first tenant's data holds; no answer to another tenant may.
MARKS = (
    "cus-mark",
    "ord-mark",
    "con-mark",
    "fb-mark",
    "adr-mark",
    "zon-mark",
    "Widjajakusuma",
    "0b8f2c52",
)

JOB_ID = UUID("0b8f2c52-9a55-4c5c-8a1e-5a6b7c8d9e0f")
RUN_ID = UUID("0b8f2c52-9a55-4c5c-8a1e-5a6b7c8d9e1f")
SEGMENT_ID = UUID("0b8f2c52-9a55-4c5c-8a1e-5a6b7c8d9e2f")
USER_ID = UUID("0b8f2c52-9a55-4c5c-8a1e-5a6b7c8d9e2f")
ERASURE_ID = UUID("0b8f2c52-9a55-4c5c-8a1e-5a6b7c8d9e3f")
_ORDER = {"id": "ord-mark"}
_NEW_ORDER = {
    "id": "ord-new",
    "customerId": "cus-new",
    "orderedAt": "2026-02-11T09:30:00Z",
    "totalAmount": "1",
}
_CUSTOMER = {"id": "cus-mark"}
_AT_VENUE = {"venueId": "venue-mark", "customerId": "cus-mark"}
_NEW_CONTACT = CONTACT | {"id": "con-new", "customerId": "cus-mark"}
_NEW_FEEDBACK = FEEDBACK | {"id": "fb-new", "customerId": "cus-mark", "storeId": None}
_NEW_EVENT = EVENT | {"eventId": "evt-new", "customerId": "cus-mark"}
_CONTACT = {"id": "con-mark"}
_NEW_CAPTURE = {
    "captureId": "cap-new",
    "customerId": "cus-mark",
    "latitude": -6.2,
    "longitude": 106.8,
}
_ADDRESS = {"id": "cus-mark", "addressId": "adr-mark"}
_ZONE = {"id": "zon-mark"}
_NEW_ZONE = {name: value for name, value in ZONE.items() if name != "id"}
_RUN = {"runId": str(RUN_ID)}
_SEGMENT = {"id": str(SEGMENT_ID)}
_MEMBER = {"id": str(SEGMENT_ID), "customerId": "cus-mark"}
_CONSENT = CONSENT | {"customerId": "cus-mark", "expiresAt": None}
# Here nobody recognises faces; tests/api/test_face_*.py have somebody who does.
_PHOTO: dict[str, Any] = {"content": b"photo", "media_type": "image/jpeg", "status": 503}
_NIGHT = "2026-03-01T00:00:00Z"

EXAMPLES: dict[str, Example] = {
    "create_customer": Example(
        json={
            key: value
            for key, value in CUSTOMER.items()
            if key not in ("homeStoreId", "referredByCustomerId")
        },
        status=201,
    ),
    "list_customers": Example(query={"q": "widja"}),
    "get_customer": Example(path=_CUSTOMER),
    "change_customer": Example(path=_CUSTOMER, json={"membershipTier": "gold"}),
    "create_store": Example(json=STORE, status=201),
    "list_stores": Example(),
    "get_tenant": Example(),
    "change_tenant": Example(json={"name": "Another name"}),
    "get_customer_profile": Example(path=_CUSTOMER),
    "list_segments": Example(),
    "get_rfm_distribution": Example(),
    "list_at_risk": Example(),
    "list_segment_customers": Example(path={"segment": "champion"}, common=True),
    "export_at_risk": Example(),
    "export_segment_customers": Example(path={"segment": "champion"}, common=True),
    "list_influencers": Example(),
    "get_demographics": Example(),
    "get_engagement": Example(),
    "get_satisfaction": Example(query={"by": "store"}),
    "get_rfm_migration": Example(),
    "get_loyalty": Example(),
    "get_clv_tiers": Example(),
    "get_clv_distribution": Example(),
    "list_most_valuable": Example(),
    "get_churn_overview": Example(),
    "get_churn_factors": Example(),
    "get_dashboard": Example(),
    "record_customer_batch": Example(json=[{"id": "cus-new", "name": "Dewi"}]),
    "record_order_batch": Example(json=[_NEW_ORDER], query={"createCustomers": "true"}),
    "record_order": Example(json=_NEW_ORDER, query={"createCustomers": "true"}, status=201),
    "get_order": Example(path=_ORDER),
    "correct_order": Example(path=_ORDER, json={"notes": "Gift"}),
    "list_customer_orders": Example(path=_CUSTOMER),
    "record_contact": Example(json=_NEW_CONTACT, status=201, elsewhere=422),
    "record_contact_batch": Example(json=[_NEW_CONTACT], elsewhere=422),
    "get_contact": Example(path=_CONTACT),
    "change_contact": Example(path=_CONTACT, json={"converted": True}),
    "list_customer_contacts": Example(path=_CUSTOMER),
    "record_feedback": Example(json=_NEW_FEEDBACK, status=201, elsewhere=422),
    "record_feedback_batch": Example(json=[_NEW_FEEDBACK], elsewhere=422),
    "list_customer_feedback": Example(path=_CUSTOMER),
    "add_address": Example(path=_CUSTOMER, json={"city": "Jakarta"}, status=201),
    "list_addresses": Example(path=_CUSTOMER),
    "get_address": Example(path=_ADDRESS),
    "change_address": Example(path=_ADDRESS, json={"isPrimary": True}),
    "remove_address": Example(path=_ADDRESS, status=204),
    "refresh_scores": Example(status=202),
    "get_jobs_status": Example(),
    # Nothing to write, because what the first tenant may write the other one may not.
    "update_scores": Example(json={"items": [], "asOf": _NIGHT}),
    "open_score_run": Example(json={"asOf": _NIGHT, "modelVersion": "m"}, status=201),
    "list_score_runs": Example(),
    "get_score_run": Example(path=_RUN),
    "add_score_part": Example(path=_RUN, json=[{"customerId": "cus-mark", "influenceScore": 5}]),
    "commit_score_run": Example(path=_RUN),
    "discard_score_run": Example(path=_RUN, status=204),
    "list_duplicates": Example(),
    "erase_customer": Example(path=_CUSTOMER),
    "merge_customer": Example(path=_CUSTOMER, json={"duplicateId": "cus-twin"}),
    "list_erasures": Example(),
    "list_accesses": Example(),
    "get_job": Example(path={"id": str(JOB_ID)}),
    "list_customer_insights": Example(path=_CUSTOMER),
    "get_customer_rfm": Example(path=_CUSTOMER),
    "get_customer_clv": Example(path=_CUSTOMER),
    "get_customer_churn": Example(path=_CUSTOMER),
    "list_customer_journey": Example(path=_CUSTOMER),
    "list_customer_referrals": Example(path=_CUSTOMER),
    "record_event": Example(json=_NEW_EVENT, status=201, elsewhere=422),
    "record_events": Example(json=[_NEW_EVENT], elsewhere=422),
    "get_customer_behavior": Example(path=_CUSTOMER),
    "get_funnel": Example(query={"steps": "page_view,purchase"}),
    "get_retention": Example(),
    "get_sanity": Example(),
    "get_criteria_schema": Example(),
    "list_customer_segments": Example(),
    "create_segment": Example(json=SEGMENT, status=201),
    "preview_segment": Example(json={"criteria": {"field": "createdAt", "exists": True}}),
    "get_segment_overlap": Example(
        json={"segmentIds": [str(SEGMENT_ID), str(SEGMENT_ID)]}, elsewhere=422
    ),
    "get_segment": Example(path=_SEGMENT),
    "change_segment": Example(path=_SEGMENT, json={"name": "Another name"}),
    "remove_segment": Example(path=_SEGMENT, status=204),
    "evaluate_segment": Example(path=_SEGMENT, status=202),
    "cancel_segment_evaluation": Example(path=_SEGMENT, status=202),
    "export_segment_members": Example(path=_SEGMENT),
    "list_segment_members": Example(path=_SEGMENT),
    "add_segment_member": Example(path=_SEGMENT, json={"customerId": "cus-mark"}, status=201),
    "add_named_segment_member": Example(path=_MEMBER, status=201),
    "get_segment_member": Example(path=_MEMBER),
    "remove_segment_member": Example(path=_MEMBER, status=204),
    "explain_segment_membership": Example(path=_MEMBER),
    "list_segment_changes": Example(path=_SEGMENT),
    "find_lookalikes": Example(path=_SEGMENT),
    "record_face_consent": Example(json=_CONSENT, status=201, elsewhere=422),
    "list_face_consents": Example(path={"customerId": "cus-mark"}),
    "withdraw_face_consent": Example(
        path={"customerId": "cus-mark", "purpose": "identify"}, status=202
    ),
    "index_face": Example(query={"customerId": "cus-mark"}, **_PHOTO),
    "index_analytics_face": Example(query={"customerId": "cus-mark"}, **_PHOTO),
    "search_face": Example(**_PHOTO),
    "search_analytics_face": Example(**_PHOTO),
    "verify_customer_visit": Example(**_PHOTO),
    "get_customer_faces": Example(path=_CUSTOMER),
    "erase_customer_faces": Example(path=_CUSTOMER, status=202),
    "get_face_erasure": Example(path={"receiptId": str(ERASURE_ID)}),
    "list_face_searches": Example(),
    "get_face_settings": Example(),
    "change_face_settings": Example(json={"attributesOn": True, "emotionsOn": True}),
    "get_face_demographics": Example(elsewhere=409),
    "get_face_emotions": Example(elsewhere=409),
    "capture_location": Example(json=_NEW_CAPTURE, status=201, elsewhere=422),
    "capture_location_batch": Example(json=[_NEW_CAPTURE], elsewhere=422),
    "export_location_history": Example(path={"customerId": "cus-mark"}, never_anonymized=True),
    "list_visits": Example(query={"deviceId": "device-0b8f2c52"}, never_anonymized=True),
    "get_retention_settings": Example(),
    "change_retention_settings": Example(json={"locationDays": 365, "eventDays": None}),
    "create_cohort": Example(json=COHORT, status=201),
    "list_cohorts": Example(),
    "get_cohort_analysis": Example(),
    "get_cohort": Example(path={"id": "coh-mark"}),
    "retire_cohort": Example(path={"id": "coh-mark"}, status=204),
    "list_cohort_members": Example(path={"id": "coh-mark"}),
    "list_customer_stages": Example(),
    "get_stages": Example(),
    "get_journey_rules": Example(),
    "change_journey_rules": Example(
        json={"rules": [{"stage": "decision", "criteria": {"field": "revenue", "gte": 1}}]}
    ),
    "reset_journey_rules": Example(),
    "get_customer_stage": Example(path=_CUSTOMER),
    "change_customer_stage": Example(path=_CUSTOMER, json={"stage": "decision"}),
    "list_stage_moves": Example(path=_CUSTOMER),
    "get_segmentation_analytics": Example(),
    "refill_analytics": Example(
        json={"firstDay": "2026-01-01", "lastDay": "2026-01-31"}, status=202
    ),
    "record_ltv_prediction": Example(
        json=PREDICTION | {"customerId": "cus-mark"}, status=200, elsewhere=422
    ),
    "record_ltv_prediction_batch": Example(
        json=[PREDICTION | {"customerId": "cus-twin"}], elsewhere=422
    ),
    "list_ltv_predictions": Example(),
    "get_ltv_prediction": Example(path=_CUSTOMER),
    "list_venue_segments": Example(path={"venueId": "venue-mark"}),
    "search_venue_customers": Example(path={"venueId": "venue-mark"}, query={"q": "widja"}),
    "list_nearby_customers": Example(query={"latitude": "-6.2", "longitude": "106.8"}),
    "list_customer_clusters": Example(),
    "get_heatmap": Example(),
    "list_nearest_stores": Example(),
    "export_nearest_stores": Example(),
    "get_venue_customer": Example(path=_AT_VENUE),
    "list_venue_customer_insights": Example(path=_AT_VENUE),
    "get_venue_customer_rfm": Example(path=_AT_VENUE),
    "get_venue_customer_clv": Example(path=_AT_VENUE),
    "list_venue_customer_journey": Example(path=_AT_VENUE),
    "export_customer_places": Example(),
    "export_address_places": Example(query={"format": "csv"}),
    "create_zone": Example(json=ZONE, status=201),
    "propose_zones": Example(json={"storeIds": ["venue-mark"]}, elsewhere=422),
    "list_zones": Example(),
    "list_zones_at": Example(query={"lat": "-6.2145", "lng": "106.8451"}),
    "get_zone": Example(path=_ZONE, query={"customers": "true"}),
    "list_zone_customers": Example(path=_ZONE),
    "export_zone_customers": Example(path=_ZONE),
    "create_or_replace_zone": Example(
        path={"id": "zone-new"}, json=_NEW_ZONE, status=201, common=True
    ),
    "remove_zone": Example(path=_ZONE, status=204),
    "get_tile_json": Example(),
    # The same address for everybody, and nothing there for others.
    "get_tile": Example(path={"z": "12", "x": "3263", "y": "2118"}, elsewhere=204, common=True),
}


async def furnish(database: Database, tenant: Tenant) -> None:
    """Give `tenant` one of everything that the examples name."""
    customer_sk = await make_customer(
        database,
        tenant,
        "cus-mark",
        name="Ratna Widjajakusuma",
        code="CODE-0b8f2c52",
        email="ratna@0b8f2c52.example",
        phone="+62 811 7654 3210",
        last_known_latitude=-6.2145123,
        last_known_longitude=106.8451234,
        community_tags=["tag-0b8f2c52"],
    )
    await make_customer(
        database, tenant, "cus-twin", name="Ratna Widjajakusuma", email="ratna@0b8f2c52.example"
    )
    await make_order(database, tenant, "cus-mark", "ord-mark")
    await make_contact(database, tenant, "cus-mark", "con-mark")
    await make_feedback(
        database, tenant, "cus-mark", "fb-mark", comment="Bu Widjajakusuma menunggu lama"
    )
    await make_address(
        database,
        tenant,
        "cus-mark",
        "adr-mark",
        label="Rumah Widjajakusuma",
        line="Gang Widja 5",
        location="SRID=4326;POINT(106.8451234 -6.2145123)",
    )
    await _furnish_faces(database, tenant)
    await _furnish_segment(database, tenant, customer_sk)
    async with database.tenant_transaction(tenant.id) as connection:
        await connection.execute(
            insert(job_runs).values(tenant_id=tenant.id, id=JOB_ID, kind="full")
        )
        await connection.execute(
            insert(stores).values(
                tenant_id=tenant.id,
                id="venue-mark",
                name="Venue",
                location="SRID=4326;POINT(106.8134 -6.2607)",
            )
        )
        await connection.execute(
            insert(delivery_zones).values(
                tenant_id=tenant.id,
                id="zon-mark",
                name="Zona Utara",
                area="SRID=4326;MULTIPOLYGON(((106.8 -6.3,106.9 -6.3,106.9 -6.2,106.8 -6.2,"
                "106.8 -6.3)))",
            )
        )
        await connection.execute(
            insert(external_runs).values(
                tenant_id=tenant.id,
                id=RUN_ID,
                as_of=datetime(2026, 3, 1, tzinfo=UTC),
                model_version="0b8f2c52",
            )
        )


async def _furnish_segment(database: Database, tenant: Tenant, customer_sk: int) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        segment_sk = await connection.scalar(
            insert(segments)
            .values(
                tenant_id=tenant.id,
                id=SEGMENT_ID,
                name="Segment 0b8f2c52",
                segment_type="custom",
                criteria={"tag": "loyal"},
                normalized={"tag": "loyal"},
            )
            .returning(segments.c.sk)
        )
        await connection.execute(
            insert(segment_members).values(
                tenant_id=tenant.id,
                segment_sk=segment_sk,
                customer_sk=customer_sk,
                joined_at=datetime(2026, 3, 1, tzinfo=UTC),
                manual=True,
            )
        )
        await connection.execute(
            insert(segment_sizes).values(tenant_id=tenant.id, segment_sk=segment_sk, members=1)
        )


async def _furnish_faces(database: Database, tenant: Tenant) -> None:
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await connection.scalar(select(customers.c.sk).where(customers.c.id == "cus-mark"))
        own = {"tenant_id": tenant.id}
        await connection.execute(
            insert(face_settings).values(
                **own, collection_id="bps-0b8f2c52", attributes_on=True, emotions_on=True
            )
        )
        for purpose in ("enrol", "identify"):
            await connection.execute(
                insert(face_consents).values(
                    **own,
                    customer_sk=sk,
                    purpose=purpose,
                    notice_version="0b8f2c52",
                    notice_sha256=bytes(32),
                    method="paper_form",
                    evidence="Formulir Bu Widjajakusuma",
                    given_at=datetime(2026, 3, 1, tzinfo=UTC),
                )
            )
        await connection.execute(insert(face_users).values(**own, user_id=USER_ID, customer_sk=sk))
        await connection.execute(
            insert(faces).values(
                **own,
                id=USER_ID,
                customer_sk=sk,
                user_id=USER_ID,
                status="stored",
                face_id="face-0b8f2c52",
                photo_key="bps-0b8f2c52/photo.jpg",
                indexed_at=datetime(2026, 3, 1, tzinfo=UTC),
            )
        )
        await connection.execute(
            insert(face_searches).values(
                **own,
                purpose="identify",
                outcome="match",
                threshold=99,
                margin=1,
                candidates=[USER_ID],
                similarities=[99.5],
                actor="Kasir Widjajakusuma",
                key_id="k",
                provider="rekognition",
            )
        )
        await connection.execute(
            insert(face_erasures).values(
                **own, id=ERASURE_ID, user_id=ERASURE_ID, face_ids=[], reason="requested"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO cohorts (tenant_id, id, name, cohort_type, criteria)"
                " VALUES (:tenant, 'coh-mark', 'Liked', 'value', '{}')"
            ),
            {"tenant": tenant.id},
        )
        await connection.execute(
            text(
                "INSERT INTO cohort_members (tenant_id, cohort_sk, customer_sk)"
                " SELECT h.tenant_id, h.sk, c.sk FROM cohorts h JOIN customers c"
                " ON c.tenant_id = h.tenant_id AND c.id = 'cus-mark'"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO ltv_predictions (tenant_id, customer_sk, predicted_at, current_ltv,"
                " predicted_1_year, churn_probability, growth_potential)"
                " SELECT tenant_id, sk, '2026-01-01Z', 1, 2, 0.5, 'high' FROM customers"
                " WHERE id = 'cus-mark'"
            )
        )
