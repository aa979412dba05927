"""What the tests of gateways share: a stand-in, and a provider that talks to it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import botocore.loaders
import pytest

from app.gateways.rekognition import Rekognition
from app.settings import Settings
from tests.standin import rekognition as standin

Connect = Callable[..., Rekognition]


class FakeClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    """Seconds that a test lets pass."""
    return FakeClock()


_LOADER = botocore.loaders.create_loader()


@pytest.fixture(autouse=True)
def _models_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the service models takes longer than most of what is tested with them."""
    monkeypatch.setattr("botocore.loaders.create_loader", lambda _path: _LOADER)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up ones; nothing of the machine's own is read."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def amazon() -> Iterator[standin.Rekognition]:
    """The stand-in. What went over the wire has to be what the service model says."""
    stands_in = standin.Rekognition()
    yield stands_in
    assert stands_in.violations == []


@pytest.fixture
async def connect(amazon: standin.Rekognition) -> AsyncIterator[Connect]:
    """Makes providers that talk to the stand-in. What a test does not set is out of its way."""
    async with AsyncExitStack() as stack:
        endpoint = stack.enter_context(standin.serving(amazon))

        def connected(*, clock: Callable[[], float] | None = None, **settings: Any) -> Rekognition:
            given: dict[str, Any] = {
                "face_provider": "rekognition",
                "rekognition_endpoint_url": endpoint,
                "rekognition_region": "ap-southeast-1",
                "rekognition_attempts": 1,
                "rekognition_search_rate": 1000,
                "rekognition_detect_rate": 1000,
                "rekognition_change_rate": 1000,
                "rekognition_failures_to_open": 1000,
            } | settings
            own = Settings(_env_file=None, **given)
            provider = Rekognition(own, clock=clock) if clock else Rekognition(own)
            stack.push_async_callback(provider.close)
            return provider

        yield connected


@pytest.fixture
def provider(connect: Connect) -> Rekognition:
    """A provider without retries or limits that matter."""
    return connect()
