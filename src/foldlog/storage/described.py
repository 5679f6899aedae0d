"""What each table holds and what each column means, in a line: for the schema page, Datasette and others who show them.

What a view is stands with its SELECT in `foldlog.storage.sql_views`. A column means the same wherever it is.
"""

from typing import Final

TABLES: Final = {
    "streams": "One session in the journal: a small integer key for its id. `.store` is the store's own line of "
    "events; a key below 0 is that of a deleted session.",
    "events": "The journal. One event; `position` is its place in the store, `event_id` its place in its session. "
    "Triggers refuse UPDATE and DELETE.",
    "blobs": "One large value, once, under the hash of its canonical JSON. `bytes` is the length of that; in `data` "
    "what is large inside stands as a marker for a row of `parts` or `lists`. Not for SQL: `read_ref` and an export "
    "give values whole.",
    "parts": "One large text, map or small list inside values, once; `data` as in `blobs`.",
    "lists": "One large list inside values: the list it begins with, and the items that follow, as in `blobs`.",
    "quarantine": "One event that a repair found damaged or gone, why and when; views and tables are made without it.",
    "sessions": "One session as of its last checkpoint. `writer` is the note of who writes it (NULL after a clean "
    "close), `folded` the parts of the view that are no rows (counters, final reference, error) as JSON.",
    "messages": "One message.",
    "turns": "One turn. Its id lists are not here: select the rows that name the turn, in order of `seq`.",
    "evals": "One piece of code that was run.",
    "calls": "One call: to a model (root, leaf, leaf_batch_item), to a child session, or of a type of your own.",
    "snapshots": "One snapshot of the application's own state.",
    "final": "What has become of one session: counts, without the sessions below it.",
    "usage": "One session's own sums over its root and leaf calls, without the sessions below it. A sum is NULL where "
    "nothing is known.",
    "tree": "One call that leads to a child session. The child may be missing from `sessions`.",
    "search_texts": "One text that can be found: of which event, of what kind, in which key of which row.",
    "search_state": "One row: through which position events are in the index.",
}

# By name. What says nothing more than its name is not here.
COLUMNS: Final = {
    "session_id": "The session's address: `demo`, or `demo/child-0001` for a child of it.",
    "name": "The last part of the session's address.",
    "root_id": "The first part of the session's address: the run it belongs to.",
    "parent_id": "The session above it, or NULL.",
    "parent_session_id": "The session whose call leads here.",
    "child_session_id": "The session a call leads to; it may be missing from `sessions`.",
    "source_session_id": "The session it was resumed, forked or attached from.",
    "lineage_kind": "How it came from its source: resume, fork or attached.",
    "top_id": "The session at the top of the tree.",
    "depth": "0 at the top of the tree.",
    "path": "The sessions from the top to this one; in this order, children follow their parents.",
    "edge_type": "How a child came to be: spawned or attached.",
    "seq": "The row's place in its session, from 1.",
    "first_event_id": "The event that made the row.",
    "last_event_id": "The event that last changed it.",
    "checkpoint_event_id": "The event at which the session's rows in these tables stand.",
    "position": "The event's place in the store, over all sessions.",
    "event_id": "The event's place in its session, from 1.",
    "at": "When it was recorded, in UTC, as text of fixed width: text order is time order.",
    "day": "A day in UTC.",
    "started_at": "When it began, in UTC.",
    "ended_at": "When it ended, in UTC; NULL while it runs.",
    "elapsed_ms": "How long it took, in milliseconds.",
    "data": "The whole of it as JSON.",
    "content": "What was said: text as it is, anything else as JSON.",
    "text": "The text in the content: itself, or that of its parts, a line each.",
    "error": "What was recorded of the error: text, or JSON with a type and a message.",
    "usd": "Cost in US dollars; NULL where nothing is known.",
    "input_tokens": "Known input tokens; NULL where nothing is known.",
    "output_tokens": "Known output tokens; NULL where nothing is known.",
    "total_tokens": "Known tokens in all, as the provider says; NULL where nothing is known.",
    "cached_tokens": "Known input tokens that the provider had cached; NULL where nothing is known.",
    "cache_status": "What the provider's cache did: hit, miss or unknown.",
    "unknown_call_count": "Calls whose input or output tokens are unknown.",
    "session_below_count": "How many sessions are below it.",
    "idempotency_key": "The key by which a repeated event is known.",
    "chain": "SHA-256 over the chain before it and this event.",
    "digest": "SHA-256 of `data`.",
    "hash": "`sha256:` and the hash of the value's canonical JSON.",
    "bytes": "The length of the value's canonical JSON.",
    "writer": "Who writes the session; NULL after a clean close.",
    "folded": "The parts of the session's view that are no rows, as JSON.",
}
