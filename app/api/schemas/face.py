"""Consents, faces, searches and erasures over HTTP."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.api.schemas.profile import View
from app.domain.behaviour import WEEKDAYS
from app.domain.face import ConsentMethod, ConsentPurpose, ErasureReason, Outcome, Rules
from app.domain.privacy import FULL, Disclosure
from app.gateways.face import DetectedFace
from app.repositories.consent import Consent
from app.repositories.face import Face, FaceUser
from app.repositories.face_erasure import FaceErasure
from app.repositories.face_search import Search
from app.services.face_search import Found, Hint, Visit
from app.services.records import Identity, Instant, Label, Record

HINT = (
    "A likeness is a hint for a person to confirm, never proof of who somebody is: "
    "do not unlock, pay or refuse by it."
)
NOT_LIVENESS = (
    "A photo shows who is in it, not that anybody was there: this is no check for a live person."
)
ESTIMATES = "Estimates from a photo, not statements of the customer."

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]

CONSENT_EXAMPLE: dict[str, Any] = {
    "customerId": "cus-123",
    "purposes": ["enrol", "identify"],
    "noticeVersion": "2026-01",
    "noticeSha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "method": "paper_form",
    "evidence": "form 4711, till 3",
    "expiresAt": "2029-01-31T00:00:00Z",
}


class ConsentRequest(Record):
    """What a customer agrees to. `purpose` and `purposes` say the same; send one of them.

    The notice is the text that the customer was shown: its SHA-256, or the text itself, which is
    hashed and not kept.
    """

    model_config = ConfigDict(json_schema_extra={"example": CONSENT_EXAMPLE})

    customer_id: Identity
    purpose: ConsentPurpose | None = None
    purposes: Annotated[list[ConsentPurpose], Field(min_length=1, max_length=4)] | None = None
    notice_version: Label
    notice_sha256: Sha256 | None = None
    notice_text: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] | None = None
    method: ConsentMethod
    evidence: Label | None = Field(
        default=None, description="Where the proof is: the number of a form, a recording, a link."
    )
    given_at: Instant | None = Field(default=None, description="Now, where it is left out.")
    expires_at: Instant | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.purpose is None) == (self.purposes is None):
            raise ValueError("send either purpose or purposes")
        return self

    def wanted(self) -> list[ConsentPurpose]:
        """The purposes, however they were sent."""
        return [self.purpose] if self.purpose is not None else list(self.purposes or ())


class ConsentView(View):
    """One consent: in force, or how it ended."""

    id: UUID
    purpose: ConsentPurpose
    in_force: bool
    notice_version: str
    notice_sha256: str
    method: str
    evidence: str | None
    given_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None
    ended_at: datetime | None
    ended_as: str | None = Field(description="withdrawn, expired, replaced or merged.")
    recorded_at: datetime
    recorded_by: str | None = Field(description="Id of the key that recorded it.")

    @classmethod
    def of(cls, consent: Consent, now: datetime, disclosure: Disclosure = FULL) -> Self:
        """The view of `consent` at `now`, as far as it may be told."""
        started = consent.given_at <= now
        expired = consent.expires_at is not None and consent.expires_at <= now
        return cls(
            id=consent.id,
            purpose=consent.purpose,
            in_force=started and not expired and consent.ended_at is None,
            notice_version=consent.notice_version,
            notice_sha256=consent.notice_sha256.hex(),
            method=consent.method,
            evidence=disclosure.personal(consent.evidence),
            given_at=consent.given_at,
            expires_at=consent.expires_at,
            withdrawn_at=consent.ended_at if consent.ended_as == "withdrawn" else None,
            ended_at=consent.ended_at,
            ended_as=consent.ended_as,
            recorded_at=consent.recorded_at,
            recorded_by=consent.recorded_by,
        )


class ConsentsView(View):
    """What a customer has agreed to, the latest first; what has ended is kept."""

    customer_id: str
    in_force: list[ConsentPurpose]
    consents: list[ConsentView]

    @classmethod
    def of(
        cls,
        customer_id: str,
        found: list[Consent],
        now: datetime,
        disclosure: Disclosure = FULL,
    ) -> Self:
        """The view of all consents of one customer."""
        views = [ConsentView.of(consent, now, disclosure) for consent in found]
        return cls(
            customer_id=disclosure.id(customer_id),
            in_force=sorted(view.purpose for view in views if view.in_force),
            consents=views,
        )


class WithdrawalView(View):
    """A consent that was withdrawn; with the receipt of the erasure, where it began one."""

    customer_id: str
    purpose: ConsentPurpose
    withdrawn_at: datetime
    erasure_receipt_id: UUID | None = Field(
        description="See /api/face/erasures/{receiptId}; null where the face is still needed."
    )


class EstimatesView(View):
    """What the provider makes of a face. Percent."""

    note: str = ESTIMATES
    age_range_min: int | None
    age_range_max: int | None
    gender: str | None
    gender_confidence: float | None

    @classmethod
    def of_detail(cls, detail: DetectedFace) -> Self:
        """The estimates of an enrolment."""
        return cls(
            age_range_min=detail.age_low,
            age_range_max=detail.age_high,
            gender=detail.gender,
            gender_confidence=detail.gender_confidence,
        )

    @classmethod
    def of_user(cls, user: FaceUser) -> Self | None:
        """The estimates that are kept of a person; None where there are none."""
        if user.age_range_min is None and user.gender is None:
            return None
        confidence = user.gender_confidence
        return cls(
            age_range_min=user.age_range_min,
            age_range_max=user.age_range_max,
            gender=user.gender,
            gender_confidence=None if confidence is None else round(confidence * 100, 4),
        )


class FaceView(View):
    """One enrolled photo. Quality and confidence go from 0 to 100."""

    id: UUID
    status: str = Field(description="stored, or pending while it is being enrolled.")
    brightness: float | None
    sharpness: float | None
    confidence: float | None
    model_version: str | None
    indexed_at: datetime | None
    photo_url: str | None = Field(description="Readable for five minutes, without a key.")

    @classmethod
    def of(cls, face: Face, photo_url: str | None) -> Self:
        """The view of `face`."""
        return cls(
            id=face.id,
            status=face.status,
            brightness=face.brightness,
            sharpness=face.sharpness,
            confidence=face.confidence,
            model_version=face.model_version,
            indexed_at=face.indexed_at,
            photo_url=photo_url,
        )


class EnrolledView(View):
    """A face that was enrolled."""

    customer_id: str
    face_id: UUID
    is_new: bool = Field(description="False for a photo that was enrolled before.")
    brightness: float | None
    sharpness: float | None
    confidence: float | None
    model_version: str | None
    indexed_at: datetime | None
    estimates: EstimatesView | None = Field(
        description="Where the tenant has them on and the customer has agreed."
    )
    demographics_updated: bool = Field(
        description="Whether an estimate was written; what the customer has stated stands."
    )


class CustomerFacesView(View):
    """What is kept of a customer's face. `status` is none, active, erasing or erased."""

    customer_id: str
    status: str
    last_seen_at: datetime | None
    estimates: EstimatesView | None
    faces: list[FaceView]

    @classmethod
    def of(
        cls,
        customer_id: str,
        user: FaceUser | None,
        faces: list[FaceView],
        disclosure: Disclosure,
    ) -> Self:
        """The view of a customer's faces, as far as it may be told."""
        return cls(
            customer_id=disclosure.id(customer_id),
            status="none" if user is None else user.status,
            last_seen_at=None if user is None else user.last_seen_at,
            estimates=None if user is None else EstimatesView.of_user(user),
            faces=faces,
        )


class PreferencesView(View):
    """What the customer is known to prefer, from orders and answers."""

    categories: list[str]
    brands: list[str]
    shopping_day: str | None
    shopping_hour: int | None
    payment_method: str | None
    contact_channel: str | None


class HintView(View):
    """A customer the photo may show, as the till needs to know."""

    customer_id: str
    name: str
    tier: str | None
    points: int | None
    segment: str | None
    preferences: PreferencesView
    similarity: float

    @classmethod
    def of(cls, hint: Hint) -> Self:
        """The view of `hint`."""
        customer = hint.customer
        day = customer.preferred_shopping_day
        return cls(
            customer_id=customer.id,
            name=customer.name,
            tier=customer.membership_tier,
            points=customer.loyalty_points,
            segment=customer.rfm_segment,
            preferences=PreferencesView(
                categories=customer.preferred_categories or [],
                brands=customer.preferred_brands or [],
                shopping_day=None if day is None else WEEKDAYS[day - 1],
                shopping_hour=customer.preferred_shopping_hour,
                payment_method=customer.preferred_payment_method,
                contact_channel=customer.preferred_contact_channel,
            ),
            similarity=hint.similarity,
        )


class SearchView(View):
    """What a search by face came to. Percent."""

    search_id: int = Field(description="Number of the search in /api/face/audit.")
    result: Outcome
    note: str = HINT
    threshold: float
    similarity: float | None
    runner_up_similarity: float | None = Field(description="Of the next likest person.")
    margin: float | None = Field(description="The lead over the runner-up; null without one.")
    required_margin: float
    customer: HintView | None
    candidates: list[HintView] = Field(description="Those in question, where it is ambiguous.")

    @classmethod
    def of(cls, found: Found) -> Self:
        """The view of what was found."""
        hints = [HintView.of(hint) for hint in found.hints]
        matched = found.decision.outcome is Outcome.MATCH
        return cls(
            search_id=found.search,
            result=found.decision.outcome,
            threshold=found.rules.threshold,
            similarity=found.decision.similarity,
            runner_up_similarity=found.decision.runner_up,
            margin=found.decision.margin,
            required_margin=found.rules.margin,
            customer=hints[0] if matched else None,
            candidates=[] if matched else hints,
        )


class VisitView(View):
    """Whether a photo of a visit shows the customer, and whether it was near an address."""

    search_id: int
    note: str = NOT_LIVENESS
    customer_id: str
    same_person: bool
    similarity: float | None = Field(description="Percent; null below 80.")
    threshold: float
    near_address: bool | None = Field(
        description="Within 200 m and the capture's accuracy, of which 200 m count at most; null "
        "where no address of the customer has a place."
    )
    distance_metres: float | None
    accuracy_metres: float | None
    captured_at: datetime
    verified: bool = Field(description="The same person, near an address.")

    @classmethod
    def of(cls, visit: Visit) -> Self:
        """The view of `visit`."""
        distance = visit.place.distance
        return cls(
            search_id=visit.search,
            customer_id=visit.customer_id,
            same_person=visit.is_same,
            similarity=visit.similarity,
            threshold=visit.threshold,
            near_address=visit.is_near,
            distance_metres=None if distance is None else round(distance, 1),
            accuracy_metres=visit.place.accuracy,
            captured_at=visit.place.captured_at,
            verified=visit.is_same and visit.is_near is True,
        )


class CandidateView(View):
    """Somebody a search found. The customer is null once nothing leads there any more."""

    candidate_id: UUID = Field(description="The opaque id that the provider knows.")
    customer_id: str | None
    similarity: float


class SearchRecordView(View):
    """One search that was made. The image was not kept."""

    search_id: int
    searched_at: datetime
    purpose: ConsentPurpose
    outcome: str = Field(description="match, ambiguous, no_match, no_face or failed.")
    threshold: float
    required_margin: float | None
    candidates: list[CandidateView]
    actor: str | None
    key_id: str
    store_id: str | None
    provider: str
    provider_request_id: str | None
    request_id: str | None

    @classmethod
    def of(cls, search: Search, disclosure: Disclosure) -> Self:
        """The view of `search`, as far as it may be told."""
        found = zip(search.candidates, search.similarities, search.customer_ids, strict=True)
        return cls(
            search_id=search.sk,
            searched_at=search.searched_at,
            purpose=ConsentPurpose(search.purpose),
            outcome=search.outcome,
            threshold=search.threshold,
            required_margin=search.margin,
            candidates=[
                CandidateView(
                    candidate_id=user_id,
                    customer_id=None if customer_id is None else disclosure.id(customer_id),
                    similarity=similarity,
                )
                for user_id, similarity, customer_id in found
            ],
            actor=disclosure.personal(search.actor),
            key_id=search.key_id,
            store_id=search.store_id,
            provider=search.provider,
            provider_request_id=search.provider_request_id,
            request_id=search.request_id,
        )


class FaceErasureView(View):
    """An erasure of a face: how far it is, or the receipt. It names nobody."""

    receipt_id: UUID
    status: str = Field(description="queued, running, retrying or done.")
    reason: ErasureReason
    requested_at: datetime
    requested_by: str | None
    steps: dict[str, dict[str, Any]] = Field(
        description="What is done: user, faces, verified, photos, rows.",
        examples=[{"user": {"at": "2026-03-01T00:00:00+00:00"}}],
    )
    attempts: int
    last_error: str | None
    next_attempt_at: datetime | None
    completed_at: datetime | None

    @classmethod
    def of(cls, erasure: FaceErasure) -> Self:
        """The view of `erasure`."""
        done = erasure.completed_at is not None
        status = "running" if erasure.steps else "queued"
        if erasure.last_error is not None:
            status = "retrying"
        return cls(
            receipt_id=erasure.id,
            status="done" if done else status,
            reason=erasure.reason,
            requested_at=erasure.requested_at,
            requested_by=erasure.requested_by,
            steps=dict(erasure.steps),
            attempts=erasure.attempts,
            last_error=erasure.last_error,
            next_attempt_at=None if done else erasure.next_attempt_at,
            completed_at=erasure.completed_at,
        )


SETTINGS_EXAMPLE: dict[str, Any] = {
    "threshold": 99.0,
    "margin": 1.0,
    "attributesOn": False,
    "emotionsOn": False,
    "retentionDays": 1095,
    "searchesPerDay": 5000,
    "indexesPerDay": None,
}


class SettingsRequest(Record):
    """How to search and what to keep. What is left out becomes what is usual."""

    model_config = ConfigDict(json_schema_extra={"example": SETTINGS_EXAMPLE})

    threshold: Annotated[float, Field(allow_inf_nan=False)] = 99.0
    margin: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    attributes_on: bool = False
    emotions_on: bool = False
    retention_days: int = 1095
    searches_per_day: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    indexes_per_day: Annotated[int, Field(ge=0, le=10_000_000)] | None = None

    def rules(self) -> Rules:
        """The same as rules."""
        return Rules(**self.model_dump())


class SettingsView(View):
    """How the tenant searches and what it keeps. Percent and days; null is no limit."""

    threshold: float
    margin: float
    attributes_on: bool
    emotions_on: bool
    retention_days: int = Field(description="After the last interaction.")
    searches_per_day: int | None
    indexes_per_day: int | None
    provider: str = Field(description="none, or rekognition.")

    @classmethod
    def of(cls, rules: Rules, provider: str) -> Self:
        """The view of `rules`."""
        return cls(
            threshold=rules.threshold,
            margin=rules.margin,
            attributes_on=rules.attributes_on,
            emotions_on=rules.emotions_on,
            retention_days=rules.retention_days,
            searches_per_day=rules.searches_per_day,
            indexes_per_day=rules.indexes_per_day,
            provider=provider,
        )


class CrowdView(View):
    """People by one kind of thing. Groups under five are among the others."""

    groups: dict[str, int] = Field(examples=[{"female": 12, "male": 9}])
    others: int


class DemographicsDayView(View):
    """Who was recognised in a store on a day, each person once. Estimates."""

    day: date
    store_id: str | None
    people: int
    by_gender: CrowdView
    by_age_group: CrowdView


class DemographicsView(View):
    """Estimates by store and day; days with fewer than five people are left out."""

    note: str = ESTIMATES
    smallest_group: int
    days: list[DemographicsDayView]


class EmotionsDayView(View):
    """The latest likeliest emotion of each person recognised in a store on a day."""

    day: date
    store_id: str | None
    people: int
    by_emotion: CrowdView


class EmotionsView(View):
    """Estimates by store and day; days with fewer than five people are left out."""

    note: str = (
        "Estimates of expressions, not of what people feel. Where employees may be in the picture, "
        "the law may forbid it."
    )
    smallest_group: int
    days: list[EmotionsDayView]
