"""Amazon Rekognition through boto3, in threads of its own.

One client serves the process. Every call passes, in this order, the circuit breaker, the budget of
its tenant and that of the account, and a limited number of threads; boto3 repeats what may be
repeated. What comes back is either a value of `app.gateways.face` or one of its errors.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
from anyio import CapacityLimiter, to_thread
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)

from app.gateways.circuit_breaker import CircuitBreaker
from app.gateways.face import (
    Box,
    Candidate,
    CompareResult,
    DetectedFace,
    EmotionEstimate,
    FaceError,
    FaceLimitReached,
    FaceMismatch,
    FaceProviderFailed,
    FaceProviderTimeout,
    FaceProviderUnavailable,
    IndexedFace,
    IndexResult,
    NoFace,
    PhotoTooLarge,
    SearchResult,
    StoredFace,
    UnindexedFace,
    UnreadablePhoto,
)
from app.gateways.token_bucket import Clock, Exhausted, SharedBudget
from app.settings import Settings

log = logging.getLogger(__name__)

Answer = Mapping[str, Any]

_USER_AGENT = "business-partner-service"

#: Most ids of one request, as the service model has it.
FACES_PER_ASSOCIATION = 100
FACES_PER_DELETION = 4096
_FACES_PER_PAGE = 1000
_USERS_PER_PAGE = 500

#: Calls for each thread, under way or waiting, beyond which another one is refused at once.
_CALLS_PER_THREAD = 5

_SEARCH, _DETECT, _CHANGE = "search", "detect", "change"
#: Which budget a call is paid from.
_BUDGETS = {
    "index_faces": _SEARCH,
    "search_users_by_image": _SEARCH,
    "list_faces": _SEARCH,
    "list_users": _SEARCH,
    "detect_faces": _DETECT,
    "compare_faces": _DETECT,
    "describe_collection": _CHANGE,
    "create_collection": _CHANGE,
    "delete_collection": _CHANGE,
    "create_user": _CHANGE,
    "delete_user": _CHANGE,
    "associate_faces": _CHANGE,
    "disassociate_faces": _CHANGE,
    "delete_faces": _CHANGE,
}

_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestThrottled",
        "SlowDown",
    }
)
_BAD_CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidAccessKeyId",
    }
)
_NOT_ALLOWED = frozenset(
    {"AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired"}
)
#: Operations that need a face in the image and refuse it by InvalidParameterException otherwise.
_FACE_NEEDED = frozenset({"search_users_by_image", "compare_faces"})
#: Operations that the service model gives an answer without members.
_WORDLESS = frozenset({"create_user", "delete_user"})
_MEDIA_TYPE = "application/x-amz-json"
_MISSING = "ResourceNotFoundException"
_EXISTS = "ResourceAlreadyExistsException"
_CONFLICT = "ConflictException"
_QUOTA = frozenset({"ServiceQuotaExceededException", "LimitExceededException"})
_CREDENTIAL_ERRORS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    NoAuthTokenError,
    TokenRetrievalError,
)

#: When to ask again, in seconds, after what does not say so itself.
_AFTER_THROTTLING = 2
_AFTER_CONFLICT = 1
_AFTER_MISSING_COLLECTION = 5
_UNTIL_SOMEBODY_ACTS = 60
_PAUSES_AFTER_CONFLICT = (0.1, 0.4)


class Rekognition:
    """Amazon Rekognition, or whatever speaks its protocol at the address of the settings."""

    name = "rekognition"

    def __init__(self, settings: Settings, *, clock: Clock = time.monotonic) -> None:
        self._client = boto3.session.Session().client(
            "rekognition",
            region_name=settings.rekognition_region,
            endpoint_url=settings.rekognition_endpoint_url,
            config=Config(
                connect_timeout=settings.rekognition_connect_timeout_seconds,
                read_timeout=settings.rekognition_read_timeout_seconds,
                max_pool_connections=settings.rekognition_connections,
                retries={"mode": "standard", "total_max_attempts": settings.rekognition_attempts},
                # botocore's own lists its features and is made anew twice for every call, which is
                # a tenth of what a call costs.
                user_agent=_USER_AGENT,
            ),
        )
        self._threads = CapacityLimiter(settings.rekognition_connections)
        self._most_calls = settings.rekognition_connections * _CALLS_PER_THREAD
        self._calls = 0
        self._budgets = {
            family: SharedBudget(
                rate,
                settings.rekognition_tenant_share,
                settings.rekognition_rate_wait_seconds,
                clock,
            )
            for family, rate in (
                (_SEARCH, settings.rekognition_search_rate),
                (_DETECT, settings.rekognition_detect_rate),
                (_CHANGE, settings.rekognition_change_rate),
            )
        }
        self._breaker = CircuitBreaker(
            settings.rekognition_failures_to_open, settings.rekognition_open_seconds, clock
        )
        self._model_versions: dict[str, str] = {}

    async def close(self) -> None:
        """Give connections back."""
        self._client.close()

    async def ensure_collection(self, collection_id: str, *, tenant_id: int) -> str:
        """The model version of the collection, which is created where it is missing.

        Amazon is asked once in the life of the process, and again after the collection was missed.
        """
        if (known := self._model_versions.get(collection_id)) is not None:
            return known
        collection = {"CollectionId": collection_id}
        answer = await self._unless(_MISSING, "describe_collection", tenant_id, **collection)
        if answer is None:
            answer = await self._unless(_EXISTS, "create_collection", tenant_id, **collection)
        if answer is None:  # another process was quicker
            answer = await self._asked("describe_collection", tenant_id, **collection)
        with _as_modelled("describe_collection"):
            version = self._model_versions[collection_id] = str(answer["FaceModelVersion"])
        return version

    async def detect(
        self, image: bytes, *, tenant_id: int, attributes: bool, emotions: bool = False
    ) -> list[DetectedFace]:
        """All faces in an image, the largest first. With `attributes` age range and gender are
        estimated, with `emotions` expressions.
        """
        answer = await self._asked(
            "detect_faces",
            tenant_id,
            Image={"Bytes": image},
            Attributes=_attributes(attributes=attributes, emotions=emotions),
        )
        with _as_modelled("detect_faces"):
            faces = [_face(detail) for detail in answer["FaceDetails"]]
        return sorted(faces, key=_area, reverse=True)

    async def index(
        self,
        collection_id: str,
        image: bytes,
        *,
        tenant_id: int,
        external_id: str,
        attributes: bool,
        emotions: bool = False,
    ) -> IndexResult:
        """Store the largest face of an image under `external_id`, if it is good enough.

        The same image under the same id is not stored twice: its `face_id` comes again.
        """
        answer = await self._asked(
            "index_faces",
            tenant_id,
            CollectionId=collection_id,
            Image={"Bytes": image},
            ExternalImageId=external_id,
            DetectionAttributes=_attributes(attributes=attributes, emotions=emotions),
            MaxFaces=1,
            QualityFilter="AUTO",
        )
        with _as_modelled("index_faces"):
            return IndexResult(
                faces=[
                    IndexedFace(record["Face"]["FaceId"], _face(record["FaceDetail"]))
                    for record in answer["FaceRecords"]
                ],
                unindexed=[
                    UnindexedFace(tuple(each.get("Reasons", ())), _face(each["FaceDetail"]))
                    for each in answer.get("UnindexedFaces", ())
                ],
                model_version=answer["FaceModelVersion"],
                request_id=_request_id(answer),
            )

    async def join_user(
        self, collection_id: str, user_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> None:
        """Make the faces part of a person, who is created where missing. At most 100 faces.

        Raises FaceMismatch where a face does not resemble those of the person.
        """
        person = {"CollectionId": collection_id, "UserId": user_id}
        await self._unless(_CONFLICT, "create_user", tenant_id, **person)
        answer = await self._associated(tenant_id, **person, FaceIds=list(dict.fromkeys(face_ids)))
        refusals = {
            reason
            for each in answer.get("UnsuccessfulFaceAssociations", ())
            for reason in each.get("Reasons", ())
        }
        if "LOW_MATCH_CONFIDENCE" in refusals:
            raise FaceMismatch
        joined = {each["FaceId"] for each in answer.get("AssociatedFaces", ())}
        if not joined.issuperset(face_ids):
            log.error("faces were not joined to a user of %s: %s", collection_id, sorted(refusals))
            raise FaceProviderFailed

    async def _associated(self, tenant_id: int, **request: Any) -> Answer:
        """AssociateFaces, again for a while where the person is still being created or changed."""
        for pause in _PAUSES_AFTER_CONFLICT:
            answer = await self._unless(_CONFLICT, "associate_faces", tenant_id, **request)
            if answer is not None:
                return answer
            await asyncio.sleep(pause)
        return await self._asked("associate_faces", tenant_id, **request)

    async def search(
        self, collection_id: str, image: bytes, *, tenant_id: int, threshold: float, limit: int
    ) -> SearchResult:
        """Who of the collection resembles the largest face by at least `threshold` percent."""
        answer = await self._asked(
            "search_users_by_image",
            tenant_id,
            CollectionId=collection_id,
            Image={"Bytes": image},
            UserMatchThreshold=threshold,
            MaxUsers=limit,
        )
        with _as_modelled("search_users_by_image"):
            candidates = [
                Candidate(match["User"]["UserId"], match["Similarity"])
                for match in answer.get("UserMatches", ())
            ]
            searched = answer.get("SearchedFace")
            return SearchResult(
                sorted(candidates, key=lambda each: each.similarity, reverse=True),
                _face(searched["FaceDetail"]) if searched else None,
                _request_id(answer),
            )

    async def compare(
        self, source: bytes, target: bytes, *, tenant_id: int, threshold: float
    ) -> CompareResult:
        """How much the largest face of `source` resembles a face of `target`, if by `threshold`
        percent. Raises NoFace where one of them has none.
        """
        answer = await self._asked(
            "compare_faces",
            tenant_id,
            SourceImage={"Bytes": source},
            TargetImage={"Bytes": target},
            SimilarityThreshold=threshold,
        )
        with _as_modelled("compare_faces"):
            similarities = [match["Similarity"] for match in answer.get("FaceMatches", ())]
        return CompareResult(max(similarities, default=None), _request_id(answer))

    async def delete_user(self, collection_id: str, user_id: str, *, tenant_id: int) -> None:
        """Forget a person, whose faces stay until deleted. One who is not there is a success."""
        await self._unless(
            _MISSING, "delete_user", tenant_id, CollectionId=collection_id, UserId=user_id
        )

    async def delete_faces(
        self, collection_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> list[str]:
        """Forget faces, of persons too. Answers the ids that are still there; one that was not
        there is a success.
        """
        held = await self._delete_faces(collection_id, face_ids, tenant_id)
        persons: dict[str, list[str]] = {}
        for face_id, user_id in held.items():
            if user_id is not None:
                persons.setdefault(user_id, []).append(face_id)
        for user_id, faces in persons.items():
            for some in _chunks(faces, FACES_PER_ASSOCIATION):
                await self._unless(
                    _MISSING,
                    "disassociate_faces",
                    tenant_id,
                    CollectionId=collection_id,
                    UserId=user_id,
                    FaceIds=some,
                )
        if persons:
            held = await self._delete_faces(collection_id, list(held), tenant_id)
        return list(held)

    async def _delete_faces(
        self, collection_id: str, face_ids: Sequence[str], tenant_id: int
    ) -> dict[str, str | None]:
        """Delete what can be deleted; what cannot, with the person who holds it."""
        held: dict[str, str | None] = {}
        for some in _chunks(list(dict.fromkeys(face_ids)), FACES_PER_DELETION):
            answer = await self._asked(
                "delete_faces", tenant_id, CollectionId=collection_id, FaceIds=some
            )
            with _as_modelled("delete_faces"):
                gone = set(answer.get("DeletedFaces", ()))
                users = {}
                for each in answer.get("UnsuccessfulFaceDeletions", ()):
                    users[each["FaceId"]] = each.get("UserId")
                    if "FACE_NOT_FOUND" in each.get("Reasons", ()):
                        gone.add(each["FaceId"])
            held |= {face_id: users.get(face_id) for face_id in some if face_id not in gone}
        return held

    async def list_faces(
        self, collection_id: str, *, tenant_id: int
    ) -> AsyncIterator[list[StoredFace]]:
        """All faces of a collection, in pages."""
        request = {"CollectionId": collection_id, "MaxResults": _FACES_PER_PAGE}
        async for answer in self._pages("list_faces", tenant_id, request):
            with _as_modelled("list_faces"):
                page = [
                    StoredFace(face["FaceId"], face.get("ExternalImageId"), face.get("UserId"))
                    for face in answer["Faces"]
                ]
            yield page

    async def list_users(self, collection_id: str, *, tenant_id: int) -> AsyncIterator[list[str]]:
        """The ids of all persons of a collection, in pages."""
        request = {"CollectionId": collection_id, "MaxResults": _USERS_PER_PAGE}
        async for answer in self._pages("list_users", tenant_id, request):
            with _as_modelled("list_users"):
                page = [user["UserId"] for user in answer["Users"]]
            yield page

    async def _pages(
        self, operation: str, tenant_id: int, request: dict[str, Any]
    ) -> AsyncIterator[Answer]:
        token: str | None = None
        while True:
            page = request if token is None else request | {"NextToken": token}
            answer = await self._asked(operation, tenant_id, **page)
            yield answer
            token = answer.get("NextToken")
            if not token:
                return

    async def delete_collection(self, collection_id: str, *, tenant_id: int) -> None:
        """Forget a collection and all that is in it. One that is not there is a success."""
        self._model_versions.pop(collection_id, None)
        await self._unless(_MISSING, "delete_collection", tenant_id, CollectionId=collection_id)

    async def _unless(
        self, expected: str | None, operation: str, tenant_id: int, **request: Any
    ) -> Answer | None:
        """The answer to a request; None where it is refused by the name `expected`."""
        try:
            return await self._sent(operation, tenant_id, request)
        except (ClientError, BotoCoreError) as error:
            refusal = _refusal(operation, error)
            if refusal.code == expected:
                return None
            if refusal.code == _MISSING:
                log.error("%s: the collection %r is missing", operation, request["CollectionId"])
                self._model_versions.pop(request["CollectionId"], None)
            if refusal.alert:
                log.error("Rekognition, %s: %s", operation, error)
            raise refusal.error from error

    async def _asked(self, operation: str, tenant_id: int, **request: Any) -> Answer:
        """The answer to a request."""
        answer = await self._unless(None, operation, tenant_id, **request)
        assert answer is not None
        return answer

    async def _sent(self, operation: str, tenant_id: int, request: dict[str, Any]) -> Answer:
        """One call, when it is its turn; raises boto3's errors and those of the interface."""
        self._refuse_for(self._breaker.refuses())
        if self._calls >= self._most_calls:
            raise FaceProviderUnavailable(1)
        self._calls += 1
        try:
            await self._turn(_BUDGETS[operation], tenant_id)
            return await self._sent_now(operation, request)
        finally:
            self._calls -= 1

    async def _sent_now(self, operation: str, request: dict[str, Any]) -> Answer:
        """One call, of which the circuit breaker learns how it went."""
        self._refuse_for(self._breaker.begin())
        tell = self._breaker.gave_up
        try:
            answer: Answer = await to_thread.run_sync(
                partial(getattr(self._client, operation), **request), limiter=self._threads
            )
            understood = _is_answer(operation, answer)
            tell = self._breaker.succeeded if understood else self._breaker.failed
        except (ClientError, BotoCoreError) as error:
            unwell = _refusal(operation, error).of_service
            tell = self._breaker.failed if unwell else self._breaker.succeeded
            raise
        finally:
            self._told(tell)
        if not understood:
            log.error("Rekognition, %s: an answer that cannot be read", operation)
            raise FaceProviderFailed
        return answer

    async def _turn(self, family: str, tenant_id: int) -> None:
        """Wait until the budget allows another call."""
        wait = self._budgets[family].reserve(tenant_id)
        if isinstance(wait, Exhausted):
            seconds = math.ceil(wait.seconds)
            raise FaceLimitReached(seconds) if wait.own else FaceProviderUnavailable(seconds)
        if wait:
            await asyncio.sleep(wait)

    def _refuse_for(self, seconds: float) -> None:
        if seconds > 0:
            raise FaceProviderUnavailable(math.ceil(seconds))

    def _told(self, tell: Callable[[], None]) -> None:
        before = self._breaker.state
        tell()
        after = self._breaker.state
        if after == "open" and before != "open":
            log.error("Rekognition keeps failing; calls are refused for a while")
        elif after == "closed" and before != "closed":
            log.warning("Rekognition answers again")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a call was refused."""

    #: Amazon's own name for it, empty where it did not come from there
    code: str
    error: FaceError
    #: whether the service itself is unwell
    of_service: bool
    #: whether somebody has to do something about it
    alert: bool = False


def _refusal(operation: str, error: ClientError | BotoCoreError) -> _Refusal:
    if isinstance(error, ClientError):
        return _named_refusal(operation, error)
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return _Refusal("", FaceProviderTimeout(), of_service=True)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return _Refusal(
            "", FaceProviderUnavailable(_UNTIL_SOMEBODY_ACTS), of_service=True, alert=True
        )
    # A request that boto3 does not even send is a fault of ours and says nothing of the service.
    sent = not isinstance(error, ParamValidationError)
    return _Refusal("", FaceProviderFailed(), of_service=sent, alert=True)


def _named_refusal(operation: str, error: ClientError) -> _Refusal:
    code = error.response["Error"]["Code"]
    locked_out = FaceProviderUnavailable(_UNTIL_SOMEBODY_ACTS)
    if code in _THROTTLED:
        return _Refusal(code, FaceProviderUnavailable(_AFTER_THROTTLING), of_service=True)
    if code in _BAD_CREDENTIALS:
        return _Refusal(code, locked_out, of_service=True, alert=True)
    if code in _NOT_ALLOWED or code in _QUOTA:
        return _Refusal(code, locked_out, of_service=False, alert=True)
    by_caller: FaceError | None = None
    if code == "InvalidImageFormatException":
        by_caller = UnreadablePhoto("The photo cannot be read. Send a JPEG or PNG.")
    elif code == "ImageTooLargeException":
        by_caller = PhotoTooLarge("The photo is too large. Send it in a smaller size.")
    elif code == "InvalidParameterException" and operation in _FACE_NEEDED:
        by_caller = NoFace()
    elif code == _MISSING:
        by_caller = FaceProviderUnavailable(_AFTER_MISSING_COLLECTION)
    elif code == _CONFLICT:
        by_caller = FaceProviderUnavailable(_AFTER_CONFLICT)
    if by_caller is not None:
        return _Refusal(code, by_caller, of_service=False)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return _Refusal(code, FaceProviderFailed(), of_service=status >= 500, alert=True)


def _is_answer(operation: str, answer: Answer) -> bool:
    """Whether it is Amazon that answered: boto3 takes the error page of a proxy for an answer
    without members.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    members = answer.keys() - {"ResponseMetadata"}
    return headers.get("content-type", "").startswith(_MEDIA_TYPE) and (
        bool(members) or operation in _WORDLESS
    )


@contextmanager
def _as_modelled(operation: str) -> Iterator[None]:
    """Reading an answer that may lack what the service model promises."""
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        log.exception("Rekognition, %s: an answer that cannot be read", operation)
        raise FaceProviderFailed from error


def _attributes(*, attributes: bool, emotions: bool) -> list[str]:
    """What to estimate: no more than was asked, and whether something covers the face."""
    asked = ["DEFAULT", "FACE_OCCLUDED"]
    if attributes:
        asked += ["AGE_RANGE", "GENDER"]
    if emotions:
        asked.append("EMOTIONS")
    return asked


def _face(detail: Answer) -> DetectedFace:
    box = detail.get("BoundingBox")
    quality = detail.get("Quality", {})
    pose = detail.get("Pose", {})
    occluded = detail.get("FaceOccluded", {})
    age = detail.get("AgeRange", {})
    gender = detail.get("Gender", {})
    emotions = [
        EmotionEstimate(each["Type"], each["Confidence"]) for each in detail.get("Emotions", ())
    ]
    return DetectedFace(
        confidence=detail["Confidence"],
        box=Box(box["Left"], box["Top"], box["Width"], box["Height"]) if box else None,
        brightness=quality.get("Brightness"),
        sharpness=quality.get("Sharpness"),
        roll=pose.get("Roll"),
        yaw=pose.get("Yaw"),
        pitch=pose.get("Pitch"),
        occluded=occluded.get("Value"),
        occluded_confidence=occluded.get("Confidence"),
        age_low=age.get("Low"),
        age_high=age.get("High"),
        gender=gender["Value"].lower() if gender else None,
        gender_confidence=gender.get("Confidence"),
        emotions=tuple(sorted(emotions, key=lambda each: each.confidence, reverse=True)),
    )


def _area(face: DetectedFace) -> float:
    return face.box.width * face.box.height if face.box else 0.0


def _request_id(answer: Answer) -> str:
    return str(answer.get("ResponseMetadata", {}).get("RequestId", ""))


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
