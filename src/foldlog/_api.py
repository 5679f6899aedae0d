"""All that is public, gathered from the layers: what `foldlog/__init__.py` hands on.

A module of its own so that `import foldlog` alone, which every process of the command line does, loads
neither SQLAlchemy nor the layers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from foldlog.core.secret_text import scrub_secrets
from foldlog.core.view import View
from foldlog.session.config import Config
from foldlog.session.session import Session
from foldlog.store.paths import checked_path, path_of, place_of
from foldlog.store.store import Store, open

if TYPE_CHECKING:
    from foldlog.outlets.copying import Copied
    from foldlog.outlets.doctor import Diagnosis
    from foldlog.outlets.repair import Repairs
    from foldlog.outlets.verify import Progress

__all__ = [
    # Opening and recording.
    "open",
    "new_state",
    "salvage",
    "doctor",
    "copy",
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
    "scrub_secrets",
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


def salvage(
    path: str | Path, new: str | Path, *, config: Config | None = None, progress: "Progress | None" = None
) -> "Repairs":
    """Save what can be read of a damaged store, row by row, into a new one; the file at `path` is only read.

    For a database file that is damaged itself, also where it no longer opens as a store. Events keep their
    positions; those that are gone are noted as set apart, tables are made anew. The new store is verified
    before it gets its name. `progress` is called with what is done and what there is to do, as far as known.

    Returns `Repairs`, with what was lost. Raises `CorruptJournalError` where not even the schema can be read,
    `AlreadyExistsError` where something is at `new`.

    >>> foldlog.new_state(folder / "damaged.db", id="demo").close()
    >>> foldlog.salvage(folder / "damaged.db", folder / "saved.db").lost
    []
    """
    if isinstance(place_of(path), str):
        raise StoreError(
            "what can be read is saved of a file; a server's files are not foldlog's to read",
            hint="Store.repair() sets damaged events apart; for damaged pages restore a backup of the server's",
        )
    from foldlog.outlets import salvage as outlet  # noqa: PLC0415  (rarely asked for)

    return outlet.salvage(path_of(path), checked_path(new), config=config or Config(), progress=progress)


def doctor(path: str | Path) -> "Diagnosis":
    """What surrounds a store and could do it harm: SQLite's version, file system, modes, sizes, leases and more.

    Of a store on a server: the server's settings, the role, leases, transactions that stay open.

    Opens it read-only and makes nothing, and has something to say of what cannot be opened as well. Whether
    the data is whole is not asked: that is `Store.verify`.

    >>> foldlog.new_state(folder / "doctor.db", id="demo").close()
    >>> foldlog.doctor(folder / "doctor.db").ok
    True
    """
    place = place_of(path)
    if isinstance(place, Path):
        from foldlog.outlets import doctor as outlet  # noqa: PLC0415

        return outlet.examine(place)
    from foldlog.store.upgrade import server_module  # noqa: PLC0415

    server_module()
    from foldlog.outlets import doctor_server  # noqa: PLC0415  (its driver is an extra)

    return doctor_server.examine(place)


def copy(source: str | Path, target: str | Path, *, progress: "Progress | None" = None) -> "Copied":
    """Copy a store into another one, each a path or a URL: between files, servers, and one and the other.

    The target is made if there is none. It is to be empty, or to hold what an earlier copy of the same source has
    brought: then it goes on from there, be it that the copy was interrupted or that the source has grown. Events
    keep their text, digests, chains and positions. Each page of them is a transaction of its own, with the values they
    refer to. Tables and search index are made anew.

    The source is only read, and may be written meanwhile: what is copied is all it had when the copy began.
    Nobody can write to the target until it is done. Every event of the source is held to its digest and chain
    when it is read; in the end each session's chain and number of events in the target are those of the source, its
    events fold, and each value that was brought is held to its hash. `progress` is called with what is done and what
    there is to do. Returns what was copied.

    Raises `AlreadyExistsError` where the target holds another history, naming the first difference,
    `CorruptJournalError` at an event of the source that cannot be read, `SessionInUseError` or `StoreBusyError` where
    somebody writes to the target. What was copied until then stays, and the next copy goes on behind it.

    >>> foldlog.new_state(folder / "here.db", id="demo").close()
    >>> foldlog.copy(folder / "here.db", folder / "there.db").event_count
    1
    """
    from foldlog.outlets import copying as outlet  # noqa: PLC0415  (rarely asked for)

    return outlet.copy(place_of(source), place_of(target), progress=progress)
