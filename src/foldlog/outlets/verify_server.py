"""A store's schema on a server: that it is ours, and that what guards the history is in place.

The pages of its files are the server's own to check (`pg_amcheck`, data checksums). What is looked at is in
`foldlog.storage.postgres_schema`; a store in a file is `foldlog.outlets.verify_file`'s.
"""

from collections.abc import Iterator
from typing import Final

from foldlog.outlets.findings import RESTORE, Problem
from foldlog.storage import postgres_schema
from foldlog.storage.driver import Driver
from foldlog.storage.faults import DRIVER_ERRORS

_ANEW: Final = "`foldlog repair STORE` makes it anew"


def check_schema(connection: Driver) -> Iterator[Problem]:
    """What differs between the server's schema and ours; an application may have added to it."""
    try:
        for fault in postgres_schema.faults(connection):
            is_lost = fault.kind == "durable" and not fault.what.endswith(" is missing")
            yield Problem(None, None, fault.what, RESTORE if is_lost else _ANEW)
    except DRIVER_ERRORS as error:
        yield Problem(None, None, f"the schema cannot be read: {error}", RESTORE)
