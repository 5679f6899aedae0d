"""Stores to copy, and what is compared of a store and its copy."""

from pathlib import Path
from typing import Any

import foldlog
from foldlog.storage.driver import driver_of
from foldlog.storage.schema import durable

Place = Path | str


def rows_of(place: Place) -> dict[str, list[Any]]:
    """Every durable row of a store."""
    with foldlog.open(place, read_only=True) as store, store.database.read() as connection:
        driver = driver_of(connection)
        return {
            table.name: sorted(map(tuple, driver.execute(f"SELECT {_names(table)} FROM {table.name}")), key=repr)
            for table in durable.sorted_tables
        }


def notes_of(place: Place) -> list[Any]:
    with foldlog.open(place, read_only=True) as store, store.database.read() as connection:
        return sorted(map(tuple, driver_of(connection).execute("SELECT * FROM quarantine")))


def _names(table: Any) -> str:
    return ", ".join(column.name for column in table.columns)


def said_of(place: Place) -> dict[str, Any]:
    """What the public API says of every session."""
    with foldlog.open(place, read_only=True) as store:
        return {
            one: [store.view(one).document(), store.usage(one), store.tree(one), store.final(one)]
            for one in [row["id"] for row in store.sessions()]
        }


def assert_copied(source: Place, target: Place) -> None:
    assert rows_of(source) == rows_of(target)
    assert said_of(source) == said_of(target)
    with foldlog.open(target, read_only=True) as store:
        report = store.verify()
        assert report.ok, str(report)
        for row in store.sessions():
            view = store.view(row["id"])
            assert view.document() == store.view(row["id"], at=view.counters["event"]).document()


def fill(store: foldlog.Store, name: str = "demo") -> None:
    """A run with all that has a form of its own in a store."""
    with store.start_session(id=name, provider="acme", note="a\0b \u00fc \U0001f600 %s ? \\N \t\n") as session:
        transcript: list[Any] = []
        for number in range(6):
            with session.turn() as turn:
                transcript.append({"role": "user", "content": f"{number} " * 900})
                turn.message("user", f"question {number}\0 \u2028")
                with turn.call("leaf", model="m\0 1", request_ref=session.value_ref(transcript)) as call:
                    call.ok(usage={"input_tokens": 2**60 + number, "output_tokens": 0.5}, cost={"usd": 0.1})
        session.emit("note", idempotency_key=f"key {number}' \\ %", huge=-(2**63), ref=session.value_ref("\0x" * 5000))
        session.snapshot({"numbers": list(range(2000)), "inner": {"transcript": transcript}})
        with session.start_child(query="part") as child:
            child.add_message("user", "below")
            child.mark_final({"n": 1})
        session.mark_final(transcript)
    fork = store.fork_session(name, id=f"{name}-fork")
    fork.add_message("user", "another way")
    fork.close()
