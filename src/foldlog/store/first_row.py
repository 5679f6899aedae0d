"""The row a session starts with: its id, its place below a parent, and that nothing is taken.

What the row holds is in `foldlog.session.lineage`; starting the session is `Session.begin`.
"""

from collections.abc import Mapping
from typing import Any, Final

from foldlog.core.clock import format_time
from foldlog.core.errors import InvalidEventError, InvalidIdError
from foldlog.core.ids import check_session_id, child_name, parent_id
from foldlog.session import lineage
from foldlog.session.host import Host
from foldlog.storage import journal

# Keys that the session gives itself. The others of the row are the application's to give: an import brings
# the lineage it had.
_GIVEN: Final = frozenset(
    lineage.session_row("", kind="", provider=None, parent=None, cache_id=None, created_at="", extra={})
) - {"prompt", "cache", "lineage", "resumed_from", "forked_from"}


def first_row(
    host: Host, session_id: str | None, kind: str, provider: Any, parent: Any, cache_id: Any, extra: dict[str, Any]
) -> dict[str, Any]:
    """The row of a new session; raises before anything is written."""
    taken = sorted(_GIVEN.intersection(extra))
    if taken:
        raise InvalidEventError(
            f"start_session(): {', '.join(taken)} are given by the session", hint="use other names for your own keys"
        )
    above = _parent_of(host, session_id, parent)
    if session_id is None:
        session_id = lineage.new_id() if above is None else _free_child(host, above["session_id"])
    return lineage.session_row(
        check_session_id(session_id, depth_max=host.config.limits.tree_depth_max),
        kind="child" if above is not None and kind == "root" else kind,
        provider=provider,
        parent=above,
        cache_id=cache_id,
        created_at=format_time(host.config.clock()),
        extra=extra,
    )


def _parent_of(host: Host, session_id: str | None, parent: Any) -> dict[str, Any] | None:
    """The parent as it stands in the row; checks that it is in the store and fits the id."""
    address = None
    if session_id is not None:
        address = parent_id(check_session_id(session_id, depth_max=host.config.limits.tree_depth_max))
    if parent is None and address is None:
        return None
    if parent is not None and not isinstance(parent, str | Mapping):
        raise InvalidIdError("a parent is a session id, or a map with one", hint='parent={"session_id": "demo"}')
    found = {"session_id": parent} if isinstance(parent, str) else dict(parent or {"session_id": address})
    above = check_session_id(found.get("session_id"))
    journal.find_stream(host.database, above)
    if session_id is not None and address != above:
        raise InvalidIdError(
            f"{session_id!r} is not an address below {above!r}", hint=f"use {above}/<name>, or leave the id out"
        )
    return found


def _free_child(host: Host, above: str) -> str:
    number = host.view(above).counter("child") + 1
    while journal.has_stream(host.database, f"{above}/{child_name(number, 'spawned')}"):
        number += 1
    return f"{above}/{child_name(number, 'spawned')}"
