"""What a store can be asked for: views, rows of sessions, the feed, the documents.

Sessions open in this process answer from their views, others from the tables or the journal. SQL, files
and checks are reached by `foldlog.store.outlets`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from foldlog.core.documents import Node, final_document, node_of, tree_document, usage_document
from foldlog.core.errors import UnknownRowError
from foldlog.core.handles import Handle
from foldlog.core.ids import check_session_id
from foldlog.core.view import View
from foldlog.session import checkpoint, references
from foldlog.session.stored_rows import told_of_damage
from foldlog.storage import journal, tables
from foldlog.store import addresses, feed, searching

if TYPE_CHECKING:
    from foldlog.session.session import Session
    from foldlog.storage.database import Database


class Reading(Handle, ABC):
    """The reading half of a `Store`."""

    _database: "Database"

    @abstractmethod
    def live(self, session_id: str) -> "Session | None":
        """The open session of this id in this process, or None."""

    def view(self, id: str, *, at: int | None = None) -> View:
        """A session's folded state, read-only: as of now (live where it is open here), or at an event id.

        Raises `UnknownSessionError`, or `UnknownRowError` for an event id that is not in the journal.
        """
        stream = journal.find_stream(self._database, check_session_id(id))
        if at is None:
            session = self.live(stream.session_id)
            return session.view if session is not None else checkpoint.read(self._database, stream)[0]
        head = journal.head_of(self._database, stream)
        if head is None or type(at) is not int or not 1 <= at <= head.event_id:
            raise UnknownRowError(
                f"session {stream.session_id!r} has no event {at!r}",
                hint=f"event ids go from 1 to {head.event_id if head else 0}",
            )
        return checkpoint.replay(self._database, stream, through=at)[0]

    def find_session(self, text: str) -> str:
        """The id of the session that `text` means: an id, or enough of one that no other begins so.

        Each name of an address may be cut short (`de/child-0001`), and `session-` left out. Raises
        `UnknownSessionError` where there is none, or more than one; the message names them.

        >>> with foldlog.new_state(folder / "found.db", id="demo") as session:
        ...     session.store.find_session("de")
        'demo'
        """
        return addresses.find(self._database, text)

    def read_ref(self, ref: dict[str, Any]) -> Any:
        """The value a reference stands for, as `Session.read_ref`.

        Raises `MissingBlobError` when its blob is not in this store, `InvalidEventError` for what is no
        reference.
        """
        return references.read(self._database, ref)

    def sessions(self, **where: Any) -> Iterator[dict[str, Any]]:
        """The rows of all sessions, parents before children, or of those whose keys have these values.

        Sessions open in this process are shown as they are now, others as of their last checkpoint.
        """
        with self._database.read() as connection:
            stored = tables.read_sessions(connection)
        for row in stored:
            session = self.live(row["session_id"])
            found = session.view.session if session is not None else checkpoint.decode_row(row["data"])
            if all(key in found and found[key] == value for key, value in where.items()):
                yield found

    def events(
        self, session: str | None = None, *, after: int = 0, types: Iterable[str] | None = None
    ) -> Iterator[feed.RecordedEvent]:
        """Committed events in order of position, after one; of one session or all, of some types or all.

        Each is the dict that folds, with attributes `position` and `session_id`.
        """
        wanted = feed.wanted(self._database, session, after, types)
        return feed.read(self._database, wanted)

    def follow(
        self,
        session: str | None = None,
        *,
        after: int = 0,
        types: Iterable[str] | None = None,
        idle_timeout: float | None = None,
    ) -> Iterator[feed.RecordedEvent]:
        """As `events`, then each new event as it is committed by any process: all of them, each once, in order.

        Ends when the store is closed, or after `idle_timeout` seconds without an event. Raises `UnknownSessionError`
        when the session is deleted, and `StoreError` when another file takes the place of the store's, or a server
        stays away for 30 s: its hint has the position to go on after.
        """
        wanted = feed.wanted(self._database, session, after, types)
        return feed.follow(self._database, wanted, idle_timeout)

    def search(
        self,
        text: str,
        *,
        session: str | None = None,
        role: str | None = None,
        kind: str | None = None,
        limit: int = searching.LIMIT,
    ) -> searching.Hits:
        """The texts that hold all these words, best first: messages, code, outputs, errors, queries, results, finals.

        `text`: words, `"a phrase"`, `begin*`; whatever else is typed is words, too, never an error of syntax. Case and
        accents do not count. `session`: in this one and all below it; `role`: in messages of this role; `kind`:
        message, code, output, error, query, result or final; `limit`: 1,000 at most.

        Everything that is committed is found, but for the newest events while more than 2,048 of them wait for the
        index (`unsearched_count` of the `Hits` says how many were left out; a checkpoint of the store adds them). Of
        words that are in more than 20,000 texts, the newest 20,000 are ranked. Reads only. Raises `QueryError` where
        there is no word in the text, `UnknownSessionError`, `LimitError`, or `StoreError` where SQLite has no FTS5.

        >>> with foldlog.open(folder / "search.db") as store:
        ...     with store.start_session(id="demo") as session:
        ...         _ = session.add_message("user", "Where is the Café?")
        ...     [(hit.session_id, hit.kind, hit.row_id, hit.snippet) for hit in store.search("cafe")]
        [('demo', 'message', 1, 'Where is the Café?')]
        """
        return searching.search(self._database, text, session_id=session, role=role, kind=kind, limit=limit)

    def usage(self, id: str) -> dict[str, Any]:
        """Tokens, cost and cache of a session and of all below it, as of now."""
        root, find = self._nodes(id)
        with told_of_damage(id):
            return usage_document(root, find)

    def tree(self, id: str) -> dict[str, Any]:
        """A session and, nested, the sessions below it, as of now."""
        root, find = self._nodes(id)
        with told_of_damage(id):
            return tree_document(root, find)

    def final(self, id: str) -> dict[str, Any]:
        """What has become of a session: counts, usage, value or error, as of now."""
        root, find = self._nodes(id)
        with told_of_damage(id):
            return final_document(root, usage_document(root, find))

    def _nodes(self, session_id: str) -> tuple[Node, Callable[[str], Node | None]]:
        """What the documents are made of: open sessions as they are, others from current tables, or folded."""
        stream = journal.find_stream(self._database, check_session_id(session_id))
        stored = checkpoint.read_nodes(self._database, session_id)

        def find(wanted: str) -> Node | None:
            session = self.live(wanted)
            if session is not None:
                return node_of(session.view)
            if wanted not in stored:  # a call leads to it, from another tree
                if not journal.has_stream(self._database, wanted):
                    return None
                stored.update(checkpoint.read_nodes(self._database, wanted))
            return stored[wanted] if wanted in stored else node_of(self.view(wanted))

        return find(stream.session_id) or node_of(self.view(session_id)), find
