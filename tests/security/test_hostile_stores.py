"""Databases from elsewhere, damaged or made to do harm: reported; never a crash, a hang or an escape."""

import shutil
import sqlite3
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog

CANARY = "canary-4711"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "history.db"
    with foldlog.new_state(path, config=foldlog.Config(durability="normal"), id="demo") as session:
        with session.turn() as turn:
            turn.message("user", f"hello {CANARY}")
            with turn.call("leaf", request_ref=session.value_ref([{"content": "x" * 600 + str(n)} for n in range(20)])):
                pass
        session.snapshot({"a": 1, "b": "y" * 9000})
        session.mark_final("z" * 9000)
    return path


@pytest.fixture
def hostile(made: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a store in a folder of its own, changed by statements that no trigger of ours refuses."""

    def change(*statements: str, values: Any = ()) -> Path:
        path = tmp_path / "inside" / "deep" / "history.db"
        path.parent.mkdir(parents=True)
        shutil.copy(made, path)
        connection = sqlite3.connect(path, isolation_level=None)
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement, values)
        for _, sql in triggers:
            connection.execute(sql)
        connection.close()
        return path

    return change


def use(path: Path) -> list[foldlog.FoldlogError]:
    """Everything that reads a store, and a writer; the errors, which are ours and tell no payload."""
    errors: list[foldlog.FoldlogError] = []

    def attempt(action: Callable[[], Any]) -> None:
        try:
            action()
        except foldlog.FoldlogError as error:
            errors.append(error)

    try:
        store = foldlog.open(path, config=foldlog.Config(durability="normal"))
    except foldlog.FoldlogError as error:
        return [error]
    kinds = ("messages", "turns", "calls", "evals", "snapshots")
    with store:
        attempt(lambda: list(store.events()))
        attempt(lambda: list(store.sessions()))
        attempt(lambda: [list(getattr(store.view("demo"), kind).values()) for kind in kinds])
        attempt(lambda: store.view("demo", at=4))
        for document in (store.usage, store.tree, store.final):
            attempt(lambda document=document: document("demo"))  # type: ignore[misc]
        attempt(lambda: store.export(path.parent / "out"))
        attempt(lambda: store.backup(path.parent / "backup.db"))
        attempt(lambda: store.fork_session("demo", id="forked").close())

        def write() -> None:
            with store.open_session("demo") as session:
                session.add_message("user", "more")
                session.restore()

        attempt(write)
    assert not [error for error in errors if CANARY in "".join(traceback.format_exception(error))]
    return errors


SET_DATA = "UPDATE events SET data = {} WHERE event_id = 3"
SET_NOTE = "UPDATE events SET type = 'note', data = '{}' WHERE event_id = 3"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE streams SET id = '../../escaped'", "UPDATE streams SET id = 'a' || char(0) || 'b'",
        "UPDATE streams SET id = 'a' || char(10) || 'b'", "UPDATE streams SET id = '/tmp/escaped'",
        "UPDATE streams SET id = x'ff'", "UPDATE streams SET id = ''", "UPDATE streams SET id = '..'",
        SET_DATA.format("CAST(x'ff41' || data AS TEXT)"), SET_DATA.format("5"),
        SET_DATA.format("replace(hex(zeroblob(100000)), '00', '[')"), SET_DATA.format("'{\"message\":{\"id\":1e999}}'"),
        SET_DATA.format("'{\"message\":{\"id\":99999999999999999999999}}'"), SET_DATA.format("'[]'"),
        SET_DATA.format("'{\"message\":{\"id\":1,\"id\":2,\"role\":\"user\",\"role\":[]}}'"),
        SET_DATA.format("replace(data, 'user', 'us' || char(0) || 'er')"),
        SET_NOTE.format('{"x":{"$foldlog":"ref","kind":"blob","hash":"../../../escaped","bytes":1}}'),
        SET_NOTE.format('{"x":{"$foldlog":"ref"}}'), SET_NOTE.format('{"x":{"$foldlog":"ref","hash":[]}}'),
        SET_NOTE.format('{"x":{"$foldlog":"nonsense","value":1}}'),
        SET_NOTE.format('{"x":{"$foldlog":"Decimal","value":[]}}'),
        "UPDATE events SET event_id = 'x' WHERE event_id = 3", "UPDATE events SET type = x'ff' WHERE event_id = 3",
        "UPDATE events SET event_id = 9223372036854775807 WHERE event_id = 6",
        "UPDATE events SET at = x'00' WHERE event_id = 3",
        "UPDATE events SET chain = 'x' WHERE event_id = (SELECT max(event_id) FROM events)",
        "UPDATE lists SET prefix_id = list_id", "UPDATE lists SET prefix_id = list_id + 1000",
        "UPDATE parts SET data = CAST('{\"$foldlog\":\"part\",\"id\":1}' AS BLOB)", "UPDATE blobs SET bytes = -1",
        "UPDATE blobs SET bytes = 'x'", "UPDATE blobs SET data = 'text'", "UPDATE parts SET data = 5",
        "UPDATE sessions SET data = 'x'", "UPDATE sessions SET folded = '{}'",
        "UPDATE sessions SET data = CAST(x'ff' AS TEXT)",
        "UPDATE sessions SET checkpoint_event_id = 'x'", "UPDATE messages SET data = '[]'", "UPDATE calls SET data = 5",
        "UPDATE messages SET data = CAST(data || x'ff41' AS TEXT)", "UPDATE messages SET seq = 'x'",
        "UPDATE usage SET data = '{}'", "UPDATE usage SET data = '[1]'", "UPDATE final SET data = 'null'",
    ],
)  # fmt: skip
def test_rows_that_nobody_wrote_are_reported(hostile: Callable[..., Path], tmp_path: Path, statement: str) -> None:
    path = hostile(statement)
    assert use(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["inside"]
    assert sorted(one.name for one in (tmp_path / "inside").iterdir()) == ["deep"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tree VALUES ('demo', 1, 1, 'demo', 'spawned', 'ok')", "UPDATE sessions SET writer = '[1'",
        "UPDATE sessions SET checkpoint_event_id = 9223372036854775807", "UPDATE blobs SET bytes = 9223372036854775807",
        "UPDATE alembic_version SET version_num = '../x'", "UPDATE sessions SET session_id = '../../y', name = '..'",
    ],
)  # fmt: skip
def test_what_leads_nowhere_ends(hostile: Callable[..., Path], tmp_path: Path, statement: str) -> None:
    use(hostile(statement))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["inside"]


def test_what_unpacks_to_more_than_it_may_is_damage(hostile: Callable[..., Path]) -> None:
    bomb = zlib.compress(b"[" + b"1," * 10_000_000 + b"1]", 1)
    path = hostile("UPDATE parts SET data = ?", values=(bomb,))
    assert any(isinstance(error, foldlog.MissingBlobError) for error in use(path))


def test_the_sessions_whose_ids_are_good_are_exported(hostile: Callable[..., Path], tmp_path: Path) -> None:
    path = hostile("INSERT INTO streams (id) VALUES ('../../../escaped')")
    with foldlog.open(path, read_only=True) as store, pytest.raises(foldlog.CorruptJournalError, match="1 of its"):
        store.export(tmp_path / "inside" / "out")
    assert (tmp_path / "inside" / "out" / "demo" / "events.jsonl").stat().st_size > 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["inside"]


FUZZ = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_hostile_stores import use
made, folder, seed = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
import foldlog
for number in range(60):
    data = bytearray(made)
    # The header and the schema's pages, now and then any page.
    top = 8 * 4096 if chance.random() < 0.7 else len(data)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        at = chance.randrange(100) if chance.random() < 0.2 else chance.randrange(top)
        data[at] = chance.randrange(256)
    path = folder / f"{number}" / "history.db"
    path.parent.mkdir()
    path.write_bytes(data)
    print(number, flush=True)
    use(path)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_bytes_changed_at_random_give_an_error_or_an_answer(made: Path, tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(made), str(tmp_path), str(seed), str(Path(__file__).parent)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}, file {done.stdout.split()[-1:]}: {done.stderr[-3000:]}"
