"""The URL of a server: with its passwords for libpq, without them for people; why a server does not let us in.

What is reached is `foldlog.storage.postgres`'s, whether there is a store `foldlog.storage.postgres_making`'s.
"""

import re
from typing import Final

import psycopg
from sqlalchemy import URL

# Where a URL's query may have a secret too.
_SECRETS: Final = ("password", "sslpassword")


def name_of(url: URL) -> str:
    """A URL as errors and people call it, without its passwords."""
    hidden = url.update_query_dict({key: "hidden" for key in _SECRETS if key in url.query})
    return hidden.render_as_string(hide_password=True)


def conninfo_of(url: URL) -> str:
    """A URL as libpq reads it, with its passwords."""
    place, _, query = url.set(drivername="postgresql").render_as_string(hide_password=False).partition("?")
    # Blanks as libpq reads them: SQLAlchemy leaves them as they are, and writes + in the query.
    return f"{place.replace(' ', '%20')}?{query.replace('+', '%20')}"


def why_of(error: psycopg.Error) -> str:
    """Why a server does not let us in, in its own words or libpq's: they have no secret in them."""
    found = _SERVERS_WORD.search(str(error)) or _OWN_WORD.search(str(error))
    return (found[1] if found else " ".join(str(error).split()) or "no answer").strip()[:_WHY_CHARS_MAX]


def way_out(why: str) -> str:
    """What to do about that."""
    if "password" in why or "authentication" in why or "pg_hba" in why:
        return (
            "check the user, the password (PGPASSWORD or ~/.pgpass keep it out of the URL) and the server's pg_hba.conf"
        )
    if "SSL" in why or "certificate" in why:
        return (
            "check sslmode and sslrootcert, in the URL or as PGSSLMODE and PGSSLROOTCERT, and the server's certificate"
        )
    if "configuration parameter" in why or why.startswith("invalid "):
        return "see the options in the URL: PostgreSQL's manual has them under libpq's connection parameters"
    if "does not exist" in why:
        return "make it first (createdb, CREATE ROLE), or give another one"
    return "see that the server runs, has connections left, and that host and port are right"


_WHY_CHARS_MAX: Final = 200
_SERVERS_WORD: Final = re.compile(r"FATAL: (.+)")
_OWN_WORD: Final = re.compile(r"failed: (.+)")
