"""What verbs are given: a store, a session, a place in the journal; read, checked and completed.

Nothing here imports the store before it is opened: `foldlog --help` and the shell's completion are quick.
"""

import contextlib
import datetime as dt
import math
import re
import shlex
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from foldlog.cli.output import say

if TYPE_CHECKING:
    from foldlog.core.errors import UnknownRowError
    from foldlog.core.ids import RowId
    from foldlog.store.store import Store

_COMPLETIONS_MAX: Final = 200


_SCHEMES: Final = ("postgresql:", "postgresql+psycopg:", "postgres:")
_SERVER: Final = tuple(f"{scheme}//" for scheme in _SCHEMES)


class ServerUrl:
    """The URL of a store on a server; as text it has no password, for it is printed in messages and hints."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        from foldlog.core.errors import StoreError  # noqa: PLC0415  (only those who name a server pay)

        try:
            from foldlog.storage.postgres_making import parsed  # noqa: PLC0415
            from foldlog.storage.postgres_url import name_of  # noqa: PLC0415

            return name_of(parsed(self.url))
        except (ImportError, StoreError):
            return f"{self.url.partition('://')[0]}://..."


Place = Path | ServerUrl


class FileType(click.Path):
    """The path of a file or folder that is no store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A `Path`; a server's URL is refused before it is looked for, and printed with its password."""
        if isinstance(value, str) and value.startswith(_SCHEMES):
            from foldlog.store.paths import checked_path  # noqa: PLC0415

            return checked_path(value)
        return super().convert(value, param, ctx)


FILE: Final = FileType(path_type=Path)


class StoreType(click.Path):
    """A path, or the URL of a store."""

    name = "store"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A `Path`, or a `ServerUrl`."""
        if isinstance(value, str) and value.startswith(_SERVER):
            return ServerUrl(value)
        if isinstance(value, str) and ("://" in value or value.startswith(_SCHEMES)):
            from foldlog.store.paths import path_of  # noqa: PLC0415

            return path_of(value)
        return super().convert(value, param, ctx)


def place_of(place: Place) -> Path | str:
    """What the library takes for a store."""
    return place.url if isinstance(place, ServerUrl) else place


def file_of(place: Place, doing: str) -> Path:
    """The path of a store in a file; raises `StoreError` for one that a server has."""
    from foldlog.core.errors import StoreError  # noqa: PLC0415

    if isinstance(place, ServerUrl):
        raise StoreError(
            f"{place}: {doing} is for stores in SQLite",
            hint="copy the store into a file first: `foldlog copy STORE history.db`",
        )
    return place


def open_to_read(place: Place) -> "Store":
    """The store at a place, read-only."""
    from foldlog.store import store as stores  # noqa: PLC0415  (only those who open one pay)

    wait_until_free(place)
    return stores.open(place_of(place), read_only=True)


def open_to_write(place: Place) -> "Store":
    """The store at a place, to write; none is made."""
    from foldlog.store import store as stores  # noqa: PLC0415

    wait_until_free(place)
    # Others' transactions are waited for inside; so is an upgrade, which takes its time.
    told = threading.Timer(_TELL_AFTER_S, say, (f"{place}: opening it takes long; another program may be writing it",))
    told.daemon = True
    told.start()
    try:
        return stores.open(place_of(place))
    finally:
        told.cancel()


def wait_until_free(place: Place) -> int:
    """Wait while another program keeps everybody out of a store, and say so; the store's schema number.

    Raises `StoreBusyError` in the end, and at once where there is no store. SQLite's own waiting would say nothing,
    and not end at Ctrl-C.
    """
    from foldlog.core.errors import StoreBusyError  # noqa: PLC0415
    from foldlog.storage import sqlite  # noqa: PLC0415
    from foldlog.store.upgrade import number_at  # noqa: PLC0415

    if isinstance(place, ServerUrl):  # nobody keeps others out of a server
        return number_at(place.url)
    began, is_told = time.monotonic(), False
    while True:
        try:
            return sqlite.probe(place, wait_s=_LOOK_AGAIN_S)
        except StoreBusyError:
            waited_s = time.monotonic() - began
            if waited_s > sqlite.BUSY_TIMEOUT_S:
                raise
            if waited_s > _TELL_AFTER_S and not is_told:
                _tell_of_waiting(place)
                is_told = True


def _tell_of_waiting(path: Path) -> None:
    say(f"{path}: another program holds the store; waiting up to 30 s for it")


_LOOK_AGAIN_S: Final = 0.1
_TELL_AFTER_S: Final = 1.0


class AddressType(click.ParamType[str]):
    """A session's id or how it begins, or a row's address; completed from the store that the command names."""

    name = "session"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The ids that begin so; none where the store cannot be read."""
        del param
        path = ctx.params.get("store_path")
        return [CompletionItem(found) for found in _ids(path, incomplete)] if isinstance(path, str | Path) else []


def _ids(path: Any, begin: str) -> list[str]:
    # SQLite alone, read-only: a shell waits for this at every press of the key.
    sql = "SELECT id FROM streams WHERE id >= ? AND id < ? AND substr(id, 1, 1) <> '.' ORDER BY id LIMIT ?"
    with contextlib.suppress(sqlite3.Error, OSError, ValueError):
        where = f"file:{quote(str(Path(path).expanduser().absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(where, uri=True, timeout=0.2)) as connection:
            return [row[0] for row in connection.execute(sql, (begin, f"{begin}\x7f", _COMPLETIONS_MAX))]
    return []


class SessionType(AddressType):
    """A session's id or how it begins; a row's address is refused, and where it leads is said."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is; which session it means is the store's to say."""
        text = str(value)
        if ":" in text and ctx is not None:
            self.fail(_elsewhere(text, ctx), param, ctx)
        return text


def _elsewhere(address: str, ctx: click.Context) -> str:
    """Why a row's address is none for this verb, and what to type instead."""
    session, _, row = address.partition(":")
    kind, _, row_id = row.partition("/")
    ways: list[tuple[str, ...]] = [("show", address)]
    if kind == "turn" and any(one.name == "turn" for one in ctx.command.params):
        ways.insert(0, (str(ctx.info_name), session, "--turn", row_id))
    elif kind == "turn" and ctx.info_name == "usage":
        ways.insert(0, ("usage", session, "--by", "turn"))
    path = str(ctx.params.get("store_path", "STORE"))
    commands = (shlex.join(["foldlog", verb, path, *rest]) for verb, *rest in ways)
    named = " or ".join(f"`{command}`" for command in commands)
    return f"{address!r} is the address of a row, and {ctx.info_name} takes a session: try {named}"


def row_id(text: str) -> "RowId":
    """The id that a row is called by: digits are a number."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else text


def turn_id(store: "Store", session_id: str, text: str) -> "RowId":
    """The id of a session's turn; raises `UnknownRowError` where there is none."""
    found = row_id(text)
    if store.view(session_id).read_row("turn", found) is None:
        raise unknown_row(session_id, "turn", text)
    return found


def unknown_row(session_id: str, kind: str, text: str) -> "UnknownRowError":
    """The error for a row that is not there, with the command that lists those there are."""
    from foldlog.core.errors import UnknownRowError  # noqa: PLC0415  (see `foldlog.cli.main`)

    only = {"turn": " --type turn.started", "snapshot": " --type snapshot.added"}
    verb = {"message": "messages", "eval": "messages", "call": "calls"}.get(kind, "events")
    command = f"{verb} STORE {session_id}{only.get(kind, '')}"
    return UnknownRowError(
        f"session {session_id!r} has no {kind} {text!r}", hint=f"`foldlog {command}` lists those there are"
    )


class CountType(click.IntRange):
    """How many: from 1, and as many as there are for more than Python or SQLite counts to."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, which no store outgrows."""
        return min(int(super().convert(value, param, ctx)), 10**12)


COUNT: Final = CountType()


class SecondsType(click.FloatRange):
    """A time to wait, above 0; what is no number, or never ends, is none."""

    def __init__(self) -> None:
        super().__init__(min=0, max=10**9, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


SECONDS: Final = SecondsType()

_STORE: Final = "foldlog.store"


def _noted(ctx: click.Context, param: click.Parameter, place: Place) -> Place:
    """The place of the store, which hints will name."""
    del param
    ctx.meta[_STORE] = place
    return place


def typed(ctx: click.Context, text: str) -> str:
    """A hint with the store that was given for the word STORE: its commands are ready to be typed."""
    path = ctx.meta.get(_STORE)
    return text if path is None else _PLACE.sub(lambda found: f"{found[1]} {shlex.quote(str(path))}", text)


_PLACE: Final = re.compile(r"(`foldlog [a-z-]+) STORE\b")
# Eager: what is said of other arguments names the store.
store = click.argument(
    "store_path", metavar="STORE", type=StoreType(path_type=Path, readable=False), callback=_noted, is_eager=True
)
session = click.argument("session", type=SessionType())
optional_session = click.argument("session", required=False, type=SessionType())


_AGO: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class SinceType(click.ParamType[int | str]):
    """A position, a time, or how long ago: an int, or the time as text of the journal's form."""

    name = "position|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """12 for "12", "2026-11-22T06:41:10.000000Z" for a time or "10m"."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # converted already
        if re.fullmatch(r"\d{1,18}", value, re.ASCII):
            return int(value)
        try:
            return self._time(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no position, no time such as 2026-11-22T06:41 (UTC), and no 10m", param, ctx)

    @staticmethod
    def _time(text: str) -> str:
        from foldlog.core.clock import format_time  # noqa: PLC0415  (loads orjson)

        ago = _AGO.fullmatch(text)
        if ago:
            return format_time(dt.datetime.now(dt.UTC) - dt.timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        moment = dt.datetime.fromisoformat(text)
        return format_time(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
