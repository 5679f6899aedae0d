"""The command line on a server's store: what it says of servers, what it keeps to itself, what is for files."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_stores import parsed

import foldlog
from postgres_server import PostgresServer

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SECRET = "canary-4711"


@pytest.fixture
def place(server: PostgresServer) -> str:
    """The URL of an empty schema, with a password that nobody is to see."""
    return server.new_store().replace("foldlog@", f"foldlog:{SECRET}@")


@pytest.fixture
def made(place: str) -> str:
    with foldlog.open(place) as store, store.start_session(id="demo") as session:
        with session.turn() as turn:
            turn.message("user", "hello there")
            with turn.call("leaf", model="m-1") as call:
                call.ok(usage={"input_tokens": 3}, cost={"usd": 0.5})
        session.add_call("leaf", id="a-name", model="m-2", status="ok")
    return place


VERBS = [
    ["ls"],
    ["ls", "--all", "--limit", "1"],
    ["show", "demo"],
    ["show", "demo:call/a-name"],
    ["tree", "demo"],
    ["usage"],
    ["usage", "--by", "turn"],
    ["messages", "demo"],
    ["calls"],
    ["calls", "--slowest", "3"],
    ["calls", "--costliest", "3"],
    ["events"],
    ["sql", "SELECT * FROM model_usage"],
    ["search", "hello"],
    ["search", "hello", "--update"],
    ["csv", "call_usage"],
    ["csv", "messages", "demo"],
    ["export", "exported"],
    ["report", "demo", "-o", "demo.html"],
    ["upgrade"],
    ["doctor", "--json"],
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_verbs_take_a_url_and_print_no_password(run_here: Run, made: str, verb: list[str]) -> None:
    done = run_here(verb[0], made, *verb[1:])
    # The doctor has something to say of a server of tests, which does not sync.
    assert done.returncode == (1 if verb[0] == "doctor" else 0), done.stderr
    assert done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_calls_are_named_as_they_are(run_here: Run, made: str) -> None:
    found = parsed(run_here("calls", made, "--json").stdout, "calls")
    assert {row["id"] for row in found} == {1, "a-name"}


@pytest.mark.parametrize(
    "verb",
    [["backup", "new.db"], ["repair", "--into", "new.db"], ["datasette-config", "-o", "new.db"]],
    ids=lambda v: v[0],
)
def test_what_is_for_files_is_refused(run_here: Run, made: str, verb: list[str], tmp_path: Path) -> None:
    done = run_here(verb[0], made, *verb[1:])
    assert (done.returncode, done.stdout) == (1, "")
    assert "is for stores in SQLite\nhint: copy the store into a file first" in done.stderr
    assert SECRET not in done.stderr
    assert not (tmp_path / "new.db").exists()


def test_the_library_refuses_it_too(made: str, tmp_path: Path) -> None:
    with pytest.raises(foldlog.StoreError, match="saved of a file"):
        foldlog.salvage(made, tmp_path / "new.db")
    with foldlog.open(made, read_only=True) as store:
        for refused in (store.sqlite_utils, lambda: store.backup(tmp_path / "new.db")):
            with pytest.raises(foldlog.StoreError, match="is for stores in SQLite"):
                refused()


@pytest.mark.parametrize(
    "verb",
    [
        ["backup", "h.db", "URL"], ["repair", "h.db", "--into", "URL"], ["export", "h.db", "URL"],
        ["report", "h.db", "demo", "-o", "URL"], ["verify", "h.db", "--exported", "URL"], ["demo", "URL"],
        ["demo", "-o", "URL"], ["datasette-config", "h.db", "-o", "URL"],
    ],
    ids=lambda verb: " ".join(verb[:-1]),
)  # fmt: skip
def test_a_url_where_a_file_belongs_is_refused_and_not_printed(
    run_here: Run, place: str, tmp_path: Path, verb: list[str]
) -> None:
    foldlog.new_state(tmp_path / "h.db", id="demo").close()
    done = run_here(*(place if word == "URL" else word for word in verb))
    assert (done.returncode, done.stdout) == (1, "")
    store = "h.db" if "h.db" in verb else "STORE"
    assert done.stderr.splitlines() == [
        "error: a file or folder is meant here, and a server's URL is neither",
        f"hint: `foldlog copy {store} URL` takes a store to a server",
    ]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("h.db")] == []


def test_sql_is_a_servers(run_here: Run, made: str) -> None:
    def asked(sql: str, *params: str) -> list[dict[str, object]]:
        done = run_here("sql", made, sql, *params, "--json")
        assert done.returncode == 0, done.stderr
        return [found["row"] for found in parsed(done.stdout, "sql")]

    said = "SELECT data::json ->> 'content' AS said, $$:no$$ AS kept FROM messages WHERE role = :r"
    assert asked(said, "-p", "r", "user") == [{"said": "hello there", "kept": ":no"}]
    # A value is what its place takes: text here, a number there.
    assert asked("SELECT session_id FROM sessions WHERE session_id = :s", "-p", "s", "2026") == []
    assert asked("SELECT count(*) AS n FROM calls WHERE usd > :u LIMIT :n", "-p", "u", "0.25", "-p", "n", "1") == [
        {"n": 1}
    ]


def test_a_column_of_another_table_is_named_with_its_table(run_here: Run, made: str) -> None:
    done = run_here("sql", made, "SELECT checkpoint_event_id FROM calls")
    assert done.returncode == 1
    assert "hint: checkpoint_event_id is in sessions" in done.stderr


def test_a_table_is_written_in_order_of_its_key(run_here: Run, made: str) -> None:
    with foldlog.open(made) as store, store.open_session("demo") as session:
        session.update_call("a-name", status="error")
        for number in range(40):
            session.add_event("tick", number=number)
    positions = [line.split(",")[0] for line in run_here("csv", made, "events").stdout.splitlines()[1:]]
    assert [int(position) for position in positions] == sorted(map(int, positions))
    assert len(positions) > 40


def broken(server: PostgresServer, place: str) -> dict[str, str]:
    host = place.partition("?host=")[2].partition("&")[0]
    return {
        "does not exist": place.replace("/foldlog?", "/nowhere?"),
        "role": place.replace("foldlog:", "stranger:"),
        "cannot be reached": place.replace(host, "%2Ftmp%2Fno-such-folder"),
        "no schema": place.replace("search_path%3D", "search_path%3Dno"),
        "there is no store": place,
        "there is no store at": f"{place}&password={SECRET}",
        "not one of a PostgreSQL server": f"{place}&nonsense={SECRET}",
        "did you mean sslmode?": f"{place}&sslmod={SECRET}",
        "has a port that is no number": f"postgresql://foldlog:{SECRET}@localhost:{SECRET}/foldlog",
        "more than one @": f"postgresql+psycopg://foldlog:{SECRET}@{SECRET}@localhost/foldlog",
        "two slashes": f"postgresql+psycopg:/foldlog:{SECRET}@localhost/foldlog",
        "begins with 'mysql'": f"mysql://foldlog:{SECRET}@localhost/foldlog",
        "begins with 'postgresql+asyncpg'": f"postgresql+asyncpg://foldlog:{SECRET}@localhost/foldlog",
        "Connection refused": f"postgresql://foldlog:{SECRET}@127.0.0.1:1/foldlog",
    }


def test_what_is_not_there_is_told_in_a_sentence_and_not_made(
    run_here: Run, server: PostgresServer, place: str, tmp_path: Path
) -> None:
    for words, url in broken(server, place).items():
        for verb in (["ls"], ["upgrade"], ["rm", "demo", "--yes"], ["doctor"], ["search", "x", "--update"]):
            done = run_here(verb[0], url, *verb[1:])
            said = done.stdout + done.stderr
            assert done.returncode == 1, (words, verb, said)
            assert words in said, (verb, said)
            assert "hint" in said
            assert SECRET not in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(foldlog.NotAStoreError):
        foldlog.open(place, read_only=True)


def test_the_doctor_names_who_writes_and_how_far_tables_lag(run_here: Run, made: str) -> None:
    with foldlog.open(made) as store:
        session = store.open_session("demo")
        session.add_message("user", "behind")
        done = run_here("doctor", made)
        session.close()
    assert "leases: demo: held by process" in done.stdout
    assert "behind the journal: demo by 1 events" in done.stdout
    assert "is a superuser" in done.stdout
    assert "fsync: off" in done.stdout
    assert "nobody writes" in run_here("doctor", made).stdout


def test_the_doctor_sees_a_trigger_that_is_gone(run_here: Run, made: str) -> None:
    with foldlog.open(made) as store, store.database.write() as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER events_refuse_change")
    assert "not in place: events_refuse_change" in run_here("doctor", made).stdout
