"""Without a provider every call says that there is none."""

import inspect

import pytest

from app.gateways.face import FaceProvider, FaceProviderNotConfigured, face_provider
from app.settings import Settings

ARGUMENTS = {
    "collection_id": "c",
    "user_id": "u",
    "external_id": "e",
    "image": b"",
    "source": b"",
    "target": b"",
    "face_ids": ["f"],
    "tenant_id": 1,
    "attributes": False,
    "emotions": False,
    "threshold": 99.0,
    "limit": 1,
}
METHODS = [
    name
    for name, _ in inspect.getmembers(FaceProvider, inspect.isfunction)
    if not name.startswith("_") and name != "close"
]


@pytest.mark.parametrize("name", METHODS)
async def test_every_call_is_refused(name: str) -> None:
    provider = face_provider(Settings(_env_file=None, face_provider="none"))
    assert provider.name == "none"
    method = getattr(provider, name)
    given = {each: ARGUMENTS[each] for each in inspect.signature(method).parameters}
    call = method(**given)
    with pytest.raises(FaceProviderNotConfigured):
        await (anext(call) if inspect.isasyncgen(call) else call)
    await provider.close()


def test_the_interface_was_found() -> None:
    assert len(METHODS) == 11
