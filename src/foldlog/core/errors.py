"""Every error that leaves the library, and nothing else.

    FoldlogError(message, *, hint)
    ├── StoreError
    │   ├── StoreClosedError       the handle, or the process it belongs to, is gone
    │   ├── StoreBusyError         another writer held the database longer than the timeout
    │   ├── SessionInUseError      another handle writes this session; names the holder
    │   ├── HasDescendantsError    sessions that stay come from the one to delete; names them
    │   ├── StaleWriterError       this handle was overtaken; its next event id is taken
    │   ├── SchemaTooNewError      a newer foldlog wrote this store
    │   ├── UpgradeError           an older store could not be brought up to date
    │   ├── NotAStoreError         no store at this path, or something else is
    │   ├── CorruptJournalError    the journal does not say what it said; names the position
    │   ├── CommitUncertainError   the disk failed, or a signal struck, while committing; reload() tells what was kept
    │   ├── AlreadyExistsError     the id or the file is taken
    │   └── InvalidIdError         not a session id
    ├── EventError
    │   ├── InvalidEventError      a known event type that lacks, repeats or contradicts something
    │   ├── NotSerializableError   a value JSON cannot carry; names the path to it
    │   ├── ExpectedIdError        another event came first
    │   └── LimitError             larger than a documented limit
    ├── UnknownSessionError        (also LookupError)
    ├── UnknownRowError            (also LookupError)
    ├── MissingBlobError           (also LookupError)
    └── QueryError                 a read-only query was refused, timed out or was not SQL

An error says what happened and to what, and carries a hint what to do. It never prints a payload:
histories hold what users said. No bare `sqlite3` or SQLAlchemy error leaves the library.
"""

from collections.abc import Callable
from typing import Any


class FoldlogError(Exception):
    """The base of every error raised by foldlog.

    >>> error = FoldlogError("the store is closed", hint="open it again")
    >>> print(error)
    the store is closed (hint: open it again)
    >>> error.hint
    'open it again'
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})"

    def __reduce__(self) -> tuple[Callable[..., "FoldlogError"], tuple[Any, ...]]:
        # Keyword-only arguments do not survive the default pickling, and errors cross processes.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(kind: type[FoldlogError], args: tuple[Any, ...], state: dict[str, Any]) -> FoldlogError:
    error = kind.__new__(kind, *args)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class StoreError(FoldlogError):
    """Something about the database file, its handles or its writers."""


class StoreClosedError(StoreError):
    """The handle was closed, or was inherited through fork() and does not work in this process."""


class StoreBusyError(StoreError):
    """Another connection held the database's write lock longer than the busy timeout."""


class SessionInUseError(StoreError):
    """Another live handle writes this session; `holder` tells host, pid and since when."""

    def __init__(self, message: str, *, hint: str, holder: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


class HasDescendantsError(StoreError):
    """Sessions that stay come from one that is to be deleted; `descendants` names them."""

    def __init__(self, message: str, *, hint: str, descendants: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.descendants = descendants


class StaleWriterError(StoreError):
    """Another writer appended to this session; nothing was written by this handle."""


class SchemaTooNewError(StoreError):
    """The store was written by a newer foldlog; it was left untouched."""


class UpgradeError(StoreError):
    """An older store could not be upgraded; it is as it was."""


class NotAStoreError(StoreError):
    """There is no foldlog store at this path."""


class CorruptJournalError(StoreError):
    """The journal is damaged; `position` names the first damaged row, where one is known."""

    def __init__(self, message: str, *, hint: str, position: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class CommitUncertainError(StoreError):
    """The disk failed during the commit: the events may or may not be durable."""


class AlreadyExistsError(StoreError):
    """A session id or a file that is already taken."""


class InvalidIdError(StoreError):
    """A session id that is not of the documented form."""


class EventError(FoldlogError):
    """An event that was refused; nothing was written."""


class InvalidEventError(EventError):
    """An event that lacks a key, repeats an id, or contradicts the session."""


class NotSerializableError(EventError):
    """A value JSON cannot carry; `path` leads to it."""

    def __init__(self, message: str, *, hint: str, path: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class ExpectedIdError(EventError):
    """The event would have got another id than the caller expected."""


class LimitError(EventError):
    """Something larger, longer or deeper than a documented limit."""


class UnknownSessionError(FoldlogError, LookupError):
    """No session of this id is in the store."""


class UnknownRowError(FoldlogError, LookupError):
    """The session has no turn, call, snapshot or event of this id."""


class MissingBlobError(FoldlogError, LookupError):
    """No blob of this hash is in the store, or its bytes are not the hashed ones."""


class QueryError(FoldlogError):
    """A query that was refused, ran too long, or is not valid SQL."""
