"""Images of a disk after power cuts, opened and looked at; a script, which prints what was wrong with which.

The run whose log it takes is `recorded_run.py`, the images are made by `disk_images.py`.
"""

import json
import random
import shutil
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from disk_images import Computer, Record, read_log
from recorded_run import JOURNAL, STORE

import foldlog


class Looker:
    """What the journals of one run were in the end, and whether an image has a beginning of them."""

    def __init__(self, journal: list[list[str]], durability: str) -> None:
        self.is_full = durability == "full"
        self.config = foldlog.Config(durability=durability)
        self.journal = journal
        self.losses_told = 0

    def problems(self, computer: Computer, folder: Path, chance: random.Random) -> list[str]:
        acknowledged = computer.promise.event_ids
        # Files are as durable at "normal", but the journal behind them may end before they do.
        broken = computer.broken_files(folder)
        path = folder / STORE
        if not path.exists():
            return [*broken, "the store is gone"] if acknowledged and self.is_full else broken
        marks = computer.names.get(f"{STORE}-marks")
        are_marks_whole = marks is not None and _content(folder / f"{STORE}-marks") == marks.now
        with foldlog.open(path, config=self.config) as store:
            counts = self._counts(store, broken)
            short = {one for one, event_id in acknowledged.items() if counts.get(one, 0) < event_id}
            if self.is_full:
                broken += [
                    f"{one} has {counts.get(one, 0)} of {acknowledged[one]} events acknowledged" for one in short
                ]
            broken += [f"verify: {one}" for one in store.verify().problems if not self._is_due(one, short)]
            if are_marks_whole and not self.is_full:
                for one in sorted(short & counts.keys()):
                    broken += self._told(store, one, acknowledged[one], counts[one])
            whole = sorted(counts.keys() - short)
            if whole:
                broken += self._go_on(store, chance.choice(whole))
        return broken

    def _counts(self, store: Any, broken: list[str]) -> dict[str, int]:
        """How many events each session has; the whole journal must be a beginning of the run's."""
        reader = store.database.new_reader()
        found = [list(row) for row in reader.execute(JOURNAL)]
        reader.close()
        if found != self.journal[: len(found)]:
            broken.append("its journal is no beginning of the run's")
        return Counter(session_id for session_id, _ in found)

    def _is_due(self, problem: Any, short: set[str]) -> bool:
        """Whether a problem is what a cut at "normal" may leave: events that are gone, acknowledged or not yet."""
        is_told = "were committed and are gone" in problem.what
        return not self.is_full and (problem.session in short or is_told)

    def _told(self, store: Any, session_id: str, acknowledged: int, count: int) -> list[str]:
        """The mark of lost events is there: opening has to say so."""
        self.losses_told += 1
        try:
            store.open_session(session_id, recover=False).close()
        except foldlog.CorruptJournalError:
            pass
        else:
            return [f"{session_id} has {count} of {acknowledged} events, which nobody says"]
        with store.open_session(session_id):
            notes = list(store.events(session_id, types=("session.recovered",)))
        lost = notes[-1].get("lost") if notes else None
        if not lost or lost[0] != count + 1 or lost[1] < acknowledged:
            return [f"{session_id} has {count} of {acknowledged} events, and its note says {lost}"]
        return []

    def _go_on(self, store: Any, session_id: str) -> list[str]:
        """Open a session of which nothing is missing, and go on."""
        if self.is_full:
            store.open_session(session_id, recover=False).close()  # which says so if a mark says otherwise
        with store.open_session(session_id) as session:
            events = list(store.events(session_id))
            if session.view != foldlog.fold(events):
                return [f"{session_id}: view != journal"]
            if session.emit("after")["id"] != len(events) + 1:
                return [f"{session_id} does not go on where it was"]
        return []


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def look(log: str, folder: str, durability: str, seed: str, count: str, place: str) -> None:
    journal = json.loads(Path(f"{log}.journal").read_text())
    looker, chance = Looker(journal, durability), random.Random(int(seed))
    records: list[Record] = list(read_log(Path(log), Path(folder)))
    after_promises = [number + 1 for number, record in enumerate(records) if record.operation == "M"]
    cuts = sorted(
        chance.choice(after_promises) if chance.random() < 0.3 else chance.randrange(1, len(records) + 1)
        for _ in range(int(count))
    )
    computer, taken, wrong = Computer(), 0, 0
    image = Path(place)
    for number, cut in enumerate(cuts):
        for record in records[taken:cut]:
            computer.take(record)
        taken = cut
        own = random.Random(int(seed) * 1_000_003 + number)
        image.mkdir()
        try:
            computer.write_image(image, own)
            problems = looker.problems(computer, image, own)
        except Exception:  # noqa: BLE001  (what comes out of it is what is asked)
            problems = [traceback.format_exc()[-2000:]]
        if problems:
            wrong += 1
            after = str(records[cut - 1])[:200]
            print(json.dumps({"cut": cut, "number": number, "after": after, "problems": problems}))
        shutil.rmtree(image)
    print(json.dumps({"images": len(cuts), "wrong": wrong, "told": looker.losses_told}))


if __name__ == "__main__":
    look(*sys.argv[1:])
