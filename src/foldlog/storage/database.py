"""A database, whichever engine has it: what journal, checkpoints and sessions need of one.

`foldlog.storage.sqlite` and `foldlog.storage.postgres` are the two there are. What statements run on is
`foldlog.storage.driver`'s.
"""

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from foldlog.core.errors import StoreClosedError, StoreError
from foldlog.core.handles import Handle
from foldlog.storage.driver import Driver

if TYPE_CHECKING:
    from foldlog.storage.journal import Stream
    from foldlog.storage.marks import Lost

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")

# After the last position there can be.
NO_POSITION: Final = 2**63 - 1

_made: "weakref.WeakSet[Database]" = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_made):
        database.is_inherited = True


os.register_at_fork(after_in_child=_after_fork)


class Lease(Protocol):
    """The right to write one session, held until released, or until the process ends."""

    @property
    def is_held(self) -> bool:
        """Whether this still is the lease: not released, and not taken over."""

    def release(self) -> None:
        """Give the lease back; releasing twice is fine."""


class Noting(Protocol):
    """How far each session has come, noted outside the database."""

    def note(self, connection: Any, stream: "Stream", event_id: int) -> None:
        """Hear that a session's event was committed."""


class Watch(Protocol):
    """Looks for whether anything was committed."""

    def is_new(self) -> bool:
        """Whether there may be something new since the last look; the first time there is."""

    def close(self) -> None:
        """Look no more."""


class Database(Handle, ABC):
    """A held writer connection under a lock, and read connections.

    Whoever writes holds `lock`, which makes it the only writer of this process. `name` is what errors call the
    database, `short_name` what people call it, `path` its file where it is one. All methods raise `FoldlogError`s only.
    """

    name: str
    short_name: str
    url: str
    path: Path | None = None
    durability: str
    read_only: bool
    marks: Noting
    # How often the connection to a server was lost and made anew: what was committed before it may not be there.
    resumed_count = 0
    # How long a follower pauses between two looks when nothing has come for a while: each costs a file's reader.
    look_every_idle_s = 0.05

    def __init__(self, *, durability: str, read_only: bool) -> None:
        self.durability = durability
        self.read_only = read_only
        self.lock = threading.RLock()
        self._closed = False
        #: Whether this handle came through fork(): it, and its locks, are not to be touched.
        self.is_inherited = False
        _made.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether this handle was closed."""
        return self._closed

    def check_open(self) -> None:
        """Raise `StoreClosedError` where this handle cannot be used."""
        if not (self._closed or self.is_inherited):
            return
        if self.is_inherited:
            raise StoreClosedError(
                f"{self.name} was opened before fork() and does not work in the child process",
                hint="open the store again in the child",
            )
        raise StoreClosedError(f"{self.name} is closed", hint="open the store again")

    @abstractmethod
    def check_writable(self) -> None:
        """Raise unless this handle may write."""

    @abstractmethod
    def writer(self) -> Driver:
        """The driver's writer connection, for statements that commit by themselves; only while `lock` is held."""

    @abstractmethod
    def run(
        self,
        work: Callable[Concatenate[Any, Arguments], Found],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Found:
        """What `work` returns, called with the writer connection, held: for work that commits by itself.

        Work whose driver error says that the connection to a server was lost is run again on a new one, so
        doing it twice must be as good as doing it once.
        """

    @abstractmethod
    def write(self) -> AbstractContextManager[Driver]:
        """The driver's writer connection, held."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]:
        """One write transaction: committed when the block ends, rolled back when it raises."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A read-only connection that sees one moment."""

    def look(self, work: Callable[[Connection], Found]) -> Found:
        """What `work` returns, called with a read-only connection that sees one moment.

        Where the connection to a server was lost it is called again, on a new one.
        """
        with self.read() as connection:
            return work(connection)

    @abstractmethod
    def new_reader(self) -> Driver:
        """A read-only driver connection of the caller's own, to be closed by it."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection; closing twice is fine."""

    # Writers.

    @abstractmethod
    def acquire(self, session_id: str, holder: dict[str, Any]) -> Lease:
        """Take a session's lease; raises `SessionInUseError` naming who has it."""

    @abstractmethod
    def push_aside(self, session_id: str) -> None:
        """Take a session's lease from its holder, who is alive but stuck; the caller acquires it then."""

    @abstractmethod
    def noted(self, stream: "Stream") -> int:
        """The last event of a session that was noted as committed; 0 where nothing is known."""

    @abstractmethod
    def lost(self) -> "list[Lost]":
        """Every session of which events were noted as committed that are not there."""

    @abstractmethod
    def leased(self, session_ids: Iterable[str]) -> set[str]:
        """Those of the sessions that somebody may be writing, here or elsewhere."""

    @property
    @abstractmethod
    def file_mode(self) -> int:
        """The mode of files that are written of the store's content."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other writer out until the block ends; those who come wait, and are told in the end."""
        with self.write():
            yield

    @abstractmethod
    def settle(self) -> None:
        """Make final what can be read now, after a commit of which nobody knows whether it was kept."""

    def resume(self) -> bool:
        """After a lost connection: whether there is a new one, waiting for it within bounds."""
        return False

    def check_leases(self, session_ids: Iterable[str]) -> None:
        """Raise `StaleWriterError` where the lease of one of the sessions was lost with a connection."""

    # Readers.

    @abstractmethod
    def watch(self) -> Watch:
        """What to ask whether there is anything new."""

    def settled_position(self) -> int:
        """A position through which no event can appear any more: a feed that has read so far misses none."""
        return NO_POSITION


def replaced(database: Database) -> StoreError:
    """The error for a follower whose database is no longer the one that it followed."""
    noun = "database" if database.path is None else "file"
    return StoreError(
        f"{database.name}: another {noun} has taken the place of the one that was followed, or none is there",
        hint="open the store again and follow from its beginning: positions of one store mean nothing in another",
    )
