"""Finding a customer by a photo, and verifying a visit by one. Photos stay in memory.

Every search is written down, in a transaction that is committed before anybody is told the answer.
A search that the provider refused is written down as well.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

from app.database import Connection, Database
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.face import (
    CANDIDATES,
    LOWEST_SIMILARITY,
    ConsentPurpose,
    ConsentRequired,
    Decision,
    Likeness,
    Outcome,
    Rules,
    decide,
    floor_of,
    is_near,
)
from app.domain.tenant import Tenant
from app.gateways.face import (
    Candidate,
    FaceError,
    FaceLimitReached,
    FaceProviderNotConfigured,
    NoFace,
    SearchResult,
)
from app.gateways.object_store import PhotoNotFound
from app.gateways.photo import Photo, prepare_photo
from app.repositories import consent as consents
from app.repositories import face as faces
from app.repositories import face_search as searches
from app.repositories import former
from app.repositories import store as stores
from app.repositories.face import Face, FaceSettings, VisitPlace
from app.repositories.face_search import CustomerSummary, KnownPerson, NewSearch
from app.services.face_backend import FaceBackend, settings_of
from app.services.face_limit import check_daily_limit

log = logging.getLogger(__name__)

#: A visit is compared with so many enrolled photos at most, the sharpest first.
_COMPARED = 3
#: What is noted of a search that came to nothing.
NO_FACE, FAILED = "no_face", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who searches: the key, whom the key's holder names, the request, and the store."""

    key_id: str
    actor: str | None
    request_id: str | None
    store_id: str | None


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody the photo may show, and how alike they are, in percent."""

    customer: CustomerSummary
    similarity: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to; `hints` has one customer for a match, those in question else."""

    search: int
    rules: Rules
    decision: Decision[str]
    hints: Sequence[Hint]


@dataclass(frozen=True, slots=True)
class _Sighting:
    """Somebody who was recognised and is counted in the figures of a day."""

    person: KnownPerson
    day: date


@dataclass(frozen=True, slots=True)
class _Search:
    """One search under way."""

    database: Database
    backend: FaceBackend
    tenant: Tenant
    asker: Asker
    purpose: ConsentPurpose
    settings: FaceSettings
    store_sk: int | None

    @property
    def rules(self) -> Rules:
        """How the tenant searches."""
        return self.settings.rules

    async def note(
        self,
        connection: Connection,
        outcome: str,
        *,
        candidates: Sequence[tuple[UUID, float]] = (),
        provider_request_id: str | None = None,
        recognised: UUID | None = None,
        counted_on: date | None = None,
    ) -> int:
        """Write the search down, and whom it showed; its number."""
        identifies = self.purpose is ConsentPurpose.IDENTIFY
        return await searches.add(
            connection,
            self.tenant.id,
            NewSearch(
                purpose=self.purpose,
                outcome=outcome,
                threshold=self.rules.threshold,
                margin=self.rules.margin if identifies else None,
                candidates=candidates,
                actor=self.asker.actor,
                key_id=self.asker.key_id,
                store_sk=self.store_sk,
                provider=self.backend.provider.name,
                provider_request_id=provider_request_id,
                request_id=self.asker.request_id,
                recognised=recognised,
                counted_on=counted_on,
            ),
        )

    async def note_failure(self, error: FaceError) -> None:
        """Write a search down that has no answer, unless the provider was never asked."""
        if isinstance(error, (FaceLimitReached, FaceProviderNotConfigured)):
            return
        outcome = NO_FACE if isinstance(error, NoFace) else FAILED
        async with self.database.tenant_statements(self.tenant.id) as connection:
            await self.note(connection, outcome)


async def _begin(
    connection: Connection,
    database: Database,
    backend: FaceBackend,
    tenant: Tenant,
    *,
    asker: Asker,
    purpose: ConsentPurpose,
) -> _Search:
    settings = await settings_of(connection, tenant)
    await check_daily_limit(
        connection, tenant, settings.rules.searches_per_day, searches.count_since
    )
    store_sk = None
    if asker.store_id is not None:
        try:
            store_sk = (await stores.get(connection, tenant.id, asker.store_id)).sk
        except NotFound:
            raise InvalidInput("storeId", "is not the id of a store") from None
    return _Search(database, backend, tenant, asker, purpose, settings, store_sk)


# --- Finding ----------------------------------------------------------------------------------


async def find_by_face(
    database: Database, backend: FaceBackend, tenant: Tenant, body: bytes, asker: Asker
) -> Found:
    """Who the largest face in a photo may belong to, among customers who agreed to be found.

    Raises InvalidInput for an unknown store, and the errors of photos and providers.
    """
    backend.check_configured()
    photo, search = await asyncio.gather(
        prepare_photo(body), _opened(database, backend, tenant, asker), return_exceptions=True
    )
    for each in (photo, search):
        if isinstance(each, BaseException):
            raise each
    assert isinstance(photo, Photo)
    assert isinstance(search, _Search)
    try:
        result = await _ask(search, photo)
    except FaceError as error:
        await search.note_failure(error)
        raise
    found, sighting = await _answer(search, result)
    if sighting is not None:
        await _note_emotion(search, photo, sighting)
    return found


async def _opened(
    database: Database, backend: FaceBackend, tenant: Tenant, asker: Asker
) -> _Search:
    async with database.tenant_statements(tenant.id) as connection:
        return await _begin(
            connection, database, backend, tenant, asker=asker, purpose=ConsentPurpose.IDENTIFY
        )


async def _ask(search: _Search, photo: Photo) -> SearchResult:
    async with search.backend.collection(search.tenant, search.settings) as collection_id:
        result = await search.backend.provider.search(
            collection_id,
            photo.data,
            tenant_id=search.tenant.id,
            threshold=floor_of(search.rules.threshold, search.rules.margin),
            limit=CANDIDATES,
        )
    if result.searched_face is None:
        raise NoFace
    return result


async def _answer(search: _Search, result: SearchResult) -> tuple[Found, _Sighting | None]:
    """Decide and write down; with the person, where sightings of them may be counted.

    What is written is one statement, which is committed when it is done.
    """
    tenant, now = search.tenant, datetime.now(UTC)
    named = {_uuid(each.user_id): each for each in result.candidates}
    async with search.database.tenant_statements(tenant.id) as connection:
        known = await searches.list_known(
            connection, tenant.id, [each for each in named if each is not None], now=now
        )
        likenesses = [_likeness(each, known) for each in result.candidates]
        decision = decide(likenesses, threshold=search.rules.threshold, margin=search.rules.margin)
        told = {each.person for each in likenesses if each.told}
        recognised = _recognised(decision, known)
        sighting = None
        if (
            recognised is not None
            and search.rules.attributes_on
            and ConsentPurpose.ATTRIBUTES in recognised.agreed
        ):
            sighting = _Sighting(recognised, tenant.local_day(now))
        number = await search.note(
            connection,
            decision.outcome,
            candidates=[
                (user_id, candidate.similarity)
                for user_id, candidate in named.items()
                if user_id in known and known[user_id].summary.id in told
            ],
            provider_request_id=result.request_id,
            recognised=None if recognised is None else recognised.user_id,
            counted_on=None if sighting is None else sighting.day,
        )
    customers = {each.summary.id: each.summary for each in known.values()}
    hints = [Hint(customers[person], similarity) for person, similarity in _shown(decision)]
    return Found(number, search.rules, decision, hints), sighting


def _likeness(candidate: Candidate, known: Mapping[UUID, KnownPerson]) -> Likeness[str]:
    user_id = _uuid(candidate.user_id)
    person = None if user_id is None else known.get(user_id)
    if person is None:
        # No customer's id has a control character, so nobody is taken for an unknown person.
        return Likeness(f"\0{candidate.user_id}", candidate.similarity, told=False)
    may_be_found = person.status == "active" and ConsentPurpose.IDENTIFY in person.agreed
    return Likeness(person.summary.id, candidate.similarity, told=may_be_found)


def _recognised(decision: Decision[str], known: Mapping[UUID, KnownPerson]) -> KnownPerson | None:
    """The person of a match."""
    if decision.outcome is not Outcome.MATCH:
        return None
    return next(
        each
        for each in known.values()
        if each.summary.id == decision.person and each.status == "active"
    )


def _shown(decision: Decision[str]) -> list[tuple[str, float]]:
    if decision.person is not None and decision.similarity is not None:
        return [(decision.person, decision.similarity)]
    return [(each.person, each.similarity) for each in decision.close]


async def _note_emotion(search: _Search, photo: Photo, sighting: _Sighting) -> None:
    """Count the likeliest emotion of somebody who was matched and agreed to estimates.

    The answer does not wait for a provider that has none.
    """
    if not search.rules.emotions_on:
        return
    try:
        found = await search.backend.provider.detect(
            photo.data, tenant_id=search.tenant.id, attributes=False, emotions=True
        )
    except FaceError as error:
        log.warning("an emotion was not counted: %s", error)
        return
    if not found or not found[0].emotions:
        return
    customer_sk = sighting.person.customer_sk
    async with search.database.tenant_transaction(search.tenant.id) as connection:
        agreed = await consents.in_force(
            connection, search.tenant.id, customer_sk, now=datetime.now(UTC)
        )
        if ConsentPurpose.ATTRIBUTES in agreed:
            await faces.note_emotion(
                connection,
                search.tenant.id,
                customer_sk,
                day=sighting.day,
                store_sk=search.store_sk,
                emotion=found[0].emotions[0].type.lower(),
            )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


# --- Verifying --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Visit:
    """Whether a photo shows the customer, and whether the capture was near an address.

    `similarity` is None below 80 percent; `is_near` where no address has a place.
    """

    search: int
    customer_id: str
    is_same: bool
    similarity: float | None
    threshold: float
    place: VisitPlace
    is_near: bool | None


async def verify_visit(
    database: Database,
    backend: FaceBackend,
    tenant: Tenant,
    body: bytes,
    asker: Asker,
    *,
    customer_id: str,
    capture_id: str,
) -> Visit:
    """Compare a photo of a visit with the customer's own, and the place with the addresses.

    One to one: nobody else's face is looked at. Raises InvalidInput, ConsentRequired, Conflict for
    a customer without a face, and the errors of photos, providers and stores.
    """
    backend.check_configured()
    async with database.tenant_transaction(tenant.id) as connection:
        sk = await former.find_sk(connection, tenant.id, customer_id)
        if sk is None:
            raise InvalidInput("customerId", "is not the id of a customer")
        await _check_visits_agreed(connection, tenant, sk)
        place = await faces.find_visit(connection, tenant.id, sk, capture_id)
        if place is None:
            raise InvalidInput("captureId", "is not the id of a capture of this customer")
        user = await faces.find_active_user(connection, tenant.id, sk)
        enrolled = await faces.list_of_user(connection, tenant.id, user.user_id) if user else []
        enrolled = [face for face in enrolled if face.status == "stored" and face.photo_key]
        if user is None or not enrolled:
            raise Conflict("The customer has no enrolled face to compare the photo with.")
        search = await _begin(
            connection, database, backend, tenant, asker=asker, purpose=ConsentPurpose.VERIFY_VISIT
        )
    photo = await prepare_photo(body)
    try:
        similarity, request_id = await _compare(search, enrolled, photo)
    except FaceError as error:
        await search.note_failure(error)
        raise
    is_same = similarity is not None and similarity >= search.rules.threshold
    async with database.tenant_transaction(tenant.id) as connection:
        await _check_visits_agreed(connection, tenant, user.customer_sk)
        number = await search.note(
            connection,
            Outcome.MATCH if is_same else Outcome.NO_MATCH,
            candidates=[] if similarity is None else [(user.user_id, similarity)],
            provider_request_id=request_id,
            recognised=user.user_id if is_same else None,
        )
    return Visit(
        number,
        user.customer_id,
        is_same,
        similarity,
        search.rules.threshold,
        place,
        is_near(place.distance, place.accuracy),
    )


async def _check_visits_agreed(connection: Connection, tenant: Tenant, customer_sk: int) -> None:
    agreed = await consents.in_force(connection, tenant.id, customer_sk, now=datetime.now(UTC))
    if ConsentPurpose.VERIFY_VISIT not in agreed:
        raise ConsentRequired(ConsentPurpose.VERIFY_VISIT)


async def _compare(
    search: _Search, enrolled: Sequence[Face], photo: Photo
) -> tuple[float | None, str | None]:
    """The best similarity with the sharpest enrolled photos, and the provider's request."""
    best: float | None = None
    request_id = None
    compared = 0
    for face in sorted(enrolled, key=lambda each: each.sharpness or 0.0, reverse=True):
        assert face.photo_key is not None
        try:
            own = await search.backend.store.get(face.photo_key)
        except PhotoNotFound:
            continue
        result = await search.backend.provider.compare(
            own, photo.data, tenant_id=search.tenant.id, threshold=LOWEST_SIMILARITY
        )
        request_id = result.request_id
        compared += 1
        if result.similarity is not None:
            best = max(best or 0.0, result.similarity)
        if compared == _COMPARED or (best is not None and best >= search.rules.threshold):
            break
    if not compared:
        raise Conflict("The photos enrolled for the customer are gone; enrol the face again.")
    return best, request_id
