"""Driver errors in our words: which of our errors a failed statement is.

Statements run inside `translated`, or their callers give the error to `translate` or words of their own;
no bare `sqlite3` or SQLAlchemy error leaves the library. The errors themselves are in `foldlog.core.errors`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from foldlog.core.errors import (
    CommitUncertainError,
    CorruptJournalError,
    FoldlogError,
    NotAStoreError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
)

# What the driver raises; the second where SQLite's own words quote a damaged schema that is no UTF-8.
DRIVER_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
_PRIMARY: Final = 0xFF
_SHARED_ERRORS: Final = (CommitUncertainError, StoreBusyError, StoreClosedError)
_SHARED_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_CERTAIN_CODES: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})


def driver_error(error: BaseException | None) -> sqlite3.Error | None:
    """The driver's own error inside whatever SQLAlchemy made of it."""
    if isinstance(error, DBAPIError):
        if hasattr(error.orig, "sqlstate"):
            from foldlog.storage.postgres_driver import server_error  # noqa: PLC0415  (its driver is an extra)

            return server_error(error)
        return error.orig if isinstance(error.orig, sqlite3.Error) else None
    return error if isinstance(error, sqlite3.Error) else None


def error_code(error: BaseException | None) -> int:
    """The primary SQLite result code of an error, 0 where it has none."""
    code = getattr(driver_error(error), "sqlite_errorcode", None)
    return (code or 0) & _PRIMARY


def is_constraint(error: BaseException) -> bool:
    """Whether a uniqueness or check constraint refused a row."""
    return error_code(error) == sqlite3.SQLITE_CONSTRAINT


def may_try_again(error: BaseException | None) -> bool:
    """Whether a server was lost, or one transaction was in another's way: the same statements may do next time."""
    found = driver_error(error)
    return is_lost(error) or bool(getattr(found, "is_collision", False))


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection to a server was lost, or none could be made."""
    return bool(getattr(driver_error(error), "is_lost", False))


def unanswered(error: BaseException) -> str:
    """What left open whether a commit was kept."""
    if is_lost(error):
        return "the connection to the server was lost during the commit"
    return "the disk failed during the commit"


def refused_by(error: BaseException) -> str:
    """The table whose uniqueness refused a row, "stream" where its stream is not there, "" for anything else."""
    if not is_constraint(error):
        return ""
    constraint = getattr(driver_error(error), "constraint", None)
    if constraint is not None:  # a server's own name for it
        return "stream" if constraint == "events_session_key_fkey" else _TABLE_OF.get(constraint, "")
    text = str(error)
    if "FOREIGN KEY" in text:
        return "stream"
    return next((table for table in ("streams", "events") if f"{table}." in text), "")


_TABLE_OF: Final = {
    "uq_streams_id": "streams",
    "streams_pkey": "streams",
    "uq_events_session_key_event_id": "events",
    "ix_events_idempotency_key": "events",
}


def is_damage(error: BaseException) -> bool:
    """Whether the file does not hold what SQLite, or its text columns, need."""
    return is_undecodable(error) or error_code(error) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_TOOBIG,
    )


def is_uncertain(error: BaseException | None) -> bool:
    """Whether the disk failed in a way that leaves open what it kept, such as a sync that failed.

    A write that failed is certain: the commit's last frame is not there, and the next commit stands in
    its place.
    """
    code = getattr(driver_error(error), "sqlite_errorcode", None)
    return error_code(error) == sqlite3.SQLITE_IOERR and code not in _CERTAIN_CODES


def is_undecodable(error: BaseException) -> bool:
    """Whether the driver met text that is not UTF-8; it prints that text."""
    # Its words about a damaged schema may themselves be none.
    return isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(driver_error(error) or "")


def damaged_text(doing: str) -> CorruptJournalError:
    """The error for text in a row that is not UTF-8."""
    return CorruptJournalError(
        f"{doing}: a row holds text that is not UTF-8", hint="run `foldlog verify STORE`; restore a backup"
    )


def concerns_all(error: FoldlogError) -> bool:
    """Whether the fault lies with the database or the disk, and so strikes everyone who shares a commit."""
    return isinstance(error, _SHARED_ERRORS) or error_code(error.__cause__ or error) in _SHARED_CODES


def translate(error: BaseException, doing: str) -> FoldlogError:
    """Our error for a driver's, saying what was being done."""
    code = error_code(error)
    found = driver_error(error)
    name = getattr(found, "sqlite_errorname", type(error).__name__)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(
            f"{doing}: another connection holds the database ({name})",
            hint="nothing was written; end the other transaction, then try again",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"{doing}: the disk is full", hint="nothing was written; make room, then go on")
    if hasattr(found, "sqlstate"):
        return _of_server(found, doing, code, name)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreError(
            f"{doing}: the database cannot be opened or written here ({name})",
            hint="check the permissions of the file and of its folder; to read, SQLite keeps -wal and -shm files there",
        )
    if code == sqlite3.SQLITE_NOTADB:
        return NotAStoreError(f"{doing}: the file is not a SQLite database", hint="check the path")
    if is_damage(error):
        return CorruptJournalError(
            f"{doing}: SQLite reports a damaged database",
            hint="restore a backup, or save what can be read: `foldlog repair STORE --into NEW`",
        )
    if code == sqlite3.SQLITE_IOERR:
        return _disk_failed(doing, name)
    return StoreError(
        f"{doing}: SQLite answered {name}",
        hint="sqlite.org/rescode.html says what that means; `foldlog doctor STORE` looks for its cause",
    )


def _disk_failed(doing: str, name: str) -> StoreError:
    return StoreError(f"{doing}: the disk failed ({name})", hint="nothing was written; check the disk and its space")


def _of_server(error: Any, doing: str, code: int, name: str) -> FoldlogError:
    """Our error for a server's, but for those that are the same as a file's."""
    if error.unreachable:
        return StoreError(f"{doing}: the server cannot be reached: {error.unreachable}", hint=error.way_out)
    if error.is_lost:
        return StoreError(
            f"{doing}: the connection to the server was lost ({name})",
            hint="see that the server runs, then try again; what was being written was kept whole or not at all",
        )
    if code == sqlite3.SQLITE_PERM:
        return StoreError(
            f"{doing}: the role of this connection may not do that",
            hint="connect as a role that has: readers, writers and the owner are told apart in the guide to roles "
            "(docs/guides/postgresql-roles.md), with the GRANTs they need",
        )
    if code == sqlite3.SQLITE_READONLY:
        return StoreError(
            f"{doing}: the server takes no writes on this connection",
            hint="connect to the primary; a standby, and a role or database set to be read only, can be read",
        )
    if is_damage(error):
        return CorruptJournalError(
            f"{doing}: the server reports damaged data ({name})",
            hint="its log says where; restore a backup of the server's",
        )
    if code == sqlite3.SQLITE_IOERR:
        return _disk_failed(doing, name)
    return StoreError(
        f"{doing}: the server answered {error}",
        hint="PostgreSQL's list of error codes says what that means; `foldlog doctor STORE` looks for its cause",
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn driver errors raised inside into ours; ours pass through."""
    try:
        yield
    except (*DRIVER_ERRORS, SQLAlchemyError) as error:
        if is_undecodable(error):  # its words are a row's: not even as a cause
            raise damaged_text(doing) from None
        # A server's own words quote values: not even as a cause.
        server = driver_error(error) if hasattr(getattr(error, "orig", None), "sqlstate") else None
        raise translate(error, doing) from server or error
    except AssertionError as error:
        # A signal raised where SQLAlchemy was giving a connection back, which then found itself half done.
        if error.__context__ is None or isinstance(error.__context__, Exception):
            raise
        raise error.__context__ from None
