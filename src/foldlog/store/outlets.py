"""The outlets of a store as its verbs: queries, files, checks, backup, deletion.

The work is done by `foldlog.outlets`, each module of it imported when it is first asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from foldlog.core.errors import StoreError
from foldlog.session.config import Config
from foldlog.store.paths import checked_path
from foldlog.store.reading import Reading

if TYPE_CHECKING:
    import sqlite_utils

    from foldlog.outlets.deletion import Deletion
    from foldlog.outlets.findings import Report
    from foldlog.outlets.repair import Repairs
    from foldlog.outlets.verify import Progress
    from foldlog.store.store import Store


class Outlets(Reading):
    """The part of a `Store` that hands out what it holds."""

    _config: Config

    @property
    def _whole(self) -> "Store":
        return cast("Store", self)  # there is no other

    def query(self, sql: str, params: Any = (), *, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        """Rows of a SELECT over the tables and SQL views, as dicts; read-only and bounded.

        `params`: a sequence for `?`, a mapping for `:name`. `timeout` in seconds, 30 at most by default.
        Tables are as of each session's last checkpoint. Raises `QueryError`; on a server that is lost, `StoreError`.

        >>> with foldlog.new_state(folder / "query.db", id="demo") as session:
        ...     list(session.store.query("SELECT count(*) AS n FROM sessions"))
        [{'n': 1}]
        """
        from foldlog.outlets import query  # noqa: PLC0415

        return query.run(self._database, sql, params, timeout_s=timeout)

    def sqlite_utils(self) -> "sqlite_utils.Database":
        """A `sqlite_utils.Database` over the store, read-only, with foldlog's SQL functions; close it when done."""
        from foldlog.outlets import query  # noqa: PLC0415

        return query.utils_database(self._database)

    def export(self, directory: str | Path, *, session: str | None = None) -> list[Path]:
        """Write every session, or one and all below it, as JSON files; the paths written anew.

        Files whose content is the same are left alone. Raises `StoreError` where something is in the way.
        """
        from foldlog.outlets import export  # noqa: PLC0415

        return export.export(self._whole, checked_path(directory), session)

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

        return report.write(self._whole, id, checked_path(path), format)

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
        unless given. A folder given here that has no session of the store is a problem. `progress` is called with
        what is done and what there is to do.

        Returns a `Report` with each problem's position, whatever is damaged; raises only where the store
        cannot be read at all. A writer may go on meanwhile.

        >>> with foldlog.new_state(folder / "verify.db", id="demo") as session:
        ...     session.store.verify().ok
        True
        """
        from foldlog.outlets import verify  # noqa: PLC0415

        is_named = exported is not None
        if exported is None and deep and self._config.export_dir is not None:
            exported = self._config.export_dir if Path(self._config.export_dir).is_dir() else None
        folder = checked_path(exported) if exported is not None else None
        if folder is not None and not folder.is_dir():
            raise StoreError(f"there is no folder {folder} of exported files", hint="check the path")
        return verify.verify(self._whole, deep=deep, exported=folder, must_be_exported=is_named, progress=progress)

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

        return repair.repair(self._whole, progress=progress)

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

        return deletion.delete(self._whole, id, reason=reason, dry_run=dry_run, despite_descendants=despite_descendants)
