"""The store: one database, its sessions, and what can be asked of it.

Shared by threads. Sessions record through it (`foldlog.session`); its reading half is
`foldlog.store.reading`; queries, files, verification and backup are reached by `foldlog.store.outlets`.
"""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from foldlog.core.errors import (
    AlreadyExistsError,
    FoldlogError,
    SessionInUseError,
    StoreClosedError,
    StoreError,
)
from foldlog.core.ids import RowId, check_session_id, parent_id
from foldlog.core.limits import SEARCH_PORTIONS_MAX
from foldlog.session import checkpoint, lineage
from foldlog.session.config import Config
from foldlog.session.session import Session, id_of
from foldlog.storage import journal
from foldlog.storage.committer import Committer
from foldlog.storage.database import Database
from foldlog.store import searching
from foldlog.store.first_row import first_row
from foldlog.store.outlets import Outlets
from foldlog.store.paths import checked_path, place_of
from foldlog.store.upgrade import open_database

if TYPE_CHECKING:
    from foldlog.outlets.export import Exported


def open(path_or_url: str | Path, *, read_only: bool = False, config: Config | None = None) -> "Store":  # noqa: A001
    """Open the store at a path, or at a `sqlite:///` URL; makes it if there is none.

    `read_only` creates and writes nothing, and raises `NotAStoreError` where there is no store. A store of
    an older schema is upgraded in place, in one transaction. The file's mode is 0600.

    Raises `NotAStoreError` for anything that is not a store (a directory, a text file, another program's
    database, an empty file), `SchemaTooNewError`, or `StoreError` where it cannot be opened.

    >>> with foldlog.open(folder / "open.db") as store:
    ...     list(store.sessions())
    []
    """
    return Store(place_of(path_or_url), config or Config(), read_only=read_only)


# How often the next child's number is looked for again before the one who holds it is named.
_NUMBERINGS_MAX: Final = 100


class Store(Outlets):
    """One database of sessions; a context manager, shared by threads. Made by `foldlog.open`.

    >>> with foldlog.open(folder / "store.db") as store:
    ...     with store.start_session(id="demo") as session:
    ...         _ = session.add_message("user", "hello")
    ...     [row["id"] for row in store.sessions(status="stopped")]
    ['demo']
    """

    def __init__(self, place: Path | str, config: Config, *, read_only: bool = False) -> None:
        self._config = config
        self._lock = threading.Lock()
        self.export_lock = threading.Lock()
        self._numbering_lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._exported: dict[str, Exported] = {}
        if config.export_dir is not None:
            above = checked_path(config.export_dir).absolute().parent
            if not above.is_dir():
                raise StoreError(
                    f"there is no folder {above} for export_dir", hint="make the folder first, or check the path"
                )
        self._database = open_database(place, config, read_only=read_only)
        self._committer = Committer(self._database)
        self._search_keeper = searching.Keeper(self._database)
        #: The store's file; None where a server has it.
        self.path = self._database.path
        #: The store's URL, without a password.
        self.url = self._database.url

    def __repr__(self) -> str:
        return f"<Store {self.url!r}>"

    # What sessions need (see `foldlog.session.host.Host`).

    @property
    def database(self) -> Database:
        """The database under the store."""
        return self._database

    @property
    def committer(self) -> Committer:
        """Where the sessions' events are committed together."""
        return self._committer

    @property
    def config(self) -> Config:
        """The store's settings."""
        return self._config

    def register(self, session: Session) -> None:
        """Know a session as open."""
        with self._lock:
            self._open[session.id] = session

    def forget(self, session: Session) -> None:
        """Know a session as closed."""
        with self._lock:
            if self._open.get(session.id) is session:
                del self._open[session.id]
                self._exported.pop(session.id, None)

    def live(self, session_id: str) -> Session | None:
        """The open session of this id in this process, or None; one that was pushed aside knows no better."""
        with self._lock:
            session = self._open.get(session_id)
        return session if session is not None and session.is_writer else None

    def checkpointed(self, session_id: str) -> None:
        """Hear that a session's tables were written: add to the search index, export where the store is told to."""
        self._search_keeper.checkpointed()
        if self._config.export_dir is not None:
            from foldlog.outlets import export  # noqa: PLC0415

            with self.export_lock:
                export.export_session(self, Path(self._config.export_dir), session_id, self._exported)

    # Sessions.

    def start_session(
        self,
        *,
        id: str | None = None,
        kind: str = "root",
        provider: Any = None,
        parent: Mapping[str, Any] | str | None = None,
        cache_id: Any = None,
        **extra: Any,
    ) -> Session:
        """Start a session; more keywords become keys of its row.

        `id`: letters, digits, '.', '_' and '-', 1 to 128 of them; `session-<uuid4>` if left out. A child's
        id is its address, `parent/name`, and needs `parent={"session_id": …}` to be in the store; most
        children are better started with `session.start_child()`, which records the call too.

        Raises `InvalidIdError`, `AlreadyExistsError`, `UnknownSessionError`, `NotSerializableError`.
        """
        if id is not None or parent is None:
            return Session.begin(self, first_row(self, id, kind, provider, parent, cache_id, extra))
        with self._numbering_lock:
            for _ in range(_NUMBERINGS_MAX - 1):
                # Another process may take the next child's number between our look and our start.
                with contextlib.suppress(AlreadyExistsError, SessionInUseError):
                    return Session.begin(self, first_row(self, None, kind, provider, parent, cache_id, extra))
            return Session.begin(self, first_row(self, None, kind, provider, parent, cache_id, extra))

    def open_session(self, id: str, *, recover: bool = True, take_over: bool = False) -> Session:
        """Go on with a session that is in the store, after a stop or a crash.

        `recover`: calls and turns that a dead writer left running are closed by events (status
        "interrupted"), in the sessions below as well when `id` is a root. `take_over`: push aside a holder
        that is alive but stuck; its next append raises `StaleWriterError`.

        Raises `UnknownSessionError`, or `SessionInUseError` naming the holder.
        """
        session_id = check_session_id(id)
        session = Session.reopen(self, session_id, recover=recover, take_over=take_over)
        try:
            if recover and parent_id(session_id) is None:
                self._recover_below(session_id)
        except BaseException:
            session.let_go()  # nobody has this handle
            raise
        return session

    def _recover_below(self, session_id: str) -> None:
        for below in journal.stream_ids(self._database, below=session_id):
            if checkpoint.writer_of(self._database, below) is None:
                continue
            # Its writer lives, or something is wrong that its own open_session() will say.
            with contextlib.suppress(FoldlogError):
                session = Session.reopen(self, below, recover=True, take_over=False)
                try:
                    session.close()
                finally:
                    session.let_go()

    def resume_session(
        self, source: str | Session, *, id: str | None = None, turn: RowId | None = None, **extra: Any
    ) -> Session:
        """A new session that goes on from a snapshot of another: its messages, counters and variables.

        `turn`: the newest snapshot of that turn, else the newest of all. Where it comes from is recorded in
        the new journal; the source is not changed. Raises `UnknownRowError` where there is no snapshot.
        """
        return self._from_snapshot("resume", source, id, turn, extra)

    def fork_session(
        self, source: str | Session, *, id: str | None = None, turn: RowId | None = None, **extra: Any
    ) -> Session:
        """A new session that branches off at a snapshot of another; as `resume_session`, but named a fork."""
        return self._from_snapshot("fork", source, id, turn, extra)

    def _from_snapshot(
        self,
        kind: str,
        source: str | Session,
        session_id: str | None,
        turn: RowId | None,
        extra: dict[str, Any],
    ) -> Session:
        found = lineage.find_source(self, id_of(source), turn)
        provider = extra.pop("provider", self.view(found.session_id).session_row().get("provider"))
        row = first_row(
            self,
            session_id,
            extra.pop("kind", "root"),
            provider,
            extra.pop("parent", None),
            extra.pop("cache_id", None),
            extra,
        )
        return Session.begin(self, row, source=found, kind=kind)

    # Ending.

    def checkpoint(self) -> None:
        """Checkpoint every session that is open here, and bring the search index up to date."""
        self._database.check_open()
        with self._lock:
            sessions = list(self._open.values())
        for session in sessions:
            try:
                session.checkpoint()
            except StoreClosedError:
                self._database.check_open()  # only the session was closed meanwhile, its tables up to date
        searching.keep_up(self._database)

    def close(self) -> None:
        """Close every session open here and the database; closing twice is fine."""
        if self._database.is_inherited:
            return  # a forked child leaves its parent's handles, and locks, alone
        with self._lock:
            sessions = list(self._open.values())
        first: FoldlogError | None = None
        for session in sessions:
            try:
                session.close()
            except FoldlogError as error:
                first = first or error
                session.let_go()
        searching.keep_up(self._database, portions=SEARCH_PORTIONS_MAX)
        self._database.close()
        if first is not None:
            raise first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
