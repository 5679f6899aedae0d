"""A writer made to be killed: eight threads on several sessions, and one that checkpoints, until the end.

It says what was acknowledged before it goes on. `acknowledged` and `whole` then hold the store to it.
"""

import random
import signal
import threading
from pathlib import Path
from typing import Any

from forks import Forked, Line

import foldlog

THREADS = 8
BATCH = 3
SESSIONS = ("one", "two")


def run_and_kill(path: Path | str, chance: random.Random) -> list[dict[str, object]]:
    """Run the writer, kill it at a random moment, at times while it opens the store; what it acknowledged."""
    seed = chance.randrange(2**32)
    process = Forked(lambda line: write(path, line, seed))
    if chance.random() < 0.8:
        assert process.hear() == "ready"
        process.listen(chance.uniform(0, 0.2))
    else:
        process.listen(chance.uniform(0, 0.06))
    process.kill()
    assert process.join() == -signal.SIGKILL, process.failure()
    assert process.failure() is None, process.failure()
    return [one for one in process.said if one != "ready"]


def write(path: Path | str, line: Line, seed: int) -> None:
    """Open the store, or make it, and write until killed; says "ready" when all threads are about to begin."""
    store = foldlog.open(path)
    sessions = [_opened(store, session_id) for session_id in SESSIONS]
    turns = [session.add_turn()["id"] for session in sessions]
    counted = [session.add_call("leaf", tries=0)["id"] for session in sessions]

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while True:
            place = chance.randrange(len(sessions))
            _step(chance, line, sessions[place], turns[place], counted[place])

    def checkpoints() -> None:
        chance = random.Random(seed)
        while True:
            if chance.random() < 0.5:
                chance.choice(sessions).checkpoint()
            else:
                store.checkpoint()

    def guarded(run: Any, *arguments: int) -> None:
        try:
            run(*arguments)
        except BaseException as error:  # noqa: BLE001
            line.say({"failed": f"{type(error).__name__}: {error}"[:2000]})

    threads = [threading.Thread(target=guarded, args=(work, number)) for number in range(THREADS)]
    threads.append(threading.Thread(target=guarded, args=(checkpoints,)))
    line.say("ready")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _opened(store: foldlog.Store, session_id: str) -> foldlog.Session:
    try:
        return store.start_session(id=session_id)
    except foldlog.AlreadyExistsError:
        return store.open_session(session_id)


def _step(chance: random.Random, line: Line, session: foldlog.Session, turn_id: Any, counted: Any) -> None:
    what, mark = chance.randrange(6), chance.randrange(2**60)
    if what == 0:
        with session.batch():
            ids = [session.add_event("batched", mark=mark, place=place) for place in range(BATCH)]
        line.say({"session": session.id, "ids": ids, "mark": mark})
    elif what == 1:
        row = session.update_call(counted, lambda row: {"tries": row["tries"] + 1})
        line.say({"session": session.id, "call": counted, "tries": row["tries"]})
    elif what == 2:
        text = chance.choice("abc") * 9000 + str(mark)
        call = session.add_call("leaf", turn_id=turn_id, mark=mark, request_ref=session.value_ref(text))
        line.say({"session": session.id, "row": call["id"], "mark": mark})
    elif what == 3 and chance.random() < 0.3:
        child = session.start_child(turn_id=turn_id)
        event_id = child.add_event("acknowledged", mark=mark)
        line.say({"session": child.id, "ids": [event_id], "mark": mark})
        child.close()
    elif what == 4:
        event = session.emit("acknowledged", mark=mark, idempotency_key=f"k{mark}")
        line.say({"session": session.id, "ids": [event["id"]], "mark": mark})
    else:
        event_id = session.add_event("acknowledged", mark=mark)
        line.say({"session": session.id, "ids": [event_id], "mark": mark})


def assert_kept(store: foldlog.Store, said: list[Any]) -> None:
    """Everything that was acknowledged is in the store, as it was."""
    events = {name: {event["id"]: event for event in store.events(name)} for name in session_ids(store)}
    for one in said:
        own = events[one["session"]]
        if "ids" in one:
            assert [own[event_id]["mark"] for event_id in one["ids"]] == [one["mark"]] * len(one["ids"])
        elif "tries" in one:
            assert store.view(one["session"]).calls[one["call"]]["tries"] >= one["tries"]
        else:
            assert store.view(one["session"]).calls[one["row"]]["mark"] == one["mark"]


def assert_whole(store: foldlog.Store) -> None:
    """Ids are gap-free, batches all or none, and the view on the tables is the fold of the journal."""
    for session_id in session_ids(store):
        events = list(store.events(session_id))
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        batched = [event for event in events if event["type"] == "batched"]
        for place, event in enumerate(batched):
            first = batched[place - place % BATCH]
            assert (event["mark"], event["place"]) == (first["mark"], place % BATCH)
            assert event["id"] == first["id"] + place % BATCH
        assert len(batched) % BATCH == 0
        assert store.view(session_id) == foldlog.fold(events)


def session_ids(store: foldlog.Store) -> list[str]:
    return [row["id"] for row in store.sessions()]
