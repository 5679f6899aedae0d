"""Images of a disk after power cuts, opened and looked at; a script, which prints what was wrong with which.

The run whose log it takes is `recorded_run.py`, the images are made by `disk_images.py`.
"""

import json
import random
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from disk_images import Computer, Record, read_log
from recorded_run import STORE

import foldlog


class Looker:
    """What the journals of one run were in the end, and whether an image has a beginning of them."""

    def __init__(self, journal: list[list[str]], durability: str) -> None:
        self.is_full = durability == "full"
        self.durability = durability
        self.journal = journal

    def problems(self, computer: Computer, folder: Path, chance: random.Random) -> list[str]:
        promised = computer.promise.event_ids
        broken = computer.broken_files(folder)
        if not self.is_full:
            # Their bytes are as durable as ever. Whether the journal behind them is there is another matter.
            promised = {}
        path = folder / STORE
        if not path.exists() and (promised or any(one == STORE for one in computer.promise.files)):
            return ["the store is gone", *broken]
        with foldlog.open(path, config=foldlog.Config(durability=self.durability)) as store:
            reader = store.database.new_reader()
            sql = "SELECT streams.id, hex(chain) FROM events JOIN streams USING (session_key) ORDER BY position"
            found = [list(row) for row in reader.execute(sql)]
            reader.close()
            if found != self.journal[: len(found)]:
                broken.append("its journal is no beginning of the run's")
            counts: dict[str, int] = {}
            for session_id, _ in found:
                counts[session_id] = counts.get(session_id, 0) + 1
            for session_id, event_id in promised.items():
                if counts.get(session_id, 0) < event_id:
                    broken.append(f"{session_id} has {counts.get(session_id, 0)} of {event_id} events acknowledged")
            report = store.verify()
            if not report.ok:
                broken.append(f"verify: {report.problems}")
            if counts:
                broken += self._go_on(store, chance.choice(sorted(counts)), counts)
        return broken

    @staticmethod
    def _go_on(store: Any, session_id: str, counts: dict[str, int]) -> list[str]:
        """Open a session of it and go on."""
        with store.open_session(session_id) as session:
            events = list(store.events(session_id))
            if session.view != foldlog.fold(events):
                return [f"{session_id}: view != journal"]
            if session.emit("after")["id"] != len(events) + 1 or len(events) < counts[session_id]:
                return [f"{session_id} does not go on where it was"]
        return []


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
    print(json.dumps({"images": len(cuts), "wrong": wrong, "records": len(records)}))


if __name__ == "__main__":
    look(*sys.argv[1:])
