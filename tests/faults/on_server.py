"""What tests of stores on a server share: a writer held in the middle of its commit, patience, checks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from forks import PATIENCE_S

import foldlog
from foldlog.storage.database import Database

NORMAL = foldlog.Config(durability="normal")
FULL = foldlog.Config(durability="full")


def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never is so"
        time.sleep(0.002)


class Held:
    """A writer that has its positions and has not committed: `here` when it is there, `go_on` lets it."""

    def __init__(self) -> None:
        self.here = threading.Event()
        self.go_on = threading.Event()
        self.error: BaseException | None = None


@contextmanager
def held_before_commit(store: foldlog.Store, *, error: BaseException | None = None) -> Iterator[Held]:
    """The next COMMIT of a store waits; then it is made, or the error raised in its place."""
    server: Any = store.database.writer()
    held, plain = Held(), server.execute

    def execute(sql: str, values: Any = (), /) -> Any:
        if sql == "COMMIT" and not held.here.is_set():
            held.here.set()
            assert held.go_on.wait(PATIENCE_S)
            if error is not None:
                raise error
        return plain(sql, values)

    server.execute = execute
    try:
        yield held
    finally:
        held.go_on.set()
        server.execute = plain


@contextmanager
def thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run work beside the block; its result, or its error, is in the list, and the block's end waits for it."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001
            found.append(error)

    started = threading.Thread(target=run, daemon=True)
    started.start()
    yield found
    started.join(PATIENCE_S)
    assert not started.is_alive(), "it hangs"


def backend_pid(database: Database) -> int:
    """The server's process behind the writer connection."""
    server: Any = database.writer()
    return int(server.connection.info.backend_pid)


def assert_whole(url: str) -> None:
    """Every session's ids are gap-free, and its view, which stands on the tables, is its fold."""
    with foldlog.open(url) as store:
        for row in list(store.sessions()):
            events = list(store.events(row["id"]))
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            assert store.view(row["id"]) == foldlog.fold(events)
