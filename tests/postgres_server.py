"""A PostgreSQL server of the tests' own: made in a temporary folder, on a unix socket, ended by its process id."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

_WAIT_S = 60.0
_PORT = 5432
_MEMORY_BYTES_MIN = 4 * 2**30
# Where Debian and others keep what is not on the PATH.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


def program(name: str) -> str | None:
    """Where a program of PostgreSQL's is: on the PATH, or in its usual folder, the newest."""
    on_path = shutil.which(name)
    if on_path is not None:
        return on_path
    found = [path for pattern in _FOLDERS for path in Path("/").glob(f"{pattern.lstrip('/')}/{name}")]
    return str(max(found, key=lambda path: path.parts)) if found else None


def why_not() -> str | None:
    """Why no server can be had here, or None."""
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError:
        return "psycopg is not installed"
    if program("initdb") is None or program("postgres") is None:
        return "PostgreSQL's programs are not installed (Debian: apt-get install postgresql)"
    return None


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid}
    raise RuntimeError("there is no user to run PostgreSQL as")


def _place() -> str:
    """In memory where there is room: a store is a hundred files, and a disk takes its time to make them."""
    memory = Path("/dev/shm")
    with contextlib.suppress(OSError):
        if shutil.disk_usage(memory).free > _MEMORY_BYTES_MIN:
            return str(memory)
    return "/tmp"


class PostgresServer:
    """One server; `settings` are lines of its configuration. Without syncs: only a crash of the machine needs them."""

    def __init__(
        self,
        *,
        fsync: bool = False,
        port: int | None = None,
        settings: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Short, for the path of a socket may have a hundred bytes only.
        self.folder = Path(tempfile.mkdtemp(prefix="fl-pg-", dir="/tmp" if fsync else _place()))
        self._as = _unprivileged()
        self._schemas = itertools.count(1)
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self.port = port or _PORT  # a socket's name has it, too
        self.settings = (
            f"listen_addresses={'127.0.0.1' if port else ''}", f"port={self.port}",
            f"unix_socket_directories={self.folder}", "max_connections=200",
            f"fsync={'on' if fsync else 'off'}", "logging_collector=off", "max_wal_size=128MB", *settings,
        )  # fmt: skip
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        words = ("-A", "trust", "-U", "foldlog", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "-D", str(self.data), *words)
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _run(self, name: str, *arguments: str) -> None:
        found = program(name)
        assert found is not None, why_not()
        done = subprocess.run(
            [found, *arguments], capture_output=True, timeout=_WAIT_S, check=False, cwd=self.folder, **self._as
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        found = program("postgres")
        assert found is not None, why_not()
        settings = [word for setting in self.settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, "-D", str(self.data), *settings],
                stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **self._environment}, **self._as,
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        import psycopg  # noqa: PLC0415

        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                psycopg.connect(self.conninfo("postgres")).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT at once, as after a crash; SIGINT in order, clients cut off."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_WAIT_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        self.stop(how)
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def standby(self) -> "Iterator[PostgresServer]":
        """A server that follows this one and takes no writes, ended with the block."""
        found = PostgresServer.__new__(PostgresServer)
        found.folder = Path(tempfile.mkdtemp(prefix="fl-pg-", dir="/tmp"))
        found._as, found._environment, found.port = self._as, self._environment, self.port
        if found._as:
            os.chown(found.folder, found._as["user"], found._as["group"])
        mine = f"unix_socket_directories={found.folder}"
        found.settings = tuple(mine if one.startswith("unix_socket") else one for one in self.settings)
        found._process = None
        try:
            self._run("pg_basebackup", "-d", self.conninfo("postgres"), "-D", str(found.data), "-R", "-c", "fast")
            found.start()
            yield found
        finally:
            found.close()

    # Databases and stores on it.

    def conninfo(self, database: str = "foldlog", **words: str) -> str:
        words |= {"host": str(self.folder)} | ({"port": str(self.port)} if self.port != _PORT else {})
        # In order of their names, as foldlog says them.
        query = "&".join(f"{name}={quote(word, safe='')}" for name, word in sorted(words.items()))
        return f"postgresql://foldlog@/{database}?{query}"

    def url(self, schema: str, database: str = "foldlog") -> str:
        """The URL of a store in a schema of its own."""
        return self.conninfo(database, options=f"-csearch_path={schema}").replace("postgresql", "postgresql+psycopg", 1)

    def new_store(self) -> str:
        """The URL of a store that is not yet made, in a schema of its own."""
        schema = f"t{next(self._schemas)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema)

    def execute(self, *statements: str, database: str = "foldlog") -> None:
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextlib.contextmanager
def running(**how: Any) -> Iterator[PostgresServer]:
    """A server with a database, ended with the block."""
    server = PostgresServer(**how)
    try:
        server.execute("CREATE DATABASE foldlog", database="postgres")
        yield server
    finally:
        server.close()
