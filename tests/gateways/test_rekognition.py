"""Rekognition over the wire: what is asked, what comes back, and what each failure becomes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from app.gateways import rekognition as gateway
from app.gateways.face import (
    Candidate,
    FaceError,
    FaceLimitReached,
    FaceMismatch,
    FaceProviderFailed,
    FaceProviderTimeout,
    FaceProviderUnavailable,
    NoFace,
    PhotoTooLarge,
    UnreadablePhoto,
)
from app.gateways.rekognition import Rekognition
from tests.gateways.conftest import Connect, FakeClock
from tests.standin import rekognition as standin
from tests.standin.photos import Face, jpeg, picture

SHOP = "bps-shop"
ANNA, BUDI = Face(7), Face(8)
NOBODY = jpeg()


async def enrol(provider: Rekognition, user_id: str, *faces: Face) -> list[str]:
    """Index a photo of each face and join them to one person; the faces' ids."""
    ids = []
    for face in faces:
        result = await provider.index(
            SHOP, jpeg(face), tenant_id=1, external_id=user_id, attributes=False
        )
        ids.append(result.faces[0].face_id)
    await provider.join_user(SHOP, user_id, ids, tenant_id=1)
    return ids


@pytest.fixture
async def shop(provider: Rekognition) -> Rekognition:
    """A provider with a collection."""
    assert await provider.ensure_collection(SHOP, tenant_id=1) == standin.MODEL_VERSION
    return provider


# What it does


async def test_enrolled_people_are_found_again_by_other_photos(shop: Rekognition) -> None:
    await enrol(shop, "anna", ANNA, Face(7, variant=20))
    await enrol(shop, "budi", BUDI)

    found = await shop.search(SHOP, jpeg(Face(7, variant=18)), tenant_id=1, threshold=99, limit=5)

    assert found.candidates == [Candidate("anna", 99.7)]
    assert found.searched_face is not None
    assert found.request_id


async def test_candidates_come_in_order_and_no_more_than_asked(shop: Rekognition) -> None:
    for variant in (9, 1, 5):
        await enrol(shop, f"twin-{variant}", Face(7, variant))

    found = await shop.search(SHOP, jpeg(ANNA), tenant_id=1, threshold=99, limit=2)

    assert [each.user_id for each in found.candidates] == ["twin-1", "twin-5"]
    assert [each.similarity for each in found.candidates] == [99.8, 99.4]


async def test_a_face_below_the_threshold_is_nobody(shop: Rekognition) -> None:
    await enrol(shop, "anna", ANNA)
    probe = jpeg(Face(7, variant=10))
    assert not (await shop.search(SHOP, probe, tenant_id=1, threshold=99, limit=5)).candidates
    assert (await shop.search(SHOP, probe, tenant_id=1, threshold=98, limit=5)).candidates


async def test_a_photo_without_a_face_searches_for_nobody(shop: Rekognition) -> None:
    found = await shop.search(SHOP, NOBODY, tenant_id=1, threshold=99, limit=5)
    assert found.candidates == []
    assert found.searched_face is None


async def test_detection_answers_all_faces_the_largest_first(provider: Rekognition) -> None:
    faces = await provider.detect(jpeg(ANNA, BUDI, Face(9)), tenant_id=1, attributes=False)
    widths = [face.box.width for face in faces if face.box]
    assert len(widths) == 3
    assert widths == sorted(widths, reverse=True)
    assert await provider.detect(NOBODY, tenant_id=1, attributes=False) == []


async def test_no_more_is_estimated_than_was_asked(provider: Rekognition) -> None:
    (plain,) = await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)
    (described,) = await provider.detect(jpeg(ANNA), tenant_id=1, attributes=True)
    (moved,) = await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False, emotions=True)

    assert (plain.age_low, plain.gender, plain.emotions) == (None, None, ())
    assert plain.occluded is False
    assert (described.age_low, described.age_high) == (22, 30)
    assert (described.gender, described.gender_confidence) == ("male", 97.0)
    assert described.emotions == ()
    assert moved.gender is None
    assert [each.confidence for each in moved.emotions] == [91.0, 6.0, 1.5]


@pytest.mark.parametrize(
    ("face", "side", "reason"),
    [
        (Face(7, flaw="EXTREME_POSE"), 160, "EXTREME_POSE"),
        (Face(7, flaw="LOW_BRIGHTNESS"), 160, "LOW_BRIGHTNESS"),
        (Face(7, flaw="LOW_SHARPNESS"), 160, "LOW_SHARPNESS"),
        (Face(7, flaw="LOW_CONFIDENCE"), 160, "LOW_CONFIDENCE"),
        (Face(7, flaw="LOW_FACE_QUALITY"), 160, "LOW_FACE_QUALITY"),
        (Face(7), 32, "SMALL_BOUNDING_BOX"),
    ],
)
async def test_a_poor_face_is_not_stored_and_says_why(
    shop: Rekognition, amazon: standin.Rekognition, face: Face, side: int, reason: str
) -> None:
    result = await shop.index(
        SHOP, jpeg(face, side=side), tenant_id=1, external_id="anna", attributes=False
    )
    assert result.faces == []
    assert [each.reasons for each in result.unindexed] == [(reason,)]
    assert amazon.face_ids(SHOP) == []
    # A shop assistant is told what to do, not the code.
    assert reason not in str(NoFace((reason,)))
    assert str(NoFace((reason,))) != str(NoFace())


async def test_only_the_largest_of_several_faces_is_stored(shop: Rekognition) -> None:
    result = await shop.index(
        SHOP, jpeg(ANNA, BUDI), tenant_id=1, external_id="anna", attributes=False
    )
    assert len(result.faces) == 1
    assert [each.reasons for each in result.unindexed] == [("EXCEEDS_MAX_FACES",)]
    assert result.model_version == standin.MODEL_VERSION


async def test_enrolling_again_changes_nothing(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    assert await enrol(shop, "anna", ANNA) == await enrol(shop, "anna", ANNA)
    assert len(amazon.face_ids(SHOP)) == 1
    assert amazon.user_ids(SHOP) == ["anna"]


async def test_a_stranger_is_not_joined_to_a_person(shop: Rekognition) -> None:
    await enrol(shop, "anna", ANNA)
    with pytest.raises(FaceMismatch):
        await enrol(shop, "anna", BUDI)


async def test_a_person_who_is_being_changed_is_joined_a_moment_later(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    amazon.fail("AssociateFaces", "ConflictException", times=2)
    await enrol(shop, "anna", ANNA)
    assert [each.answered for each in amazon.calls_of("AssociateFaces")] == [
        "ConflictException",
        "ConflictException",
        "ok",
    ]


async def test_joining_a_face_that_is_gone_fails(shop: Rekognition) -> None:
    (face_id,) = await enrol(shop, "anna", ANNA)
    await shop.delete_faces(SHOP, [face_id], tenant_id=1)
    with pytest.raises(FaceProviderFailed):
        await shop.join_user(SHOP, "anna", [face_id], tenant_id=1)


async def test_comparison(provider: Rekognition) -> None:
    async def compared(source: bytes, target: bytes) -> float | None:
        return (await provider.compare(source, target, tenant_id=1, threshold=90)).similarity

    assert await compared(jpeg(ANNA), jpeg(BUDI, Face(7, variant=3))) == 99.6
    assert await compared(jpeg(ANNA), jpeg(BUDI)) is None
    for pair in ((NOBODY, jpeg(ANNA)), (jpeg(ANNA), NOBODY)):
        with pytest.raises(NoFace):
            await compared(*pair)


async def test_collections_are_apart(shop: Rekognition) -> None:
    await enrol(shop, "anna", ANNA)
    await shop.ensure_collection("bps-other", tenant_id=2)
    found = await shop.search("bps-other", jpeg(ANNA), tenant_id=2, threshold=80, limit=5)
    assert found.candidates == []


async def test_forgetting_a_person_and_the_faces(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    faces = await enrol(shop, "anna", ANNA, Face(7, variant=1))
    for _ in range(2):  # again, as a job that was killed does it
        await shop.delete_user(SHOP, "anna", tenant_id=1)
        assert await shop.delete_faces(SHOP, faces, tenant_id=1) == []
    assert amazon.face_ids(SHOP) == []
    assert amazon.user_ids(SHOP) == []


async def test_faces_that_a_person_still_holds_are_taken_from_them(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    first, second = await enrol(shop, "anna", ANNA, Face(7, variant=1))
    assert await shop.delete_faces(SHOP, [first], tenant_id=1) == []
    assert amazon.face_ids(SHOP) == [second]
    assert amazon.user_ids(SHOP) == ["anna"]


async def test_faces_that_cannot_be_deleted_are_named(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    (face_id,) = await enrol(shop, "anna", ANNA)
    # Somebody joins it again in between: parting it from the person "succeeds" without effect.
    amazon.fail("DisassociateFaces", "ResourceNotFoundException")
    assert await shop.delete_faces(SHOP, [face_id], tenant_id=1) == [face_id]


async def test_lists_go_on_to_the_last_page(
    shop: Rekognition, amazon: standin.Rekognition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_FACES_PER_PAGE", 2)
    monkeypatch.setattr(gateway, "_USERS_PER_PAGE", 2)
    ids = {
        f"user-{number}": await enrol(shop, f"user-{number}", Face(number)) for number in (1, 2, 3)
    }
    loose = await shop.index(SHOP, jpeg(ANNA), tenant_id=1, external_id="x", attributes=False)

    pages = [page async for page in shop.list_faces(SHOP, tenant_id=1)]
    assert [len(page) for page in pages] == [2, 2]
    listed = {face.face_id: (face.external_id, face.user_id) for page in pages for face in page}
    assert listed == {face_id: (user, user) for user, (face_id,) in ids.items()} | {
        loose.faces[0].face_id: ("x", None)
    }
    listed_users = [page async for page in shop.list_users(SHOP, tenant_id=1)]
    assert listed_users == [["user-1", "user-2"], ["user-3"]]


async def test_a_collection_is_looked_for_once(
    shop: Rekognition, amazon: standin.Rekognition
) -> None:
    await shop.ensure_collection(SHOP, tenant_id=1)
    assert len(amazon.calls_of("DescribeCollection")) == 1
    assert len(amazon.calls_of("CreateCollection")) == 1


async def test_a_collection_that_another_process_makes_at_the_same_time(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    await connect().ensure_collection(SHOP, tenant_id=1)
    amazon.fail("DescribeCollection", "ResourceNotFoundException")
    assert await connect().ensure_collection(SHOP, tenant_id=1) == standin.MODEL_VERSION
    assert amazon.calls_of("CreateCollection")[-1].answered == "ResourceAlreadyExistsException"


async def test_a_missing_collection_is_unavailable_and_can_be_made_again(
    shop: Rekognition, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    await connect().delete_collection(SHOP, tenant_id=1)
    with pytest.raises(FaceProviderUnavailable), caplog.at_level(logging.ERROR):
        await shop.search(SHOP, jpeg(ANNA), tenant_id=1, threshold=99, limit=5)
    assert SHOP in caplog.text
    await shop.ensure_collection(SHOP, tenant_id=1)
    await shop.search(SHOP, jpeg(ANNA), tenant_id=1, threshold=99, limit=5)


async def test_deleting_a_collection_twice(shop: Rekognition, amazon: standin.Rekognition) -> None:
    await shop.delete_collection(SHOP, tenant_id=1)
    await shop.delete_collection(SHOP, tenant_id=1)
    assert await shop.ensure_collection(SHOP, tenant_id=1)
    assert len(amazon.calls_of("CreateCollection")) == 2


# What each failure becomes


async def _all_of(pages: Any) -> None:
    async for _ in pages:
        pass


#: A call of the interface for each operation. The one that fails is the last that it makes.
CALLS: dict[str, Callable[[Rekognition], Awaitable[object]]] = {
    "DescribeCollection": lambda p: p.ensure_collection(f"bps-{uuid4()}", tenant_id=1),
    "CreateCollection": lambda p: p.ensure_collection(f"bps-{uuid4()}", tenant_id=1),
    "DeleteCollection": lambda p: p.delete_collection(SHOP, tenant_id=1),
    "DetectFaces": lambda p: p.detect(jpeg(ANNA), tenant_id=1, attributes=True),
    "IndexFaces": lambda p: p.index(
        SHOP, jpeg(ANNA), tenant_id=1, external_id="anna", attributes=True
    ),
    "CreateUser": lambda p: p.join_user(SHOP, "anna", [standin._uuid("1")], tenant_id=1),
    "AssociateFaces": lambda p: p.join_user(SHOP, "anna", [standin._uuid("1")], tenant_id=1),
    "SearchUsersByImage": lambda p: p.search(
        SHOP, jpeg(ANNA), tenant_id=1, threshold=99.0, limit=5
    ),
    "CompareFaces": lambda p: p.compare(jpeg(ANNA), jpeg(ANNA), tenant_id=1, threshold=80.0),
    "DeleteUser": lambda p: p.delete_user(SHOP, "anna", tenant_id=1),
    "DeleteFaces": lambda p: p.delete_faces(SHOP, [standin._uuid("1")], tenant_id=1),
    "ListFaces": lambda p: _all_of(p.list_faces(SHOP, tenant_id=1)),
    "ListUsers": lambda p: _all_of(p.list_users(SHOP, tenant_id=1)),
}

#: The table of what each refusal is to a caller.
MEANINGS: dict[str, type[FaceError]] = {
    "InvalidImageFormatException": UnreadablePhoto,
    "ImageTooLargeException": PhotoTooLarge,
    "InvalidS3ObjectException": FaceProviderFailed,
    "InvalidParameterException": FaceProviderFailed,
    "InvalidPaginationTokenException": FaceProviderFailed,
    "IdempotentParameterMismatchException": FaceProviderFailed,
    "InternalServerError": FaceProviderFailed,
    "ServiceUnavailable": FaceProviderFailed,
    "ProvisionedThroughputExceededException": FaceProviderUnavailable,
    "ThrottlingException": FaceProviderUnavailable,
    "ResourceNotFoundException": FaceProviderUnavailable,
    "ConflictException": FaceProviderUnavailable,
    "ServiceQuotaExceededException": FaceProviderUnavailable,
    "AccessDeniedException": FaceProviderUnavailable,
    "UnrecognizedClientException": FaceProviderUnavailable,
    "ExpiredTokenException": FaceProviderUnavailable,
    "InvalidSignatureException": FaceProviderUnavailable,
    "timeout": FaceProviderTimeout,
    "drop": FaceProviderFailed,
    "garbage": FaceProviderFailed,
}
#: Where an operation takes a refusal in another way; None is a success.
EXCEPTIONS: dict[tuple[str, str], type[FaceError] | None] = {
    ("SearchUsersByImage", "InvalidParameterException"): NoFace,
    ("CompareFaces", "InvalidParameterException"): NoFace,
    ("DescribeCollection", "ResourceNotFoundException"): None,
    ("DeleteCollection", "ResourceNotFoundException"): None,
    ("DeleteUser", "ResourceNotFoundException"): None,
}
#: Successes that only hold where what is said to be there is there.
TESTED_ABOVE = {
    ("CreateCollection", "ResourceAlreadyExistsException"),
    ("CreateUser", "ConflictException"),
}


@pytest.mark.parametrize("operation", CALLS)
async def test_each_way_to_fail_has_its_error(
    connect: Connect, amazon: standin.Rekognition, operation: str
) -> None:
    patient, impatient = connect(), connect(rekognition_read_timeout_seconds=0.3)
    await patient.ensure_collection(SHOP, tenant_id=1)
    for fault in amazon.faults_of(operation):
        if fault in {"empty", "slow"} or (operation, fault) in TESTED_ABOVE:
            continue
        provider = impatient if fault == "timeout" else patient
        amazon.fail(operation, fault, times=3)
        expected = EXCEPTIONS.get((operation, fault), MEANINGS[fault])
        if expected is None:
            await CALLS[operation](provider)
        else:
            with pytest.raises(FaceError) as caught:
                await CALLS[operation](provider)
            assert type(caught.value) is expected, fault
            if isinstance(caught.value, FaceProviderUnavailable):
                assert caught.value.retry_after >= 1
            assert "rekognition" not in str(caught.value).lower()
        amazon.recover()


@pytest.mark.parametrize(
    "operation",
    [name for name in CALLS if name not in {"CreateUser", "DeleteUser"}],
)
async def test_an_answer_that_lacks_what_was_promised(
    connect: Connect, amazon: standin.Rekognition, operation: str
) -> None:
    provider = connect()
    await provider.ensure_collection(SHOP, tenant_id=1)
    amazon.fail(operation, "empty")
    with pytest.raises(FaceProviderFailed):
        await CALLS[operation](provider)


@pytest.mark.parametrize(
    "fault", ["AccessDeniedException", "ExpiredTokenException", "ServiceQuotaExceededException"]
)
async def test_what_the_operator_has_to_see_to_is_an_alert(
    shop: Rekognition,
    amazon: standin.Rekognition,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    amazon.fail("CreateUser", fault)
    with pytest.raises(FaceProviderUnavailable) as caught, caplog.at_level(logging.ERROR):
        await shop.join_user(SHOP, "anna", [standin._uuid("1")], tenant_id=1)
    assert fault in caplog.text
    assert fault not in str(caught.value)


async def test_missing_credentials_are_an_alert_and_never_the_callers_fault(
    connect: Connect,
    amazon: standin.Rekognition,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(FaceProviderUnavailable), caplog.at_level(logging.ERROR):
        await connect().detect(jpeg(ANNA), tenant_id=1, attributes=False)
    assert "credentials" in caplog.text
    assert amazon.calls == []


async def test_an_address_where_nobody_listens(connect: Connect) -> None:
    provider = connect(rekognition_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(FaceProviderFailed):
        await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)


@pytest.mark.parametrize("fault", ["ThrottlingException", "InternalServerError", "drop"])
async def test_what_passes_is_tried_again(
    connect: Connect, amazon: standin.Rekognition, fault: str
) -> None:
    amazon.fail("DetectFaces", fault)
    assert await connect(rekognition_attempts=2).detect(jpeg(ANNA), tenant_id=1, attributes=False)
    assert [each.answered for each in amazon.calls] == [fault, "ok"]


async def test_what_does_not_pass_is_given_up(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    amazon.fail("DetectFaces", "ProvisionedThroughputExceededException", times=5)
    with pytest.raises(FaceProviderUnavailable):
        await connect(rekognition_attempts=2).detect(jpeg(ANNA), tenant_id=1, attributes=False)
    assert len(amazon.calls) == 2


async def test_what_is_the_callers_fault_is_not_tried_again(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    with pytest.raises(UnreadablePhoto):
        await connect(rekognition_attempts=3).detect(b"no photo", tenant_id=1, attributes=False)
    assert len(amazon.calls) == 1


async def test_a_slow_answer_is_waited_for(connect: Connect, amazon: standin.Rekognition) -> None:
    amazon.fail("DetectFaces", "slow", seconds=0.3)
    assert await connect().detect(jpeg(ANNA), tenant_id=1, attributes=False)


# How much at once


async def test_no_more_calls_at_once_than_threads(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    amazon.delay = 0.1
    provider = connect(rekognition_connections=3)
    image = jpeg(ANNA)
    await asyncio.gather(
        *(provider.detect(image, tenant_id=1, attributes=False) for _ in range(12))
    )
    assert 1 < amazon.most_busy <= 3


async def test_too_many_who_wait_are_sent_away(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    amazon.delay = 0.1
    provider = connect(rekognition_connections=1)
    image = jpeg(ANNA)
    outcomes = await asyncio.gather(
        *(provider.detect(image, tenant_id=1, attributes=False) for _ in range(20)),
        return_exceptions=True,
    )
    refused = [each for each in outcomes if isinstance(each, FaceProviderUnavailable)]
    assert len(refused) == 15
    assert len(amazon.calls) == 5


async def test_a_tenant_that_uses_up_its_share_leaves_the_rest_to_others(
    connect: Connect, amazon: standin.Rekognition, clock: FakeClock
) -> None:
    provider = connect(
        clock=clock,
        rekognition_detect_rate=4,
        rekognition_tenant_share=0.5,
        rekognition_rate_wait_seconds=0,
    )
    image = jpeg(ANNA)
    for _ in range(2):
        await provider.detect(image, tenant_id=1, attributes=False)
    with pytest.raises(FaceLimitReached) as own:
        await provider.detect(image, tenant_id=1, attributes=False)
    assert own.value.retry_after == 1
    for _ in range(2):
        await provider.detect(image, tenant_id=2, attributes=False)
    # The account's budget is used up, which is not the fault of the third.
    with pytest.raises(FaceProviderUnavailable):
        await provider.detect(image, tenant_id=3, attributes=False)
    assert len(amazon.calls) == 4
    clock.now += 0.5
    await provider.detect(image, tenant_id=1, attributes=False)


async def test_each_kind_of_call_has_a_budget_of_its_own(
    connect: Connect, clock: FakeClock
) -> None:
    provider = connect(
        clock=clock,
        rekognition_search_rate=1,
        rekognition_tenant_share=1,
        rekognition_rate_wait_seconds=0,
    )
    await provider.ensure_collection(SHOP, tenant_id=1)
    await provider.search(SHOP, jpeg(ANNA), tenant_id=1, threshold=99, limit=1)
    with pytest.raises(FaceLimitReached):
        await provider.search(SHOP, jpeg(ANNA), tenant_id=1, threshold=99, limit=1)
    await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)
    await provider.delete_user(SHOP, "anna", tenant_id=1)


# When it keeps failing


async def test_a_provider_that_keeps_failing_is_left_alone(
    connect: Connect,
    amazon: standin.Rekognition,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = connect(clock=clock, rekognition_failures_to_open=3, rekognition_open_seconds=20.0)

    async def detect() -> int:
        return len(await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False))

    amazon.fail("DetectFaces", "InternalServerError", times=4)
    for _ in range(3):
        with pytest.raises(FaceProviderFailed):
            await detect()
    assert "refused for a while" in caplog.text

    clock.now += 5
    with pytest.raises(FaceProviderUnavailable) as shed:
        await detect()
    assert shed.value.retry_after == 15
    assert len(amazon.calls) == 3

    clock.now += 15  # one is let through, and fails
    with pytest.raises(FaceProviderFailed):
        await detect()
    with pytest.raises(FaceProviderUnavailable):
        await detect()
    assert len(amazon.calls) == 4

    clock.now += 20
    assert await detect() == 1
    assert await detect() == 1


@pytest.mark.parametrize("fault", ["timeout", "ThrottlingException", "drop"])
async def test_timeouts_and_throttling_open_the_circuit_too(
    connect: Connect, amazon: standin.Rekognition, fault: str
) -> None:
    provider = connect(rekognition_failures_to_open=2, rekognition_read_timeout_seconds=0.2)
    amazon.fail("DetectFaces", fault, times=2)
    for _ in range(3):
        with pytest.raises(FaceError):
            await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)
    assert len(amazon.calls) == 2


async def test_bad_requests_never_open_the_circuit(
    connect: Connect, amazon: standin.Rekognition
) -> None:
    provider = connect(rekognition_failures_to_open=2)
    for _ in range(3):
        with pytest.raises(UnreadablePhoto):
            await provider.detect(b"no photo", tenant_id=1, attributes=False)
        with pytest.raises(FaceProviderUnavailable):
            await provider.search("bps-none", jpeg(ANNA), tenant_id=1, threshold=9, limit=1)
    assert await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)


async def test_a_caller_who_goes_away_does_not_hold_the_circuit(
    connect: Connect, amazon: standin.Rekognition, clock: FakeClock
) -> None:
    provider = connect(clock=clock, rekognition_failures_to_open=1, rekognition_open_seconds=5.0)
    amazon.fail("DetectFaces", "InternalServerError")
    with pytest.raises(FaceProviderFailed):
        await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)
    clock.now += 5
    amazon.fail("DetectFaces", "slow", seconds=2)
    trial = asyncio.create_task(provider.detect(jpeg(ANNA), tenant_id=1, attributes=False))
    await asyncio.sleep(0.05)
    with pytest.raises(FaceProviderUnavailable):  # one at a time
        await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert await provider.detect(jpeg(ANNA), tenant_id=1, attributes=False)


def test_the_drawn_people_fit_their_pictures() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        picture(*(Face(number) for number in range(20)))
