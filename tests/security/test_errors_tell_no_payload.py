"""Errors never print a payload: every class of error is provoked on a store full of a secret, and none tells it.

The secret is in every value a user can give (texts, blobs, variables, errors, parameters of queries, search words),
never in a name: ids, event types, statuses, keys and paths are what errors are there to name. Looked at are the
error's words and all it carries, its notes, the whole chain of causes and contexts as Python would print it, and
what the command line says on stderr.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from damaged_stores import change
from foldlog.core import errors
from foldlog.storage import journal
from foldlog.testing import crash_at
from old_stores import first_schema

SECRET = "canary-4711"
WORD = SECRET.partition("-")[0]
LONG = f"{SECRET} " * 2000
LOW = foldlog.Limits(event_bytes_max=2000, nesting_max=5, blob_bytes_max=50_000)


class Telling:
    """What prints the secret wherever it is printed itself."""

    def __repr__(self) -> str:
        return SECRET


class Ground:
    """A store full of the secret, and the handles that a test opens on it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.path, self.stack = folder, folder / "history.db", stack

    def open(self, path: Path | None = None, **settings: Any) -> foldlog.Store:
        config = foldlog.Config(durability="normal", **settings)
        store = foldlog.open(path or self.path, config=config)
        self.stack.callback(_close, store)
        return store

    def session(self, **settings: Any) -> foldlog.Session:
        return self.open(**settings).open_session("demo")

    def copy(self, *statements: str) -> Path:
        """Another store, changed behind the library's back."""
        found = Path(shutil.copy(self.path, self.folder / "copy.db"))
        if statements:
            change(found, *statements)
        return found


def _close(store: foldlog.Store) -> None:
    with contextlib.suppress(foldlog.FoldlogError):
        store.close()


def fill(path: Path) -> None:
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        with store.start_session(id="demo", provider=SECRET, prompt=SECRET, mine={"x": [SECRET]}) as session:
            with session.turn(note=SECRET) as turn:
                turn.message("user", SECRET)
                with turn.call("leaf", model="m", request_ref=session.value_ref([LONG, LONG]), query=SECRET) as call:
                    call.final(LONG)
                turn.eval(code=SECRET, value=SECRET, stdout=SECRET)
                turn.final({"x": SECRET})
            session.snapshot({"x": SECRET, "y": Telling(), "z": [LONG]}, turn_id=1)
            session.emit("note", text=SECRET, idempotency_key="k")
            with session.start_child(query=SECRET) as child:
                child.mark_error(ValueError(SECRET))
            session.mark_final(LONG)
        store.fork_session("demo", id="fork").close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "history.db"
    fill(path)
    return path


@pytest.fixture
def ground(filled: Path, tmp_path: Path) -> Iterator[Ground]:
    shutil.copy(filled, tmp_path)
    with contextlib.ExitStack() as stack:
        yield Ground(tmp_path, stack)


# How each error is provoked. A name after a class tells one way from another.


def _closed(ground: Ground) -> None:
    session = ground.session()
    session.close()
    session.emit("note", text=SECRET)


def _busy(ground: Ground) -> None:
    session, other = ground.session(), ground.open()
    session.store.database._gate.wait_s = 0.02
    with other.database.write():
        session.emit("note", text=SECRET)


def _stale(ground: Ground) -> None:
    session = ground.session()
    ground.open().open_session("demo", take_over=True)
    session.emit("note", text=SECRET)


def _too_new(ground: Ground) -> None:
    path = ground.copy()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    ground.open(path)


def _failing_upgrade(ground: Ground) -> None:
    path = ground.folder / "old.db"
    first_schema(path, ground.path)
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE streams ADD COLUMN idempotency_key TEXT")
    connection.execute("ALTER TABLE events ADD COLUMN idempotency_key TEXT")
    connection.close()
    ground.open(path)


def _text(ground: Ground) -> None:
    (ground.folder / "text.db").write_text(LONG)
    ground.open(ground.folder / "text.db")


def _foreign(ground: Ground) -> None:
    connection = sqlite3.connect(ground.folder / "foreign.db")
    connection.execute(f"CREATE TABLE events (x TEXT DEFAULT '{SECRET}')")
    connection.close()
    ground.open(ground.folder / "foreign.db")


def _torn_json(ground: Ground) -> None:
    path = ground.copy("UPDATE events SET data = substr(data, 1, length(data) - 1) WHERE type = 'note'")
    list(ground.open(path).events())


def _other_json(ground: Ground) -> None:
    path = ground.copy(f"UPDATE events SET data = '[\"{SECRET}\"]' WHERE type = 'note'")
    store = ground.open(path)
    store.view("demo", at=store.view("demo").counters["event"])


def _no_text(ground: Ground) -> None:
    path = ground.copy(f"UPDATE events SET data = CAST(x'ff' || '{SECRET}' AS TEXT) WHERE type = 'note'")
    list(ground.open(path).events())


def _torn_row(ground: Ground) -> None:
    path = ground.copy("UPDATE messages SET data = substr(data, 1, length(data) - 1)")
    print(ground.open(path).view("demo").messages[1])


def _bytes_in_a_row(ground: Ground) -> None:
    path = ground.copy(f"UPDATE turns SET data = x'ff' || '{SECRET}'")
    print(ground.open(path).view("demo").document())


def _no_number(ground: Ground) -> None:
    path = ground.copy(f"UPDATE messages SET first_event_id = '{SECRET}'")
    print(ground.open(path).view("demo").messages[1])


def _refused_by_the_fold(ground: Ground) -> None:
    path = ground.copy("UPDATE events SET type = 'call.updated' WHERE type = 'note'")
    foldlog.fold(ground.open(path).events("demo"))


def _uncertain(ground: Ground) -> None:
    session = ground.session()
    real = journal._append
    ground.stack.callback(setattr, journal, "_append", real)

    def failing(*arguments: Any) -> None:
        cause = sqlite3.OperationalError("disk I/O error")
        cause.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise journal._refusal(cause, arguments[2][0]) from cause

    journal._append = failing
    session.emit("note", text=SECRET, ref=session.value_ref(LONG))


def _hook(ground: Ground) -> None:
    def hook(event_type: str | None, payload: Any) -> Any:
        if event_type == "note":
            raise ValueError("no")
        return payload

    ground.session(scrub=hook).emit("note", text=SECRET)


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else SECRET


def _missing_blob(ground: Ground) -> None:
    path = ground.copy("DELETE FROM blobs")
    store = ground.open(path)
    store.open_session("demo").read_ref(store.view("demo").calls[1]["request_ref"])


def _other_blob(ground: Ground) -> None:
    path = ground.copy(f"UPDATE blobs SET data = CAST('\"{SECRET}\"' AS BLOB)")
    store = ground.open(path)
    store.open_session("demo").read_ref(store.view("demo").calls[1]["request_ref"])


def _in_the_way(ground: Ground) -> None:
    (ground.folder / "out" / "demo" / "messages.jsonl").mkdir(parents=True)
    ground.open().export(ground.folder / "out", session="demo")


def _read_only(ground: Ground) -> None:
    with foldlog.open(ground.path, read_only=True) as store:
        store.start_session(id="new", prompt=SECRET)


def _ask(sql: str, params: Any = (), **settings: Any) -> Callable[[Ground], Any]:
    return lambda ground: list(ground.open().query(sql, params, **settings))


def _emit(event_type: str = "note", **fields: Any) -> Callable[[Ground], Any]:
    return lambda ground: ground.session().emit(event_type, **fields)


PROVOKED: dict[str, Callable[[Ground], Any]] = {
    "FoldlogError": lambda ground: crash_at("nowhere").__enter__(),
    "StoreError reading": _read_only,
    "StoreError in the way": _in_the_way,
    "StoreClosedError": _closed,
    "StoreBusyError": _busy,
    "SessionInUseError": lambda ground: (ground.session(), ground.session()),
    "HasDescendantsError": lambda ground: ground.open().delete_session("demo", reason=SECRET),
    "StaleWriterError": _stale,
    "SchemaTooNewError": _too_new,
    "UpgradeError": _failing_upgrade,
    "NotAStoreError text": _text,
    "NotAStoreError foreign": _foreign,
    "CorruptJournalError torn": _torn_json,
    "CorruptJournalError other": _other_json,
    "CorruptJournalError no text": _no_text,
    "CorruptJournalError row": _torn_row,
    "CorruptJournalError bytes": _bytes_in_a_row,
    "CommitUncertainError": _uncertain,
    "AlreadyExistsError": lambda ground: ground.open().start_session(id="demo", prompt=SECRET),
    "AlreadyExistsError backup": lambda ground: ground.open().backup(ground.path),
    "InvalidIdError": lambda ground: ground.open().start_session(id="not an id", prompt=SECRET),
    "InvalidEventError fold": _refused_by_the_fold,
    "InvalidEventError taken": _emit("message.added", message={"id": 1, "role": "user", "content": SECRET}),
    "InvalidEventError no map": _emit("call.started", call=SECRET),
    "InvalidEventError status": _emit("turn.updated", turn_id=1, changes={"status": [SECRET]}),
    "InvalidEventError key": lambda ground: ground.session().emit("note", idempotency_key=f"{SECRET}\n"),
    "InvalidEventError hook": _hook,
    "InvalidEventError change": lambda ground: ground.session().update_turn(1, lambda row: [SECRET]),  # type: ignore[arg-type,return-value]
    "InvalidEventError cut": _emit("session.status", other=SECRET),
    "NotSerializableError float": _emit(text=[SECRET, float("nan")]),
    "NotSerializableError object": _emit(text=Telling()),
    "NotSerializableError set": _emit(text={SECRET, Telling()}),
    "NotSerializableError text": _emit(text=f"{SECRET}\ud800"),
    "NotSerializableError key": _emit(text={Telling(): SECRET}),
    "NotSerializableError nesting": lambda ground: ground.session(limits=LOW).emit("note", text=_nested(30)),
    "NotSerializableError value": lambda ground: ground.session().value_ref([LONG, Telling()]),
    "ExpectedIdError": _emit(text=SECRET, expected_id=1),
    "LimitError event": lambda ground: ground.session(limits=LOW).emit("note", text=LONG),
    "LimitError blob": lambda ground: ground.session(limits=LOW).value_ref(LONG * 3),
    "UnknownSessionError": lambda ground: ground.open().view("nobody"),
    "UnknownRowError update": lambda ground: ground.session().update_call(99, error=SECRET),
    "UnknownRowError event": _emit("turn.updated", turn_id=99, changes={"x": SECRET}),
    "UnknownRowError message": lambda ground: ground.session().add_message("user", SECRET, turn_id=99),
    "MissingBlobError": _missing_blob,
    "MissingBlobError other": _other_blob,
    "QueryError params": _ask("SELECT nothing FROM events WHERE data = ?", (SECRET,)),
    "QueryError too many": _ask("SELECT ?", (SECRET, SECRET)),
    "QueryError name": _ask("SELECT :one", {"two": SECRET}),
    "QueryError kind": _ask("SELECT ?", (Telling(),)),
    "QueryError surrogate": _ask("SELECT ?", (f"{SECRET}\ud800",)),
    "QueryError json": _ask("SELECT json(?)", (f"{{{SECRET}",)),
    "QueryError path": _ask("SELECT json_extract(data, json_extract(data, '$.content')) FROM messages"),
    "QueryError match": _ask("SELECT * FROM search_index WHERE search_index MATCH ?", (f'"{SECRET}',)),
    "QueryError column": _ask("SELECT * FROM search_index WHERE search_index MATCH ?", (f"{WORD} : x",)),
    "QueryError words": _ask("SELECT * FROM search_index WHERE search_index MATCH ?", (f"({WORD} {WORD}) {WORD})",)),
    "QueryError text": _ask("SELECT CAST(x'ff' AS TEXT) || data FROM messages"),
    "CorruptJournalError number": _no_number,
    "QueryError write": _ask("INSERT INTO events (data) VALUES (?)", (SECRET,)),
    "QueryError time": _ask(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE ? <> ''",
        (SECRET,), timeout=0.05,
    ),
}  # fmt: skip
# Errors that nothing raises as they are: there is always one that says more.
BASES = {"EventError": "the base of those that refuse an event"}


def all_that_is_told(error: BaseException) -> Iterator[str]:
    """Every text that an error brings along, with those of its causes and contexts."""
    yield "".join(traceback.format_exception(error))
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)), repr(getattr(one, "__notes__", [])))
        left.append(one.__cause__ if one.__suppress_context__ else one.__cause__ or one.__context__)


@pytest.mark.parametrize("name", PROVOKED)
def test_no_error_tells_a_payload(name: str, ground: Ground) -> None:
    with pytest.raises(foldlog.FoldlogError) as caught:
        PROVOKED[name](ground)
    assert type(caught.value).__name__ == name.split(maxsplit=1)[0], caught.value
    assert caught.value.hint
    for text in all_that_is_told(caught.value):
        assert WORD not in text


def test_every_class_is_provoked() -> None:
    found, left = set(), [errors.FoldlogError]
    while left:
        one = left.pop()
        found.add(one.__name__)
        left += one.__subclasses__()
    assert found == {name.split()[0] for name in PROVOKED} | set(BASES)


# The command line.

DAMAGE = (
    "UPDATE events SET data = substr(data, 1, length(data) - 1) WHERE type = 'note'",
    f"UPDATE messages SET data = CAST(x'ff' || '{SECRET}' AS TEXT)",
    f"UPDATE turns SET first_event_id = '{SECRET}'",
    f"UPDATE blobs SET data = CAST('\"{SECRET}\"' AS BLOB)",
    f"UPDATE usage SET data = '{{\"{SECRET}'",
)
# What reports say is looked at as well; the other verbs print what users said, which is what they are for.
REPORTS = ("verify", "doctor", "repair")


@pytest.mark.parametrize(
    "line",
    [
        ("show", "STORE", "demo"), ("messages", "STORE", "demo"), ("calls", "STORE"), ("usage", "STORE"),
        ("tree", "STORE", "demo"), ("events", "STORE"), ("export", "STORE", "made"), ("csv", "STORE", "calls"),
        ("report", "STORE", "demo", "-o", "made.html"), ("search", "STORE", f'"{SECRET}'),
        ("sql", "STORE", "SELECT json_extract(data, json_extract(data, '$.content')) FROM messages"),
        ("verify", "STORE"), ("verify", "STORE", "--json"), ("doctor", "STORE"), ("repair", "STORE"),
        ("repair", "STORE", "--into", "saved.db"),
    ],
    ids=lambda line: " ".join(line[:1] + line[2:])[:30],
)  # fmt: skip
def test_the_command_line_tells_no_payload_on_stderr(line: tuple[str, ...], ground: Ground) -> None:
    path = ground.copy(*DAMAGE)
    done = subprocess.run(
        [sys.executable, "-m", "foldlog.cli.main", *(str(path) if word == "STORE" else word for word in line)],
        cwd=ground.folder, env={**os.environ, "PYTHONPATH": str(Path(foldlog.__file__).parents[1])},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert WORD not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    if line[0] in REPORTS:
        assert done.stdout
        assert WORD not in done.stdout
