"""Make docs/reference/api.md, aio.md, testing.md, schema.md and cli.md from the code; `--check` says which are stale.

    python docs/make_reference.py            write the pages
    python docs/make_reference.py --check    write nothing; exit 1 and name the pages that differ

The words about classes, methods and views come from the package itself. What the schema module does not
say (what a table is for, an example for each view) stands here, and a table or view without a line
here is an error, so that no new one goes undocumented.
"""

import inspect
import re
import sqlite3
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Table
from sqlalchemy.dialects import sqlite

import foldlog
import foldlog.aio
import foldlog.testing
import foldlog.testing.strategies
from foldlog.cli.main import VERBS, cli
from foldlog.outlets.copying import Copied
from foldlog.outlets.deletion import Deletion
from foldlog.outlets.doctor import Diagnosis, Finding
from foldlog.outlets.findings import Problem, Report, SetApart
from foldlog.outlets.repair import Repairs
from foldlog.session.scopes import CallScope, TurnScope
from foldlog.storage.described import COLUMNS, TABLES
from foldlog.storage.migrate import schema_statements
from foldlog.storage.schema import APPLICATION_ID, SCHEMA_NUMBER, durable, projection, search
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.store.feed import RecordedEvent
from foldlog.store.searching import Hit, Hits

REFERENCE: Final = Path(__file__).parent / "reference"
WIDTH: Final = 100

# Public by name, but only between the layers of the library: no promise is made about them.
INTERNAL: Final[dict[str, frozenset[str]]] = {
    "Store": frozenset({"database", "register", "forget", "live", "checkpointed"}),
    "Session": frozenset({"begin", "reopen"}),
    "View": frozenset(
        {
            "session_row", "row", "row_count", "turn_ids", "turn_lists", "counter", "carry_out", "moment", "read_row",
            "running_ids", "edge_calls", "last_turn", "totals", "take_changed", "give_back", "copy", "restore",
            "have_lists", "revision", "standing", "stored_entries", "on",
        }
    ),
}  # fmt: skip

# The same for the classes of foldlog.aio.
AIO_INTERNAL: Final = frozenset(
    {"owner", "turn_of", "check_loop", "in_turn", "breathe", "record", "run", "send", "throw"}
)

HANDED_OUT: Final = (
    TurnScope, CallScope, RecordedEvent, Report, Problem, SetApart, Repairs, Diagnosis, Finding, Deletion, Copied,
    Hits, Hit,
)  # fmt: skip


# api.md

_API_HEAD: Final = (
    "Made from the signatures and docstrings of the package by `docs/make_reference.py`; do not edit. Everything "
    "here is imported from `foldlog`. The examples run as tests, with `folder` a temporary folder."
)


def api_page() -> str:
    """The API page."""
    names = list(foldlog.__all__)
    objects = {name: getattr(foldlog, name) for name in names}
    errors = [found for found in objects.values() if isinstance(found, type) and issubclass(found, BaseException)]
    parts = [
        "<!-- fmt: off -->",
        "# API",
        _API_HEAD,
        "## Functions",
    ]
    for name, found in objects.items():
        if isinstance(found, types.FunctionType):
            parts += _function(f"foldlog.{name}", found, 3)
    parts.append("## Classes")
    for found in objects.values():
        if isinstance(found, type) and found not in errors:
            parts += _class(found)
    parts += ["## Handed out by methods", "Not made by you, so not exported by name."]
    for kind in HANDED_OUT:
        parts += _class(kind)
    parts += ["## Errors", "When each is raised, and what to do then, is on the [errors page](../guides/errors.md)."]
    rows = [(f"`{kind.__name__}`", _bases(kind), _line(kind)) for kind in errors]
    parts.append(_table(("Error", "Is a", "What it says"), rows))
    return "\n\n".join(parts) + "\n"


_AIO_HEAD: Final = (
    "Made from the signatures and docstrings of the package by `docs/make_reference.py`; do not edit. Everything "
    "here is imported from `foldlog.aio`. What a verb does is said at its synchronous counterpart on the "
    "[API page](api.md), how to use it in the [guide](../guides/asyncio.md). What returns an `Opening` is awaited or "
    "used with `async with`; what returns an `AsyncIterator`, with `async for`; all other methods but `batch()` are "
    "awaited."
)


def aio_page() -> str:
    """The page of foldlog.aio."""
    objects = {name: getattr(foldlog.aio, name) for name in foldlog.aio.__all__}
    parts = ["<!-- fmt: off -->", "# API for asyncio", _AIO_HEAD, "## Functions"]
    for name, found in objects.items():
        if isinstance(found, types.FunctionType):
            parts += _function(f"foldlog.aio.{name}", found, 3)
    parts.append("## Classes")
    for found in objects.values():
        if isinstance(found, type):
            parts += _class(found)
    return "\n\n".join(parts) + "\n"


_TESTING_HEAD: Final = (
    "Made from the signatures and docstrings of the package by `docs/make_reference.py`; do not edit. How to use it is "
    "in the [guide](../guides/testing.md). A `Say` is a function of one value that returns nothing: what it is given "
    "is heard by the process that called `run_until_crash`."
)


def testing_page() -> str:
    """The page of foldlog.testing."""
    objects = {name: getattr(foldlog.testing, name) for name in foldlog.testing.__all__}
    parts = ["<!-- fmt: off -->", "# API for tests", _TESTING_HEAD, "## Functions"]
    for name, found in objects.items():
        if isinstance(found, types.FunctionType):
            parts += _function(f"foldlog.testing.{name}", found, 3)
    parts.append("## Classes")
    for found in objects.values():
        if isinstance(found, type):
            parts += _class(found)
    parts += ["## Strategies", "In `foldlog.testing.strategies`, which needs Hypothesis."]
    for name in foldlog.testing.strategies.__all__:
        parts += _function(f"foldlog.testing.strategies.{name}", getattr(foldlog.testing.strategies, name), 3)
    return "\n\n".join(parts) + "\n"


def _bases(kind: type) -> str:
    return ", ".join(f"`{base.__name__}`" for base in kind.__bases__)


def _line(found: object) -> str:
    return " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())


# Modules whose classes are made by hand, or read by their fields.
_WITH_SIGNATURE: Final = frozenset(
    {"config", "limits", "findings", "repair", "doctor", "deletion", "copying", "clock", "crashes"}
)


def _class(kind: type) -> list[str]:
    parts = [f"### {kind.__name__}"]
    if kind.__module__.rpartition(".")[2] in _WITH_SIGNATURE:
        parts.append(_code(f"{kind.__name__}{_signature(kind)}"))
    parts += _doc(kind)
    for name, member in _members(kind):
        shown = f"{kind.__name__}.{name}"
        if isinstance(member, property):
            parts.append(f"#### `{shown}`")
            parts += _doc(member)
        else:
            parts += _function(shown, member, 4)
    return parts


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """A class's own public properties and methods and those of our classes it is built from, in order."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("foldlog"):
            found |= {name: value for name, value in vars(base).items() if not name.startswith("_")}
    for name, value in found.items():
        internal = AIO_INTERNAL if kind.__module__.startswith("foldlog.aio") else INTERNAL.get(kind.__name__, ())
        if name not in internal and isinstance(value, property | types.FunctionType):
            yield name, value


def _function(name: str, function: Any, level: int) -> list[str]:
    short = re.sub(r"^foldlog\.(aio\.|testing\.(strategies\.)?)?", "", name)
    shown = f"{name}{_signature(function)}"
    return [f"{'#' * level} `{short}`", _code(shown), *_doc(function)]


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    shown = [_parameter(parameter) for parameter in found.parameters.values() if parameter.name != "self"]
    kinds = [parameter.kind for parameter in found.parameters.values() if parameter.name != "self"]
    if inspect.Parameter.POSITIONAL_ONLY in kinds:
        shown.insert(len(kinds) - kinds[::-1].index(inspect.Parameter.POSITIONAL_ONLY), "/")
        kinds = [*kinds, inspect.Parameter.POSITIONAL_ONLY]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        first = next(parameter.name for parameter in found.parameters.values() if parameter.kind.name == "KEYWORD_ONLY")
        index = next(index for index, text in enumerate(shown) if re.match(rf"{first}\b", text))
        shown.insert(index, "*")
    answer = "" if isinstance(function, type) else f" -> {_annotation(found.return_annotation)}"
    line = f"({', '.join(shown)}){answer}"
    if len(line) <= WIDTH - 20:
        return line
    return "(\n" + "".join(f"    {text},\n" for text in shown) + f"){answer}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {"VAR_KEYWORD": "**", "VAR_POSITIONAL": "*"}.get(parameter.kind.name, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _default(value: Any) -> str:
    if callable(value):
        return str(value.__name__)
    text = repr(value)
    return "…" if text.startswith("<") else text  # a factory: the docstring says what it makes


def _annotation(found: Any) -> str:
    if found is None:
        return "None"
    text = found if isinstance(found, str) else inspect.formatannotation(found)
    # The same on every Python: no module names, except those that tell whose class it is.
    text = re.sub(r"\b(?!sqlite_utils)(?:\w+\.)+(?=[A-Z])", "", text)
    return text.replace("datetime.datetime", "datetime").replace("'", "")


def _doc(found: object) -> list[str]:
    """A docstring as Markdown: paragraphs as they are, examples as code."""
    parts = []
    for paragraph in (inspect.getdoc(found) or "").split("\n\n"):
        if paragraph.lstrip().startswith(">>>"):
            parts.append(f"```pycon\n{paragraph}\n```")
        elif paragraph.strip():
            parts.append(paragraph)
    return parts


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# schema.md


EXAMPLES: Final = {
    "searchable": "SELECT session_id, kind, row_id, substr(text, 1, 60) AS begins\nFROM searchable "
    "WHERE kind = 'message' ORDER BY text_id DESC LIMIT 10",
    "call_usage": "SELECT call_id, model, status, elapsed_ms, total_tokens, usd\n"
    "FROM call_usage WHERE root_id = 'demo' ORDER BY elapsed_ms DESC LIMIT 10",
    "session_usage": "SELECT session_id, session_below_count, call_count, total_tokens, usd, status\n"
    "FROM session_usage ORDER BY usd DESC",
    "session_tree": "SELECT depth, name, edge_type, status\nFROM session_tree WHERE top_id = 'demo' ORDER BY path",
    "transcript": "SELECT at, role, text\nFROM transcript WHERE session_id = 'demo' ORDER BY seq",
    "model_usage": "SELECT provider, model, call_count, unknown_call_count, usd\nFROM model_usage ORDER BY usd DESC",
    "daily_usage": "SELECT day, sum(call_count) AS call_count, sum(total_tokens) AS total_tokens, sum(usd) AS usd\n"
    "FROM daily_usage GROUP BY day ORDER BY day DESC",
    "turn_summary": "SELECT session_id, turn_id, status, call_count, total_tokens, usd\nFROM turn_summary "
    "WHERE status <> 'final'",
    "errors": "SELECT at, session_id, turn_id, kind, id, status, error\nFROM errors ORDER BY at",
    "deletions": "SELECT deleted_at, session_id, session_count, event_count, reason\nFROM deletions ORDER BY position",
    "blob_stats": "SELECT blob_count, bytes, bytes_max FROM blob_stats",
}

# Columns of views that are no column of a table.
COMPUTED: Final = {
    "top_id": "TEXT", "depth": "INTEGER", "path": "TEXT", "parent_session_id": "TEXT", "content": "TEXT",
    "error": "TEXT", "bytes_max": "INTEGER", "message_id": "INTEGER", "usd": "FLOAT", "kind": "TEXT",
    "deleted_at": "TEXT", "blob_bytes": "INTEGER", "reason": "TEXT", "host": "TEXT", "pid": "INTEGER",
    "sessions": "TEXT", "day": "TEXT", "text": "TEXT", "elapsed_ms": "FLOAT",
}  # fmt: skip


_SCHEMA_HEAD: Final = (
    "Made from `foldlog.storage.schema` and `foldlog.storage.sql_views` by `docs/make_reference.py`; do not edit. "
    f"This is schema number **{SCHEMA_NUMBER}** (`PRAGMA user_version`). A store is a SQLite file whose "
    f"`PRAGMA application_id` is {APPLICATION_ID} (`0x{APPLICATION_ID:08x}`).\n\n"
    "How to use it is in the [SQL guide](../guides/sql.md). In short: prefer the views; they change least. The "
    "tables under [From checkpoints](#from-checkpoints) stand as of each session's last checkpoint. Every example "
    "here is run by the tests."
)
_ROW_TABLES: Final = (
    "Made from the journal, and made again from it when their form changes. In the row tables `seq` is a row's "
    "place in its session, `first_event_id` and `last_event_id` the events that made and last changed it, `data` "
    "the whole row as JSON. The other columns are copies of keys of `data`; a value of another type than the "
    "column's is NULL there. Row ids are integers, or text where the application gave names."
)
_SEARCH: Final = (
    "Made from the journal, through the position in `search_state`. `search_index` is the FTS5 table over "
    "`search_texts`, its rowid the `text_id`; the tables named `search_index_…` are its own. How to ask it is in the "
    "[search guide](../guides/search.md#in-sql)."
)


def schema_page() -> str:
    """The schema page."""
    parts = [
        "# Schema",
        _SCHEMA_HEAD,
        "## Views",
    ]
    columns = _view_columns()
    for name, view in SQL_VIEWS.items():
        rows = [(f"`{column}`", _type(column), COLUMNS.get(column, "")) for column in columns[name]]
        parts += [
            f"### {name}",
            view.what,
            _table(("Column", "Type", ""), rows),
            f"```sql\n{EXAMPLES[name]}\n```",
        ]
    parts += [
        "## Durable",
        "The history itself. These tables change only by the migrations in `migrations/`.",
    ]
    for table in durable.sorted_tables:
        parts += _table_part(table)
    parts += [
        "## From checkpoints",
        _ROW_TABLES,
    ]
    for table in projection.sorted_tables:
        parts += _table_part(table)
    parts += ["## The search index", _SEARCH]
    for table in search.sorted_tables:
        parts += _table_part(table)
    return "\n\n".join(parts) + "\n"


def _table_part(table: Table) -> list[str]:
    dialect = sqlite.dialect()
    key = {column.name for column in table.primary_key}
    rows = []
    for column in table.columns:
        notes = ["primary key"] if column.name in key else []
        if not column.nullable and column.name not in key:
            notes.append("not null")
        notes += [f"→ `{foreign.target_fullname}`" for foreign in column.foreign_keys]
        rows.append((f"`{column.name}`", str(column.type.compile(dialect=dialect)), ", ".join(notes)))
    return [f"### {table.name}", TABLES[table.name], _table(("Column", "Type", ""), rows)]


def _view_columns() -> dict[str, list[str]]:
    connection = sqlite3.connect(":memory:")
    try:
        for statement in schema_statements():
            connection.execute(statement)
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in SQL_VIEWS}
    finally:
        connection.close()


def _type(column: str) -> str:
    """A view's column's type, by its name: SQLite's own answer for expressions differs by version."""
    if column in COMPUTED:
        return COMPUTED[column]
    if column.endswith("_count"):
        return "INTEGER"
    for table in (*projection.sorted_tables, *durable.sorted_tables, *search.sorted_tables):
        if column in table.columns:
            return str(table.columns[column].type.compile(dialect=sqlite.dialect()))
    if column.endswith("_id"):
        return "INTEGER"
    raise SystemExit(f"docs/make_reference.py: say in COMPUTED what type the column {column!r} of a view has")


# cli.md

_CLI_HEAD: Final = (
    "Made from the commands by `docs/make_reference.py`; do not edit. A tour is in the "
    "[guide](../guides/command-line.md), with what all verbs have in common: where data and talk go, exit statuses, "
    "how a session and a row are named. STORE is the path of a database file, or the URL of a server: postgresql+psycopg://user@host/database."
)

# What --json prints: one object, or one a line.
ANSWERS: Final = {
    "demo": "One object: `database`, `files`, `session_id`, `ok`. The talk goes to stderr.",
    "ls": "One object a session. `call_count`, `turn_count`, `eval_count` are its own; tokens, `usd`, `usage_status` "
    "and `usd_status` include all below; `event_count` is as of now, `events_behind` says how many the tables lack.",
    "search": "One object a text that was found: `session_id`, `kind`, `field`, `row_id`, `turn_id`, `role`, "
    "`event_id`, `snippet`, `marks` (from where to where words were found in it), `rank` (less is better).",
    "show": "One object. Of a session: `session` (its row), `final` and `children` (of the documents), `counters`, "
    "`last_messages`, `errors`. Of a row: `session_id`, `kind`, `row`.",
    "tree": "One object: the tree document.",
    "usage": "One object a row: `by`, what the row is of, `call_count`, tokens and `usd` (null where nothing is "
    "known), `status` of the tokens, `usd_status`.",
    "messages": "One object a message or eval: `session_id`, `kind`, `row`.",
    "calls": "One object a call: its columns as in the table `calls`, and `seconds`.",
    "events": "One object an event: `position`, `session_id`, `event`.",
    "sql": "One object a row, the row under `row`.",
    "export": "One object: `paths`, of the files written anew.",
    "report": "One object, with `--output`: `path`, `session`, `format`, `bytes`.",
    "csv": "None: it prints CSV.",
    "datasette-config": "One object, with `--output`: `path`, and `commands`, to run each line of Datasette.",
    "verify": "One object: `ok` and the `Report`.",
    "repair": "One object: `ok` and the `Repairs`.",
    "doctor": "One object: `ok` and the `Diagnosis`.",
    "backup": "One object: `path`.",
    "copy": "One object: `ok` and the `Copied`.",
    "upgrade": "One object: `schema_before`, `schema_now`.",
    "rm": "One object: the `Deletion`.",
    "completion": "One object: `shell`, `script`.",
}


def cli_page() -> str:
    """The page of the command line."""
    parts = ["<!-- fmt: off -->", "# Command line", _CLI_HEAD]
    parts.append(_table(("Verb", ""), [(f"[`{name}`](#{name})", line) for name, (_, line) in VERBS.items()]))
    for name in VERBS:
        command = cli.get_command(click.Context(cli, info_name="foldlog"), name)
        if command is None or name not in ANSWERS:
            raise SystemExit(f"docs/make_reference.py: say in ANSWERS what foldlog {name} --json prints")
        parts += _verb(name, command)
    return "\n\n".join(parts) + "\n"


def _verb(name: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=name, parent=click.Context(cli, info_name="foldlog"))
    text, _, examples = (command.help or "").partition("Example:")
    pieces = " ".join(command.collect_usage_pieces(context))
    lines = "\n".join(line.strip() for line in examples.splitlines() if line.strip())
    options = [
        (f"`{found[0]}`", found[1])
        for option in command.params
        if isinstance(option, click.Option) and (found := option.get_help_record(context)) is not None
    ]
    parts = [f"## {name}", _code(f"foldlog {name} {pieces}")]
    parts += [" ".join(paragraph.split()) for paragraph in text.replace("\b", "").split("\n\n") if paragraph.strip()]
    parts += [_code(lines), _table(("Option", ""), [(left.replace("|", "\\|"), right) for left, right in options])]
    return [*parts, f"JSON, `foldlog.{name}/1`: {ANSWERS[name][0].lower()}{ANSWERS[name][1:]}"]


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    stale = []
    pages = {
        "api.md": api_page,
        "aio.md": aio_page,
        "testing.md": testing_page,
        "schema.md": schema_page,
        "cli.md": cli_page,
    }
    for name, make in pages.items():
        path, page = REFERENCE / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == page:
            continue
        stale.append(name)
        if "--check" not in arguments:
            REFERENCE.mkdir(exist_ok=True)
            path.write_text(page, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"stale: {', '.join(stale)} in docs/reference (run: make docs)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
