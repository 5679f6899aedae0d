"""Alembic's environment: on the connection of an upgrade, or for a developer on `-x store=PATH` or `-x store=URL`."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from foldlog.storage.schema import durable


def _is_of_engine(thing: Any, kind: str, dialect: str) -> bool:
    # A foreign key that files have and servers have not: Alembic does not look at `ddl_if`.
    return kind != "foreign_key_constraint" or dialect == "sqlite" or thing.parent.name != "lists"


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        import foldlog.storage.postgres_sql  # noqa: F401, PLC0415  (it completes the metadata for a server)
    # No batch mode: it rebuilds tables, which drops triggers and, with foreign keys on, child rows.
    context.configure(
        connection=connection,
        target_metadata=durable,
        render_as_batch=False,
        transactional_ddl=True,
        include_object=lambda thing, _name, kind, *_: _is_of_engine(thing, kind, connection.dialect.name),
        include_name=lambda name, kind, _parents: kind != "table" or name in durable.tables,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    store = context.get_x_argument(as_dictionary=True).get("store")
    if store is None:
        raise SystemExit("say which store: alembic -x store=path/to/history.db …, or the URL of one on a server")
    engine = create_engine(store if "://" in store else f"sqlite:///{store}")
    with engine.begin() as connection:
        run(connection)
    engine.dispose()
