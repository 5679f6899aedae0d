"""Reading a store: feeds, live tail, time travel, SQL, from this process and others."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import foldlog


def fill(store: foldlog.Store, session_id: str, count: int) -> None:
    with store.start_session(id=session_id) as session:
        for number in range(count):
            session.add_event("note", n=number)


def test_events_are_in_order_of_position_over_all_sessions(store: foldlog.Store) -> None:
    one, two = store.start_session(id="one"), store.start_session(id="two")
    for number in range(3):
        one.add_event("a", n=number)
        two.add_event("b", n=number)
    events = list(store.events())
    assert [event.position for event in events] == sorted({event.position for event in events})
    assert [event.session_id for event in events[2:]] == ["one", "two"] * 3
    assert [event["n"] for event in store.events("two", types=["b"])] == [0, 1, 2]
    assert [event["n"] for event in store.events(types="a", after=events[3].position)] == [1, 2]
    assert [event["type"] for event in store.events(types=["session.started"])] == ["session.started"] * 2


def test_a_page_of_events_more_than_one(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with session.batch():
        for number in range(2500):
            session.add_event("note", n=number)
    assert [event["id"] for event in store.events("demo")] == list(range(1, 2502))
    assert len(list(store.events())) == 2501


def test_a_view_at_an_event_is_the_view_of_then(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    seen = [session.view.document()]
    for number in range(5):
        session.add_turn(n=number)
        seen.append(session.view.document())
    for event_id, then in enumerate(seen, 1):
        assert store.view("demo", at=event_id).document() == then


def test_sessions_are_found_by_their_keys(store: foldlog.Store) -> None:
    with store.start_session(id="a", team="red") as session:
        session.start_child()
    store.start_session(id="b", team="blue")
    assert [row["id"] for row in store.sessions()] == ["a", "a/child-0001", "b"]
    assert [row["id"] for row in store.sessions(team="blue")] == ["b"]
    assert [row["id"] for row in store.sessions(kind="child")] == ["a/child-0001"]
    assert [row["id"] for row in store.sessions(status="stopped", team="red")] == ["a"]
    assert list(store.sessions(team=None)) == []


def test_following_sees_each_new_event_of_another_process(path: Path) -> None:
    foldlog.new_state(path, id="demo").close()
    code = (
        "import foldlog, sys\n"
        "with foldlog.open(sys.argv[1]) as store, store.open_session('demo') as session:\n"
        "    for n in range(200): session.add_event('note', n=n)\n"
    )
    with foldlog.open(path, read_only=True) as store:
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        seen = []
        for event in store.follow("demo", types=["note"], idle_timeout=30):
            seen.append(event["n"])
            if len(seen) == 200:
                break
        assert process.wait(60) == 0
        assert seen == list(range(200))
        assert list(store.follow(after=10**6, idle_timeout=0)) == []


def test_following_ends_when_the_store_is_closed(path: Path) -> None:
    store = foldlog.open(path)
    session = store.start_session(id="demo")
    feed = store.follow()
    assert next(feed)["type"] == "session.started"
    ended = threading.Event()

    def rest() -> None:
        list(feed)
        ended.set()

    thread = threading.Thread(target=rest)
    thread.start()
    session.add_event("note")
    store.close()
    thread.join(30)
    assert ended.is_set()


def test_readers_see_what_is_committed_and_tables_as_of_the_checkpoint(path: Path, store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    session.checkpoint()
    session.add_message("user", "new")
    with foldlog.open(path, read_only=True) as other:
        assert len(other.view("demo").messages) == 1
        assert list(other.query("SELECT count(*) AS n FROM messages")) == [{"n": 0}]
        [lag] = other.query(
            "SELECT max(event_id) - max(checkpoint_event_id) AS lag FROM events "
            "JOIN streams USING (session_key) JOIN sessions ON session_id = streams.id"
        )
        assert lag == {"lag": 1}


def test_readers_write_nothing(path: Path, tmp_path: Path) -> None:
    with foldlog.open(path) as store:
        fill(store, "demo", 10)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir() if entry.is_file()}
    with foldlog.open(path, read_only=True) as store:
        list(store.sessions())
        list(store.events())
        store.final("demo")
        assert store.verify().ok
        database = store.sqlite_utils()
        with pytest.raises(sqlite3.OperationalError):
            database.execute("CREATE TABLE x (y)")
        database.close()
    after = {entry: entry.read_bytes() for entry in before}
    assert after == before


def test_a_query_takes_parameters_and_gives_dicts(store: foldlog.Store) -> None:
    fill(store, "demo", 3)
    assert list(store.query("SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY n DESC LIMIT 1")) == [
        {"type": "note", "n": 3}
    ]
    assert list(store.query("SELECT ? + 1 AS x", (2,))) == [{"x": 3}]
    assert list(store.query("SELECT :a AS x", {"a": "b"})) == [{"x": "b"}]
    with pytest.raises(foldlog.QueryError):
        store.query("SELECT ?", ())


def test_a_query_left_half_read_lets_go(store: foldlog.Store) -> None:
    fill(store, "demo", 50)
    rows = store.query("SELECT * FROM events")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    fill(store, "other", 1)


@pytest.mark.sqlite("sqlite-utils reads files")
def test_sqlite_utils_reads_the_tables(store: foldlog.Store) -> None:
    fill(store, "demo", 1)
    database = store.sqlite_utils()
    assert [row["session_id"] for row in database["sessions"].rows] == ["demo"]
    assert {"call_usage", "session_usage", "session_tree", "transcript", "model_usage"} <= set(database.view_names())
    database.close()


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    code = (
        "import os, sys, foldlog\n"
        "os.umask(0)\n"
        "with foldlog.open(sys.argv[1], config=foldlog.Config(export_dir=sys.argv[2])) as store:\n"
        "    session = store.start_session(id='demo')\n"
        "    session.add_call('leaf', request_ref=session.value_ref('x' * 9000))\n"
        "    session.checkpoint()\n"
        "    for folder, _, names in os.walk(os.path.dirname(sys.argv[1])):\n"
        "        for name in names:\n"
        "            print(oct(os.stat(os.path.join(folder, name)).st_mode & 0o777), name)\n"
        "        print(oct(os.stat(folder).st_mode & 0o777), folder)\n"
    )
    inside = tmp_path / "inside"
    inside.mkdir(mode=0o700)
    command = [sys.executable, "-c", code, str(inside / "history.db"), str(inside / "files")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert len(lines) > 15
    for mode, name in lines:
        assert mode == ("0o700" if os.path.isdir(name) else "0o600"), name  # noqa: PTH112


as_nobody = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def others_store() -> Iterator[Path]:
    """A store that anybody may read, in a folder where only its owner may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "history.db"
        with foldlog.open(path) as store:
            fill(store, "demo", 3)
        path.chmod(0o644)
        yield path


@as_nobody
def test_a_reader_who_may_not_write_the_folder_reads_all_the_same(others_store: Path) -> None:
    code = (
        "import os, sys, foldlog\n"
        "foldlog.open  # loaded while it can be read\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "with foldlog.open(sys.argv[1], read_only=True) as store:\n"
        "    assert store.verify().ok, store.verify()\n"
        "    assert len(list(store.events())) == 5\n"
        "try:\n"
        "    foldlog.open(sys.argv[1])\n"
        "except foldlog.StoreError:\n"
        "    pass\n"
        "else:\n"
        "    sys.exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(others_store)], check=True, timeout=60)
    files = sorted(entry.name for entry in others_store.parent.iterdir() if entry.is_file())
    assert files == ["history.db", "history.db-marks"]


@as_nobody
def test_a_reader_who_may_not_write_the_folder_sees_a_writer_come(others_store: Path) -> None:
    code = (
        "import os, sys, foldlog\n"
        "foldlog.open  # loaded while it can be read\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "store = foldlog.open(sys.argv[1], read_only=True)\n"
        "feed = store.follow(types=['note'], idle_timeout=30)\n"
        "print([next(feed)['n'] for _ in range(3)], flush=True)\n"
        "print([next(feed)['n'] for _ in range(3)], len(list(store.events(types=['note']))))\n"
    )
    command = [sys.executable, "-c", code, str(others_store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[0, 1, 2]\n"
        with foldlog.open(others_store) as store:
            fill(store, "other", 3)
            assert process.stdout.readline() == "[0, 1, 2] 6\n"
        assert process.wait(60) == 0
