"""foldlog: an embedded, append-only history of LLM sessions in SQLite.

Everything public is here. An application opens a store, starts or opens sessions, and records what
happens; each event is durable when the call returns, folded at once into the session's view, and written
into SQL tables and files at checkpoints. The layers underneath, lowest first: `core` (pure), `storage`
(SQL and bytes), `session`, `store`, `outlets`, `cli`.
"""

from pathlib import Path
from typing import Any

from foldlog._version import __version__
from foldlog.core.documents import derive_tree, derive_usage
from foldlog.core.errors import (
    AlreadyExistsError,
    CommitUncertainError,
    CorruptJournalError,
    EventError,
    ExpectedIdError,
    FoldlogError,
    HasDescendantsError,
    InvalidEventError,
    InvalidIdError,
    LimitError,
    MissingBlobError,
    NotAStoreError,
    NotSerializableError,
    QueryError,
    SchemaTooNewError,
    SessionInUseError,
    StaleWriterError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    UnknownRowError,
    UnknownSessionError,
    UpgradeError,
)
from foldlog.core.fold import apply, fold
from foldlog.core.limits import Limits
from foldlog.core.preview import project_value
from foldlog.core.view import View
from foldlog.session.config import Config
from foldlog.session.session import Session
from foldlog.store.store import Store, open

__all__ = [
    # Opening and recording.
    "open",
    "new_state",
    "Store",
    "Session",
    "Config",
    "Limits",
    # Pure functions over events, views and values.
    "View",
    "fold",
    "apply",
    "derive_usage",
    "derive_tree",
    "project_value",
    # Errors.
    "FoldlogError",
    "StoreError",
    "StoreClosedError",
    "StoreBusyError",
    "SessionInUseError",
    "HasDescendantsError",
    "StaleWriterError",
    "SchemaTooNewError",
    "UpgradeError",
    "NotAStoreError",
    "CorruptJournalError",
    "CommitUncertainError",
    "AlreadyExistsError",
    "InvalidIdError",
    "EventError",
    "InvalidEventError",
    "NotSerializableError",
    "ExpectedIdError",
    "LimitError",
    "UnknownSessionError",
    "UnknownRowError",
    "MissingBlobError",
    "QueryError",
    "__version__",
]


def new_state(path: str | Path, *, config: Config | None = None, **fields: Any) -> Session:
    """Open a store and start a session in it, in one call; closing the session closes the store.

    `fields` are those of `Store.start_session`.

    >>> with new_state(folder / "history.db", id="demo") as session:
    ...     session.add_message("user", "hello")["id"]
    1
    """
    store = open(path, config=config)
    try:
        session = store.start_session(**fields)
    except BaseException:
        store.close()
        raise
    session.owns_store = True
    return session
