"""What the service asks of a face recognition provider, and what may go wrong with it.

FaceError
├── NoFace                      nothing in the photo that can be recognised
├── FaceMismatch                the face is not that of the person it was to be joined to
├── UnreadablePhoto             not a JPEG or PNG
├── UnusablePhoto               a JPEG or PNG that is damaged or too small
├── PhotoTooLarge               too many bytes or pixels
├── FaceLimitReached            the tenant has used up its own share of calls for the moment
├── FaceProviderNotConfigured   no provider was chosen
├── FaceProviderUnavailable     throttled, locked out, no collection, or failing for a while
├── FaceProviderFailed          the provider broke, or answered what it never should
└── FaceProviderTimeout         the provider did not answer in time

A percentage is 0 to 100 everywhere. A box is in parts of the image's width and height.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.errors import DomainError
from app.settings import Settings


class FaceError(DomainError):
    """Base of everything that may go wrong with a photo or with a provider."""


class NoFace(FaceError):
    """Nothing in the photo can be recognised. `reasons` are the provider's codes, if it gave any,
    such as LOW_SHARPNESS or SMALL_BOUNDING_BOX.
    """

    def __init__(self, reasons: Sequence[str] = ()) -> None:
        hints = " ".join(_HINTS[reason] for reason in dict.fromkeys(reasons) if reason in _HINTS)
        super().__init__(f"No usable face was found in the photo. {hints or _HINT}")
        self.reasons = tuple(reasons)


_HINT = "Take a new one, from the front and in good light."
_HINTS = {
    "EXTREME_POSE": "The person should look straight into the camera.",
    "LOW_BRIGHTNESS": "It is too dark; take it in better light.",
    "LOW_SHARPNESS": "It is blurred; hold the camera still.",
    "LOW_CONFIDENCE": "The face is hard to make out; nothing should cover it.",
    "SMALL_BOUNDING_BOX": "The face is too small; go closer.",
    "LOW_FACE_QUALITY": "The face is hard to make out; take it from the front and in good light.",
}


class FaceMismatch(FaceError):
    """The face does not resemble those already joined to the same person."""

    def __init__(self) -> None:
        super().__init__(
            "The face in this photo does not resemble the faces stored for this customer. "
            "Check that it is the right customer."
        )


class UnreadablePhoto(FaceError):
    """The bytes are no JPEG and no PNG."""


class UnusablePhoto(FaceError):
    """The photo is a JPEG or PNG, but damaged or too small."""


class PhotoTooLarge(FaceError):
    """The photo has too many bytes or pixels."""


class FaceLimitReached(FaceError):
    """The tenant's own share of calls is used up; it may ask again after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "Too many face requests at once. "
            f"Try again in {retry_after} {'second' if retry_after == 1 else 'seconds'}."
        )
        self.retry_after = retry_after


class FaceProviderNotConfigured(FaceError):
    """No face recognition provider was chosen in the settings."""

    def __init__(self) -> None:
        super().__init__("Face recognition is not set up on this service.")


class FaceProviderUnavailable(FaceError):
    """The provider cannot be used now; it may be asked again after `retry_after` seconds.

    The message says nothing of credentials or collections: those are the operator's to know.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("Face recognition is not available at the moment. Try again later.")
        self.retry_after = retry_after


class FaceProviderFailed(FaceError):
    """The provider broke, or answered what it never should."""

    def __init__(self) -> None:
        super().__init__("Face recognition failed. Try again.")


class FaceProviderTimeout(FaceError):
    """The provider did not answer in time."""

    def __init__(self) -> None:
        super().__init__("Face recognition took too long to answer. Try again.")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a face is, in parts of the image's width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class EmotionEstimate:
    """One expression, such as HAPPY or CALM, and how sure the provider is of it."""

    type: str
    confidence: float


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face in an image, with what was asked about it; the rest is None or empty."""

    confidence: float
    box: Box | None = None
    brightness: float | None = None
    sharpness: float | None = None
    roll: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    occluded: bool | None = None
    occluded_confidence: float | None = None
    age_low: int | None = None
    age_high: int | None = None
    #: `male` or `female`
    gender: str | None = None
    gender_confidence: float | None = None
    #: the most likely first
    emotions: tuple[EmotionEstimate, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexedFace:
    """A face that is now in a collection."""

    face_id: str
    detail: DetectedFace


@dataclass(frozen=True, slots=True)
class UnindexedFace:
    """A face that was seen and not stored, and why, as the provider's codes."""

    reasons: tuple[str, ...]
    detail: DetectedFace


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What became of the faces in an image. No `faces` means that there was no usable one."""

    faces: list[IndexedFace]
    unindexed: list[UnindexedFace]
    model_version: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person of the collection who resembles the searched face."""

    user_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Who resembles the largest face of an image, the most similar first.

    Without a face in the image there are no candidates, and `searched_face` is None.
    """

    candidates: list[Candidate]
    searched_face: DetectedFace | None
    request_id: str


@dataclass(frozen=True, slots=True)
class CompareResult:
    """How much two faces resemble each other; None is less than the threshold."""

    similarity: float | None
    request_id: str


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face in a collection, by its ids."""

    face_id: str
    external_id: str | None
    user_id: str | None


class FaceProvider(Protocol):
    """A face recognition provider. Every method may raise the provider errors of this module.

    `tenant_id` says whose share of calls is used. Images are JPEG or PNG as `prepare_photo` leaves
    them. Every call may be repeated without harm.
    """

    name: str

    async def ensure_collection(self, collection_id: str, *, tenant_id: int) -> str:
        """The model version of the collection, which is created where it is missing."""

    async def detect(
        self, image: bytes, *, tenant_id: int, attributes: bool, emotions: bool = False
    ) -> list[DetectedFace]:
        """All faces in an image, the largest first. With `attributes` age range and gender are
        estimated, with `emotions` expressions.
        """

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

    async def join_user(
        self, collection_id: str, user_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> None:
        """Make the faces part of a person, who is created where missing. At most 100 faces.

        Raises FaceMismatch where a face does not resemble those of the person.
        """

    async def search(
        self, collection_id: str, image: bytes, *, tenant_id: int, threshold: float, limit: int
    ) -> SearchResult:
        """Who of the collection resembles the largest face by at least `threshold` percent."""

    async def compare(
        self, source: bytes, target: bytes, *, tenant_id: int, threshold: float
    ) -> CompareResult:
        """How much the largest face of `source` resembles a face of `target`, if by `threshold`
        percent. Raises NoFace where one of them has none.
        """

    async def delete_user(self, collection_id: str, user_id: str, *, tenant_id: int) -> None:
        """Forget a person, whose faces stay until deleted. One who is not there is a success."""

    async def delete_faces(
        self, collection_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> list[str]:
        """Forget faces, of persons too. Answers the ids that are still there; one that was not
        there is a success.
        """

    def list_faces(self, collection_id: str, *, tenant_id: int) -> AsyncIterator[list[StoredFace]]:
        """All faces of a collection, in pages."""

    def list_users(self, collection_id: str, *, tenant_id: int) -> AsyncIterator[list[str]]:
        """The ids of all persons of a collection, in pages."""

    async def delete_collection(self, collection_id: str, *, tenant_id: int) -> None:
        """Forget a collection and all that is in it. One that is not there is a success."""

    async def close(self) -> None:
        """Give connections back."""


class NoFaceProvider:
    """The provider where none was chosen: every call raises FaceProviderNotConfigured."""

    name = "none"

    async def ensure_collection(self, collection_id: str, *, tenant_id: int) -> str:
        """Refused."""
        raise FaceProviderNotConfigured

    async def detect(
        self, image: bytes, *, tenant_id: int, attributes: bool, emotions: bool = False
    ) -> list[DetectedFace]:
        """Refused."""
        raise FaceProviderNotConfigured

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
        """Refused."""
        raise FaceProviderNotConfigured

    async def join_user(
        self, collection_id: str, user_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> None:
        """Refused."""
        raise FaceProviderNotConfigured

    async def search(
        self, collection_id: str, image: bytes, *, tenant_id: int, threshold: float, limit: int
    ) -> SearchResult:
        """Refused."""
        raise FaceProviderNotConfigured

    async def compare(
        self, source: bytes, target: bytes, *, tenant_id: int, threshold: float
    ) -> CompareResult:
        """Refused."""
        raise FaceProviderNotConfigured

    async def delete_user(self, collection_id: str, user_id: str, *, tenant_id: int) -> None:
        """Refused."""
        raise FaceProviderNotConfigured

    async def delete_faces(
        self, collection_id: str, face_ids: Sequence[str], *, tenant_id: int
    ) -> list[str]:
        """Refused."""
        raise FaceProviderNotConfigured

    async def list_faces(
        self, collection_id: str, *, tenant_id: int
    ) -> AsyncIterator[list[StoredFace]]:
        """Refused."""
        raise FaceProviderNotConfigured
        yield []

    async def list_users(self, collection_id: str, *, tenant_id: int) -> AsyncIterator[list[str]]:
        """Refused."""
        raise FaceProviderNotConfigured
        yield []

    async def delete_collection(self, collection_id: str, *, tenant_id: int) -> None:
        """Refused."""
        raise FaceProviderNotConfigured

    async def close(self) -> None:
        """There is nothing to close."""


def face_provider(settings: Settings) -> FaceProvider:
    """The provider that the settings choose."""
    if settings.face_provider == "none":
        return NoFaceProvider()
    # It imports this module, and boto3, which takes a while to load.
    from app.gateways.rekognition import Rekognition  # noqa: PLC0415

    return Rekognition(settings)
