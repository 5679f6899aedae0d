"""The SQL views: the stable face of the tables for people and tools.

Each has a line that says what a row is; the schema page is made from these lines. Sums are over known
numbers: NULL where nothing is known, never 0. The tables themselves are in `foldlog.storage.schema`.
"""

from typing import Final, NamedTuple


class SqlView(NamedTuple):
    """One SQL view: what a row is, and its SELECT."""

    what: str
    select: str


# Every session with every session below it (and itself), each pair once, whatever the edges look like.
_BELOW: Final = """
WITH RECURSIVE below(top_id, session_id) AS (
  SELECT session_id, session_id FROM sessions
  UNION
  SELECT below.top_id, tree.child_session_id
  FROM below JOIN tree ON tree.session_id = below.session_id
  JOIN sessions ON sessions.session_id = tree.child_session_id
)
"""

_BOTH: Final = """CASE WHEN {a} IS NULL AND {b} IS NULL THEN NULL ELSE coalesce({a}, 0) + coalesce({b}, 0) END"""


def _own(name: str) -> str:
    return _BOTH.format(a=f"usage.root_{name}", b=f"usage.leaf_{name}")


def _sums(*names: str) -> str:
    return ",\n  ".join(f"sum({_own(name)}) AS {name}" for name in names)


def _key(column: str, key: str) -> str:
    """One key of a JSON object in a column.

    By json_each, not json_extract: some SQLite builds refuse the latter inside views for connections
    with trusted_schema off, ours among them.
    """
    return f"(SELECT value FROM json_each({column}) WHERE key = '{key}')"


SQL_VIEWS: Final[dict[str, SqlView]] = {
    "call_usage": SqlView(
        "One model call (root, leaf or leaf_batch_item): who answered, what it took and what it cost.",
        """
SELECT calls.session_id, sessions.root_id, calls.id AS call_id, calls.turn_id, calls.type, calls.status,
  calls.provider, calls.model, calls.started_at, calls.ended_at,
  calls.input_tokens, calls.output_tokens, calls.total_tokens, calls.cached_tokens, calls.usd, calls.cache_status
FROM calls JOIN sessions ON sessions.session_id = calls.session_id
WHERE calls.type IN ('root', 'leaf', 'leaf_batch_item')
""",
    ),
    "session_usage": SqlView(
        "One session with all sessions below it: how many, and what their model calls took together.",
        f"""
{_BELOW}
SELECT below.top_id AS session_id, count(*) - 1 AS session_below_count,
  sum(usage.root_call_count + usage.leaf_call_count) AS call_count,
  {_sums("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "usd")},
  CASE
    WHEN sum((usage.root_call_count > 0 AND usage.root_status <> 'unknown')
           + (usage.leaf_call_count > 0 AND usage.leaf_status <> 'unknown')) = 0 THEN 'unknown'
    WHEN sum((usage.root_call_count > 0 AND usage.root_status <> 'known')
           + (usage.leaf_call_count > 0 AND usage.leaf_status <> 'known')) = 0 THEN 'known'
    ELSE 'partial'
  END AS status
FROM below JOIN usage ON usage.session_id = below.session_id
GROUP BY below.top_id
""",
    ),
    "session_tree": SqlView(
        "One session in its place under a session that no call leads to: depth, path, the call that leads to it.",
        """
WITH RECURSIVE walk(top_id, session_id, parent_session_id, call_id, edge_type, depth, path) AS (
  SELECT session_id, session_id, NULL, NULL, NULL, 0, session_id
  FROM sessions
  WHERE NOT EXISTS (SELECT 1 FROM tree WHERE tree.child_session_id = sessions.session_id)
  UNION ALL
  SELECT walk.top_id, tree.child_session_id, tree.session_id, tree.call_id, tree.edge_type, walk.depth + 1,
    walk.path || ' > ' || tree.child_session_id
  FROM walk JOIN tree ON tree.session_id = walk.session_id
  WHERE tree.child_session_id IS NOT NULL AND walk.depth < 64
)
SELECT walk.top_id, walk.depth, walk.session_id, sessions.name, sessions.kind, sessions.status,
  walk.parent_session_id, walk.call_id, walk.edge_type, walk.path
FROM walk LEFT JOIN sessions ON sessions.session_id = walk.session_id
""",
    ),
    "transcript": SqlView(
        "One message in order: its role and its content as JSON text (plain text where the content is text).",
        f"""
SELECT messages.session_id, messages.seq, messages.id AS message_id, messages.turn_id, messages.call_id, messages.role,
  {_key("messages.data", "content")} AS content, events.at AS at
FROM messages
JOIN streams ON streams.id = messages.session_id
JOIN events ON events.session_key = streams.session_key AND events.event_id = messages.first_event_id
""",
    ),
    "model_usage": SqlView(
        "One model of one provider, over all sessions: calls, tokens, cost, calls whose tokens are unknown.",
        """
SELECT provider, model, count(*) AS call_count, count(DISTINCT session_id) AS session_count,
  sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(total_tokens) AS total_tokens,
  sum(cached_tokens) AS cached_tokens, sum(usd) AS usd,
  sum(input_tokens IS NULL OR output_tokens IS NULL) AS unknown_call_count
FROM call_usage GROUP BY provider, model
""",
    ),
    "turn_summary": SqlView(
        "One turn: its status, its times, and how many messages, evals and calls belong to it.",
        """
SELECT turns.session_id, turns.id AS turn_id, turns.seq, turns.status, turns.started_at, turns.ended_at,
  (SELECT count(*) FROM messages m WHERE m.session_id = turns.session_id AND m.turn_id = turns.id) AS message_count,
  (SELECT count(*) FROM evals e WHERE e.session_id = turns.session_id AND e.turn_id = turns.id) AS eval_count,
  (SELECT count(*) FROM calls c WHERE c.session_id = turns.session_id AND c.turn_id = turns.id) AS call_count
FROM turns
""",
    ),
    "errors": SqlView(
        "One thing that went wrong: a session, turn, call or eval with status error or interrupted.",
        f"""
SELECT session_id, 'session' AS kind, NULL AS id, status, ended_at AS at, {_key("folded", "error")} AS error
FROM sessions WHERE status = 'error'
UNION ALL
SELECT session_id, 'turn', id, status, ended_at, {_key("data", "error")} FROM turns
WHERE status IN ('error', 'interrupted')
UNION ALL
SELECT session_id, 'call', id, status, ended_at, {_key("data", "error")} FROM calls
WHERE status IN ('error', 'interrupted')
UNION ALL
SELECT session_id, 'eval', id, status, ended_at, {_key("data", "error")} FROM evals WHERE status = 'error'
""",
    ),
    "deletions": SqlView(
        "One deletion: the session and how many went with it (`sessions` lists them), when, why and by which process.",
        f"""
SELECT events.position, events.at AS deleted_at, {_key("events.data", "session_id")} AS session_id,
  {_key("events.data", "session_count")} AS session_count, {_key("events.data", "event_count")} AS event_count,
  {_key("events.data", "row_count")} AS row_count, {_key("events.data", "blob_count")} AS blob_count,
  {_key("events.data", "blob_bytes")} AS blob_bytes, {_key("events.data", "reason")} AS reason,
  {_key("events.data", "host")} AS host, {_key("events.data", "pid")} AS pid,
  {_key("events.data", "sessions")} AS sessions
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
