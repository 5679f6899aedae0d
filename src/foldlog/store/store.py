"""The store: one database, its sessions, and what can be asked of it.

Shared by threads. Sessions record through it (`foldlog.session`); its reading half is
`foldlog.store.reading`; queries, files, verification and backup are made by `foldlog.outlets`, which are
imported when they are first asked for.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
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
from foldlog.session import checkpoint, lineage
from foldlog.session.config import Config
from foldlog.session.session import Session, id_of
from foldlog.storage import journal
from foldlog.storage.committer import Committer
from foldlog.storage.sqlite import Database
from foldlog.store.first_row import first_row
from foldlog.store.paths import checked_path, path_of
from foldlog.store.reading import Reading
from foldlog.store.upgrade import open_database

if TYPE_CHECKING:
    import sqlite_utils

    from foldlog.outlets.deletion import Deletion
    from foldlog.outlets.export import Exported
    from foldlog.outlets.findings import Report
    from foldlog.outlets.repair import Repairs
    from foldlog.outlets.verify import Progress


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
    return Store(path_of(path_or_url), config or Config(), read_only=read_only)


# How often the next child's number is looked for again before the one who holds it is named.
_NUMBERINGS_MAX: Final = 100


class Store(Reading):
    """One database of sessions; a context manager, shared by threads. Made by `foldlog.open`.

    >>> with foldlog.open(folder / "store.db") as store:
    ...     with store.start_session(id="demo") as session:
    ...         _ = session.add_message("user", "hello")
    ...     [row["id"] for row in store.sessions(status="stopped")]
    ['demo']
    """

    def __init__(self, path: Path, config: Config, *, read_only: bool = False) -> None:
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
        self._database = open_database(path, config, read_only=read_only)
        self._committer = Committer(self._database)
        self.path = self._database.path

    def __repr__(self) -> str:
        return f"<Store {str(self.path)!r}>"

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
        """Hear that a session's tables were written: export it, where the store is told to."""
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
        if recover and parent_id(session_id) is None:
            self._recover_below(session_id)
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

    # Outlets.

    def query(self, sql: str, params: Any = (), *, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        """Rows of a SELECT over the tables and SQL views, as dicts; read-only and bounded.

        `params`: a sequence for `?`, a mapping for `:name`. `timeout` in seconds, 30 at most by default.
        Tables are as of each session's last checkpoint. Raises `QueryError`.

        >>> with foldlog.new_state(folder / "query.db", id="demo") as session:
        ...     list(session.store.query("SELECT count(*) AS n FROM sessions"))
        [{'n': 1}]
        """
        from foldlog.outlets import query  # noqa: PLC0415

        return query.run(self._database, sql, params, timeout_s=timeout)

    def sqlite_utils(self) -> "sqlite_utils.Database":
        """A `sqlite_utils.Database` over the store, read-only; close its connection when done."""
        from foldlog.outlets import query  # noqa: PLC0415

        return query.utils_database(self._database)

    def export(self, directory: str | Path, *, session: str | None = None) -> list[Path]:
        """Write every session, or one and all below it, as JSON files; the paths written anew.

        Files whose content is the same are left alone. Raises `StoreError` where something is in the way.
        """
        from foldlog.outlets import export  # noqa: PLC0415

        return export.export(self, checked_path(directory), session)

    def report(self, id: str, path: str | Path, *, format: str = "html") -> Path:
        """Write one session, with all below it, as one file to look at; replaces what is at `path`.

        `format`: "html", a page that needs nothing but a browser; "markdown", the transcript; "mermaid", the
        tree of sessions as a flowchart; "trace", turns and calls for Perfetto or chrome://tracing. A page
        stays below 6 MB: it cuts long texts and bundles calls beyond 4,000, and says so. Returns the path.
        Raises `UnknownSessionError`, or `StoreError` where something is in the way.

        >>> with foldlog.new_state(folder / "report.db", id="demo") as session:
        ...     session.store.report("demo", folder / "demo.html").name
        'demo.html'
        """
        from foldlog.outlets import report  # noqa: PLC0415

        return report.write(self, id, checked_path(path), format)

    def verify(
        self,
        *,
        deep: bool = True,
        exported: str | Path | None = None,
        progress: "Progress | None" = None,
    ) -> "Report":
        """Check the file, the journal, the blobs, and that folding gives what the tables say.

        `deep` false checks the file, less thoroughly, and the journal only. `exported`: also hold the files
        in this folder to the journal, each session's as of the last event exported; `Config(export_dir=…)`
        unless given. `progress` is called with what is done and what there is to do.

        Returns a `Report` with each problem's position, whatever is damaged; raises only where the store
        cannot be read at all. A writer may go on meanwhile.

        >>> with foldlog.new_state(folder / "verify.db", id="demo") as session:
        ...     session.store.verify().ok
        True
        """
        from foldlog.outlets import verify  # noqa: PLC0415

        if exported is None and deep and self._config.export_dir is not None:
            exported = self._config.export_dir if Path(self._config.export_dir).is_dir() else None
        folder = checked_path(exported) if exported is not None else None
        if folder is not None and not folder.is_dir():
            raise StoreError(f"there is no folder {folder} of exported files", hint="check the path")
        return verify.verify(self, deep=deep, exported=folder, progress=progress)

    def repair(self, *, progress: "Progress | None" = None) -> "Repairs":
        """Make the tables anew from the journal, and set damaged events apart so that all others can be read.

        An event whose row is missing, cannot be read, is not what was written or does not fold is noted in
        the table `quarantine`; every reader goes on without it. No row of `events` is changed, nothing else
        left out. One transaction, in which other writers wait.

        Returns `Repairs`, with a check of the store after it. Raises `SessionInUseError` where a session
        that must be changed is being written, and `CorruptJournalError`, changing nothing, where the
        database file itself is damaged: see `foldlog.salvage`.

        >>> with foldlog.new_state(folder / "repair.db", id="demo") as session:
        ...     session.store.repair().set_apart
        []
        """
        from foldlog.outlets import repair  # noqa: PLC0415

        return repair.repair(self, progress=progress)

    def backup(self, path: str | Path) -> None:
        """Copy the store to a new file while it is in use: complete, checked, and only then named `path`.

        Raises `AlreadyExistsError` where something is at `path`.
        """
        from foldlog.outlets import backup  # noqa: PLC0415

        backup.backup(self._database, checked_path(path))

    def delete_session(
        self, id: str, *, reason: str | None = None, dry_run: bool = False, despite_descendants: bool = False
    ) -> "Deletion":
        """Delete a session and every session below it: events, rows, and the blobs that nobody else refers to.

        All of it in one transaction, or nothing. One event, `session.deleted`, says what went, when and why (the
        SQL view `deletions` shows it), and the id may be given again. Then the file is made smaller where that
        is worth it (as SQLite's VACUUM does: writers wait meanwhile), and what checkpoints exported under
        `export_dir` is removed. A call of a session that stays and leads to a deleted one stays, too: it is
        history; its usage is unknown from now on.

        `dry_run`: say what would go, and change nothing; who writes the sessions is not looked at.
        `despite_descendants`: also where sessions that stay were resumed, forked or attached from one of them.
        They have all they need, and lose nothing.

        Raises `UnknownSessionError`, `SessionInUseError` while a handle in any process writes one of the
        sessions, `HasDescendantsError`, `LimitError` for a reason of more than 1,000 characters, and
        `CommitUncertainError` where the disk failed in the end.

        >>> with foldlog.open(folder / "deleted.db") as store:
        ...     store.start_session(id="demo").close()
        ...     deletion = store.delete_session("demo", reason="a try")
        ...     list(store.query("SELECT session_id, event_count, reason FROM deletions"))
        [{'session_id': 'demo', 'event_count': 1, 'reason': 'a try'}]
        >>> deletion.sessions
        ('demo',)
        """
        from foldlog.outlets import deletion  # noqa: PLC0415

        return deletion.delete(self, id, reason=reason, dry_run=dry_run, despite_descendants=despite_descendants)

    # Ending.

    def checkpoint(self) -> None:
        """Checkpoint every session that is open here."""
        self._database.check_open()
        with self._lock:
            sessions = list(self._open.values())
        for session in sessions:
            try:
                session.checkpoint()
            except StoreClosedError:
                self._database.check_open()  # only the session was closed meanwhile, its tables up to date

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
        self._database.close()
        if first is not None:
            raise first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
