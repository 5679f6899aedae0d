"""A store for tests of what shows stores."""

from pathlib import Path

import foldlog


def fill(path: Path) -> None:
    """A run with two calls, a child, an error, and a value that is a blob."""
    with foldlog.open(path) as store, store.start_session(id="demo", provider="acme") as session:
        session.add_message("system", "Answer briefly.")
        with session.turn() as turn:
            turn.message("user", [{"type": "text", "text": "How many"}, {"type": "text", "text": "words?"}])
            request = session.value_ref({"prompt": "word " * 2000})
            with turn.call("root", provider="acme", model="m-1", request_ref=request) as call:
                call.ok(usage={"input_tokens": 40, "output_tokens": 7, "total_tokens": 47}, cost={"usd": 0.5})
            child = session.start_child(turn_id=turn.id)
            with child, child.turn() as below, below.call("leaf", provider="acme", model="m-2") as call:
                call.error("refused")
            turn.final({"words": 4})
