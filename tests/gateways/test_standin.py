"""The stand-in itself: it refuses what Rekognition would, and starts from the command line."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import httpx
import pytest

from tests.standin.photos import Face, jpeg, seen
from tests.standin.rekognition import Rekognition, serving
from tests.standin.service_model import violations

MODEL = botocore.session.get_session().get_service_model("rekognition")
PHOTO = base64.b64encode(jpeg(Face(7))).decode()
INDEX = {"CollectionId": "bps-1", "Image": {"Bytes": PHOTO}, "ExternalImageId": "a:b-c_d.e"}
FACE_ID = "0c9e4d1a-0000-4000-8000-000000000000"


def wrong(operation: str, request: Any) -> list[str]:
    """What the model has against a request."""
    return list(violations(MODEL.operation_model(operation).input_shape, request))


def test_what_keeps_to_the_model_is_let_through() -> None:
    assert wrong("IndexFaces", INDEX) == []
    assert wrong("IndexFaces", INDEX | {"MaxFaces": 1, "DetectionAttributes": ["AGE_RANGE"]}) == []


@pytest.mark.parametrize(
    ("operation", "request_", "place"),
    [
        ("IndexFaces", INDEX | {"CollectionId": "with space"}, "/CollectionId"),
        ("IndexFaces", INDEX | {"CollectionId": "x" * 256}, "/CollectionId"),
        ("IndexFaces", INDEX | {"CollectionId": ""}, "/CollectionId"),
        ("IndexFaces", {"Image": {"Bytes": PHOTO}}, "/CollectionId"),
        ("IndexFaces", INDEX | {"ExternalImageId": "anna@example.com"}, "/ExternalImageId"),
        ("IndexFaces", INDEX | {"MaxFaces": 0}, "/MaxFaces"),
        ("IndexFaces", INDEX | {"MaxFaces": "1"}, "/MaxFaces"),
        ("IndexFaces", INDEX | {"MaxFaces": True}, "/MaxFaces"),
        ("IndexFaces", INDEX | {"QualityFilter": "SOME"}, "/QualityFilter"),
        ("IndexFaces", INDEX | {"DetectionAttributes": ["AGE"]}, "/DetectionAttributes/0"),
        ("IndexFaces", INDEX | {"Colour": "red"}, "/Colour"),
        ("IndexFaces", INDEX | {"Image": {"Bytes": "?"}}, "/Image/Bytes"),
        ("IndexFaces", INDEX | {"Image": {"Bytes": ""}}, "/Image/Bytes"),
        (
            "IndexFaces",
            INDEX | {"Image": {"Bytes": base64.b64encode(bytes(5_242_881)).decode()}},
            "/Image/Bytes",
        ),
        (
            "AssociateFaces",
            {"CollectionId": "c", "UserId": "u", "FaceIds": [FACE_ID] * 101},
            "/FaceIds",
        ),
        ("AssociateFaces", {"CollectionId": "c", "UserId": "x" * 129, "FaceIds": []}, "/UserId"),
        ("DeleteFaces", {"CollectionId": "c", "FaceIds": ["no uuid"]}, "/FaceIds/0"),
        ("DeleteFaces", {"CollectionId": "c", "FaceIds": [FACE_ID] * 4097}, "/FaceIds"),
        (
            "SearchUsersByImage",
            {"CollectionId": "c", "Image": {"Bytes": PHOTO}, "UserMatchThreshold": 101},
            "/UserMatchThreshold",
        ),
        (
            "SearchUsersByImage",
            {"CollectionId": "c", "Image": {"Bytes": PHOTO}, "MaxUsers": 501},
            "/MaxUsers",
        ),
        ("DetectFaces", [], "/"),
    ],
)
def test_what_breaks_the_model_is_named(operation: str, request_: Any, place: str) -> None:
    assert any(each.startswith(f"{place}:") for each in wrong(operation, request_))


def test_a_bad_request_is_refused_and_remembered() -> None:
    stands_in = Rekognition()
    status, document = stands_in.answer("CreateCollection", {"CollectionId": "a b"})
    assert status == 400
    assert document["__type"] == "ValidationException"
    assert len(stands_in.violations) == 1


def test_every_way_to_fail_is_one_of_the_model() -> None:
    stands_in = Rekognition()
    for operation in stands_in.operations:
        assert "ProvisionedThroughputExceededException" in stands_in.faults_of(operation)
        with pytest.raises(ValueError, match="does not fail by"):
            stands_in.fail(operation, "SomethingElse")
    with pytest.raises(ValueError, match="no such operation"):
        stands_in.fail("SearchFaces", "timeout")


def test_a_person_has_at_most_a_hundred_faces() -> None:
    stands_in = Rekognition()
    stands_in.answer("CreateCollection", {"CollectionId": "c"})
    stands_in.answer("CreateUser", {"CollectionId": "c", "UserId": "u"})
    ids = []
    for number in range(101):
        image = {"Bytes": base64.b64encode(jpeg(Face(7, number), size=(96, 96), side=64)).decode()}
        _, answer = stands_in.answer("IndexFaces", {"CollectionId": "c", "Image": image})
        ids.append(answer["FaceRecords"][0]["Face"]["FaceId"])
    user = {"CollectionId": "c", "UserId": "u"}
    assert stands_in.answer("AssociateFaces", user | {"FaceIds": ids[:100]})[0] == 200
    status, document = stands_in.answer("AssociateFaces", user | {"FaceIds": ids[100:]})
    assert (status, document["__type"]) == (400, "ServiceQuotaExceededException")
    assert stands_in.violations == []


def test_it_is_told_what_to_do_over_http() -> None:
    with serving() as endpoint, httpx.Client(base_url=endpoint) as client:
        fault = {"operation": "ListUsers", "fault": "ThrottlingException"}
        assert client.post("/control/faults", json=fault).status_code == 200
        assert client.post("/control/faults", json={"operation": "ListUsers"}).status_code == 400
        headers = {
            "X-Amz-Target": "RekognitionService.ListUsers",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 made up",
        }

        def list_users() -> httpx.Response:
            return client.post("/", headers=headers, content=b'{"CollectionId": "c"}')

        assert list_users().json()["__type"] == "ThrottlingException"
        assert list_users().json()["__type"] == "ResourceNotFoundException"
        client.post("/control/faults", json=fault)
        client.delete("/control/faults")
        assert list_users().json()["__type"] == "ResourceNotFoundException"
        told = client.get("/control/calls").json()
        assert [call["operation"] for call in told["calls"]] == ["ListUsers"] * 3
        assert told["violations"] == []


def test_it_starts_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.standin.rekognition"]
    photo = tmp_path / "anna.jpg"
    subprocess.run(
        [*command, "photo", str(photo), "--identity", "7", "--also", "8"],
        check=True,
        capture_output=True,
    )
    assert [each.face for each in seen(photo.read_bytes())] == [Face(7), Face(8)]

    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        endpoint = json.loads(process.stdout.readline())["endpoint"]
        assert httpx.get(f"{endpoint}/control/calls").json() == {"calls": [], "violations": []}
        process.terminate()
