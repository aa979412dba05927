"""`bps up`, started and ended as people and accidents do."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

Found = TypeVar("Found")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="bps-test-"))
    place.chmod(0o711)  # as root the database runs as another user
    yield place
    if (server := database_of(place)) is not None:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=10)
    shutil.rmtree(place)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def command(data_dir: Path, port: int) -> list[str]:
    options = ["--data-dir", str(data_dir), "--port", str(port), "--no-demo"]
    return [sys.executable, "-m", "app.cli", "up", *options]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}


@contextmanager
def up(data_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The running service, ready to answer."""
    with (data_dir / "up.log").open("a") as log:
        process = subprocess.Popen(
            command(data_dir, port),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, (data_dir / "up.log").read_text()
            assert json.loads(line)["url"] == f"http://127.0.0.1:{port}/"
            yield process
        finally:
            process.terminate()


def refused(data_dir: Path, port: int) -> str:
    """What a start that must fail says: one line on stderr, nothing on stdout."""
    answer = subprocess.run(
        command(data_dir, port),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 1
    assert answer.stdout == ""
    [line] = answer.stderr.splitlines()
    return line


def status(port: int, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        error.close()
        return error.code


def database_of(data_dir: Path) -> psutil.Process | None:
    try:
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        return psutil.Process(pid)
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):  # not there, or just begun
        return None


def worker_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    for child in psutil.Process(process.pid).children():
        try:
            if "worker" in child.cmdline():
                return child
        except psutil.NoSuchProcess:  # killed, and perhaps not yet waited for by its parent
            continue
    return None


def eventually(find: Callable[[], Found | None], seconds: float = 20) -> Found:
    """What `find` returns as soon as it returns something."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_stops_everything_it_started(
    data_dir: Path, port: int, end: signal.Signals
) -> None:
    with up(data_dir, port) as process:
        assert status(port, "/healthz") == 200
        assert status(port, "/readyz") == 200
        started = psutil.Process(process.pid).children(recursive=True)
        assert started
        process.send_signal(end)
        assert process.wait(timeout=30) == 0
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert database_of(data_dir) is None


def test_a_second_start_gets_one_line(data_dir: Path, port: int) -> None:
    with up(data_dir, port), socket.create_server(("127.0.0.1", 0)) as taken:
        assert f"port {port}: Address already in use" in refused(data_dir, port)
        other = int(taken.getsockname()[1])
        assert f"port {other}: Address already in use" in refused(data_dir, other)
        taken.close()
        assert "Another `bps up`" in refused(data_dir, other)


def test_killed_it_leaves_nothing_that_the_next_start_cannot_take_over(
    data_dir: Path, port: int
) -> None:
    with up(data_dir, port) as process:
        worker = eventually(lambda: worker_of(process))
        process.kill()
        process.wait(timeout=10)
    psutil.wait_procs([worker], timeout=15)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    left_behind = database_of(data_dir)
    assert left_behind

    with up(data_dir, port) as process:
        assert database_of(data_dir) == left_behind
        assert status(port, "/readyz") == 200
    assert process.returncode == 0
    assert database_of(data_dir) is None


def test_what_dies_is_started_again(data_dir: Path, port: int) -> None:
    with up(data_dir, port) as process:
        worker = eventually(lambda: worker_of(process))
        database = eventually(lambda: database_of(data_dir))
        worker.kill()
        database.kill()
        eventually(lambda: (found := worker_of(process)) and found != worker)
        eventually(lambda: (found := database_of(data_dir)) and found != database)
        eventually(lambda: status(port, "/readyz") == 200)
    assert process.returncode == 0


def test_a_command_prints_its_answer_alone_and_stops_what_it_started(data_dir: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "app.cli", "migrate", "--data-dir", str(data_dir)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = answer.stdout.splitlines()
    assert json.loads(line)["revision"]
    assert database_of(data_dir) is None


def test_wrong_usage_ends_with_2() -> None:
    wrong = [["up", "--port", "99999"], ["key", "create", "--tenant", "x"], ["nonsense"]]
    for arguments in wrong:
        answer = subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 2, arguments
        assert answer.stdout == ""
