"""The schema as a server has it, held to what this version makes; and what of it can be made again.

Tables and columns, keys, indexes, the triggers that keep the history from being changed, SQL views, leases.
An application may have added to it. What is said of a fault, and to whom, is in `foldlog.outlets.verify_server`;
the DDL itself in `foldlog.storage.postgres_sql`.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable

from foldlog.core.errors import StoreError
from foldlog.storage import postgres_index
from foldlog.storage.driver import Driver
from foldlog.storage.postgres_driver import ServerError
from foldlog.storage.postgres_sql import LEASES, trigger_statements
from foldlog.storage.postgres_views import POSTGRES_VIEWS
from foldlog.storage.schema import durable, projection, search

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
# What PostgreSQL calls the types of our columns.
_TYPES: Final = {
    "BIGINT": "bigint",
    'TEXT COLLATE "C"': "text C",
    "BYTEA": "bytea",
    "NUMERIC": "numeric",
    "FLOAT": "double precision",
}
_COLUMNS: Final = """
SELECT attname, concat_ws(' ', format_type(atttypid, atttypmod), nullif(collname, 'default')), attnotnull
FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_INDEXES: Final = """
SELECT relname, indisunique, indisprimary, indpred IS NOT NULL,
  (SELECT string_agg(attname, ' ' ORDER BY ordinality) FROM unnest(indkey::int2[]) WITH ORDINALITY AS key (attnum)
   JOIN pg_attribute ON pg_attribute.attrelid = indrelid AND pg_attribute.attnum = key.attnum)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = to_regclass(?) AND indisvalid"""
_FOREIGN_KEYS: Final = """
SELECT confrelid::regclass::text, (SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
  WHERE attrelid = conrelid AND attnum = ANY (conkey))
FROM pg_constraint WHERE conrelid = to_regclass(?) AND contype = 'f' AND convalidated"""
_TRIGGERS: Final = """
SELECT tgname, tgenabled, pg_get_triggerdef(pg_trigger.oid), prosrc FROM pg_trigger
JOIN pg_proc ON pg_proc.oid = tgfoid WHERE tgrelid = to_regclass('events') AND NOT tgisinternal"""
# Of each trigger what its definition must say, but for the schema's name.
_REFUSING: Final = {
    "events_refuse_change": ("BEFORE DELETE OR UPDATE ON", "FOR EACH ROW EXECUTE FUNCTION"),
    "events_refuse_truncate": ("BEFORE TRUNCATE ON", "FOR EACH STATEMENT EXECUTE FUNCTION"),
}
_PLANS_MAX: Final = 3
# What cannot be dropped, for something else needs it.
_NEEDED: Final = "2BP01"

Kind = Literal["durable", "derived", "guard"]


class Fault(NamedTuple):
    """What is wrong: with the history's own tables, with what is made of it, or with what guards it."""

    kind: Kind
    what: str


def faults(connection: Driver) -> Iterator[Fault]:
    """Everything that is not as this version makes it."""
    for name in wrong_triggers(connection):
        yield Fault("guard", f"the trigger {name} is not in place: events could be changed")
    if columns_of(connection, "leases") != _LEASE_COLUMNS:
        yield Fault("guard", "the table leases is not what it should be: sessions cannot be opened for writing")
    if is_sequence_behind(connection):
        yield Fault("guard", "the sequence of positions is behind the last event: nothing can be appended")
    kinds: tuple[tuple[Kind, MetaData], ...] = (("durable", durable), ("derived", projection), ("derived", search))
    for kind, metadata in kinds:
        for table in metadata.sorted_tables:
            for what in table_faults(connection, table):
                yield Fault(kind, what)
    if not postgres_index.is_made(connection):
        yield Fault("derived", "the search index is not there")
    for name in POSTGRES_VIEWS:
        if not is_view_as_made(connection, name):
            yield Fault("derived", f"the SQL view {name} is not what it should be")


# Tables.

_LEASE_COLUMNS: Final = [
    ("session_id", "text C", True),
    ("generation", "bigint", True),
    ("holder", "text", True),
]


def columns_of(connection: Driver, table: str) -> list[tuple[str, str, bool]]:
    """A table's columns in order: name, type, whether it must have a value."""
    return [(row[0], row[1], row[2]) for row in connection.execute(_COLUMNS, (table,))]


def _expected_columns(table: Table) -> list[tuple[str, str, bool]]:
    return [
        (column.name, _type_name(column.type.compile(dialect=_DIALECT)), not column.nullable)
        for column in table.columns
    ]


def _type_name(compiled: str) -> str:
    return _TYPES.get(compiled, compiled.lower())


def table_faults(connection: Driver, table: Table) -> Iterator[str]:
    """What of a table is not as it is made."""
    if columns_of(connection, table.name) != _expected_columns(table):
        yield f"the table {table.name} does not have the columns it should"
        return
    found = {row[0]: tuple(row[1:]) for row in connection.execute(_INDEXES, (table.name,))}
    key = " ".join(column.name for column in table.primary_key)
    if not any(is_key and names == key for _, is_key, _, names in found.values()):
        yield f"the primary key of {table.name} is missing"
    for name, expected in _expected_indexes(table).items():
        if found.get(name) != expected:
            yield f"the index {name} is missing"
    references = {tuple(row) for row in connection.execute(_FOREIGN_KEYS, (table.name,))}
    for name, other in _expected_references(table):
        if (other, name) not in references:
            yield f"the foreign key of {table.name}.{name} is missing"


def _expected_indexes(table: Table) -> dict[str, tuple[bool, bool, bool, str]]:
    """Each index but the primary key's: is it unique, a primary key, partial; its columns."""
    found = {
        str(index.name): (
            bool(index.unique),
            False,
            index.dialect_options["postgresql"]["where"] is not None,
            " ".join(column.name for column in index.columns),
        )
        for index in table.indexes
    }
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            found[str(constraint.name)] = (True, False, False, " ".join(column.name for column in constraint.columns))
    return found


def _expected_references(table: Table) -> Iterator[tuple[str, str]]:
    if table.name != "lists":  # whose key files only have: see the table
        for key in table.foreign_key_constraints:
            yield " ".join(column.name for column in key.columns), key.referred_table.name


# What guards the history.


def wrong_triggers(connection: Driver) -> list[str]:
    """The triggers of ours that are not there, are switched off, or do something else."""
    function = trigger_statements()[0]
    source = function[function.index("$$") + 2 : function.rindex("$$")]
    stored = {row[0]: row[1:] for row in connection.execute(_TRIGGERS)}
    found = []
    for name, parts in _REFUSING.items():
        enabled, definition, body = stored.get(name, ("", "", ""))
        is_whole = enabled in ("O", "A") and body == source and " WHEN (" not in definition
        if not is_whole or not all(part in definition for part in parts):
            found.append(name)
    return found


def is_sequence_behind(connection: Driver) -> bool:
    """Whether the next position is one that an event has already, as after tables were copied by other means."""
    name = connection.execute("SELECT pg_get_serial_sequence('events', 'position')").fetchone()[0]
    if name is None:
        return True
    if not connection.execute("SELECT has_sequence_privilege(?, 'SELECT')", (name,)).fetchone()[0]:
        return False  # who may not see it does not append
    # In this order: others go on appending between the two.
    last = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0]
    given, is_used = connection.execute(f"SELECT last_value, is_called FROM {name}").fetchone()
    return bool(last > given or (last == given and not is_used))


def mend(connection: Driver) -> list[str]:
    """Put back what guards the history, inside the caller's transaction; what was done, in words."""
    done = []
    wrong = wrong_triggers(connection)
    if wrong:
        function, *triggers = trigger_statements()
        for name in _REFUSING:
            connection.execute(f"DROP TRIGGER IF EXISTS {name} ON events")
        for statement in (function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1), *triggers):
            connection.execute(statement)
        done += [f"the trigger {name} is in place again" for name in wrong]
    if columns_of(connection, "leases") != _LEASE_COLUMNS:
        connection.execute("DROP TABLE IF EXISTS leases")
        connection.execute(LEASES)
        done.append("the table leases is there again")
    if is_sequence_behind(connection):
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('events', 'position'), (SELECT max(position) FROM events))"
        )
        done.append("the sequence of positions is ahead again")
    return done + _mend_keys(connection)


def _mend_keys(connection: Driver) -> list[str]:
    """Put back the keys and indexes of the history's own tables; doubles, which no key allows, are an error."""
    done = []
    for table in durable.sorted_tables:
        for fault in list(table_faults(connection, table)):
            for what, statements in _keys(table):
                if fault == f"{what} is missing":
                    for statement in statements:
                        connection.execute(statement)
                    done.append(f"{what} is there again")
    return done


def _keys(table: Table) -> Iterator[tuple[str, list[str]]]:
    """What a table's keys and indexes are called here, and the statements that make each."""
    alter = f"ALTER TABLE {table.name} ADD"
    key = ", ".join(column.name for column in table.primary_key)
    yield f"the primary key of {table.name}", [f"{alter} PRIMARY KEY ({key})"]
    for name, other in _expected_references(table):
        yield f"the foreign key of {table.name}.{name}", [f"{alter} FOREIGN KEY ({name}) REFERENCES {other} ({name})"]
    made: list[Any] = [CreateIndex(index) for index in table.indexes]
    made += [
        AddConstraint(one, isolate_from_table=False)
        for one in table.constraints
        if isinstance(one, sa.UniqueConstraint)
    ]
    for one in made:
        drop = f"DROP INDEX IF EXISTS {one.element.name}"
        yield f"the index {one.element.name}", [drop, str(one.compile(dialect=_DIALECT))]


# SQL views.


def is_view_as_made(connection: Driver, name: str) -> bool:
    """Whether a view asks what it is made to ask: then the server makes the same plan for both.

    The text that a server gives of a view depends on its version and on the search path; a plan does not.
    """
    select = POSTGRES_VIEWS[name]
    if connection.execute("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(?)", (name,)).fetchone() != (
        "v",
    ):
        return False
    described = connection.execute(f"SELECT * FROM ({select}) AS {name} LIMIT 0").description
    if [row[0] for row in columns_of(connection, name)] != [column.name for column in described]:
        return False
    for _ in range(_PLANS_MAX):  # new statistics may come in between the two
        if _plan(connection, f"SELECT * FROM {name}") == _plan(connection, f"SELECT * FROM ({select}) AS {name}"):
            return True
    return False


def _plan(connection: Driver, sql: str) -> list[Any]:
    return list(connection.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {sql}").fetchall())


# Making anew.


def remake(connection: Driver) -> None:
    """Make projection tables, search tables and SQL views as they should be, and empty.

    A table that is as it should be keeps its place, so that what others have built on it, views and rights, stays.
    """
    tables = [*projection.sorted_tables, *search.sorted_tables]
    bad = [table for table in tables if any(True for _ in table_faults(connection, table))]
    is_all_asked = not bad and all(is_view_as_made(connection, name) for name in POSTGRES_VIEWS)
    views = {} if is_all_asked else POSTGRES_VIEWS
    is_index_made = postgres_index.is_made(connection) and search.tables["search_texts"] not in bad
    word_index = [] if is_index_made else [postgres_index.INDEX]
    rights = _rights(connection, [*views, *(table.name for table in bad), *word_index])
    for name in word_index:
        _drop(connection, "TABLE", name)
    for name in reversed(views):
        _drop(connection, "VIEW", name)
    for table in tables:
        if table in bad:
            _drop(connection, "TABLE", table.name)
            connection.execute(str(CreateTable(table).compile(dialect=_DIALECT)))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(str(CreateIndex(index).compile(dialect=_DIALECT)))
        else:
            connection.execute(f"DELETE FROM {table.name}")  # TRUNCATE would show readers nothing
    for statement in postgres_index.statements() if word_index else ():
        connection.execute(statement)
    for name, select in views.items():
        connection.execute(f"CREATE VIEW {name} AS {select.strip()}")
    for statement in rights:
        connection.execute(statement)


def _drop(connection: Driver, kind: str, name: str) -> None:
    try:
        connection.execute(f"DROP {kind} IF EXISTS {name}")
    except ServerError as error:
        if error.sqlstate != _NEEDED:
            raise
        raise StoreError(
            f"the {kind.lower()} {name} is to be made anew, and something that is not foldlog's was built on it",
            hint="nothing was changed; drop what depends on it (a view of your own), try again, then make that anew",
        ) from error


def _rights(connection: Driver, names: list[str]) -> list[str]:
    """The GRANTs that others have on tables and views, to be given again when they are made anew."""
    sql = """SELECT DISTINCT format('GRANT %s ON %s TO %s', privilege_type, relname,
      CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM pg_class CROSS JOIN aclexplode(relacl) WHERE oid = to_regclass(?) AND grantee <> relowner"""
    return [row[0] for name in names for row in connection.execute(sql, (name,))]
