"""Events as dicts: one that is stored as the dict that folds, one that folds as the dict a user keeps.

How events are stored is in `foldlog.storage.journal`, what they mean in `foldlog.core.fold`.
"""

from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError
from foldlog.core.fold import Event
from foldlog.core.refs import copy_value
from foldlog.storage.damage import damaged
from foldlog.storage.journal import StoredEvent


def event_of(stored: StoredEvent) -> Event:
    """A stored event as the dict that folds."""
    if type(stored.event_id) is not int or type(stored.type) is not str or type(stored.at) is not str:
        raise _damaged(stored, "a column is not of the type it was written as")
    try:
        payload = decode(stored.data)
    except CorruptJournalError as error:
        raise _damaged(stored, error.message) from error
    if type(payload) is not dict:
        raise _damaged(stored, "its data is no map")
    return {"id": stored.event_id, "type": stored.type, "at": stored.at, **payload}


def _damaged(stored: StoredEvent, why: str) -> CorruptJournalError:
    return damaged(stored.session_id, stored.event_id, stored.position, why)


def own_copy(event: Event) -> Event:
    """An event for the user to keep."""
    copied: Event = copy_value(event)
    return copied
