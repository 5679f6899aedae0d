"""A server as most are reached: over TCP, with TLS and a password."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

import foldlog
import postgres_server
from postgres_server import PostgresServer

PASSWORD = "s3cret/of?the#app"
HBA = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _certificate(folder: Path, name: str) -> Path:
    """A certificate that is its own authority, for 127.0.0.1, with its key beside it."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=foldlog", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder / f"{name}.crt"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Path]]:
    """A server that lets nobody in over TCP without TLS and a password; its certificate."""
    missing = postgres_server.why_not() or (None if shutil.which("openssl") else "openssl is not installed")
    if missing is not None:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("certificates")
    with postgres_server.running(port=_free_port()) as server:
        certificate = _certificate(folder, "server")
        for name in ("server.crt", "server.key"):
            shutil.copy(folder / name, server.data / name)
            shutil.chown(server.data / name, *_owner(server))
        (server.data / "server.key").chmod(0o600)
        (server.data / "pg_hba.conf").write_text(HBA, encoding="ascii")
        server.settings += ("ssl=on",)
        server.restart()
        server.execute(
            f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'", "CREATE SCHEMA app AUTHORIZATION app", database="foldlog"
        )
        yield server, certificate


def _owner(server: PostgresServer) -> tuple[int, int]:
    found = server.data.stat()
    return found.st_uid, found.st_gid


def _url(server: PostgresServer, password: str | None = PASSWORD, **query: object) -> str:
    user = "app" if password is None else f"app:{quote(password, safe='')}"
    words = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())
    return f"postgresql+psycopg://{user}@127.0.0.1:{server.port}/foldlog?{words}"


def _refused(url: str) -> foldlog.StoreError:
    with pytest.raises(foldlog.StoreError) as caught:
        foldlog.open(url)
    error: BaseException | None = caught.value
    while error is not None:  # a password is in none of the errors behind it either
        assert PASSWORD not in f"{error} {error!r}"
        assert quote(PASSWORD, safe="") not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    return caught.value


def test_a_store_over_tls(network: tuple[PostgresServer, Path]) -> None:
    server, certificate = network
    url = _url(server, sslmode="verify-full", sslrootcert=certificate)
    with foldlog.open(url) as store, foldlog.open(url, read_only=True) as reading:
        assert PASSWORD not in repr(store)
        session = store.start_session(id="demo")
        feed = reading.follow(after=0, idle_timeout=20)
        threads = [threading.Thread(target=lambda: [session.add_event("tick") for _ in range(25)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        seen = 0
        for event in feed:
            seen += event["type"] == "tick"
            if seen == 100:
                break
        for thread in threads:
            thread.join()
        with psycopg.connect(server.conninfo()) as looking:
            sql = "SELECT ssl, count(*) FROM pg_stat_ssl NATURAL JOIN pg_stat_activity WHERE usename = 'app' GROUP BY 1"
            [(is_encrypted, count)] = looking.execute(sql).fetchall()
        assert is_encrypted
        assert count >= 2
        server.restart()
        session.add_event("restarted")
        session.close()
        assert store.verify().ok
        assert [row["n"] for row in reading.query("SELECT count(*) AS n FROM events WHERE type = 'tick'")] == [100]


def test_the_password_need_not_stand_in_the_url(
    network: tuple[PostgresServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = network
    url = _url(server, None, sslmode="require")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert "PGPASSWORD" in _refused(url).hint
    kept = tmp_path / "passwords"
    kept.write_text(f"127.0.0.1:{server.port}:foldlog:app:{PASSWORD}\n", encoding="ascii")
    kept.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(kept))
    foldlog.open(url).close()
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    foldlog.open(url).close()


def test_who_is_not_let_in_hears_why(network: tuple[PostgresServer, Path], tmp_path: Path) -> None:
    server, _ = network
    wrong = _refused(_url(server, f"{PASSWORD}!", sslmode="require"))
    assert "password authentication failed" in str(wrong)
    assert "password" in wrong.hint
    plain = _refused(_url(server, sslmode="disable"))
    assert "no encryption" in str(plain)
    assert "pg_hba.conf" in plain.hint
    stranger = _refused(_url(server, sslmode="verify-full", sslrootcert=_certificate(tmp_path, "stranger")))
    assert "certificate" in str(stranger)
    assert "sslrootcert" in stranger.hint


def test_blanks_and_all_else_in_names_and_passwords(network: tuple[PostgresServer, Path]) -> None:
    server, _ = network
    password = "change me: 100% @/?#+&=ä"
    server.execute(
        f"CREATE ROLE \"a user\" LOGIN PASSWORD '{password}'",
        'CREATE DATABASE "a base" OWNER "a user"',
    )
    server.execute('CREATE SCHEMA own AUTHORIZATION "a user"', database="a%20base")
    words = "sslmode=require&options=-csearch_path%3Down"
    for scheme in ("postgresql+psycopg", "postgresql", "postgres"):
        url = f"{scheme}://a%20user:{quote(password, safe='')}@127.0.0.1:{server.port}/a%20base?{words}"
        with foldlog.open(url) as store:
            assert "change" not in repr(store)


def test_a_store_is_not_copied_onto_itself(network: tuple[PostgresServer, Path]) -> None:
    server, _ = network
    foldlog.open(_url(server, sslmode="require")).close()
    with pytest.raises(foldlog.StoreError, match="is the source itself"):
        foldlog.copy(
            _url(server, sslmode="require"),
            f"{server.conninfo().replace('postgresql', 'postgresql+psycopg', 1)}&options=-csearch_path%3Dapp",
        )
