"""A random run over the public API whose every write is logged; a script, run with `faulty_disk.c` in front.

Into the log go, beside what is written, lines of the run's own: `acknowledged` once a verb has returned,
`exported` and `backed_up` once files are promised. A run may be told to die, and be started again: it then goes
on with the store that it finds, and with the log. What a power cut makes of the log is in `disk_images.py`.
"""

import json
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faulty_disk import Disk, Kind

import foldlog

STORE = "history.db"
JOURNAL = "SELECT streams.id, hex(chain) FROM events JOIN streams USING (session_key) ORDER BY position"
_FILES = "files"
_STEPS = 45


class Run:
    """One run: some sessions, and what is done to them by chance."""

    def __init__(self, disk: Disk, folder: Path, seed: int, durability: str) -> None:
        self.disk, self.folder, self.chance = disk, folder, random.Random(seed)
        self.is_large = seed % 4 == 0  # so much that the WAL begins again at its start, several times
        self.config = foldlog.Config(durability=durability, export_dir=folder / _FILES if seed % 2 else None)
        self.open: dict[str, Any] = {}

    def mark(self, **line: Any) -> None:
        self.disk.mark(json.dumps(line))

    def acknowledge(self, session: Any, event_id: int | None = None) -> None:
        found = session.view.counters["event"] if event_id is None else event_id
        self.mark(acknowledged=session.id, event_id=found)

    def exported(self, session_id: str) -> None:
        """A checkpoint has returned: the session's own files are written."""
        if self.config.export_dir is not None:
            self.mark(
                exported=f"{_FILES}/{session_id.replace('/', '/children/')}",
                but=f"{_FILES}/{session_id.replace('/', '/children/')}/children/",
            )

    def play(self) -> None:
        self.store = foldlog.open(self.folder / STORE, config=self.config)
        if self.chance.random() < 0.5:
            # What another process had begun to write before it died.
            self.store.export(self.folder / "other")
            self.mark(exported="other", but="-")
        for row in self.store.sessions(kind="root"):
            self.open[row["id"]] = self.store.open_session(row["id"])
            self.acknowledge(self.open[row["id"]])
            self.exported(row["id"])
        self.start()
        actions: list[Callable[[Any], None]] = [
            *[self.emit] * 4,
            *[self.batch] * 3,
            *[self.call] * (8 if self.is_large else 3),
            *[self.turn] * 2,
            *[self.checkpoint] * 3,
            self.threads,
            self.child,
            self.reopen_session,
            self.reopen_store,
            self.export,
            self.back_up,
            lambda _: self.start(),
        ]
        for _ in range(_STEPS * 4 if self.is_large else _STEPS):
            self.chance.choice(actions)(self.open[self.chance.choice(sorted(self.open))])
        if self.chance.random() < 0.5:
            self.store.close()

    def start(self) -> None:
        if len(self.open) >= 3:
            return
        session = self.store.start_session(id=f"run-{len(self.open) + 1}")
        self.open[session.id] = session
        self.acknowledge(session)
        self.exported(session.id)

    def emit(self, session: Any) -> None:
        event = session.emit("step", text="x" * self.chance.randrange(300))
        self.acknowledge(session, event["id"])

    def batch(self, session: Any) -> None:
        with session.batch():
            for _ in range(self.chance.randrange(1, 6)):
                session.add_message("user", "y" * self.chance.randrange(2000))
        self.acknowledge(session)

    def call(self, session: Any) -> None:
        size = self.chance.randrange(120_000) if self.is_large else self.chance.randrange(20_000)
        row = session.add_call("leaf", request_ref=session.value_ref(self.chance.randbytes(size // 2).hex()))
        self.acknowledge(session)
        session.update_call(row["id"], status="ok", usage={"input_tokens": 3, "output_tokens": 1})
        self.acknowledge(session)

    def turn(self, session: Any) -> None:
        with session.turn() as turn:
            turn.message("user", "hello")
            turn.final({"n": self.chance.randrange(100)})
        self.acknowledge(session)

    def checkpoint(self, session: Any) -> None:
        session.checkpoint()
        self.exported(session.id)

    def threads(self, _: Any) -> None:
        def work(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(4):
                session = self.open[chance.choice(sorted(self.open))]
                self.acknowledge(session, session.emit("shared", by=seed)["id"])

        threads = [threading.Thread(target=work, args=(self.chance.randrange(1000),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def child(self, session: Any) -> None:
        child = session.start_child(query="q")
        self.acknowledge(child)
        self.acknowledge(session)
        self.exported(child.id)
        with child:
            child.add_message("user", "part")
            self.acknowledge(child)
        self.exported(child.id)

    def reopen_session(self, session: Any) -> None:
        session.close()
        self.exported(session.id)
        self.open[session.id] = self.store.open_session(session.id)
        self.exported(session.id)

    def reopen_store(self, _: Any) -> None:
        self.store.close()
        self.store = foldlog.open(self.folder / STORE, config=self.config)
        for session_id in self.open:
            self.open[session_id] = self.store.open_session(session_id)

    def export(self, session: Any) -> None:
        self.store.export(self.folder / "other", session=session.id)
        self.mark(exported=f"other/{session.id}", but="-")

    def back_up(self, _: Any) -> None:
        name = f"backup-{len(list(self.folder.glob('backup-*.db'))) + 1}.db"
        self.store.backup(self.folder / name)
        self.mark(backed_up=name)


def main(folder: str, log: str, seed: str, durability: str, dies_at: str) -> None:
    disk, place = Disk(), Path(folder)
    run = Run(disk, place, int(seed), durability)
    with disk.recorded(Path(log)):
        run.mark(root=place.stat().st_ino)
        if int(dies_at):
            # Half of them before a sync: between that and what was written before it, a death does most.
            disk.kill(run.chance.choice((Kind.SYNC, sum(Kind))), int(dies_at))
        run.play()
        disk.heal()
    if int(dies_at):
        os._exit(0)  # it lived longer than it was to
    # As the journals stood in the end: every image has a part of them.
    with foldlog.open(place / STORE, read_only=True) as store:
        reader = store.database.new_reader()
        Path(f"{log}.journal").write_text(json.dumps(reader.execute(JOURNAL).fetchall()))
        reader.close()
    os._exit(0)  # as it is: what is open stays open


if __name__ == "__main__":
    main(*sys.argv[1:])
