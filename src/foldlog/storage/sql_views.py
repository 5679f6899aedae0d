"""The SQL views: the stable face of the tables for people and tools.

Each has a line that says what a row is; the schema page is made from these lines. Sums are over known
numbers: NULL where nothing is known, never 0. The tables themselves are in `foldlog.storage.schema`. Both engines
have the same views; what reads differently is asked of `Words`: SQLite's are here, PostgreSQL's in
`foldlog.storage.postgres_views`.
"""

from functools import partial
from typing import Final, NamedTuple, Protocol

from foldlog.core.limits import TREE_DEPTH_MAX
from foldlog.storage.schema import FAILED


class SqlView(NamedTuple):
    """One SQL view: what a row is, and its SELECT."""

    what: str
    select: str


# As deep as the documents go that are made of sessions below sessions.
_DEPTH_MAX: Final = TREE_DEPTH_MAX + 10


def _below(top: str) -> str:
    """A SELECT of the ids of a session and all below it, each once, whatever the edges look like."""
    return f"""WITH RECURSIVE below(id) AS (
    SELECT {top} UNION SELECT tree.child_session_id FROM below JOIN tree ON tree.session_id = below.id
  ) SELECT id FROM below WHERE id IS NOT NULL"""


def _above(bottom: str) -> str:
    """The same upwards."""
    return f"""WITH RECURSIVE above(id) AS (
    SELECT {bottom} UNION SELECT tree.session_id FROM above JOIN tree ON tree.child_session_id = above.id
  ) SELECT id FROM above"""


_TOKENS: Final = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens")
_MODEL_CALLS: Final = "type IN ('root', 'leaf', 'leaf_batch_item')"


class Words(Protocol):
    """What the views say differently on the two engines."""

    def whole_sum(self, values: str) -> str:
        """A sum that is NULL where nothing is known, and whole where its values are."""

    def truth(self, condition: str) -> str:
        """A condition as a number to be added up."""

    def elapsed_ms(self, start: str, end: str) -> str:
        """Milliseconds between two times, NULL where one of them is none."""

    def key(self, column: str, key: str) -> str:
        """One key of a JSON object in a column."""

    def number(self, column: str, key: str) -> str:
        """The same of a key whose values are whole numbers."""

    def text(self, column: str, key: str) -> str:
        """The text under a key: itself, or what the parts of a list have under `text`, a line each."""

    def items(self, array: str) -> str:
        """A SELECT of the texts in a JSON array."""

    def derived(self, select: str, name: str) -> str:
        """A SELECT as a table."""

    def with_usage(self, ids: str) -> str:
        """`sessions` and the `usage` of those that a SELECT of ids gives for each."""


class SqliteWords:
    """As SQLite says it."""

    def whole_sum(self, values: str) -> str:
        """No error where it outgrows 64 bits, as SQLite's sum() is."""
        return f"""CASE WHEN count({values}) = 0 THEN NULL WHEN total({values}) = CAST(total({values}) AS INTEGER)
    THEN CAST(total({values}) AS INTEGER) ELSE total({values}) END"""

    def truth(self, condition: str) -> str:
        """A condition is a number."""
        return condition

    def elapsed_ms(self, start: str, end: str) -> str:
        """By days, which SQLite keeps to the millisecond."""
        return f"round((julianday({end}) - julianday({start})) * 86400000)"

    def key(self, column: str, key: str) -> str:
        """By json_each, not json_extract.

        Some SQLite builds refuse the latter inside views for connections with trusted_schema off, ours among them.
        """
        return f"(SELECT value FROM json_each({column}) WHERE key = '{key}')"

    number = key

    def text(self, column: str, key: str) -> str:
        """What is not a list of parts is looked at as an empty one: json_each refuses what is no JSON."""
        parts = "json_each(CASE found.type WHEN 'array' THEN found.value ELSE '[]' END) AS part"
        texts = "json_each(CASE part.type WHEN 'object' THEN part.value ELSE '[]' END) AS inside"
        return f"""(SELECT CASE found.type WHEN 'text' THEN found.value ELSE (
    SELECT group_concat(inside.value, char(10)) FROM {parts}, {texts}
    WHERE inside.key = 'text' AND inside.type = 'text'
  ) END FROM json_each({column}) AS found WHERE found.key = '{key}')"""

    def items(self, array: str) -> str:
        """By json_each."""
        return f"SELECT value FROM json_each({array})"

    def derived(self, select: str, name: str) -> str:  # noqa: ARG002  (the other engine needs it)
        """It needs no name."""
        return f"({select})"

    def with_usage(self, ids: str) -> str:
        """A CROSS JOIN keeps its order: each session's ids are found once."""
        return f"sessions CROSS JOIN usage ON usage.session_id IN ({ids})"


def _both(name: str) -> str:
    """A session's own sum: of its root calls and of its leaf calls."""
    root, leaf = f"usage.root_{name}", f"usage.leaf_{name}"
    return f"CASE WHEN {root} IS NULL AND {leaf} IS NULL THEN NULL ELSE coalesce({root}, 0) + coalesce({leaf}, 0) END"


def _of_turn(total: str) -> str:
    return f"(SELECT {total} FROM calls WHERE session_id = turns.session_id AND turn_id = turns.id AND {_MODEL_CALLS})"


def _listed(sums: dict[str, str]) -> str:
    return ",\n  ".join(f"{total} AS {name}" for name, total in sums.items())


def views(words: Words) -> dict[str, SqlView]:
    """The views in the words of an engine, each after those it reads."""
    return {**_usage_views(words), **_row_views(words), **_store_views(words)}


_LEADS_NOWHERE: Final = """EXISTS (
               SELECT 1 FROM tree WHERE tree.session_id = usage.session_id AND tree.child_session_id IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM sessions child WHERE child.session_id = tree.child_session_id)
             )"""


def _usage_views(words: Words) -> dict[str, SqlView]:
    total, truth = words.whole_sum, words.truth
    # Sums over what sessions have of their own; over calls; over the calls of a turn.
    session_sums = _listed({**{name: total(_both(name)) for name in _TOKENS}, "usd": f"sum({_both('usd')})"})
    call_sums = _listed({**{name: total(name) for name in _TOKENS}, "usd": "sum(usd)"})
    turn_sums = _listed({**{name: _of_turn(total(name)) for name in _TOKENS}, "usd": _of_turn("sum(usd)")})
    return {
        "call_usage": SqlView(
            "One model call (root, leaf or leaf_batch_item): who answered, how long it took and what it cost.",
            f"""
SELECT calls.session_id, sessions.root_id, calls.id AS call_id, calls.turn_id, calls.type, calls.status,
  calls.provider, calls.model, calls.started_at, calls.ended_at,
  {words.elapsed_ms("calls.started_at", "calls.ended_at")} AS elapsed_ms,
  calls.input_tokens, calls.output_tokens, calls.total_tokens, calls.cached_tokens, calls.usd, calls.cache_status
FROM calls JOIN sessions ON sessions.session_id = calls.session_id
WHERE calls.{_MODEL_CALLS}
""",
        ),
        "session_usage": SqlView(
            "One session with all sessions below it: how many, and what their model calls took together.",
            f"""
SELECT sessions.session_id AS session_id, count(*) - 1 AS session_below_count,
  sum(usage.root_call_count + usage.leaf_call_count) AS call_count,
  {session_sums},
  CASE
    WHEN sum({truth("(usage.root_call_count > 0 AND usage.root_status <> 'unknown')")}
           + {truth("(usage.leaf_call_count > 0 AND usage.leaf_status <> 'unknown')")}) = 0 THEN 'unknown'
    WHEN sum({truth("(usage.root_call_count > 0 AND usage.root_status <> 'known')")}
           + {truth("(usage.leaf_call_count > 0 AND usage.leaf_status <> 'known')")}
           + {truth(_LEADS_NOWHERE)}) = 0 THEN 'known'
    ELSE 'partial'
  END AS status
FROM {words.with_usage(_below("sessions.session_id"))}
GROUP BY sessions.session_id
""",
        ),
        "model_usage": SqlView(
            "One model of one provider, over all sessions: calls, tokens, cost, calls whose tokens are unknown.",
            f"""
SELECT provider, model, count(*) AS call_count, count(DISTINCT session_id) AS session_count,
  {call_sums},
  sum({words.truth("input_tokens IS NULL OR output_tokens IS NULL")}) AS unknown_call_count
FROM calls WHERE {_MODEL_CALLS} GROUP BY provider, model
""",
        ),
        "daily_usage": SqlView(
            "One model on one day (in UTC, by when its calls began): calls, tokens, cost.",
            f"""
SELECT substr(started_at, 1, 10) AS day, provider, model, count(*) AS call_count,
  {call_sums}
FROM calls WHERE {_MODEL_CALLS} GROUP BY day, provider, model
""",
        ),
        "turn_summary": SqlView(
            "One turn: its status, its times, how many messages, evals and calls belong to it, "
            "what its model calls took.",
            f"""
SELECT turns.session_id, turns.id AS turn_id, turns.seq, turns.status, turns.started_at, turns.ended_at,
  (SELECT count(*) FROM messages m WHERE m.session_id = turns.session_id AND m.turn_id = turns.id) AS message_count,
  (SELECT count(*) FROM evals e WHERE e.session_id = turns.session_id AND e.turn_id = turns.id) AS eval_count,
  (SELECT count(*) FROM calls c WHERE c.session_id = turns.session_id AND c.turn_id = turns.id) AS call_count,
  {turn_sums}
FROM turns
""",
        ),
    }


def _row_views(words: Words) -> dict[str, SqlView]:
    above = words.derived(_above("sessions.session_id"), "above_it")
    below = words.derived(_below("sessions.session_id"), "below_it")
    return {
        "session_tree": SqlView(
            "One session in its place under a session that no other leads to: depth, path, the call that leads to it.",
            f"""
WITH RECURSIVE walk(top_id, session_id, depth, path, trail) AS (
  SELECT session_id, session_id, 0, session_id, '["' || session_id || '"' FROM sessions
  WHERE NOT EXISTS (
    SELECT id FROM {above} EXCEPT SELECT id FROM {below}
  )
  UNION ALL
  SELECT walk.top_id, child.session_id, walk.depth + 1, walk.path || ' > ' || child.session_id,
    walk.trail || ',"' || child.session_id || '"'
  FROM walk JOIN tree ON tree.session_id = walk.session_id
  JOIN sessions child ON child.session_id = tree.child_session_id
  WHERE walk.depth < {_DEPTH_MAX} AND child.session_id NOT IN ({words.items("walk.trail || ']'")})
  AND NOT EXISTS (
    SELECT 1 FROM tree earlier WHERE earlier.session_id = tree.session_id
    AND earlier.child_session_id = tree.child_session_id AND earlier.seq < tree.seq
  )
)
SELECT top_id, depth, sessions.session_id, name, kind, status, NULL AS parent_session_id, NULL AS call_id,
  NULL AS edge_type, path
FROM walk JOIN sessions ON sessions.session_id = walk.session_id WHERE depth = 0
UNION ALL
SELECT walk.top_id, walk.depth + 1, tree.child_session_id, sessions.name, sessions.kind, sessions.status,
  tree.session_id, tree.call_id, tree.edge_type, walk.path || ' > ' || tree.child_session_id
FROM walk JOIN tree ON tree.session_id = walk.session_id AND tree.child_session_id IS NOT NULL
LEFT JOIN sessions ON sessions.session_id = tree.child_session_id
""",
        ),
        "transcript": SqlView(
            "One message in order: its role, its content (JSON text, plain where the content is text), "
            "and the text in it.",
            f"""
SELECT messages.session_id, messages.seq, messages.id AS message_id, messages.turn_id, messages.call_id, messages.role,
  {words.key("messages.data", "content")} AS content, events.at AS at,
  {words.text("messages.data", "content")} AS text
FROM messages
JOIN streams ON streams.id = messages.session_id
LEFT JOIN events ON events.session_key = streams.session_key AND events.event_id = messages.first_event_id
""",
        ),
        "errors": SqlView(
            "One thing that went wrong: a session, turn, call or eval with status error or interrupted, "
            "and in which turn.",
            f"""
SELECT session_id, 'session' AS kind, NULL AS id, NULL AS turn_id, status, ended_at AS at,
  {words.key("folded", "error")} AS error
FROM sessions WHERE status = 'error'
UNION ALL
SELECT session_id, 'turn', id, id, status, ended_at, {words.key("data", "error")} FROM turns
WHERE {FAILED}
UNION ALL
SELECT session_id, 'call', id, turn_id, status, ended_at, {words.key("data", "error")} FROM calls
WHERE {FAILED}
UNION ALL
SELECT session_id, 'eval', id, turn_id, status, ended_at, {words.key("data", "error")} FROM evals
WHERE {FAILED}
""",
        ),
    }


def _store_views(words: Words) -> dict[str, SqlView]:
    key, number = partial(words.key, "events.data"), partial(words.number, "events.data")
    return {
        "searchable": SqlView(
            "One text that can be found: whose, of what kind, in which key of which row. Join it to `search_index`.",
            """
SELECT search_texts.text_id, streams.id AS session_id, search_texts.event_id, search_texts.kind, search_texts.field,
  search_texts.row_id, coalesce(search_texts.turn_id, (SELECT calls.turn_id FROM calls
    WHERE search_texts.field LIKE 'call.%' AND calls.session_id = streams.id AND calls.id = search_texts.row_id
  )) AS turn_id, search_texts.role, search_texts.text
FROM search_texts JOIN streams ON streams.session_key = search_texts.session_key
""",
        ),
        "deletions": SqlView(
            "One deletion: the session and how many went with it (`sessions` lists them), when, why "
            "and by which process.",
            f"""
SELECT events.position, events.at AS deleted_at, {key("session_id")} AS session_id,
  {number("session_count")} AS session_count, {number("event_count")} AS event_count,
  {number("row_count")} AS row_count, {number("blob_count")} AS blob_count,
  {number("blob_bytes")} AS blob_bytes, {key("reason")} AS reason,
  {key("host")} AS host, {number("pid")} AS pid,
  {key("sessions")} AS sessions
FROM events JOIN streams ON streams.session_key = events.session_key
WHERE streams.id = '.store' AND events.type = 'session.deleted'
""",
        ),
        "blob_stats": SqlView(
            "All blobs together: how many, their bytes as values and the largest.",
            """
SELECT count(*) AS blob_count, sum(bytes) AS bytes, max(bytes) AS bytes_max FROM blobs
""",
        ),
    }


SQL_VIEWS: Final = views(SqliteWords())
