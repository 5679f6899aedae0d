"""A plugin for Datasette: foldlog's SQL functions on connections to a store.

The configuration that Datasette shows a store with is made by `foldlog.adapters.datasette_config`.
"""

import sqlite3

from pluggy import HookimplMarker

# The marker that Datasette exports, so that this module can be looked at without Datasette.
hookimpl = HookimplMarker("datasette")


@hookimpl
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Add the functions to Datasette's own read-only connections; any other database is left alone."""
    from foldlog.outlets import sql_functions  # noqa: PLC0415

    if sql_functions.is_store(conn):
        sql_functions.register(conn)
