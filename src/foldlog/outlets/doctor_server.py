"""What the doctor asks of a server that has a store: its settings, the role, the schema, who writes and who stays long.

It looks only. What findings are, and a store in a file, is `foldlog.outlets.doctor`'s; what both kinds are asked is in
`foldlog.outlets.doctor_inside`.
"""

import json
import platform
from collections.abc import Iterator
from typing import Any, Final

from foldlog._version import __version__
from foldlog.core.errors import FoldlogError
from foldlog.outlets.doctor import Diagnosis, Finding, who, why
from foldlog.outlets.doctor_inside import lag, schema, set_apart
from foldlog.storage.driver import sql_of
from foldlog.storage.faults import DRIVER_ERRORS
from foldlog.storage.postgres import PostgresDatabase
from foldlog.storage.postgres_driver import Server
from foldlog.storage.postgres_making import opened, parsed
from foldlog.storage.postgres_url import name_of
from foldlog.storage.schema import SCHEMA_NUMBER

_LONG_TRANSACTION_S: Final = 60
_NAMED_MAX: Final = 5
# A setting, what it should be, and what else means.
_SETTINGS: Final = {
    "fsync": ("on", "problem", "a crash of the machine can destroy every store on the server"),
    "full_page_writes": ("on", "problem", "a crash of the machine can destroy every store on the server"),
    "synchronous_commit": (
        "on, local, remote_write, remote_apply",
        "note",
        'off, but writers at durability="full" turn it on for themselves',
    ),
}
_TRIGGERS: Final = ("events_refuse_change", "events_refuse_truncate")


def examine(url: str) -> Diagnosis:
    """Look at a store on a server; see `foldlog.doctor`."""
    place = parsed(url)
    implementation = platform.python_implementation()
    python = Finding("ok", "python", f"foldlog {__version__}, {implementation} {platform.python_version()}")
    found = Diagnosis(name_of(place), [python])
    try:
        database = opened(place, read_only=True)
    except FoldlogError as error:
        found.findings.append(why(error))
        return found
    try:
        server = database.new_reader()
        try:
            found.findings += _look(database, server)
        finally:
            server.close()
    except (*DRIVER_ERRORS, FoldlogError) as error:
        found.findings.append(why(error))
    finally:
        database.close()
    return found


def _look(database: PostgresDatabase, server: Server) -> Iterator[Finding]:
    yield Finding("ok", "server", f"PostgreSQL {_value(server, 'server_version')}, {_value(server, 'server_encoding')}")
    for name, (right, level, otherwise) in _SETTINGS.items():
        value = _value(server, name)
        is_right = value in right.split(", ")
        yield Finding("ok", name, value) if is_right else Finding(level, name, f"{value}: {otherwise}", "set it to on")
    yield _role(server)
    number = sql_of(server).schema_number(server)
    yield schema(number)
    if number == SCHEMA_NUMBER:
        yield _triggers(server)
        yield set_apart(server)
        yield lag(server)
        yield from _leases(database, server)
    yield _transactions(server)


def _value(server: Server, name: str) -> str:
    return str(server.execute("SELECT current_setting(?)", (name,)).fetchone()[0])


def _role(server: Server) -> Finding:
    name, is_super = server.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if is_super:
        hint = "give the application a role with the rights it needs: one that only reads, or one that cannot delete"
        return Finding("warning", "role", f"{name} is a superuser", hint)
    return Finding("ok", "role", f"{name}, no superuser")


def _triggers(server: Server) -> Finding:
    sql = "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('events') AND tgenabled IN ('O', 'A')"
    there = {row[0] for row in server.execute(sql).fetchall()}
    wrong = [name for name in _TRIGGERS if name not in there]
    if wrong:
        hint = "`foldlog verify STORE` says more; `foldlog repair STORE` makes it anew"
        return Finding("problem", "triggers", f"not in place: {', '.join(wrong)}; events could be changed", hint)
    return Finding("ok", "triggers", "events are append-only")


def _leases(database: PostgresDatabase, server: Server) -> Iterator[Finding]:
    holders = dict(server.execute("SELECT session_id, holder FROM leases ORDER BY session_id").fetchall())
    held = [one for one in holders if one in database.leases.leased(server, set(holders))]
    for one in held:
        yield Finding("note", "leases", f"{one}: held by {who(_holder(holders[one]))}")
    if not held:
        yield Finding("ok", "leases", "nobody writes")


def _holder(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _transactions(server: Server) -> Finding:
    """Those that stay open keep the server from cleaning up, and readers of the feed from going on."""
    # Of other users' connections a role without rights sees that they are there, and no more.
    found = server.execute(
        "SELECT pid, coalesce(application_name, ''), round(extract(epoch FROM now() - xact_start))::bigint "
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND extract(epoch FROM now() - xact_start) > ? ORDER BY xact_start",
        (_LONG_TRANSACTION_S,),
    ).fetchall()
    if not found:
        return Finding(
            "ok", "transactions", f"none is open for more than {_LONG_TRANSACTION_S} s, as far as can be seen"
        )
    named = [f"process {pid} ({name or 'no name'}) for {age_s:,} s" for pid, name, age_s in found[:_NAMED_MAX]]
    more = f" and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    hint = "end them: they keep the server from cleaning up, and may keep followers waiting"
    return Finding("warning", "transactions", f"open for long: {', '.join(named)}{more}", hint)
