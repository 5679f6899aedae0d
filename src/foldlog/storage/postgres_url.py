"""The URL of a server: with its passwords for libpq, without them for people; why a server does not let us in.

What is reached is `foldlog.storage.postgres`'s, whether there is a store `foldlog.storage.postgres_making`'s.
"""

import re
from typing import Final

import psycopg
from sqlalchemy import URL

from foldlog.core.errors import StoreError

# Where a URL's query may have a secret too.
_SECRETS: Final = ("password", "sslpassword")


def name_of(url: URL) -> str:
    """A URL as errors and people call it, without its passwords."""
    hidden = url.update_query_dict({key: "hidden" for key in _SECRETS if key in url.query})
    return hidden.render_as_string(hide_password=True)


def unreachable(name: str, error: psycopg.Error) -> StoreError:
    """The error for a server that does not let us in, in its own words: they have no secret in them."""
    found = _SERVERS_WORD.search(str(error)) or _OWN_WORD.search(str(error))
    why = found[1].strip()[:200] if found else type(error).__name__
    hint = "see that the server runs, and that host and port are right"
    if "password" in why or "authentication" in why or "pg_hba" in why:
        hint = (
            "check the user, the password (PGPASSWORD or ~/.pgpass keep it out of the URL) and the server's pg_hba.conf"
        )
    elif "does not exist" in why:
        hint = "make it first (createdb, CREATE ROLE), or give another one"
    return StoreError(f"{name}: the server cannot be reached: {why}", hint=hint)


_SERVERS_WORD: Final = re.compile(r"FATAL: (.+)")
_OWN_WORD: Final = re.compile(r"failed: (.+)")


def conninfo_of(url: URL) -> str:
    """A URL as libpq reads it, with its passwords."""
    """A URL as libpq reads it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
