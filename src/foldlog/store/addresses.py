"""Which session a few characters mean: what people type instead of `session-1f6c…/child-0001`.

Ids themselves are checked in `foldlog.core.ids`.
"""

from typing import Final

from foldlog.core.errors import UnknownSessionError
from foldlog.storage.database import Database

_GENERATED: Final = "session-"
_NAMED_MAX: Final = 5
# Nearest names are looked for among so many; a hint is not worth reading a million ids.
_LOOKED_AT_MAX: Final = 2000
# Above every character that an id can have.
_LAST: Final = "\x7f"


def find(database: Database, text: str) -> str:
    """The id of the one session that `text` means, level by level: each name itself, or the start of one."""
    if not isinstance(text, str):
        raise UnknownSessionError(f"there is no session {text!r}", hint="pass its id, or how that begins")
    found = ""
    for part in text.split("/"):
        candidates = _below(database, found, part)
        if len(candidates) > 1:
            raise UnknownSessionError(
                f"{text[:100]!r} means no one session: {_some(candidates)}", hint="give more of the id"
            )
        if not candidates:
            raise _unknown(database, text, found)
        found = candidates[0]
    return found


def _below(database: Database, above: str, part: str) -> list[str]:
    """Ids directly below an address whose names are `part`; if there are none, those that begin with it."""
    prefix = f"{above}/" if above else ""
    if not part or part.startswith(".") or not part.isascii():
        return []
    exact = "SELECT id FROM streams WHERE id = ?"
    begun = (
        "SELECT id FROM streams WHERE id >= ? AND id < ? AND substr(id, ?) NOT LIKE '%/%' "
        "AND substr(id, 1, 1) <> '.' ORDER BY id LIMIT ?"
    )
    starts = [f"{prefix}{part}"] if above else [part, f"{_GENERATED}{part}"]
    with database.read() as connection:
        for start in starts:
            found = connection.exec_driver_sql(exact, (start,)).scalars().all()
            if found:
                return list(found)
        candidates: dict[str, None] = {}
        for start in starts:
            rows = connection.exec_driver_sql(begun, (start, start + _LAST, len(prefix) + 1, _NAMED_MAX + 1))
            candidates |= dict.fromkeys(rows.scalars())
    return list(candidates)


def _some(ids: list[str]) -> str:
    named = ", ".join(ids[:_NAMED_MAX])
    return f"{named} and more" if len(ids) > _NAMED_MAX else named


def _unknown(database: Database, text: str, found: str) -> UnknownSessionError:
    sql = "SELECT id FROM streams WHERE id > ? AND id < ? AND substr(id, 1, 1) <> '.' LIMIT ?"
    start = f"{found}/" if found else ""
    with database.read() as connection:
        ids = connection.exec_driver_sql(sql, (start, start + _LAST, _LOOKED_AT_MAX)).scalars().all()
    import difflib  # noqa: PLC0415  (only for a hint)

    near = difflib.get_close_matches(text[:200], ids, n=3, cutoff=0.5)
    return UnknownSessionError(
        f"there is no session {text[:100]!r} in {database.name}",
        hint=f"nearest: {', '.join(near)}" if near else "`foldlog ls STORE --all` lists those there are",
    )
