"""Driver errors in our words."""

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError

from foldlog.core.errors import (
    CorruptJournalError,
    NotAStoreError,
    StoreBusyError,
    StoreError,
    UnknownSessionError,
)
from foldlog.storage.faults import driver_error, error_code, is_constraint, is_uncertain, translate, translated


def driver(code: int, name: str = "SQLITE_X") -> sqlite3.Error:
    error = sqlite3.OperationalError("in SQLite's words")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


def wrapped(code: int) -> DBAPIError:
    return OperationalError("SELECT 'a secret'", {"a": "a secret"}, driver(code), hide_parameters=True)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_BUSY, StoreBusyError, "another connection"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreBusyError, "another connection"),
        (sqlite3.SQLITE_LOCKED, StoreBusyError, "another connection"),
        (sqlite3.SQLITE_FULL, StoreError, "disk is full"),
        (sqlite3.SQLITE_READONLY, StoreError, "cannot be opened or written"),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreError, "cannot be opened or written"),
        (sqlite3.SQLITE_PERM, StoreError, "cannot be opened or written"),
        (sqlite3.SQLITE_CANTOPEN, StoreError, "cannot be opened or written"),
        (sqlite3.SQLITE_NOTADB, NotAStoreError, "not a SQLite database"),
        (sqlite3.SQLITE_CORRUPT, CorruptJournalError, "damaged"),
        (sqlite3.SQLITE_CORRUPT_INDEX, CorruptJournalError, "damaged"),
        (sqlite3.SQLITE_IOERR, StoreError, "disk failed"),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreError, "disk failed"),
        (sqlite3.SQLITE_ERROR, StoreError, "SQLITE_X"),
        (sqlite3.SQLITE_NOMEM, StoreError, "SQLITE_X"),
    ],
)
@pytest.mark.parametrize("make", [driver, wrapped])
def test_each_code_has_its_error(make: type, code: int, kind: type[StoreError], words: str) -> None:
    found = translate(make(code), "reading x")
    assert type(found) is kind
    assert found.message.startswith("reading x: ")
    assert words in found.message
    assert found.hint
    assert "secret" not in str(found)


def test_an_error_without_a_code_is_named_by_its_class() -> None:
    found = translate(sqlite3.ProgrammingError("Cannot operate on a closed database."), "reading x")
    assert type(found) is StoreError
    assert "ProgrammingError" in found.message


def test_the_drivers_error_is_found_inside_sqlalchemys() -> None:
    inner = driver(sqlite3.SQLITE_BUSY)
    assert driver_error(OperationalError("", {}, inner)) is inner
    assert driver_error(inner) is inner
    assert driver_error(InvalidRequestError("x")) is None
    assert driver_error(OperationalError("", {}, ValueError())) is None
    assert error_code(RuntimeError()) == 0


def test_constraints_and_uncertain_commits_are_told_by_their_codes() -> None:
    assert is_constraint(driver(sqlite3.SQLITE_CONSTRAINT_UNIQUE))
    assert not is_constraint(driver(sqlite3.SQLITE_BUSY))
    assert is_uncertain(driver(sqlite3.SQLITE_IOERR_FSYNC))
    assert is_uncertain(driver(sqlite3.SQLITE_IOERR))
    assert not is_uncertain(driver(sqlite3.SQLITE_IOERR_WRITE))
    assert not is_uncertain(driver(sqlite3.SQLITE_FULL))


@pytest.mark.parametrize("error", [driver(sqlite3.SQLITE_BUSY), wrapped(sqlite3.SQLITE_BUSY)])
def test_what_a_block_raises_is_translated_with_its_cause(error: Exception) -> None:
    with pytest.raises(StoreBusyError, match="doing it") as caught, translated("doing it"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [UnknownSessionError("m", hint="h"), RuntimeError("theirs"), KeyboardInterrupt()])
def test_other_errors_pass_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, translated("doing it"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xe0", 0, 1, "invalid"),
        sqlite3.OperationalError("Could not decode to UTF-8 column 'data' with text '\ufffd'"),
    ],
)
def test_text_that_is_none_is_damage_and_not_printed(error: Exception) -> None:
    with pytest.raises(CorruptJournalError) as caught, translated("reading it"):
        raise error
    assert caught.value.message == "reading it: a row holds text that is not UTF-8"
