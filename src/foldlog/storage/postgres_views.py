"""The SQL views as PostgreSQL says them: the same names, columns and rows as `foldlog.storage.sql_views` gives SQLite.

Ids that are names stand in id columns as the numbers that `foldlog.storage.postgres_sql.row_key` makes of them. A
column of values out of JSON is text.
"""

from typing import Final

from foldlog.storage.sql_views import views

# A time as people and programs write one, in parts; any day from 1 to 31 counts from the first of its month, as in
# SQLite. A cast would fail for all rows where one has something else.
_TIME: Final = (
    r"^((?!0000)\d{4}-(?:0[1-9]|1[0-2]))-(0[1-9]|[12]\d|3[01])"
    r"(?:[ T]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))? ?(?:Z|([+-])(\d\d):(\d\d))?)?$"
)


def milliseconds(time: str) -> str:
    """An expression: milliseconds since 1970 of a time that is text, NULL where it is none."""
    return f"""(SELECT ((part[1] || '-01')::date - date '1970-01-01' + part[2]::int - 1) * 86400000::bigint
    + coalesce(part[3]::int, 0) * 3600000 + coalesce(part[4]::int, 0) * 60000
    + round(coalesce(part[5]::numeric, 0) * 1000)
    - coalesce((part[6] || '1')::int * (part[7]::int * 60 + part[8]::int), 0) * 60000
    FROM regexp_match({time}, '{_TIME}') AS part)"""


def json(column: str) -> str:
    """An expression: text as JSON, U+FFFD for the escapes of NUL in it, which no text here can hold."""
    # The escape, but not a backslash that is escaped itself and followed by these letters.
    pattern, put = r"(?<!\\)((?:\\\\)*)\\u0000", r"\1\\ufffd"
    return (
        f"(CASE WHEN {column} LIKE '%\\\\u0000%' THEN regexp_replace({column}, '{pattern}', '{put}', 'g') "
        f"ELSE {column} END)::json"
    )


class PostgresWords:
    """As PostgreSQL says it."""

    def whole_sum(self, values: str) -> str:
        """Exact, whatever it grows to."""
        return f"sum({values})"

    def truth(self, condition: str) -> str:
        """A condition is a boolean."""
        return f"CAST({condition} AS INTEGER)"

    def elapsed_ms(self, start: str, end: str) -> str:
        """To the millisecond, as a float."""
        return f"({milliseconds(end)} - {milliseconds(start)})::float8"

    def key(self, column: str, key: str) -> str:
        """As text."""
        return f"({json(column)} ->> '{key}')"

    def number(self, column: str, key: str) -> str:
        """As a whole number."""
        return f"({json(column)} ->> '{key}')::bigint"

    def text(self, column: str, key: str) -> str:
        """What is not a list of parts is looked at as an empty one."""
        parts = "json_array_elements(CASE json_typeof(found.value) WHEN 'array' THEN found.value ELSE '[]' END)"
        texts = "json_each(CASE json_typeof(part.value) WHEN 'object' THEN part.value ELSE '{}' END)"
        return f"""(SELECT CASE json_typeof(found.value) WHEN 'string' THEN found.value #>> '{{}}' ELSE (
    SELECT string_agg(inside.value #>> '{{}}', chr(10)) FROM {parts} AS part(value), {texts} AS inside
    WHERE inside.key = 'text' AND json_typeof(inside.value) = 'string'
  ) END FROM json_each({json(column)}) AS found WHERE found.key = '{key}')"""

    def items(self, array: str) -> str:
        """By json_array_elements_text."""
        return f"SELECT json_array_elements_text(({array})::json)"

    def derived(self, select: str, name: str) -> str:
        """It has a name."""
        return f"({select}) AS {name}"

    def with_usage(self, ids: str) -> str:
        """Each session's ids are found once, and looked up."""
        return f"sessions CROSS JOIN LATERAL ({ids}) AS found JOIN usage ON usage.session_id = found.id"


POSTGRES_VIEWS: Final = {name: view.select for name, view in views(PostgresWords()).items()}
