"""What every store promises, checked from outside: through `foldlog`'s public names only.

`foldlog verify` looks at what is stored (digests, blobs, tables); these also ask the questions an
application asks, and hold the answers against the fold of the journal.
"""

from typing import Any

import foldlog


def check_store(store: foldlog.Store) -> None:
    """Hold a store, and each session in it, to what it promises; raises `AssertionError`, naming what differs.

    Runs `check_session` for each, then `store.verify()`. Reads only. Nobody else may be writing meanwhile: a
    view that is read after the journal would be ahead of it.

    >>> with foldlog.open(folder / "checked.db") as store:
    ...     with store.start_session(id="demo") as session:
    ...         _ = session.add_message("user", "hello")
    ...     check_store(store)
    """
    for row in store.sessions():
        check_session(store, row["id"])
    report = store.verify()
    expect(report.ok, str(report))


def check_session(store: foldlog.Store, session_id: str) -> None:
    """Hold one session to what every session promises; raises `AssertionError`, naming what differs.

    Event ids have no gaps and times do not go back; every prefix of the journal folds; the view, now and in
    the past, is the fold; usage, tree and final follow from it. Costs a few readings of the journal.
    """
    events: list[dict[str, Any]] = [dict(event) for event in store.events(session_id)]
    ids = [event["id"] for event in events]
    expect(ids == list(range(1, len(ids) + 1)), f"session {session_id!r}: the event ids have gaps: {ids[:20]}")
    times = [event["at"] for event in events]
    expect(times == sorted(times), f"session {session_id!r}: time goes back")
    replayed = foldlog.fold(events)
    _same(store.view(session_id).document(), replayed.document(), f"session {session_id!r}: the view, and the fold")
    for at in {1, max(1, len(ids) // 2), len(ids)}:
        what = f"session {session_id!r}: the view at event {at}, and the fold up to there"
        _same(store.view(session_id, at=at).document(), foldlog.fold(events[:at]).document(), what)
    below = {row["id"]: store.view(row["id"]) for row in store.sessions() if row["id"] != session_id}
    usage, tree = foldlog.derive_usage(replayed, below), foldlog.derive_tree(replayed, below)
    _same(store.usage(session_id), usage, f"session {session_id!r}: usage, and what the fold gives")
    _same(store.tree(session_id), tree, f"session {session_id!r}: the tree, and what the fold gives")
    final = store.final(session_id)
    found = [final["usage"], final["turn_count"], final["eval_count"], final.get("value_ref"), final.get("error")]
    expected = [usage, len(replayed.turns), len(replayed.evals), replayed.final_ref, replayed.error]
    expect(found == expected, f"session {session_id!r}: final, and what the fold gives, differ")


def expect(holds: object, what: str) -> None:
    """Raise `AssertionError` unless something holds: `assert`, that no optimisation takes away."""
    if not holds:
        raise AssertionError(what)


def _same(found: Any, expected: Any, what: str) -> None:
    """Expect two documents to be equal; names the keys that differ, and not what they hold."""
    if found != expected:
        keys = [key for key in expected.keys() | found.keys() if found.get(key) != expected.get(key)]
        raise AssertionError(f"{what} differ in: {', '.join(sorted(map(str, keys)))}")
