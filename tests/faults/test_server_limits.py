"""A server that refuses: locks, time, space, connections, writes. Nothing is half done, and the next event goes on."""

import contextlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from on_server import NORMAL, assert_whole, backend_pid, until
from sizes import Size

import foldlog
from foldlog.storage import postgres
from postgres_server import PostgresServer

BIG = "x" * 9000


@pytest.fixture
def store(url: str) -> Iterator[foldlog.Store]:
    with foldlog.open(url, config=NORMAL) as opened:
        yield opened


@pytest.fixture
def locked(server: PostgresServer, url: str, store: foldlog.Store) -> Iterator[psycopg.Connection[Any]]:
    """Another program's transaction that keeps appends out, until it is rolled back."""
    del store
    conninfo = url.replace("+psycopg", "")
    with psycopg.connect(conninfo) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("plain", [True, False], ids=["one statement", "several"])
@pytest.mark.parametrize(
    ("setting", "error"), [("lock_timeout", foldlog.StoreBusyError), ("statement_timeout", foldlog.StoreError)]
)
def test_a_time_that_is_over_is_an_error_and_nothing_was_written(
    url: str, store: foldlog.Store, locked: psycopg.Connection[Any], setting: str, error: type[Exception], plain: bool
) -> None:
    session = store.start_session(id="demo")
    value = 0 if plain else session.value_ref(BIG)
    session.add_event("first")
    locked.execute("LOCK TABLE events IN SHARE MODE")
    store.database.writer().execute(f"SET {setting} = '100ms'")
    for _ in range(3):
        with pytest.raises(error) as caught:
            session.add_event("refused", value=value)
        assert isinstance(caught.value, foldlog.FoldlogError)
        assert not isinstance(caught.value, foldlog.CommitUncertainError)
        assert caught.value.hint
        assert session.view.counters["event"] == 2
    locked.rollback()
    session.add_event("second", value=value)
    assert [event["type"] for event in store.events("demo")] == ["session.started", "first", "second"]
    session.close()
    assert_whole(url)


def test_appends_that_store_the_same_blobs_in_opposite_order_are_both_kept(
    url: str, server: PostgresServer, size: Size, tell: Callable[[str], None]
) -> None:
    quick = url.replace("options=", "options=-cdeadlock_timeout%3D20ms%20")
    rounds, met = size.rounds(quick=5, full=100), list[int]()
    with foldlog.open(quick, config=NORMAL) as one, foldlog.open(quick, config=NORMAL) as two:
        sessions = [one.start_session(id="one"), two.start_session(id="two")]
        for number in range(rounds):
            both = threading.Barrier(2)
            values = [f"{number} {name} " + BIG for name in "ab"]
            threads = []
            for session, order in zip(sessions, (values, values[::-1]), strict=True):
                work = _crossing(session, order, both, met)
                threads.append(threading.Thread(target=work))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
        for session in sessions:
            assert len(list(one.events(session.id, types=["step"]))) == 2 * rounds
            session.close()
    assert len(met) == 2 * rounds
    until(lambda: _deadlocks(server) >= rounds)
    assert_whole(url)
    tell(f"{rounds} deadlocks, every event kept")


def _deadlocks(server: PostgresServer) -> int:
    with psycopg.connect(server.conninfo()) as connection:
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'foldlog'").fetchone()
    assert found is not None
    return int(found[0])


def _crossing(
    session: foldlog.Session, values: list[str], both: threading.Barrier, met: list[int]
) -> Callable[[], None]:
    """Append two values in one transaction, waiting for another to have stored its first one before the second."""
    server: Any = session.store.database.writer()

    def work() -> None:
        plain, stored = server.execute, 0

        def execute(sql: str, bound: Any = (), /) -> Any:
            nonlocal stored
            if sql.startswith("INSERT INTO blobs"):
                stored += 1
                if stored == 2:
                    met.append(both.wait(60))
            return plain(sql, bound)

        server.execute = execute
        try:
            with session.batch():
                for value in values:
                    session.add_event("step", value=session.value_ref(value))
        finally:
            server.execute = plain

    return work


def test_a_server_without_connections_left_says_so(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.execute(
        "DROP SCHEMA IF EXISTS few CASCADE", "DROP ROLE IF EXISTS few",
        "CREATE ROLE few LOGIN CONNECTION LIMIT 3", "CREATE SCHEMA few AUTHORIZATION few",
    )  # fmt: skip
    url = server.url("few").replace("//foldlog@", "//few@")
    with foldlog.open(url, config=NORMAL) as store:
        session = store.start_session(id="demo")
        session.add_event("first")
        monkeypatch.setattr(postgres, "WAIT_S", 0.2)
        with pytest.raises(foldlog.StoreError, match=r"cannot be reached: .*too many connections") as caught:
            foldlog.open(url)
        assert "connections left" in caught.value.hint
        # Who has its connections goes on; who loses one gets it again when there is room.
        session.add_event("second")
        server.execute(f"SELECT pg_terminate_backend({backend_pid(store.database)}, 5000)")
        session.add_event("third")
        assert len(list(store.events("demo"))) == 4
        session.close()
    assert_whole(url)


def test_a_role_that_may_only_read_reads_and_is_refused_at_the_first_write(
    url: str, server: PostgresServer, store: foldlog.Store
) -> None:
    store.start_session(id="demo").close()
    schema = url.rsplit("%3D", 1)[1]
    server.execute(
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT USAGE ON SCHEMA {schema} TO reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader",
    )
    readers = url.replace("//foldlog@", "//reader@")
    with foldlog.open(readers, read_only=True) as reader:
        assert reader.view("demo") == foldlog.fold(reader.events("demo"))
        assert len(list(reader.events())) == 1
        assert len(list(reader.follow(idle_timeout=0))) == 1
    with foldlog.open(readers) as opened:
        for write in (lambda: opened.open_session("demo"), lambda: opened.start_session(id="new")):
            with pytest.raises(foldlog.StoreError, match="may not do that") as caught:
                write()
            assert "a role that has" in caught.value.hint


def test_a_server_that_takes_no_writes_is_refused_for_writing(url: str, store: foldlog.Store) -> None:
    store.start_session(id="demo").close()
    read_only = url.replace("options=", "options=-cdefault_transaction_read_only%3Don%20")
    with pytest.raises(foldlog.StoreError, match="takes no writes here") as caught:
        foldlog.open(read_only)
    assert "only to read" in caught.value.hint
    with foldlog.open(read_only, read_only=True) as reader:
        assert len(list(reader.events())) == 1


def test_a_standby_is_read_session_by_session_and_follows_nothing(crashing: PostgresServer, crashing_url: str) -> None:
    with foldlog.open(crashing_url) as store, crashing.standby() as standby:
        session = store.start_session(id="demo")
        session.add_event("first")
        session.checkpoint()
        url = standby.url(crashing_url.rsplit("%3D", 1)[1])
        until(lambda: _has_replayed(crashing, standby))
        with pytest.raises(foldlog.StoreError, match="takes no writes here"):
            foldlog.open(url)
        with foldlog.open(url, read_only=True) as reader:
            assert reader.view("demo") == session.view
            assert [row["id"] for row in reader.sessions()] == ["demo"]
            assert reader.usage("demo") == store.usage("demo")
            assert [event["type"] for event in reader.events("demo")] == ["session.started", "first"]
            for feed in (reader.events, reader.follow):
                with pytest.raises(foldlog.StoreError, match=r"a standby does not tell|following") as caught:
                    list(feed())
                assert caught.value.hint


def _has_replayed(primary: PostgresServer, standby: PostgresServer) -> bool:
    with psycopg.connect(primary.conninfo()) as one, psycopg.connect(standby.conninfo()) as two:
        lsn = one.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert lsn is not None
        found = two.execute("SELECT pg_last_wal_replay_lsn() >= %s", lsn).fetchone()
    return found is not None and bool(found[0])


@contextlib.contextmanager
def tiny_disk(server: PostgresServer, size_mb: int) -> Iterator[str]:
    """A folder with little space, for the server; only root can have one."""
    folder = server.folder / "tiny"
    folder.mkdir()
    options = f"size={size_mb}m,uid={server.folder.stat().st_uid},mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("no file system can be mounted here")
    try:
        yield str(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_of_the_server_is_an_error_and_room_is_made_use_of(server: PostgresServer) -> None:
    chance = random.Random(7)  # bytes that cannot be packed
    with tiny_disk(server, 12) as folder:
        server.execute(f"CREATE TABLESPACE tiny LOCATION '{folder}'", "CREATE SCHEMA tiny")
        try:
            url = server.url("tiny").replace("options=", "options=-cdefault_tablespace%3Dtiny%20")
            with foldlog.open(url, config=NORMAL) as store:
                session = store.start_session(id="demo")
                server.execute("CREATE TABLE ballast (data TEXT) TABLESPACE tiny")
                server.execute("INSERT INTO ballast SELECT repeat(md5(i::text), 60) FROM generate_series(1, 1500) i")
                written = 0
                with pytest.raises(foldlog.StoreError, match="the disk is full") as caught:
                    for _ in range(10_000):
                        session.add_event("step", value=session.value_ref(chance.randbytes(40_000).hex()))
                        written += 1
                assert "make room" in caught.value.hint
                assert written > 0
                assert session.view.counters["event"] == written + 1
                server.execute("DROP TABLE ballast", "CHECKPOINT")
                session.add_event("step", value=session.value_ref(chance.randbytes(40_000).hex()))
                assert len(list(store.events("demo", types=["step"]))) == written + 1
                session.close()
            assert_whole(url)
        finally:
            server.execute("DROP SCHEMA tiny CASCADE", "DROP TABLESPACE tiny")


@contextlib.contextmanager
def pooled(server: PostgresServer, mode: str) -> Iterator[str]:
    """A store's URL by way of PgBouncer, whose mode this is."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    folder = server.folder / f"pool-{mode}"
    folder.mkdir()
    settings = folder / "settings"
    settings.write_text(
        f"[databases]\npooled = host={server.folder} dbname=pooled user=foldlog\n[pgbouncer]\nlisten_port = 6432\n"
        f"unix_socket_dir = {folder}\nauth_type = any\npool_mode = {mode}\n"
    )
    owner = server.folder.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    server.execute("DROP DATABASE IF EXISTS pooled", "CREATE DATABASE pooled")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(settings)], stdout=log, stderr=log, **server._as)
    try:
        until(lambda: (folder / ".s.PGSQL.6432").exists() or process.poll() is not None)
        yield f"postgresql+psycopg://foldlog@/pooled?host={quote(str(folder), safe='')}&port=6432"
    finally:
        process.terminate()
        process.wait(60)
        server.execute("DROP DATABASE pooled WITH (FORCE)")


def test_a_pooler_in_transaction_mode_is_refused(server: PostgresServer) -> None:
    with pooled(server, "transaction") as url:
        for how in ({}, {"read_only": True}):
            with pytest.raises(foldlog.StoreError, match="a pooler in transaction mode") as caught:
                foldlog.open(url, **how)  # type: ignore[arg-type]
            assert "session mode" in caught.value.hint


def test_a_pooler_in_session_mode_works(server: PostgresServer) -> None:
    with pooled(server, "session") as url:
        with foldlog.open(url, config=NORMAL) as store, foldlog.open(url, config=NORMAL) as other:
            session = store.start_session(id="demo")
            for _ in range(10):
                session.add_event("step", value=session.value_ref(BIG))
            with pytest.raises(foldlog.SessionInUseError):
                other.open_session("demo")
            server.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted",
                database="pooled",
            )
            session.add_event("on")
            assert len(list(other.follow("demo", idle_timeout=0.1))) == 12
            session.close()
        assert_whole(url)
