"""A private PostgreSQL with PostGIS for one machine.

The cluster lives in `<data-dir>/postgres`, listens on a Unix socket only, and belongs to whoever
uses it: the first process in starts the server, the last one out stops it. A server that outlived
its users (they were killed) is taken over by the next one, and stopped when that one is done.

Errors, each one clear sentence for a person:

    EmbeddedError
    ├── ServerMissingError     no PostgreSQL server programs on this machine
    ├── PostgisMissingError    PostgreSQL is there, PostGIS for it is not
    ├── VersionMismatchError   the data was made by a major version that is not installed
    ├── NotPermittedError      files or users that this process may not use
    ├── AlreadyUpError         another `bps up` holds this data directory
    └── StartError             initdb or the server failed; ends with the tail of its log
"""

import fcntl
import hashlib
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DATABASE = "bps"
SUPERUSER = "postgres"
SERVICE_ACCOUNT = "postgres"  # the system user that runs the server when we are root

MINIMUM_MAJOR = 15
PORT = 5432  # names the socket file only; nothing listens on TCP
START_SECONDS = 120  # recovery after a crash replays the log first
STOP_SECONDS = 60

_DEBIAN_ROOT = Path("/usr/lib/postgresql")
_FALLBACK_ROOT = Path("/var/lib/business-partner-service")
_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_MIB = 1024 * 1024


class EmbeddedError(Exception):
    """The private cluster cannot be used; the message says why and what to do."""


class ServerMissingError(EmbeddedError):
    """No PostgreSQL server programs on this machine."""


class PostgisMissingError(EmbeddedError):
    """PostgreSQL is installed without PostGIS."""


class VersionMismatchError(EmbeddedError):
    """The data directory was made by a major version that is not installed."""


class NotPermittedError(EmbeddedError):
    """This process may not use a file or a user that it needs."""


class AlreadyUpError(EmbeddedError):
    """Another `bps up` holds the data directory."""


class StartError(EmbeddedError):
    """initdb or the server failed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The server programs of one PostgreSQL major version."""

    bin: Path
    major: int
    has_postgis: bool


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What a running server wrote about itself in `postmaster.pid`."""

    pid: int
    port: int
    socket_dir: Path


def find_installations() -> list[Installation]:
    """Every PostgreSQL server on this machine, newest first; Debian's directories, then PATH."""
    directories = list(_DEBIAN_ROOT.glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path:
        directories.append(Path(on_path).resolve().parent)
    found: dict[int, Installation] = {}
    for directory in directories:
        installation = _inspect(directory)
        if installation:
            found.setdefault(installation.major, installation)
    return sorted(found.values(), key=lambda each: each.major, reverse=True)


def _inspect(directory: Path) -> Installation | None:
    # Client packages leave directories with psql but without a server.
    if not all((directory / name).exists() for name in ("postgres", "initdb", "pg_ctl", "psql")):
        return None
    answer = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"(\d+)", answer.stdout)
    if not version:
        return None
    major = int(version[1])
    control = _shared_directory(directory, major) / "extension" / "postgis.control"
    return Installation(directory, major, control.exists())


def _shared_directory(directory: Path, major: int) -> Path:
    pg_config = directory / "pg_config"
    if pg_config.exists():
        answer = subprocess.run(
            [pg_config, "--sharedir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            return Path(answer.stdout.strip())
    return Path("/usr/share/postgresql") / str(major)


def choose_installation(
    installations: list[Installation], pgdata: Path, data_major: int | None
) -> Installation:
    """The installation to run: the one that made the data, or the newest for a new cluster.

    `data_major` is the major version of the data in `pgdata`, None when there is none yet.
    """
    usable = [each for each in installations if each.major >= MINIMUM_MAJOR]
    if not usable:
        found = f" (only {installations[0].major} was found)" if installations else ""
        raise ServerMissingError(
            f"PostgreSQL {MINIMUM_MAJOR} or newer is not installed{found}: run `make setup`, "
            "or set DATABASE_URL to a server elsewhere."
        )
    if data_major is not None:
        matching = [each for each in usable if each.major == data_major]
        if not matching:
            installed = ", ".join(str(each.major) for each in usable)
            raise VersionMismatchError(
                f"{pgdata} was made by PostgreSQL {data_major}, but this machine has {installed}: "
                f"install postgresql-{data_major} and postgresql-{data_major}-postgis-3, "
                "or move that directory away."
            )
        usable = matching
    with_postgis = [each for each in usable if each.has_postgis]
    if not with_postgis:
        major = usable[0].major
        raise PostgisMissingError(
            f"PostGIS for PostgreSQL {major} is not installed: run `make setup`, "
            f"or install postgresql-{major}-postgis-3."
        )
    return with_postgis[0]


class Cluster:
    """The private cluster of one data directory, as one process uses it.

    `durable=False` is for tests: nothing survives a crash, everything is faster.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        self._account = _service_account()
        self._users: IO[str] | None = None
        self._up: IO[str] | None = None
        self._pgdata = self.data_dir / "postgres"
        self._socket_dir = Path()
        self._installation: Installation | None = None

    # -- life ---------------------------------------------------------------------------------

    def start(self, *, exclusive: bool = False) -> str:
        """Make sure the server runs and answers; return its DATABASE_URL.

        `exclusive` is for the one process that serves from this data directory: a second one is
        refused (AlreadyUpError). Without it any number of processes share the server.
        """
        self._make_data_dir()
        if exclusive:
            self._claim()
        with self._control():
            self._pgdata = self._locate()
            self._users = self._open_lock("users.lock")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._start_server()
            except BaseException:
                self._leave()
                raise
        return self.url

    def stop(self) -> None:
        """Leave the cluster; the last one out shuts the server down, in order."""
        if self._users is None:
            return
        with self._control():
            self._leave()

    def ensure_running(self) -> bool:
        """Start the server again if it died while we use it; True if that was needed."""
        if self._running() is not None:
            return False
        with self._control():
            if self._users is None or self._running() is not None:
                return False  # stopped on purpose meanwhile, or started by another process
            self._start_server()
        return True

    @property
    def url(self) -> str:
        """DATABASE_URL of the started cluster."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={self._socket_dir}&port={PORT}"

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- who uses it --------------------------------------------------------------------------

    def _make_data_dir(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotPermittedError(
                f"Cannot make the data directory {self.data_dir}: {error.strerror}."
            ) from error
        if not os.access(self.data_dir, os.R_OK | os.W_OK | os.X_OK):
            raise NotPermittedError(
                f"No right to write in the data directory {self.data_dir}: "
                "run as its owner, or choose another with --data-dir."
            )

    def _open_lock(self, name: str) -> IO[str]:
        # Locks of the kernel vanish with their process, so a kill leaves nothing to clean up.
        try:
            return (self.data_dir / name).open("a+", encoding="utf-8")
        except OSError as error:
            raise NotPermittedError(
                f"Cannot open {self.data_dir / name}: {error.strerror}; run as the user who "
                "made the data directory, or choose another with --data-dir."
            ) from error

    def _claim(self) -> None:
        lock = self._open_lock("up.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise AlreadyUpError(
                f"Another `bps up` (process {holder}) is using {self.data_dir}: "
                "stop it first, or choose another --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._up = lock

    @contextmanager
    def _control(self) -> Iterator[None]:
        """Starts and stops of one cluster happen one after another."""
        with self._open_lock("control.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _leave(self) -> None:
        assert self._users is not None
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody else still works with it
        else:
            self._stop_server()
        finally:
            self._users.close()
            self._users = None
            if self._up is not None:
                self._up.close()
                self._up = None

    # -- where it lies ------------------------------------------------------------------------

    def _locate(self) -> Path:
        """The cluster's directory, made if need be, which the server's user can reach."""
        beside = self.data_dir / "postgres"
        pointer = self.data_dir / "postgres.path"
        if pointer.exists():
            place = Path(pointer.read_text(encoding="utf-8").strip())
            if place.exists():
                return place
        if self._account is None or self._reachable(beside):
            return beside
        digest = hashlib.sha256(os.fsencode(beside)).hexdigest()[:12]
        place = _FALLBACK_ROOT / digest / "postgres"
        place.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"{place}\n", encoding="utf-8")
        _say(
            f"The user {SERVICE_ACCOUNT} cannot enter {self.data_dir}, "
            f"so the database lives in {place}."
        )
        return place

    def _reachable(self, place: Path) -> bool:
        return self._run(["test", "-x", str(place.parent)]).returncode == 0

    def _prepare_socket_dir(self) -> None:
        """Make the directory of the socket, private to the server's user.

        It lies outside the data directory because the kernel takes 107 bytes of path, and its name
        follows from the cluster's, so that the address stays the same across restarts.
        """
        digest = hashlib.sha256(os.fsencode(self._pgdata)).hexdigest()[:12]
        if self._account is None:
            place = Path(tempfile.gettempdir()) / f"bps-{os.getuid()}-{digest}"
        else:
            place = Path("/run") / f"bps-{digest}"
        owner = os.getuid() if self._account is None else self._account.pw_uid
        place.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(place, self._account.pw_uid, self._account.pw_gid)
        # Access without a password rests on this directory, so one planted by others is refused.
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise NotPermittedError(f"{place} exists and is not a private directory: remove it.")
        for left_by_a_kill in place.iterdir():
            left_by_a_kill.unlink()
        self._socket_dir = place

    # -- the server ---------------------------------------------------------------------------

    def _start_server(self) -> None:
        self._installation = choose_installation(
            find_installations(), self._pgdata, self._data_major()
        )
        running = self._running()
        if running is not None and not self._answers(running, wait=START_SECONDS):
            # It lost its socket (a cleaner of temporary files, say): start it again with a new one.
            self._stop_server()
            running = None
        if running is None:
            self._initialise()
            self._prepare_socket_dir()
            self._launch()
        else:
            self._socket_dir = running.socket_dir
        self._create_database()

    def _data_major(self) -> int | None:
        try:
            return int((self._pgdata / "PG_VERSION").read_text(encoding="ascii").strip())
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise NotPermittedError(
                f"No right to read {self._pgdata}: it belongs to another user."
            ) from error
        except ValueError as error:
            raise StartError(f"{self._pgdata / 'PG_VERSION'} is damaged.") from error

    def _initialise(self) -> None:
        """Make the cluster's files, unless they are there.

        initdb works in a directory beside, which is renamed when complete, so a half-made cluster
        is never mistaken for one.
        """
        if self._data_major() is not None:
            return
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            raise StartError(f"{self._pgdata} is not empty and is not a PostgreSQL cluster.")
        _say(f"Making a PostgreSQL cluster in {self._pgdata}.")
        half_made = self._pgdata.with_name("postgres.new")
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(half_made, self._account.pw_uid, self._account.pw_gid)
        # No password: the socket's directory is private to the server's user, there is no TCP, and
        # whoever can enter that directory could read the data files anyway.
        command = [self._program("initdb"), "--pgdata", str(half_made), "--auth=trust"]
        command += [f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        command += [] if self.durable else ["--no-sync"]
        answer = self._run(command)
        if answer.returncode != 0:
            shutil.rmtree(half_made, ignore_errors=True)
            raise StartError(f"initdb failed: {_tail(answer.stderr)}")
        with (half_made / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(_configuration(_memory_bytes(), durable=self.durable))
        if self._pgdata.exists():
            self._pgdata.rmdir()
        half_made.rename(self._pgdata)

    def _launch(self) -> None:
        log = self._pgdata / "server.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._drop_foreign_pid_file()
        options = ["-k", str(self._socket_dir), "-p", str(PORT), "-c", "listen_addresses="]
        if not self.durable:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                options += ["-c", f"{name}=off"]
        command = [self._program("pg_ctl"), "start", "--wait", f"--timeout={START_SECONDS}"]
        command += ["--silent", "--pgdata", str(self._pgdata), "--log", str(log)]
        command += ["--options", shlex.join(options)]
        deadline = time.monotonic() + 15
        while True:
            begin = log.stat().st_size if log.exists() else 0
            # pg_ctl gives the server a session of its own: Ctrl-C in our terminal is ours alone.
            if self._run(command).returncode == 0:
                return
            said = _read_from(log, begin)
            # Backends of a killed server need a moment to notice and to let go of its memory.
            if "pre-existing shared memory block" in said and time.monotonic() < deadline:
                time.sleep(0.3)
                continue
            raise StartError(f"PostgreSQL did not start: {_tail(said)} (log: {log})")

    def _stop_server(self) -> None:
        if self._installation and self._running():
            command = [self._program("pg_ctl"), "stop", "--mode=fast", "--silent", "--wait"]
            command += [f"--timeout={STOP_SECONDS}", "--pgdata", str(self._pgdata)]
            answer = self._run(command)
            if answer.returncode != 0 and self._running():
                raise StartError(f"PostgreSQL did not stop: {_tail(answer.stderr)}")
        if self._socket_dir.is_dir() and self._socket_dir != Path():
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _running(self) -> _Postmaster | None:
        """The live server of this cluster, or None."""
        try:
            lines = (self._pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            found = _Postmaster(int(lines[0]), int(lines[3]), Path(lines[4]))
        except (OSError, ValueError, IndexError):
            return None
        return found if self._is_ours(found.pid) else None

    def _is_ours(self, pid: int) -> bool:
        """Whether process `pid` is a server of this cluster; such a process works in its directory.

        Process ids are reused, within minutes in a container, so the id alone proves nothing.
        """
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            return state[0] != "Z" and Path(f"/proc/{pid}/cwd").samefile(self._pgdata)
        except OSError:
            return False

    def _drop_foreign_pid_file(self) -> None:
        """Remove a pid file whose process id now belongs to another program.

        PostgreSQL handles ids of dead processes itself, but takes any living one for its own.
        """
        pid_file = self._pgdata / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if Path(f"/proc/{pid}").exists() and not self._is_ours(pid):
            pid_file.unlink()

    def _answers(self, server: _Postmaster, *, wait: float) -> bool:
        command = [self._program("psql"), "-XAtq", "-h", str(server.socket_dir)]
        command += ["-p", str(server.port), "-U", SUPERUSER, "-d", "postgres", "-c", "SELECT 1"]
        socket = server.socket_dir / f".s.PGSQL.{server.port}"
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and socket.exists():
            if self._run(command).returncode == 0:
                return True
            time.sleep(0.2)
        return False

    def _create_database(self) -> None:
        query = f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608 - a constant
        if self._psql(query) == "0":
            self._psql(f"CREATE DATABASE {DATABASE}")

    def _psql(self, statement: str) -> str:
        command = [self._program("psql"), "-XAtq", "-h", str(self._socket_dir), "-p", str(PORT)]
        command += ["-U", SUPERUSER, "-d", "postgres", "-c", statement]
        answer = self._run(command)
        if answer.returncode != 0:
            raise StartError(f"PostgreSQL refused `{statement}`: {_tail(answer.stderr)}")
        return answer.stdout.strip()

    # -- processes ----------------------------------------------------------------------------

    def _program(self, name: str) -> str:
        assert self._installation is not None
        return str(self._installation.bin / name)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's user, deaf to the terminal's Ctrl-C."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            # Files, not pipes: a server that stays behind would keep a pipe open for ever.
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                umask=0o077,
                check=False,
                user=self._account.pw_uid if self._account else None,
                group=self._account.pw_gid if self._account else None,
                extra_groups=[] if self._account else None,
            ).returncode
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())


@contextmanager
def throwaway_cluster(*, durable: bool = False) -> Iterator[str]:
    """Yield the DATABASE_URL of a cluster in a temporary directory, gone afterwards.

    A `durable` one writes as carefully as one that is kept, for measurements.
    """
    directory = Path(tempfile.mkdtemp(prefix="bps-"))
    directory.chmod(0o711)  # as root, the server's user must pass through
    try:
        with Cluster(directory, durable=durable) as url:
            yield url
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _service_account() -> pwd.struct_passwd | None:
    """The user to run the server as: None for ourselves, as PostgreSQL refuses root alone."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVICE_ACCOUNT)
    except KeyError:
        raise ServerMissingError(
            f"There is no system user {SERVICE_ACCOUNT}, which PostgreSQL needs when run by root: "
            "run `make setup`."
        ) from None


def _configuration(memory: int, *, durable: bool) -> str:
    """Settings for a machine of `memory` bytes that runs the service beside its database."""
    shared = _clamp(memory // 4, 64, 4096) if durable else 256
    lines = {
        "max_connections": "60",
        "shared_buffers": f"{shared}MB",
        "effective_cache_size": f"{_clamp(memory // 2, 128, 1 << 20)}MB",
        "work_mem": f"{_clamp(memory // 384, 8, 64)}MB",
        "maintenance_work_mem": f"{_clamp(memory // 16, 64, 512)}MB",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",  # solid-state disks
        "effective_io_concurrency": "100",
        "jit": "off",  # compiling costs more than the short statements of this service take
        "track_io_timing": "on",
        "log_checkpoints": "off",
        "log_lock_waits": "on",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
    }
    settings = "".join(f"{name} = {value}\n" for name, value in lines.items())
    return f"\n# For the Business Partner Service; yours to change.\n{settings}"


def _clamp(size: int, low: int, high: int) -> int:
    """`size` bytes in whole MiB, within [low, high]."""
    return max(low, min(high, size // _MIB))


def _memory_bytes() -> int:
    """Memory of this machine, or of the container when that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return memory


def _read_from(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _tail(text: str, lines: int = 3) -> str:
    """The last lines of a log, as one."""
    last = [line.strip() for line in text.strip().splitlines() if line.strip()][-lines:]
    return " | ".join(last) or "it said nothing"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the person at the terminal
