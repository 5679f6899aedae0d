"""Journals to be read: sessions of any length, with turns, messages and calls as agents leave them.

Ten events a step: a turn that starts and ends, three messages, four calls of which one is updated; about 600
bytes of JSON each, and eight rows. The last step is left open: its turn and its last call still run.
"""

import random
from pathlib import Path
from typing import Final

import foldlog
from benchmarks.payload import text

SESSION: Final = "long"
EVENTS_A_STEP: Final = 10
_STEPS_A_BATCH: Final = 100
_BATCHES_A_CHECKPOINT: Final = 50


def write(path: Path, events: int, seed: int) -> None:
    """A store with one session of so many events, more or less a step; its tables are up to date."""
    chance = random.Random(seed)
    # The text of a row is drawn from a few, so that making it does not take longer than writing it.
    texts = [text(chance, 560) for _ in range(97)]
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        session = store.start_session(id=SESSION, provider="acme")
        steps = max(1, events // EVENTS_A_STEP)
        for first in range(0, steps, _STEPS_A_BATCH):
            with session.batch():
                for step in range(first, min(steps, first + _STEPS_A_BATCH)):
                    _step(session, step, texts, ends=step < steps - 1)
            if first // _STEPS_A_BATCH % _BATCHES_A_CHECKPOINT == _BATCHES_A_CHECKPOINT - 1:
                session.checkpoint()
        session.close()


def _step(session: foldlog.Session, step: int, texts: list[str], *, ends: bool) -> None:
    def some(number: int) -> str:
        return texts[(step * 7 + number) % len(texts)]

    turn_id = session.add_turn(note=some(0))["id"]
    session.add_message("user", some(1), turn_id=turn_id)
    for number in range(4):
        usage = {"input_tokens": 900 + step % 100, "output_tokens": 40, "total_tokens": 940 + step % 100}
        status = "ok" if ends or number < 3 else "running"
        call = session.add_call(
            "leaf",
            turn_id=turn_id,
            model="m-1",
            provider="acme",
            query=some(2 + number)[:400],
            usage=usage,
            status=status,
        )
    session.update_call(call["id"], cost={"usd": 0.0004}, note=some(6))
    session.add_message("assistant", some(7), turn_id=turn_id)
    session.add_message("observation", some(8), turn_id=turn_id)
    if ends:
        session.update_turn(turn_id, status="final", final_preview=some(9))
    else:
        session.add_event("note", text=some(9))
