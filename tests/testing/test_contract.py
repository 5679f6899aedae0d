"""The contract holds of foldlog itself, however it is set up, and each of its tests can fail."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.testing import StoreContract
from postgres_server import PostgresServer


class TestDefault(StoreContract):
    """As it comes."""


class TestWithFiles(StoreContract):
    """At durability normal, every checkpoint exported, no value inline; calls left running."""

    def open_store(self, path: Path | str) -> foldlog.Store:
        files = Path(path).with_suffix(".files")
        return foldlog.open(path, config=foldlog.Config(durability="normal", inline_bytes_max=0, export_dir=files))

    def record(self, session: foldlog.Session) -> None:
        turn = session.add_turn()
        session.add_call("leaf", turn_id=turn["id"], request_ref=session.value_ref(["part"] * 100))
        session.update_status("running")
        session.add_message("user", "hello", turn_id=turn["id"])


class TestOnServer(StoreContract):
    """Each store in a schema of its own."""

    @pytest.fixture(autouse=True)
    def on_server(self, server: PostgresServer) -> None:
        self.server = server

    def place(self, path: Path) -> Path | str:
        return self.server.new_store()


def nothing_inside(session: foldlog.Session) -> None:
    session.batch = contextlib.nullcontext  # type: ignore[method-assign,assignment]


def no_keys(session: foldlog.Session) -> None:
    emit = session.emit
    session.emit = lambda name, /, *, idempotency_key=None, **more: emit(name, **more)  # type: ignore[method-assign]


def no_lock(session: foldlog.Session) -> None:
    update = session.update_call
    have_read = threading.Barrier(4)  # as many threads as the contract starts

    def late(call_id: Any, change: Any = None, /, **fields: Any) -> Any:
        row = session.view.calls[call_id]
        have_read.wait(timeout=30)
        return update(call_id, **(change(row) if change else {}), **fields)

    session.update_call = late  # type: ignore[method-assign]


def no_refusal(session: foldlog.Session) -> None:
    add = session.add_event

    def lenient(type: str, /, **fields: Any) -> int:
        with contextlib.suppress(foldlog.NotSerializableError):
            return add(type, **fields)
        return add(type)

    session.add_event = lenient  # type: ignore[method-assign]


def late_events(session: foldlog.Session) -> None:
    kept: list[str] = []
    close, first = session.close, session.add_event

    def flush() -> None:
        session.add_event = first  # type: ignore[method-assign]
        for name in kept:
            first(name)
        close()

    session.add_event = lambda name, /, **_: kept.append(name) or len(kept) + 1  # type: ignore[method-assign]
    session.close = flush  # type: ignore[method-assign]


class Broken(foldlog.Store):
    """A store whose sessions, or which itself, breaks one promise."""

    def __init__(
        self, path: Path | str, spoil: Callable[[foldlog.Session], None] | None, verbs: dict[str, Any]
    ) -> None:
        super().__init__(Path(path), foldlog.Config(durability="normal"))
        self.spoil = spoil or (lambda _: None)
        for name, change in verbs.items():
            setattr(self, name, change(getattr(self, name)))

    def start_session(self, **fields: Any) -> foldlog.Session:
        session = super().start_session(**fields)
        self.spoil(session)
        return session


def with_event(open_session: Any) -> Any:
    def opened(*args: Any, **kwargs: Any) -> foldlog.Session:
        session: foldlog.Session = open_session(*args, **kwargs)
        session.add_event("opened")
        return session

    return opened


def torn(export: Any) -> Any:
    def exported(directory: Path) -> None:
        export(directory)
        path = directory / "contract" / "events.jsonl"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return exported


MUTANTS: list[tuple[str, Callable[[foldlog.Session], None] | None, dict[str, Any]]] = [
    ("test_what_is_recorded_is_in_view_journal_and_tables", None,
     {"usage": lambda usage: lambda one: {**usage(one), "status": "other"}}),
    ("test_a_store_opened_again_says_the_same", None, {"open_session": with_event}),
    ("test_what_is_refused_leaves_nothing", no_refusal, {}),
    ("test_a_batch_is_all_or_none", nothing_inside, {}),
    ("test_a_key_is_used_once", no_keys, {}),
    ("test_threads_share_a_session", no_lock, {}),
    ("test_a_session_has_one_writer", None, {"open_session": lambda verb: lambda one: verb(one, take_over=True)}),
    ("test_an_export_and_a_backup_hold_what_the_store_holds", None, {"export": torn}),
    ("test_what_was_acknowledged_survives_a_kill", late_events, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "verbs"), MUTANTS, ids=[name for name, *_ in MUTANTS])
def test_each_test_of_the_contract_finds_what_it_is_for(tmp_path: Path, name: str, spoil: Any, verbs: Any) -> None:
    class Contract(StoreContract):
        def open_store(self, path: Path | str) -> foldlog.Store:
            return Broken(path, spoil, verbs)

    with pytest.raises((AssertionError, foldlog.StaleWriterError)):
        getattr(Contract(), name)(tmp_path)


def test_every_test_of_the_contract_has_its_counterexample() -> None:
    assert {name for name, *_ in MUTANTS} == {name for name in vars(StoreContract) if name.startswith("test_")}
