"""Somebody who recognises faces: the stand-in for Rekognition, and a folder for the photos."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.gateways.face import face_provider
from app.gateways.object_store import object_store
from app.services.face_backend import FaceBackend
from app.settings import Settings
from tests.standin.rekognition import Rekognition, serving


@pytest.fixture
def standin() -> Iterator[Rekognition]:
    """What the stand-in knows; whatever broke AWS's own model of the service fails the test."""
    rekognition = Rekognition()
    yield rekognition
    assert rekognition.violations == []


@pytest.fixture
def face_settings(
    standin: Rekognition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings that lead to the stand-in, without its rates."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    with serving(standin) as endpoint:
        yield Settings(
            _env_file=None,
            face_provider="rekognition",
            rekognition_region="ap-southeast-1",
            rekognition_endpoint_url=endpoint,
            rekognition_attempts=1,
            rekognition_search_rate=10_000,
            rekognition_detect_rate=10_000,
            rekognition_change_rate=10_000,
            photo_dir=tmp_path / "photos",
        )


@pytest.fixture
async def backend(app: FastAPI, face_settings: Settings) -> AsyncIterator[FaceBackend]:
    """The stand-in and a folder, behind the routes of `app`."""
    backend = FaceBackend(face_provider(face_settings), object_store(face_settings))
    app.state.faces = backend
    yield backend
    await backend.close()
