"""A stand-in for Amazon Rekognition on a loopback port: its protocol, limits and errors.

It recognises the drawn faces of `tests.standin.photos` and nothing else. So it proves that requests
are well formed, that answers and errors are understood and that the flow holds together; it proves
nothing about how well real faces are recognised.

Every request and every answer is held against botocore's own service model. Whatever breaks it is
refused, and kept in `violations` for a test to look at.

    python -m tests.standin.rekognition [--port N] [--delay SECONDS]
    python -m tests.standin.rekognition photo FILE --identity 7 [--variant 3] [--also 8]

The first prints `{"endpoint": …}` and serves until it is stopped. It is told what to do by
`POST /control/faults` with `{"operation", "fault", "times", "seconds"}`; `DELETE` of the same path
takes that back, and `GET /control/calls` answers what was asked so far.
"""

import argparse
import base64
import hashlib
import io
import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.session
from botocore.model import OperationModel, ServiceModel
from PIL import Image

from tests.standin.photos import FLAWS, Face, SeenFace, jpeg, seen
from tests.standin.service_model import violations

Document = dict[str, Any]

MODEL_VERSION = "7.0"
#: What answers by name beside the errors of the model: AWS itself has them for every service.
COMMON_FAULTS = {
    "UnrecognizedClientException": 400,
    "ExpiredTokenException": 400,
    "InvalidSignatureException": 400,
    "ServiceUnavailable": 503,
}
#: Ways to fail without an answer, or with one that cannot be read; `slow` answers late.
WORDLESS_FAULTS = ("timeout", "drop", "garbage", "empty", "slow")
_STATUS = {"ThrottlingException": 500, "InternalServerError": 500}

MOST_FACES_PER_USER = 100
_SMALLEST_FACE = 40
_SMALLEST_SIDE = 80
_LOW_MATCH = 75.0
_DEFAULT_SIMILARITY = 80.0


class _Refusal(Exception):
    """An error of the service, by its name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(slots=True)
class _Fault:
    fault: str
    times: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came, with images replaced by their length.

    `seconds` are those from its first line to the moment when the answer was ready to be sent.
    """

    request_id: str
    operation: str
    request: Document
    answered: str
    seconds: float


@dataclass(slots=True)
class _StoredFace:
    face_id: str
    image_id: str
    external_id: str | None
    seen: SeenFace
    user_id: str | None = None


@dataclass(slots=True)
class _Collection:
    created_at: float
    faces: dict[str, _StoredFace] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)


class Rekognition:
    """What the stand-in knows and does, without any HTTP. Safe to use from several threads."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        self._model: ServiceModel = session.get_service_model("rekognition")
        self._lock = threading.RLock()
        self._collections: dict[str, _Collection] = {}
        self._faults: dict[str, list[_Fault]] = {}
        self._operations: dict[str, Callable[[Document], Document]] = {
            "CreateCollection": self._create_collection,
            "DescribeCollection": self._describe_collection,
            "DeleteCollection": self._delete_collection,
            "DetectFaces": self._detect_faces,
            "IndexFaces": self._index_faces,
            "CreateUser": self._create_user,
            "DeleteUser": self._delete_user,
            "AssociateFaces": self._associate_faces,
            "DisassociateFaces": self._disassociate_faces,
            "SearchUsersByImage": self._search_users_by_image,
            "CompareFaces": self._compare_faces,
            "DeleteFaces": self._delete_faces,
            "ListFaces": self._list_faces,
            "ListUsers": self._list_users,
        }
        self.calls: list[Call] = []
        self.violations: list[str] = []
        #: how long each answer is held back, in seconds
        self.delay = 0.0
        self._busy = 0
        #: the most requests that were being answered at the same time
        self.most_busy = 0

    # What a test may ask and tell

    def fail(self, operation: str, fault: str, *, times: int = 1, seconds: float = 30.0) -> None:
        """Let the next `times` calls of an operation fail: by the name of an error that the model
        has for it, or by one of COMMON_FAULTS or WORDLESS_FAULTS. `seconds` is how long `timeout`
        keeps silent and `slow` waits.
        """
        if operation not in self._operations:
            raise ValueError(f"no such operation: {operation}")
        if fault not in self.faults_of(operation):
            raise ValueError(f"{operation} does not fail by {fault}")
        with self._lock:
            self._faults.setdefault(operation, []).append(_Fault(fault, times, seconds))

    def faults_of(self, operation: str) -> list[str]:
        """All ways in which an operation may fail."""
        modelled = [each.name for each in self._model.operation_model(operation).error_shapes]
        return [*modelled, *COMMON_FAULTS, *WORDLESS_FAULTS]

    @property
    def operations(self) -> list[str]:
        """The operations it knows."""
        return list(self._operations)

    def recover(self) -> None:
        """Forget the faults that are still to come."""
        with self._lock:
            self._faults.clear()

    def calls_of(self, operation: str) -> list[Call]:
        """The calls of one operation so far, in order."""
        return [call for call in self.calls if call.operation == operation]

    def face_ids(self, collection_id: str) -> list[str]:
        """The faces in a collection; none where there is no collection."""
        collection = self._collections.get(collection_id)
        return list(collection.faces) if collection else []

    def user_ids(self, collection_id: str) -> list[str]:
        """The persons in a collection; none where there is no collection."""
        collection = self._collections.get(collection_id)
        return sorted(collection.users) if collection else []

    # One request

    def fault_for(self, operation: str) -> _Fault | None:
        """The fault that the next call is to have, which is used up by that."""
        with self._lock:
            faults = self._faults.get(operation)
            if not faults:
                return None
            fault = faults[0]
            fault.times -= 1
            if fault.times <= 0:
                faults.pop(0)
            return fault

    def answer(self, operation: str, request: Any) -> tuple[int, Document]:
        """Status and document for a request that came as JSON."""
        model = self._operation_model(operation)
        if model is None:
            self.violations.append(f"{operation}: unknown")
            return 400, _error("UnknownOperationException", f"{operation} is not known here")
        if wrong := list(violations(model.input_shape, request)):
            self.violations += [f"{operation} request {each}" for each in wrong]
            return 400, _error("ValidationException", "; ".join(wrong))
        try:
            with self._lock:
                answer = self._operations[operation](request)
        except _Refusal as refusal:
            return self.refusal(operation, refusal.name, str(refusal))
        if wrong := list(violations(model.output_shape, answer)):
            self.violations += [f"{operation} answer {each}" for each in wrong]
            return 500, _error("InternalServerError", "; ".join(wrong))
        return 200, answer

    def refusal(self, operation: str, name: str, message: str) -> tuple[int, Document]:
        """Status and document of an error by its name."""
        model = self._operation_model(operation)
        assert model is not None
        if name not in {each.name for each in model.error_shapes} | set(COMMON_FAULTS):
            self.violations.append(f"{operation} answers {name}, which the model does not have")
        return COMMON_FAULTS.get(name, _STATUS.get(name, 400)), _error(name, message)

    def _operation_model(self, operation: str) -> OperationModel | None:
        if operation not in self._operations:
            return None
        return self._model.operation_model(operation)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a request that is being answered."""
        with self._lock:
            self._busy += 1
            self.most_busy = max(self.most_busy, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    # Collections

    def _collection(self, request: Document) -> _Collection:
        name = request["CollectionId"]
        if name not in self._collections:
            raise _Refusal("ResourceNotFoundException", f"The collection id: {name} does not exist")
        return self._collections[name]

    def _create_collection(self, request: Document) -> Document:
        name = request["CollectionId"]
        if name in self._collections:
            raise _Refusal(
                "ResourceAlreadyExistsException", f"The collection id: {name} already exists"
            )
        self._collections[name] = _Collection(time.time())
        return {
            "StatusCode": 200,
            "CollectionArn": _arn(name),
            "FaceModelVersion": MODEL_VERSION,
        }

    def _describe_collection(self, request: Document) -> Document:
        collection = self._collection(request)
        return {
            "FaceCount": len(collection.faces),
            "UserCount": len(collection.users),
            "FaceModelVersion": MODEL_VERSION,
            "CollectionARN": _arn(request["CollectionId"]),
            "CreationTimestamp": collection.created_at,
        }

    def _delete_collection(self, request: Document) -> Document:
        self._collection(request)
        del self._collections[request["CollectionId"]]
        return {"StatusCode": 200}

    # Images

    def _detect_faces(self, request: Document) -> Document:
        asked = set(request.get("Attributes", ["DEFAULT"]))
        return {"FaceDetails": [_detail(each, asked) for each in _faces(request["Image"])[:100]]}

    def _index_faces(self, request: Document) -> Document:
        collection = self._collection(request)
        asked = set(request.get("DetectionAttributes", ["DEFAULT"]))
        most = request.get("MaxFaces", 100)
        filtering = request.get("QualityFilter", "AUTO") != "NONE"
        image = hashlib.sha256(base64.b64decode(request["Image"]["Bytes"])).hexdigest()
        external_id = request.get("ExternalImageId")
        records: list[Document] = []
        unindexed: list[Document] = []
        for number, each in enumerate(_faces(request["Image"])):
            reasons = _reasons(each) if filtering else []
            if len(records) >= most:
                reasons.append("EXCEEDS_MAX_FACES")
            detail = _detail(each, asked)
            if reasons:
                unindexed.append({"Reasons": reasons, "FaceDetail": detail})
                continue
            base = f"{request['CollectionId']}/{external_id}/{image}"
            face_id = _uuid(f"{base}/{number}")
            if face_id not in collection.faces:
                collection.faces[face_id] = _StoredFace(face_id, _uuid(base), external_id, each)
            stored = _stored(collection.faces[face_id])
            # IndexFaces does not say whose face it is.
            stored.pop("UserId", None)
            records.append({"Face": stored, "FaceDetail": detail})
        return {
            "FaceRecords": records,
            "FaceModelVersion": MODEL_VERSION,
            "UnindexedFaces": unindexed,
        }

    def _search_users_by_image(self, request: Document) -> Document:
        collection = self._collection(request)
        faces = _faces(request["Image"])
        answer: Document = {"UserMatches": [], "FaceModelVersion": MODEL_VERSION}
        if not faces:
            return answer
        threshold = request.get("UserMatchThreshold", _DEFAULT_SIMILARITY)
        vectors: dict[str, float] = {}
        for stored in collection.faces.values():
            if stored.user_id is not None:
                similarity = _similarity(stored.seen.face, faces[0].face)
                best = max(vectors.get(stored.user_id, 0.0), similarity)
                vectors[stored.user_id] = best
        matches = sorted(vectors.items(), key=lambda each: (-each[1], each[0]))
        answer["UserMatches"] = [
            {"Similarity": similarity, "User": {"UserId": user_id, "UserStatus": "ACTIVE"}}
            for user_id, similarity in matches[: request.get("MaxUsers", 500)]
            if similarity >= threshold
        ]
        answer["SearchedFace"] = {"FaceDetail": _detail(faces[0], {"DEFAULT"})}
        answer["UnsearchedFaces"] = [
            {"FaceDetails": _detail(each, {"DEFAULT"}), "Reasons": ["FACE_NOT_LARGEST"]}
            for each in faces[1:]
        ]
        return answer

    def _compare_faces(self, request: Document) -> Document:
        sources, targets = _faces(request["SourceImage"]), _faces(request["TargetImage"])
        if not sources or not targets:
            raise _Refusal("InvalidParameterException", "Request has invalid parameters")
        threshold = request.get("SimilarityThreshold", _DEFAULT_SIMILARITY)
        matches, others = [], []
        for each in targets:
            similarity = _similarity(sources[0].face, each.face)
            if similarity >= threshold:
                matches.append({"Similarity": similarity, "Face": _compared(each)})
            else:
                others.append(_compared(each))
        source = _compared(sources[0])
        return {
            "SourceImageFace": {name: source[name] for name in ("BoundingBox", "Confidence")},
            "FaceMatches": sorted(matches, key=lambda each: -each["Similarity"]),
            "UnmatchedFaces": others,
        }

    # Persons

    def _user(self, request: Document) -> tuple[_Collection, str]:
        collection, user_id = self._collection(request), request["UserId"]
        if user_id not in collection.users:
            raise _Refusal("ResourceNotFoundException", f"The user id: {user_id} does not exist")
        return collection, user_id

    def _create_user(self, request: Document) -> Document:
        collection, user_id = self._collection(request), request["UserId"]
        if user_id in collection.users:
            raise _Refusal("ConflictException", f"The user id: {user_id} already exists")
        collection.users.add(user_id)
        return {}

    def _delete_user(self, request: Document) -> Document:
        collection, user_id = self._user(request)
        collection.users.remove(user_id)
        for stored in collection.faces.values():
            if stored.user_id == user_id:
                stored.user_id = None
        return {}

    def _associate_faces(self, request: Document) -> Document:
        collection, user_id = self._user(request)
        threshold = request.get("UserMatchThreshold", _LOW_MATCH)
        own = [each for each in collection.faces.values() if each.user_id == user_id]
        joined, refused = [], []
        for face_id in request["FaceIds"]:
            stored = collection.faces.get(face_id)
            similarity = max(
                (_similarity(stored.seen.face, each.seen.face) for each in own if stored),
                default=100.0,
            )
            if stored is None:
                refused.append({"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]})
            elif stored.user_id not in {None, user_id}:
                refused.append(
                    {
                        "FaceId": face_id,
                        "UserId": stored.user_id,
                        "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"],
                    }
                )
            elif similarity < threshold:
                refused.append(
                    {
                        "FaceId": face_id,
                        "Confidence": similarity,
                        "Reasons": ["LOW_MATCH_CONFIDENCE"],
                    }
                )
            else:
                if stored.user_id is None and len(own) >= MOST_FACES_PER_USER:
                    raise _Refusal(
                        "ServiceQuotaExceededException", "The user has as many faces as it may"
                    )
                if stored.user_id is None:
                    own.append(stored)
                stored.user_id = user_id
                joined.append({"FaceId": face_id})
        return {
            "AssociatedFaces": joined,
            "UnsuccessfulFaceAssociations": refused,
            "UserStatus": "UPDATING",
        }

    def _disassociate_faces(self, request: Document) -> Document:
        collection, user_id = self._user(request)
        parted, refused = [], []
        for face_id in request["FaceIds"]:
            stored = collection.faces.get(face_id)
            if stored is None:
                refused.append({"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]})
            elif stored.user_id != user_id:
                refused.append({"FaceId": face_id, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]})
            else:
                stored.user_id = None
                parted.append({"FaceId": face_id})
        return {
            "DisassociatedFaces": parted,
            "UnsuccessfulFaceDisassociations": refused,
            "UserStatus": "UPDATING",
        }

    def _delete_faces(self, request: Document) -> Document:
        collection = self._collection(request)
        deleted, refused = [], []
        for face_id in request["FaceIds"]:
            stored = collection.faces.get(face_id)
            if stored is None:
                refused.append({"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]})
            elif stored.user_id is not None:
                refused.append(
                    {
                        "FaceId": face_id,
                        "UserId": stored.user_id,
                        "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"],
                    }
                )
            else:
                del collection.faces[face_id]
                deleted.append(face_id)
        answer: Document = {"UnsuccessfulFaceDeletions": refused}
        if deleted:  # the model has no list of none here
            answer["DeletedFaces"] = deleted
        return answer

    # Lists

    def _list_faces(self, request: Document) -> Document:
        collection = self._collection(request)
        wanted = set(request.get("FaceIds", ()))
        faces = [
            each
            for face_id, each in sorted(collection.faces.items())
            if (not wanted or face_id in wanted) and request.get("UserId") in {None, each.user_id}
        ]
        page, token = _page([each.face_id for each in faces], request, 4096)
        answer: Document = {
            "Faces": [_stored(collection.faces[face_id]) for face_id in page],
            "FaceModelVersion": MODEL_VERSION,
        }
        return answer | token

    def _list_users(self, request: Document) -> Document:
        page, token = _page(sorted(self._collection(request).users), request, 500)
        return {"Users": [{"UserId": each, "UserStatus": "ACTIVE"} for each in page]} | token


def _page(ids: list[str], request: Document, most: int) -> tuple[list[str], Document]:
    """Those that follow the token, and the token of the next page where there is one."""
    size = request.get("MaxResults") or most
    after = ""
    if (token := request.get("NextToken")) is not None:
        try:
            after = base64.urlsafe_b64decode(token.encode()).decode()
        except ValueError as error:
            raise _Refusal("InvalidPaginationTokenException", "Invalid token") from error
    rest = [each for each in ids if each > after]
    page = rest[:size]
    if len(rest) <= size:
        return page, {}
    return page, {"NextToken": base64.urlsafe_b64encode(page[-1].encode()).decode()}


def _faces(image: Document) -> tuple[SeenFace, ...]:
    """The faces on the image of a request, the largest first."""
    if "S3Object" in image or "Bytes" not in image:
        raise _Refusal("InvalidS3ObjectException", "Unable to get object metadata from S3")
    data = base64.b64decode(image["Bytes"])
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as opened:
            shorter = min(opened.size)
        if shorter < _SMALLEST_SIDE:
            raise _Refusal("InvalidParameterException", "Request has invalid parameters")
        return seen(data)
    except (OSError, SyntaxError) as error:
        raise _Refusal("InvalidImageFormatException", "Request has invalid image format") from error


def _reasons(each: SeenFace) -> list[str]:
    """Why a face is not good enough to be stored."""
    reasons = [each.face.flaw] if each.face.flaw not in {"", "OCCLUDED"} else []
    if each.pixels < _SMALLEST_FACE:
        reasons.append("SMALL_BOUNDING_BOX")
    return reasons


def _similarity(one: Face, other: Face) -> float:
    """How much two faces resemble each other, in percent."""
    if one.identity == other.identity:
        return round(99.9 - 0.1 * abs(one.variant - other.variant), 3)
    return float((one.identity ^ other.identity) * 7919 % 4000) / 100


_EMOTIONS = ("HAPPY", "CALM", "SURPRISED", "SAD", "CONFUSED", "ANGRY", "DISGUSTED", "FEAR")


def _detail(each: SeenFace, asked: set[str]) -> Document:
    """A face as the service tells of it: what belongs to an identity is always the same."""
    face = each.face
    detail: Document = {
        "BoundingBox": _box(each),
        "Confidence": 62.5 if face.flaw == "LOW_CONFIDENCE" else 99.98,
        "Pose": {
            "Roll": 0.5,
            "Yaw": 71.0 if face.flaw == "EXTREME_POSE" else 2.5,
            "Pitch": -3.0,
        },
        "Quality": {
            "Brightness": 11.5 if face.flaw == "LOW_BRIGHTNESS" else 82.0,
            "Sharpness": 6.5 if face.flaw == "LOW_SHARPNESS" else 89.0,
        },
        "Landmarks": [
            {"Type": "eyeLeft", "X": each.left + each.width * 0.3, "Y": each.top},
            {"Type": "eyeRight", "X": each.left + each.width * 0.7, "Y": each.top},
        ],
    }
    everything = "ALL" in asked
    if everything or "FACE_OCCLUDED" in asked:
        detail["FaceOccluded"] = {"Value": face.flaw == "OCCLUDED", "Confidence": 98.0}
    if everything or "AGE_RANGE" in asked:
        low = 18 + face.identity * 7 % 45
        detail["AgeRange"] = {"Low": low, "High": low + 8}
    if everything or "GENDER" in asked:
        detail["Gender"] = {
            "Value": "Male" if face.identity % 2 else "Female",
            "Confidence": 95.0 + face.identity % 5,
        }
    if everything or "EMOTIONS" in asked:
        first = face.identity % len(_EMOTIONS)
        detail["Emotions"] = [
            {"Type": _EMOTIONS[(first + rank) % len(_EMOTIONS)], "Confidence": confidence}
            for rank, confidence in enumerate((91.0, 6.0, 1.5))
        ]
    return detail


def _compared(each: SeenFace) -> Document:
    detail = _detail(each, {"DEFAULT"})
    return {
        name: detail[name] for name in ("BoundingBox", "Confidence", "Landmarks", "Pose", "Quality")
    }


def _stored(face: _StoredFace) -> Document:
    told: Document = {
        "FaceId": face.face_id,
        "ImageId": face.image_id,
        "BoundingBox": _box(face.seen),
        "Confidence": 99.98,
        "IndexFacesModelVersion": MODEL_VERSION,
    }
    if face.external_id is not None:
        told["ExternalImageId"] = face.external_id
    if face.user_id is not None:
        told["UserId"] = face.user_id
    return told


def _box(each: SeenFace) -> Document:
    return {"Left": each.left, "Top": each.top, "Width": each.width, "Height": each.height}


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _arn(collection_id: str) -> str:
    return f"aws:rekognition:xx-standin-1:000000000000:collection/{collection_id}"


def _error(name: str, message: str) -> Document:
    return {"__type": name, "Message": message}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body are two writes, which must not wait for each other.
    disable_nagle_algorithm = True
    rekognition: Rekognition
    _arrived: float
    _request_id: str

    def parse_request(self) -> bool:
        """Read the head of the request whose first line has come."""
        self._arrived = time.perf_counter()
        self._request_id = str(uuid.uuid4())
        return super().parse_request()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/control/faults":
            self._control(json.loads(body))
        elif self.path == "/":
            with self.rekognition.busy():
                self._operation(body)
        else:
            self._send(404, {})

    def do_DELETE(self) -> None:
        if self.path == "/control/faults":
            self.rekognition.recover()
        self._send(200 if self.path == "/control/faults" else 404, {})

    def do_GET(self) -> None:
        if self.path != "/control/calls":
            self._send(404, {})
            return
        calls = [
            {
                "requestId": call.request_id,
                "operation": call.operation,
                "request": call.request,
                "answered": call.answered,
                "seconds": call.seconds,
            }
            for call in self.rekognition.calls
        ]
        self._send(200, {"calls": calls, "violations": self.rekognition.violations})

    def _control(self, order: Document) -> None:
        try:
            self.rekognition.fail(
                order["operation"],
                order["fault"],
                times=order.get("times", 1),
                seconds=order.get("seconds", 30.0),
            )
        except (KeyError, ValueError) as error:
            self._send(400, {"message": str(error)})
        else:
            self._send(200, {})

    def _operation(self, body: bytes) -> None:
        rekognition = self.rekognition
        service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        for wrong in self._ill_spoken(service):
            rekognition.violations.append(f"{operation} {wrong}")
        try:
            request = json.loads(body)
        except ValueError:
            rekognition.violations.append(f"{operation} request: not JSON")
            self._send(400, _error("SerializationException", "not JSON"))
            return
        fault = rekognition.fault_for(operation)
        if fault is not None and fault.fault != "slow":
            self._note(operation, request, fault.fault)
            self._fail(operation, fault)
            return
        if (wait := fault.seconds if fault else rekognition.delay) > 0:
            time.sleep(wait)
        status, document = rekognition.answer(operation, request)
        self._note(operation, request, document.get("__type", "ok"))
        self._send(status, document)

    def _ill_spoken(self, service: str) -> Iterator[str]:
        if service != "RekognitionService":
            yield f"X-Amz-Target: {service} is not RekognitionService"
        if self.headers.get("Content-Type") != "application/x-amz-json-1.1":
            yield f"Content-Type: {self.headers.get('Content-Type')}"
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            yield "Authorization: not signed"

    def _note(self, operation: str, request: Document, answered: str) -> None:
        seconds = time.perf_counter() - self._arrived
        self.rekognition.calls.append(
            Call(self._request_id, operation, _without_images(request), answered, seconds)
        )

    def _fail(self, operation: str, fault: _Fault) -> None:
        if fault.fault == "timeout":
            self._stay_silent(fault.seconds)
        elif fault.fault == "drop":
            self.close_connection = True
        elif fault.fault in {"garbage", "empty"}:
            self._send(200, "<html>" if fault.fault == "garbage" else {})
        else:
            message = f"told to fail with {fault.fault}"
            self._send(*self.rekognition.refusal(operation, fault.fault, message))

    def _stay_silent(self, seconds: float) -> None:
        """Until the time is over or the other side has gone."""
        self.close_connection = True
        self.connection.settimeout(seconds)
        with suppress(OSError):
            self.connection.recv(1, socket.MSG_PEEK)

    def _send(self, status: int, document: Document | str) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        data = text.encode()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            kind = "text/html" if isinstance(document, str) else "application/x-amz-json-1.1"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("x-amzn-RequestId", self._request_id)
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: calls are kept in `calls`."""


def _without_images(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"{len(each)} characters" if name == "Bytes" else _without_images(each)
            for name, each in value.items()
        }
    return value


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


@contextmanager
def serving(rekognition: Rekognition | None = None, port: int = 0) -> Iterator[str]:
    """The endpoint of a stand-in that runs in a thread of this process."""
    handler = type("Handler", (_Handler,), {"rekognition": rekognition or Rekognition()})
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve, or write a photo."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.standin.rekognition",
        description="A stand-in for Amazon Rekognition that knows drawn faces only.",
    )
    parser.add_argument("--port", type=int, default=0, help="[any that is free]")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer [0]")
    photo = parser.add_subparsers(dest="command").add_parser("photo", help="write a sample photo")
    photo.add_argument("file", type=Path, help="where to write the JPEG")
    photo.add_argument("--identity", type=int, default=1, help="who, 0 to 65535 [1]")
    photo.add_argument("--variant", type=int, default=0, help="how they look, 0 to 255 [0]")
    photo.add_argument("--flaw", choices=FLAWS[1:], default="", help="what is wrong with it")
    photo.add_argument("--also", type=int, action="append", default=[], help="another person")
    given = parser.parse_args()
    if given.command == "photo":
        others = [Face(identity) for identity in given.also]
        size = (240 * (1 + len(others)) + 160, 480)
        data = jpeg(Face(given.identity, given.variant, given.flaw), *others, size=size)
        given.file.write_bytes(data)
        _say({"file": str(given.file), "bytes": len(data)})
        return
    rekognition = Rekognition()
    rekognition.delay = given.delay
    with serving(rekognition, given.port) as endpoint, suppress(KeyboardInterrupt):
        _say({"endpoint": endpoint})
        while True:
            time.sleep(3600)


def _say(document: Document) -> None:
    sys.stdout.write(f"{json.dumps(document)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
