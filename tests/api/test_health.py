"""What load balancers and monitors ask."""

import re

import httpx
from fastapi import FastAPI


async def test_a_migrated_database_is_ready(anonymous: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await anonymous.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_database_at_another_revision_is_not_ready(
    anonymous: httpx.AsyncClient, app: FastAPI
) -> None:
    app.state.schema_revision = "9999"
    answer = await anonymous.get("/readyz")
    assert answer.status_code == 503
    assert "bps migrate" in answer.json()["detail"]


async def test_metrics_count_by_route_and_not_by_id(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await client.get(f"/api/customers/secret-{number}")
    text = (await client.get("/metrics")).text
    line = 'bps_http_requests_total{method="GET",route="/api/customers/{id}",status="404"} 3.0'
    assert line in text
    assert "secret" not in text


async def test_the_root_leads_to_the_documentation(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get("/")
    assert answer.headers["Location"] == "/docs"


async def test_the_documentation_needs_nothing_from_elsewhere(
    anonymous: httpx.AsyncClient,
) -> None:
    page = await anonymous.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "://" not in page.text
    links = re.findall(r"""(?:href|src|url)(?:=|: )["']([^"']+)["']""", page.text)
    assert len(links) == 4
    for link in links:
        answer = await anonymous.get(f"/{link}")
        assert answer.status_code == 200, link
        assert len(answer.content) > 500, link
