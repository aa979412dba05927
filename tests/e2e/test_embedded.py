"""The private cluster, as its users and their deaths see it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.embedded import (
    AlreadyUpError,
    Cluster,
    Installation,
    NotPermittedError,
    PostgisMissingError,
    ServerMissingError,
    StartError,
    VersionMismatchError,
    choose_installation,
    throwaway_cluster,
)

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that the server's user can reach; no server is left in it afterwards."""
    place = Path(tempfile.mkdtemp(prefix="bps-test-"))
    place.chmod(0o711)  # as root the server runs as another user
    yield place
    server = server_of(place)
    if server:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=10)
    shutil.rmtree(place)


def server_of(data_dir: Path) -> psutil.Process | None:
    """The live server of a data directory."""
    try:
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        return psutil.Process(pid)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None


def ask(url: str, statement: str) -> object:
    """The first value that `statement` returns."""

    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def in_another_process(data_dir: Path, then: str) -> subprocess.Popen[str]:
    """Python that starts the cluster, prints its address and goes on with `then`."""
    program = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from app.embedded import Cluster\n"
        "cluster = Cluster(Path(sys.argv[1]))\n"
        "print(cluster.start(exclusive=True), flush=True)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program + then, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_it_serves_postgis_on_a_private_socket_and_stops(data_dir: Path) -> None:
    with Cluster(data_dir) as url:
        ask(url, "CREATE EXTENSION postgis")
        assert ask(url, "SELECT ST_AsText(ST_Point(106.8, -6.2))") == "POINT(106.8 -6.2)"
        assert ask(url, "SHOW listen_addresses") == ""
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = 'bps'") == "C.UTF-8"
        socket_dir = Path(str(ask(url, "SHOW unix_socket_directories")))
        assert socket_dir.stat().st_mode & 0o077 == 0
    assert server_of(data_dir) is None
    assert not socket_dir.exists()


def test_data_and_address_stay_across_restarts(data_dir: Path) -> None:
    with Cluster(data_dir) as first:
        ask(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with Cluster(data_dir) as second:
        assert second == first
        assert ask(second, "SELECT answer FROM kept") == 42


def test_a_cluster_left_by_a_kill_is_taken_over_and_stopped(data_dir: Path) -> None:
    with in_another_process(data_dir, "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        url = first_line(killed)
    assert killed.returncode == -signal.SIGKILL
    left_behind = server_of(data_dir)
    assert left_behind

    with Cluster(data_dir) as taken_over:
        assert taken_over == url
        assert server_of(data_dir) == left_behind
        assert ask(taken_over, "SELECT 1") == 1
    assert server_of(data_dir) is None


def test_ctrl_c_in_the_terminal_leaves_the_server_to_us(data_dir: Path) -> None:
    with in_another_process(
        data_dir,
        # A shell lets what it starts in the background ignore it, and with it these tests.
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    cluster.stop()\n",
    ) as process:
        url = first_line(process)
        # A signal between the address and the `try` would end the program uncaught.
        assert first_line(process) == "waiting"
        os.killpg(process.pid, signal.SIGINT)
        assert first_line(process) == "interrupted"
        assert ask(url, "SELECT 1") == 1
    assert process.returncode == 0
    assert server_of(data_dir) is None


def test_the_last_one_out_stops_the_server(data_dir: Path) -> None:
    first, second = Cluster(data_dir), Cluster(data_dir)
    first.start()
    url = second.start()
    first.stop()
    assert ask(url, "SELECT 1") == 1
    second.stop()
    assert server_of(data_dir) is None


def test_only_one_process_serves_from_a_data_directory(data_dir: Path) -> None:
    with in_another_process(data_dir, "sys.stdin.readline(); cluster.stop()") as process:
        first_line(process)
        with pytest.raises(AlreadyUpError, match=f"process {process.pid}"):
            Cluster(data_dir).start(exclusive=True)
        with Cluster(data_dir) as url:  # a command beside it is welcome
            assert ask(url, "SELECT 1") == 1
    again = Cluster(data_dir)
    again.start(exclusive=True)
    again.stop()


def test_a_server_that_dies_is_started_again_with_all_it_confirmed(data_dir: Path) -> None:
    cluster = Cluster(data_dir)
    url = cluster.start()
    try:
        assert cluster.ensure_running() is False
        ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        server = server_of(data_dir)
        assert server
        server.kill()
        server.wait(timeout=10)

        assert cluster.ensure_running() is True
        assert ask(url, "SELECT answer FROM kept") == 42
    finally:
        cluster.stop()
    assert cluster.ensure_running() is False
    assert server_of(data_dir) is None


def test_a_server_whose_socket_was_swept_away_is_started_again(data_dir: Path) -> None:
    with in_another_process(data_dir, "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        url = first_line(killed)
    shutil.rmtree(url.partition("host=")[2].partition("&")[0])
    with Cluster(data_dir) as url:
        assert ask(url, "SELECT 1") == 1


def test_a_process_id_that_now_belongs_to_another_program_is_no_server(data_dir: Path) -> None:
    with Cluster(data_dir):
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen(
        ["sleep", "60"], user=psutil.Process().uids().real if not AS_ROOT else "postgres"
    )
    try:
        lines[0] = str(stranger.pid)
        (data_dir / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with Cluster(data_dir) as url:
            assert ask(url, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_data_of_another_major_version_is_refused_in_one_line(data_dir: Path) -> None:
    with Cluster(data_dir):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("99\n")
    with pytest.raises(VersionMismatchError, match=r"made by PostgreSQL 99.*install") as refusal:
        Cluster(data_dir).start()
    assert "\n" not in str(refusal.value)


def test_a_directory_with_other_things_in_it_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "letters.txt").write_text("Dear partner")
    with pytest.raises(StartError, match="not empty"):
        Cluster(data_dir).start()
    assert (data_dir / "postgres" / "letters.txt").read_text() == "Dear partner"


def test_a_broken_configuration_ends_with_what_the_server_said(data_dir: Path) -> None:
    with Cluster(data_dir):
        pass
    with (data_dir / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'plenty'\n")
    with pytest.raises(StartError, match="shared_buffers") as failure:
        Cluster(data_dir).start()
    assert "\n" not in str(failure.value)


def test_no_right_to_write_is_one_line(data_dir: Path) -> None:
    data_dir.chmod(0o555)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from app.embedded import Cluster, NotPermittedError\n"
        f"if os.geteuid() == 0: os.setuid({NOBODY})\n"
        "try: Cluster(Path(sys.argv[1])).start()\n"
        "except NotPermittedError as error: print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(data_dir / "deeper")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("Cannot make the data directory")
    assert answer.stdout.count("\n") == 1


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another user")
def test_a_checkout_closed_to_the_servers_user_gets_its_cluster_elsewhere(data_dir: Path) -> None:
    data_dir.chmod(0o700)
    with Cluster(data_dir) as url:
        assert ask(url, "SELECT 1") == 1
    place = Path((data_dir / "postgres.path").read_text().strip())
    try:
        assert place.is_relative_to("/var/lib/business-partner-service")
        with Cluster(data_dir) as url:
            assert Path(str(ask(url, "SHOW data_directory"))) == place
    finally:
        shutil.rmtree(place.parent)


def test_a_planted_socket_directory_is_refused(data_dir: Path) -> None:
    with Cluster(data_dir) as url:
        socket_dir = Path(url.partition("host=")[2].partition("&")[0])
    socket_dir.mkdir()
    socket_dir.chmod(0o777)
    try:
        with pytest.raises(NotPermittedError, match="not a private directory"):
            Cluster(data_dir).start()
    finally:
        socket_dir.rmdir()


def test_a_throwaway_cluster_vanishes() -> None:
    with throwaway_cluster() as url:
        assert ask(url, "SHOW fsync") == "off"
        directory = Path(str(ask(url, "SHOW data_directory")))
    assert not directory.parent.exists()


class TestChoosingAnInstallation:
    """Which of several servers runs a cluster."""

    DATA = Path("somewhere")
    NEWEST = Installation(Path("17"), 17, has_postgis=True)
    BARE = Installation(Path("16"), 16, has_postgis=False)
    OLDER = Installation(Path("15"), 15, has_postgis=True)
    ANCIENT = Installation(Path("13"), 13, has_postgis=True)

    def test_a_new_cluster_gets_the_newest_with_postgis(self) -> None:
        assert choose_installation([self.NEWEST, self.OLDER], self.DATA, None) == self.NEWEST
        assert choose_installation([self.BARE, self.OLDER], self.DATA, None) == self.OLDER

    def test_data_gets_the_version_that_made_it(self) -> None:
        assert choose_installation([self.NEWEST, self.OLDER], self.DATA, 15) == self.OLDER

    @pytest.mark.parametrize("major", [15, 99])
    def test_data_of_a_version_not_installed_is_refused(self, major: int) -> None:
        with pytest.raises(VersionMismatchError, match=f"PostgreSQL {major}, .* has 17"):
            choose_installation([self.NEWEST], self.DATA, major)

    def test_a_machine_without_postgresql_is_told_so(self) -> None:
        with pytest.raises(ServerMissingError, match="make setup"):
            choose_installation([], self.DATA, None)
        with pytest.raises(ServerMissingError, match="only 13"):
            choose_installation([self.ANCIENT], self.DATA, None)

    def test_a_machine_without_postgis_is_told_the_package(self) -> None:
        with pytest.raises(PostgisMissingError, match="postgresql-16-postgis-3"):
            choose_installation([self.BARE], self.DATA, None)
        with pytest.raises(PostgisMissingError, match="postgresql-16-postgis-3"):
            choose_installation([self.BARE, self.OLDER], self.DATA, 16)
