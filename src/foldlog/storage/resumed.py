"""After a server was lost and found again: what it has of what it was sent, and of what it had acknowledged.

Appending again is `foldlog.storage.journal`'s, connecting again `foldlog.storage.postgres`'s.
"""

from typing import TYPE_CHECKING, Final

from foldlog.core.errors import CommitUncertainError
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of

if TYPE_CHECKING:
    from foldlog.storage.journal import Stamped, Stream

# A session's last event id: that of a row, or of an event that is set apart and has no row.
LAST_ID: Final = (
    "coalesce((SELECT max(id) FROM (SELECT max(event_id) AS id FROM events WHERE events.session_key = {0} "
    "UNION ALL SELECT max(event_id) FROM quarantine WHERE quarantine.session_key = {0}) AS ids), 0)"
)


def is_kept(database: Database, stamped: "list[Stamped]") -> bool:
    """Whether a commit that nobody answered for was kept: the last of its events tells, by its chain value."""
    with database.read() as connection:
        driver = driver_of(connection)
        last = stamped[-1]
        sql = "SELECT session_key FROM streams WHERE id = ?"
        found = driver.execute(
            f"SELECT chain FROM events WHERE session_key = ({sql}) AND event_id = ?",
            (last.stream.session_id, last.event_id),
        ).fetchone()
        if found is None or found[0] != last.chain:
            return False
        for stream in {id(event.stream): event.stream for event in stamped}.values():
            stream.key = driver.execute(sql, (stream.session_id,)).fetchone()[0]
    return True


def check_goes_on(connection: Driver, database: Database, stamped: "list[Stamped]") -> None:
    """After a lost connection: raise unless each session is still ours, and its last event where its next follows.

    Somebody else may have had the session meanwhile. At durability "normal" a server that crashes may have lost
    the last event; the next must not stand behind a gap.
    """
    for event in stamped:
        check_stands(connection, database, event.stream, event.event_id - 1)


def check_stands(connection: Driver, database: Database, stream: "Stream", event_id: int) -> None:
    """After a lost connection: raise unless a session is still ours, and has this event, the last acknowledged one."""
    if stream.resumed_count == database.resumed_count:
        return
    database.check_leases([stream.session_id])
    sql = f"SELECT {LAST_ID.format('?')}"
    if stream.key is not None and connection.execute(sql, (stream.key, stream.key)).fetchone()[0] < event_id:
        raise CommitUncertainError(
            f"session {stream.session_id!r}: the server has lost events that it had acknowledged",
            hint="call reload() to see what was kept, then go on",
        )
    stream.resumed_count = database.resumed_count
