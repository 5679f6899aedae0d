"""Reading older events: what an artifact version wrote, in today's words.

Events carry no version of their own: the session's `artifact_version` says which steps an event needs,
and they run whenever it is read. Stored events are never rewritten.
"""

from collections.abc import Callable
from typing import Any, Final

from foldlog.core.errors import SchemaTooNewError

ARTIFACT_VERSION: Final = 1

# UPCASTERS[n] turns an event of version n into one of version n + 1.
UPCASTERS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}


def upcast(event: dict[str, Any], session: dict[str, Any]) -> dict[str, Any]:
    """The event in today's words; `session` is the session's row so far, empty before the first event."""
    if session and session.get("artifact_version", ARTIFACT_VERSION) == ARTIFACT_VERSION:
        return event  # by far the most
    source = session or (event.get("session") if event.get("type") == "session.started" else None)
    if not isinstance(source, dict):
        return event
    version = source.get("artifact_version", ARTIFACT_VERSION)
    if version == ARTIFACT_VERSION:
        return event
    if type(version) is not int or version > ARTIFACT_VERSION or version < 1:
        raise SchemaTooNewError(
            f"session {source.get('id')!r} is of artifact version {version!r}, beyond {ARTIFACT_VERSION}",
            hint="install a newer foldlog to read it",
        )
    for step in range(version, ARTIFACT_VERSION):
        event = UPCASTERS[step](event)
    return event
