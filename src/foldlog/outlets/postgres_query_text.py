"""The text of a query for PostgreSQL: its marks for values, and what it may name.

A server does much for a SELECT that a database file cannot: it reads files, sleeps, ends other connections, runs SQL
that is in a text. Who may do so depends on the role, and a role may be allowed everything. So a query names functions,
operators and types that are listed here, and tables of the store's own schema; all else is refused before the server
sees it. Listed is what reads its arguments once: of two long texts some functions take the product, in a step that no
deadline ends. To be sound about names, the text is cut into tokens exactly as PostgreSQL's own scanner does it; what
that reads in more than one way (E'', U&'') is refused. Running it is in `foldlog.outlets.postgres_query`.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from foldlog.core.errors import QueryError

# Joins are planned in one step.
_SQL_CHARS_MAX: Final = 200_000
_LETTER: Final = "A-Za-z_\u0080-\U0010ffff"


def _set(text: str) -> frozenset[str]:
    """A set of words."""
    return frozenset(text.split())


_FUNCTIONS: Final = _set(
    """
    lower upper initcap length char_length character_length octet_length substr substring left right concat concat_ws
    chr ascii reverse md5 sha256 starts_with encode decode convert_from convert_to to_char to_number
    regexp_match regexp_matches regexp_replace regexp_count regexp_like regexp_substr regexp_instr regexp_split_to_table
    abs ceil ceiling floor round trunc sign mod power sqrt exp ln log pi greatest least random div
    count sum avg min max string_agg array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bool_and bool_or
    every stddev stddev_pop stddev_samp variance var_pop var_samp corr percentile_cont percentile_disc mode
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    coalesce nullif grouping
    now clock_timestamp current_timestamp current_time localtimestamp localtime date_trunc date_part extract age
    make_date make_time make_timestamp make_interval to_timestamp to_date date_bin timezone
    json_array_elements json_array_elements_text jsonb_array_elements jsonb_array_elements_text json_each json_each_text
    jsonb_each jsonb_each_text json_object_keys jsonb_object_keys json_array_length jsonb_array_length json_typeof
    jsonb_typeof json_extract_path json_extract_path_text jsonb_extract_path jsonb_extract_path_text json_build_object
    json_build_array jsonb_build_object jsonb_build_array to_json to_jsonb row_to_json json_strip_nulls jsonb_pretty
    unnest array_length cardinality array_to_string array_position
    generate_series to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery version
    """
)
# With a second argument these take the product of the two.
_OF_ONE_ARGUMENT: Final = frozenset({"trim", "btrim", "ltrim", "rtrim"})
# Words of the language that stand before a parenthesis.
_WORDS: Final = _set(
    """
    all and any array as between by case cast distinct else end escape except exists fetch filter first from full group
    having ilike in inner intersect interval is join lateral like limit materialized next not offset on only or order
    over partition recursive row rollup cube sets rows range groups select similar some table then union using values
    when where with within to
    """
)
_TYPES: Final = _set(
    """
    text varchar char character bpchar int integer int2 int4 int8 smallint bigint numeric decimal real float float4
    float8 double bool boolean date time timetz timestamp timestamptz interval uuid bytea json jsonb tsquery
    """
)
_OPERATORS: Final = _set("= <> != < > <= >= + - * / % ^ | & # || -> ->> #> #>> ~ ~* !~ !~* ~~ ~~* !~~ !~~* << >> @@")
_BEGINNINGS: Final = ("select", "with", "values", "table")

_TOKEN: Final = re.compile(
    rf"""(?P<space>[ \t\n\r\f\v]+|--[^\n\r]*)|(?P<comment>/\*)
    |(?P<string>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<dollar>\$(?:[{_LETTER}][0-9{_LETTER}]*)?\$)
    |(?P<name>[{_LETTER}][$0-9{_LETTER}]*)|(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)
    |(?P<mark>\?)|(?P<cast>::)|(?P<named>:[A-Za-z_][A-Za-z0-9_]*)
    |(?P<operator>(?:(?!--|/\*)[~!@\#^&|`+\-*/%<>=])+)|(?P<other>[()\[\],.;:])""",
    re.VERBOSE,
)
_NO_CHARACTER: Final = re.compile("[\0\ud800-\udfff]")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_TWO_WAYS: Final = re.compile(r"""[eE]'|[uU]&['"]""")


class Token(NamedTuple):
    """A piece of the text: what it is, its words (a name as the server knows it), and where it stands."""

    kind: str
    text: str
    start: int
    end: int


class Text(NamedTuple):
    """A query that may be asked: with the server's marks, the values for them, and what it qualifies names with."""

    sql: str
    values: list[Any]
    qualifiers: frozenset[str]


def checked(sql: str, params: Mapping[str, Any] | list[Any]) -> Text:
    """The query with its values in order; raises `QueryError` where it may not be asked."""
    tokens = _tokens(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise QueryError("the SQL returns no rows", hint="ask with a SELECT")
    _check_form(tokens)
    for at, token in enumerate(tokens):
        _check_token(tokens, at, token)
    marked, values = _with_marks(sql[: tokens[-1].end], tokens, params)
    dotted = (one.text for one, after in itertools.pairwise(tokens) if after.text == "." and _is_name(one))
    return Text(marked, values, frozenset(dotted))


def _refused(what: str) -> QueryError:
    return QueryError(
        f"the query is refused ({what})",
        hint="one SELECT over the tables and views, with common functions of text, numbers, times and JSON, is allowed",
    )


# Tokens.


def _tokens(sql: str) -> list[Token]:
    if not isinstance(sql, str):
        raise QueryError("the SQL is no text", hint="pass a str")
    if len(sql) > _SQL_CHARS_MAX:
        raise QueryError(f"the SQL has more than {_SQL_CHARS_MAX:,} characters", hint="pass long lists as values")
    if _NO_CHARACTER.search(sql):
        raise _refused("it has a character that is none")
    found: list[Token] = []
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None or (match["name"] and _TWO_WAYS.match(sql, at)):
            raise _unreadable(sql[at : at + 2])
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            end = _end_of_comment(sql, end)
        elif kind == "dollar":
            end = sql.find(match[0], end)
            if end < 0:
                raise _refused(f"{match[0][:20]} is not closed")
            found.append(Token("string", "", at, end := end + len(match[0])))
        elif kind == "operator":
            found += _operators(match[0], at)
        elif kind != "space":
            found.append(Token(kind, _text(kind, match[0]), at, end))
        at = end
    return found


def _unreadable(begin: str) -> QueryError:
    if begin[:1] in "'\"":
        return _refused("a quotation mark is not closed")
    if begin[:1] in "eEuU":
        return _refused("a text in E'' or U&''; write it in plain quotation marks")
    return _refused(f"{begin[:1]!r} where SQL has no such character")


def _text(kind: str, text: str) -> str:
    if kind == "quoted":
        return text[1:-1].replace('""', '"')
    if kind == "string":
        return ""
    return "".join(char.lower() if char.isascii() else char for char in text) if kind == "name" else text


def _end_of_comment(sql: str, at: int) -> int:
    """After a comment, in which others may stand."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, at)
        if edge is None:
            raise _refused("a comment is not closed")
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at


def _operators(run: str, at: int) -> list[Token]:
    """A run of signs as operators: a sign of a number is one of its own, but behind those of a list."""
    end = len(run)
    if not set(run) & set("~!@#%^&|`"):
        while end > 1 and run[end - 1] in "+-":
            end -= 1
    signs = [run[:end], *run[end:]]
    found = []
    for sign in signs:
        found.append(Token("operator", sign, at, at + len(sign)))
        at += len(sign)
    return found


# What may be named.


def _is_name(token: Token) -> bool:
    return token.kind in ("name", "quoted")


def _is_word(token: Token, *words: str) -> bool:
    return token.kind == "name" and token.text in words


def _check_form(tokens: list[Token]) -> None:
    """One statement that begins as a SELECT does, all of whose brackets are closed: it will stand in brackets."""
    begins = next((token for token in tokens if token.text != "("), tokens[0])
    if not _is_word(begins, *_BEGINNINGS):
        raise _refused("it is no SELECT")
    opened: list[str] = []
    for token in tokens:
        if token.text == ";" and token.kind == "other":
            raise _refused("it is more than one statement")
        if token.kind == "other" and token.text in "([":
            opened.append(")" if token.text == "(" else "]")
        elif token.kind == "other" and token.text in ")]" and (not opened or opened.pop() != token.text):
            raise _refused("a bracket is closed that was not opened")
    if opened:
        raise _refused("a bracket is not closed")


def _check_token(tokens: list[Token], at: int, token: Token) -> None:
    after = tokens[at + 1] if at + 1 < len(tokens) else Token("", "", 0, 0)
    if token.kind == "operator" and token.text not in _OPERATORS:
        raise _refused(f"the operator {token.text[:20]}")
    if token.kind == "cast":
        _check_type(after)
    if not _is_name(token):
        return
    if token.text.lower().startswith("pg_"):
        raise _refused(f"{token.text[:60]} is the server's own")
    if after.text != "(" or after.kind != "other":
        return
    if token.text == "cast":
        _check_cast(tokens, at + 1)
    elif token.text in _OF_ONE_ARGUMENT:
        inside = _inside(tokens, at + 1)
        if any(one.text == "," or _is_word(one, "from") for one in inside):
            raise _refused(f"{token.text} with two arguments; regexp_replace does it")
    elif not (token.text in _FUNCTIONS or token.text in _WORDS or token.text in _TYPES or _names_columns(tokens, at)):
        raise _refused(f"the function {token.text[:60]}")


def _check_type(token: Token) -> None:
    if not _is_name(token) or token.text not in _TYPES:
        raise _refused(f"a value as {token.text[:60] or 'something else'}")


def _check_cast(tokens: list[Token], opening: int) -> None:
    inside = _inside(tokens, opening)
    for at, token in enumerate(inside):
        if _is_word(token, "as"):
            _check_type(inside[at + 1] if at + 1 < len(inside) else token)


def _inside(tokens: list[Token], opening: int) -> list[Token]:
    """What stands in a pair of brackets, without what is in brackets there."""
    depth, found = 0, []
    for token in tokens[opening:]:
        if token.kind == "other" and token.text in ")]":
            depth -= 1
            if depth == 0:
                break
        if depth == 1:
            found.append(token)
        if token.kind == "other" and token.text in "([":
            depth += 1
    return found


def _names_columns(tokens: list[Token], at: int) -> bool:
    """Whether a name before a bracket is no function: `… AS name(columns)`, or `name(columns) AS (SELECT …` in WITH."""
    if at and _is_word(tokens[at - 1], "as"):
        return True
    rest = iter(tokens[at + 2 :])
    for token in rest:
        if token.text == ")" and token.kind == "other":
            break
        if not (_is_name(token) or (token.text == "," and token.kind == "other")):
            return False
    behind = [next(rest, Token("", "", 0, 0)) for _ in range(6)]
    if not _is_word(behind.pop(0), "as"):
        return False
    while _is_word(behind[0], "not", "materialized"):
        behind.pop(0)
    # With these, what is in the bracket can be no list of columns and their types, which a function may have.
    is_values = _is_word(behind[1], "values") and behind[2].text == "("
    return behind[0].text == "(" and (_is_word(behind[1], "select", "with") or is_values)


# Values.


def _with_marks(sql: str, tokens: list[Token], params: Mapping[str, Any] | list[Any]) -> tuple[str, list[Any]]:
    """The text with the server's marks, and the values in their order."""
    found, values, numbers = [], list[Any](), dict[str, int]()
    at, brackets = 0, 0
    before = Token("", "", 0, 0)
    for token in tokens:
        brackets += (token.text == "[") - (token.text == "]") if token.kind == "other" else 0
        if token.kind == "mark" or (token.kind == "named" and not (brackets and _ends_value(before))):
            number = _number(token, params, values, numbers)
            # A space on both sides: what stands beside it is no part of it.
            found += [sql[at : token.start], f" ${number} "]
            at = token.end
        before = token
    if not isinstance(params, Mapping) and len(values) != len(params):
        raise QueryError(
            f"the SQL has {len(values)} marks and {len(params)} values", hint="one value for each ? or :name in it"
        )
    return "".join([*found, sql[at:]]), values


def _number(token: Token, params: Mapping[str, Any] | list[Any], values: list[Any], numbers: dict[str, int]) -> int:
    name = token.text.removeprefix(":")
    if isinstance(params, Mapping) is (token.kind == "mark"):
        raise QueryError("the values do not fit the marks", hint="pass a list for ?, a dict for :name")
    if isinstance(params, Mapping):
        if name not in params:
            raise QueryError(f"there is no value for :{name[:60]}", hint="one value for each ? or :name in it")
        if name not in numbers:
            values.append(params[name])
            numbers[name] = len(values)
        return numbers[name]
    if len(values) == len(params):
        raise QueryError(
            f"the SQL has more marks than {len(params)} values", hint="one value for each ? or :name in it"
        )
    values.append(params[len(values)])
    return len(values)


def _ends_value(token: Token) -> bool:
    """Whether a colon behind this in `[]` stands between the bounds of a slice."""
    return token.kind in ("number", "name", "quoted", "string", "mark", "named") or token.text in (")", "]")
