"""A store with something of everything in it, for the SQL that the pages show."""

from collections.abc import Iterator

import pytest

import foldlog


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[foldlog.Store]:
    path = tmp_path_factory.mktemp("docs") / "history.db"
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        fill(store)
        store.checkpoint()  # and what is said stands in the search index
        yield store


def fill(store: foldlog.Store) -> None:
    store.start_session(id="scratch").close()
    store.delete_session("scratch", reason="a try")
    with store.start_session(id="demo", provider="acme") as session:
        session.add_message("system", "Answer briefly.")
        with session.turn() as turn:
            turn.message("user", "How many words?")
            request = session.value_ref({"prompt": "word " * 2000})
            with turn.call("root", provider="acme", model="m-1", request_ref=request) as call:
                call.ok(usage={"input_tokens": 40, "output_tokens": 7, "total_tokens": 47}, cost={"usd": 0.0004})
            turn.message("assistant", "Asking two others.", call_id=call.id)
            for part in ("one", "two"):
                with session.start_child(turn_id=turn.id, query=part) as child, child.turn() as below:
                    with below.call("leaf", provider="acme", model="m-2") as call:
                        call.ok(usage={"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}, cost={"usd": 1e-5})
                    below.final(2)
            with turn.call("leaf", provider="other", model="m-3") as call:
                call.error("refused")
            turn.eval(code="2 + 2", status="error", error="ZeroDivisionError", elapsed_ms=0.4)
            turn.final({"words": 4})
        session.snapshot({"words": 4})
        turn_row = session.add_turn()
        session.update_turn(turn_row["id"], status="interrupted")
