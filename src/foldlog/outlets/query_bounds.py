"""What a query may do and take: bounds set on a connection before any SQL of a user's is run on it.

SQLite looks at a deadline between steps of its virtual machine only. So what can run long, or take much
memory, inside one step is denied, bounded by its input, or replaced by a function that is linear. Running the query and
its errors are in `foldlog.outlets.query`.
"""

import contextlib
import os
import resource
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from foldlog.core.errors import QueryError
from foldlog.core.limits import QUERY_EXTRA_BYTES_MAX, QUERY_VALUE_BYTES_MAX
from foldlog.storage import fts5_index

_ALLOWED: Final = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
})  # fmt: skip
# These take the product of their inputs, build values of any size in one step, or reach outside the database.
_DENIED_FUNCTIONS: Final = frozenset({
    "printf", "format", "zeroblob", "randomblob", "json_patch", "jsonb_patch", "json_pretty", "load_extension",
    "fts3_tokenizer", "readfile", "writefile", "edit", "eval",
})  # fmt: skip
# Steps of SQLite's virtual machine between two looks at the clock: about 10 us of short ones.
_STEPS_PER_LOOK: Final = 500
_WEIGH_EVERY_S: Final = 0.02
# A function that joins its arguments takes so many times the largest value.
_ARGUMENTS_MAX: Final = 16
# LIKE and GLOB compare all of a pattern at each character of a text.
_PATTERN_CHARS_MAX: Final = 100
# Joins are planned in one step, before the first look.
_SQL_CHARS_MAX: Final = 200_000


class Watch:
    """Ends a query when its time is over, or when it takes too much memory or disk for what it sorts and keeps.

    What it takes is what the process takes more than when it began: roughly, since others may run beside it.
    """

    def __init__(self, limit_s: float) -> None:
        self._deadline = time.monotonic() + limit_s
        self._weighed_at = 0.0
        self._taken_before = _taken_bytes()
        self.took_too_much = False
        self.has_denied = False
        self.struck: BaseException | None = None  # what a signal raised while the query ran

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._deadline

    def check(self, limit_s: float) -> None:
        """Raise where the time is over."""
        if self.is_over:
            raise too_long(limit_s)

    def looks(self) -> Iterator[int]:
        """Whether to end the query, each time SQLite asks between its steps.

        A generator goes on inside its `try`, where what a signal raises is kept, to be raised when the query has
        ended. What leaves a function that SQLite calls is lost, and only ends the query. Signals strike at the end of
        a loop, too, so the inner one is inside.
        """
        answer = 0
        while True:
            try:
                while True:
                    yield answer
                    answer = self._look()
            except GeneratorExit:
                return
            except BaseException as error:  # noqa: BLE001
                self.struck, answer = error, 1

    def _look(self) -> int:
        now = time.monotonic()
        if now - self._weighed_at > _WEIGH_EVERY_S:
            self._weighed_at = now
            self.took_too_much = _taken_bytes() - self._taken_before > QUERY_EXTRA_BYTES_MAX
        return int(self.took_too_much or now > self._deadline)

    def authorize(self, action: int, first: str | None, second: str | None, *_rest: str | None) -> int:
        """Whether a statement may do something; asked while it is compiled, which may take for ever as well."""
        if action == sqlite3.SQLITE_PRAGMA and first == "data_version" and second is None:
            return sqlite3.SQLITE_OK  # FTS5 asks it whether its index has changed
        is_denied = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DENIED_FUNCTIONS
        if is_denied or action not in _ALLOWED or time.monotonic() > self._deadline:
            self.has_denied = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def too_long(limit_s: float) -> QueryError:
    """The error for a query whose time is over."""
    return QueryError(f"the query ran longer than {limit_s:g} s", hint="narrow it, or give it a longer timeout")


def _taken_bytes() -> int:
    """Memory, and files without a name: SQLite unlinks its temporary files as soon as they are open."""
    return _memory_bytes() + _unnamed_bytes()


def _memory_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (every 20 ms: no path objects)
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # elsewhere the most there ever was has to do
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _unnamed_bytes() -> int:
    total = 0
    try:
        for name in os.listdir("/dev/fd"):  # noqa: PTH208  (every 20 ms, too)
            try:
                found = os.fstat(int(name))
            except OSError:  # closed meanwhile
                continue
            if found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
                total += found.st_blocks * 512
    except OSError:
        return 0
    return total


def bound(connection: sqlite3.Connection, watch: Watch) -> None:
    """Let a connection read, and nothing else, within limits."""
    connection.execute("PRAGMA temp_store = FILE")
    for limit, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, QUERY_VALUE_BYTES_MAX),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SQL_CHARS_MAX),
        (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, _ARGUMENTS_MAX),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _PATTERN_CHARS_MAX),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.setlimit(limit, value)
    # With the very number of arguments, or SQLite's own come first.
    connection.create_function("instr", 2, _instr, deterministic=True)
    connection.create_function("replace", 3, _replace, deterministic=True)
    for name, ends in (("trim", (True, True)), ("ltrim", (True, False)), ("rtrim", (False, True))):
        connection.create_function(name, 1, _trimmer(*ends), deterministic=True)
        connection.create_function(name, 2, _trimmer(*ends), deterministic=True)
    # A table-valued function declares its columns when it is first used, which the authorizer would refuse.
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()
    with contextlib.suppress(sqlite3.Error):  # and so does the search index, where there is one
        connection.execute(f"SELECT 1 FROM {fts5_index.INDEX} LIMIT 0").close()
    connection.set_authorizer(watch.authorize)
    looks = watch.looks()
    next(looks)  # into its `try`
    connection.set_progress_handler(looks.__next__, _STEPS_PER_LOOK)


# SQLite's own take the product of the lengths of their arguments, in one step.


def _instr(text: Any, part: Any) -> int | None:
    """Where `part` first is in `text`, from 1, as SQLite's instr says it."""
    if text is None or part is None:
        return None
    if isinstance(text, bytes) and isinstance(part, bytes):
        return text.find(part) + 1
    return _as_text(text).find(_as_text(part)) + 1


def _replace(text: Any, old: Any, new: Any) -> Any:
    if text is None or old is None or new is None:
        return None
    inside, gone, put = _as_text(text), _as_text(old), _as_text(new)
    if not gone:
        return inside if isinstance(text, bytes) else text
    if len(inside) + inside.count(gone) * (len(put) - len(gone)) > QUERY_VALUE_BYTES_MAX:
        raise sqlite3.DataError
    return inside.replace(gone, put)


def _trimmer(at_start: bool, at_end: bool) -> Any:
    def trim(text: Any, chars: Any = " ") -> str | None:
        if text is None or chars is None:
            return None
        inside, gone = _as_text(text), frozenset(_as_text(chars))
        start, stop = 0, len(inside)
        while at_start and start < stop and inside[start] in gone:
            start += 1
        while at_end and start < stop and inside[stop - 1] in gone:
            stop -= 1
        return inside[start:stop]

    return trim


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        text = f"{value:.15g}"
        mantissa, e, exponent = text.partition("e")
        return text if "." in mantissa or not mantissa.lstrip("-").isdigit() else f"{mantissa}.0{e}{exponent}"
    return str(value)
