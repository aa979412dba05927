"""Face searches over the stand-in for Rekognition: what the service adds to the provider's time,
and whether its memory grows with the photos it has seen.

The stand-in holds each answer back for as long as Rekognition might take. The tills begin one after
the other within that time, as tills do that know nothing of each other; were they to press the
button at the same instant, it would be the queue for the processor that is measured.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import psutil
from PIL import Image

from tests.bench.ground import Business, Sizes, business
from tests.bench.load import answer, request
from tests.bench.profile import customer_ids
from tests.bench.ratio import Ratio, middle, say
from tests.bench.server import client_of, serving
from tests.standin.photos import Face, encoded, jpeg, picture

TILLS = 20
ANSWER_SECONDS = 0.5
SEARCHES_OF_A_TILL = 10
_CUSTOMERS = 2_000
_PHOTO_BYTES = 5_000_000
_AT_ONCE = 4
_JPEG = {"Content-Type": "image/jpeg"}


async def measure(cluster_url: str, sizes: Sizes) -> list[Ratio]:
    """Milliseconds of our own in a search, and resident memory after all photos over that after a
    tenth of them.
    """
    with TemporaryDirectory() as photos:
        async with (
            business(cluster_url, "face_search", min(_CUSTOMERS, sizes.customers)) as of,
            _standing_in() as endpoint,
            serving(of.url, **_environment(endpoint, Path(photos))) as port,
            client_of(port, of.token) as client,
        ):
            faces = await _enrolled(of, client)
            own = [
                await _own_milliseconds(of, client, endpoint, faces, name=f"round-{number}")
                for number in range(1 + sizes.rounds)
            ][1:]
            grown = await _growth(client, port, sizes.face_photos)
    return [
        Ratio("face_search: own milliseconds, 20 at once", middle(own), at_most=10.0),
        Ratio("face_search: memory after all photos / a tenth", grown, at_most=1.1),
    ]


def _environment(endpoint: str, photos: Path) -> dict[str, str]:
    """Settings that lead to the stand-in, and no limits but the threads."""
    rates = dict.fromkeys(("SEARCH", "DETECT", "CHANGE"), "100000")
    return {
        "FACE_PROVIDER": "rekognition",
        "REKOGNITION_ENDPOINT_URL": endpoint,
        "REKOGNITION_REGION": "ap-southeast-1",
        "REKOGNITION_CONNECTIONS": str(TILLS),
        "PHOTO_DIR": str(photos),
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_EC2_METADATA_DISABLED": "true",
    } | {f"REKOGNITION_{name}_RATE": rate for name, rate in rates.items()}


@asynccontextmanager
async def _standing_in() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.standin.rekognition", "--delay", str(ANSWER_SECONDS)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())["endpoint"]
    finally:
        process.terminate()
        await process.wait()


async def _enrolled(of: Business, client: httpx.AsyncClient) -> list[Face]:
    """A face for each till, whose owner agreed."""
    faces = [Face(number + 1) for number in range(TILLS)]
    for face, customer_id in zip(faces, (await customer_ids(of))[:TILLS], strict=True):
        consent = {
            "customerId": customer_id,
            "purposes": ["enrol", "identify"],
            "noticeVersion": "1",
            "noticeText": "A notice.",
            "method": "paper_form",
        }
        (await client.post("/api/face/consents", json=consent)).raise_for_status()
        answer = await client.post(
            "/api/face/index",
            params={"customerId": customer_id},
            content=jpeg(face),
            headers=_JPEG,
        )
        answer.raise_for_status()
    return faces


async def _own_milliseconds(
    of: Business, client: httpx.AsyncClient, endpoint: str, faces: list[Face], *, name: str
) -> float:
    """The median of what a search took beyond the time that the stand-in had it."""
    port = client.base_url.port
    assert port is not None
    took: dict[str, float] = {}

    async def till(number: int) -> None:
        probe = jpeg(Face(faces[number].identity, variant=2))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(ANSWER_SECONDS * number / TILLS)
        for turn in range(SEARCHES_OF_A_TILL):
            asked = f"{name}-{number}-{turn}"
            search = request(
                *("POST", "/api/face/search", of.token, probe),
                media_type=_JPEG["Content-Type"],
                request_id=asked,
            )
            began = time.perf_counter()
            found = await answer(reader, writer, search)
            took[asked] = time.perf_counter() - began
            assert json.loads(found)["result"] == "match", found
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(till(number) for number in range(TILLS)))
    theirs = await _seconds_of_standin(client, endpoint)
    own = statistics.median(seconds - theirs[asked] for asked, seconds in took.items()) * 1000
    others = statistics.median(theirs[asked] for asked in took) * 1000
    say(f"  {own:.1f} ms of our own, {others:.0f} ms the stand-in's")
    return own


async def _seconds_of_standin(client: httpx.AsyncClient, endpoint: str) -> dict[str, float]:
    """How long the stand-in had each of the latest searches, by the id of the request to us.

    The audit says which of its calls belongs to which request.
    """
    audit = (await client.get("/api/face/audit", params={"limit": 500})).raise_for_status()
    calls = (await client.get(f"{endpoint}/control/calls")).raise_for_status()
    seconds = {call["requestId"]: call["seconds"] for call in calls.json()["calls"]}
    return {
        search["requestId"]: seconds[search["providerRequestId"]]
        for search in audit.json()["items"]
    }


async def _growth(client: httpx.AsyncClient, port: int, photos: int) -> float:
    """The server's resident memory after so many photos over that after a tenth of them."""
    server = _listening_on(port)
    body = _large_photo()

    async def send(number: int) -> None:
        for _ in range(number // _AT_ONCE):
            answer = await client.post("/api/face/search", content=body, headers=_JPEG)
            assert answer.status_code == 200, answer.text

    await asyncio.gather(*(send(photos // 10) for _ in range(_AT_ONCE)))
    early = server.memory_info().rss
    await asyncio.gather(*(send(photos - photos // 10) for _ in range(_AT_ONCE)))
    late = server.memory_info().rss
    say(f"  {early / 1e6:.0f} MB after a tenth of {photos:,} photos, {late / 1e6:.0f} MB after all")
    return late / early


def _listening_on(port: int) -> psutil.Process:
    """The server among the processes that were started here."""
    return next(each for each in psutil.Process().children() if str(port) in each.cmdline())


def _large_photo() -> bytes:
    """A face before a background that fills five megabytes."""
    image = np.asarray(picture(Face(1), size=(3000, 2250), side=900))
    noise = np.random.default_rng(1).integers(-60, 61, image.shape)
    noise[:, :1300] = 0
    noisy = Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8))
    body = b""
    for quality in range(70, 101):
        body = encoded(noisy, "JPEG", quality=quality)
        if len(body) >= _PHOTO_BYTES:
            return body
    raise AssertionError(f"the photo has {len(body)} bytes only")
