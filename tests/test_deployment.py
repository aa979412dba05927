"""The container files, checked without a container engine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in order, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)
    ]


def schema_verdict(compose_file: Path) -> subprocess.CompletedProcess[str]:
    """Check a file against the Compose Specification's own schema."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", str(compose_file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_file_follows_the_specification() -> None:
    verdict = schema_verdict(ROOT / "compose.yaml")
    assert verdict.returncode == 0, verdict.stdout


def test_the_specification_refuses_a_misspelt_key(compose: dict[str, Any], tmp_path: Path) -> None:
    broken = json.loads(json.dumps(compose))
    broken["services"]["api"]["comand"] = broken["services"]["worker"]["command"]
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken), encoding="utf-8")
    assert schema_verdict(tmp_path / "compose.yaml").returncode == 1


def test_the_schema_is_migrated_before_anything_serves(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    for name in ("api", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }


def test_only_the_api_is_reachable_from_outside(compose: dict[str, Any]) -> None:
    assert [name for name, each in compose["services"].items() if "ports" in each] == ["api"]


def test_no_password_has_a_default(compose: dict[str, Any]) -> None:
    passwords = [
        value
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name
    ]
    assert len(passwords) == 4
    assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)


def test_image_is_built_in_stages_and_leaves_the_builder_behind(
    dockerfile: list[tuple[str, str]],
) -> None:
    stages = [index for index, (word, _) in enumerate(dockerfile) if word == "FROM"]
    assert len(stages) == 2
    copies = [rest for word, rest in dockerfile[stages[-1] :] if word == "COPY"]
    assert copies
    assert all(rest.startswith("--from=build ") for rest in copies)


def test_image_runs_as_an_ordinary_user(dockerfile: list[tuple[str, str]]) -> None:
    words = [word for word, _ in dockerfile]
    users = [rest for word, rest in dockerfile if word == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}
    assert words.index("USER") < words.index("CMD")


def test_image_asks_the_api_for_its_health(dockerfile: list[tuple[str, str]]) -> None:
    [check] = [rest for word, rest in dockerfile if word == "HEALTHCHECK"]
    command = json.loads(check.partition("CMD")[2])
    assert command[0] == "python"
    compile(command[2], "HEALTHCHECK", "exec")
    [served] = [json.loads(rest) for word, rest in dockerfile if word == "CMD"]
    port = served[served.index("--port") + 1]
    assert f"http://127.0.0.1:{port}/healthz" in command[2]


def test_locks_are_hashed_and_name_no_place() -> None:
    for name in ("base.txt", "dev.txt"):
        lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#"))]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins), name
        assert not [line for line in lines if "://" in line or line.startswith("-")], name
