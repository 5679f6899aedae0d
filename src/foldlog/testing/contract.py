"""The contract of a store as a class of tests, for an application's own way of using one.

pytest collects the methods when the class is subclassed under a name of its own. It imports no test
framework; what single stores and sessions are held to is in `foldlog.testing.checks`.
"""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import foldlog
from foldlog.testing.checks import check_session, check_store, expect
from foldlog.testing.crashes import Say, run_until_crash

_THREADS = 4
# The how-manieth commit or checkpoint is the one that kills: close together at first, then spread.
_NTHS = (1, 2, 3, 5, 8, 13, 21, 34)


class StoreContract:
    """What holds of every store, tried on yours: subclass it, and say how you open one and what you record.

    `open_store` opens the store at a path, making it if there is none; with your settings, your wrapper.
    `record` does to a fresh session what your application does, and may leave it open or end it. Both
    must not depend on anything but their arguments: some tests call them in a forked process that is killed.
    Where your stores are on a server, say in `place` where each is to be made.

    In a module of tests:

        class TestOurStore(foldlog.testing.StoreContract):
            def open_store(self, path):
                return foldlog.open(path, config=OUR_CONFIG)

            def record(self, session):
                run_our_agent(session)
    """

    def place(self, path: Path) -> Path | str:
        """Where a test's store is to be: at the path itself, or at the URL of an empty schema that you make for it.

        Called once for each store.
        """
        return path

    def open_store(self, path: Path | str) -> foldlog.Store:
        """Open the store at a place, as the application does."""
        return foldlog.open(path)

    def record(self, session: foldlog.Session) -> None:
        """Record what the application records in one session; something of everything, if you have nothing."""
        with session.turn() as turn:
            turn.message("user", "What is 6 x 7?")
            with turn.call("root", model="m-1") as call:
                call.ok(usage={"input_tokens": 9, "output_tokens": 1}, cost={"usd": 0.25})
            with session.batch():
                turn.eval(code="6 * 7", value=42)
                session.add_event("tool.ran", output=session.value_ref("x" * 10_000))
            with session.start_child(turn_id=turn.id, query="part") as child:
                child.mark_final({"part": 1})
            session.snapshot({"answer": 42})
            turn.final({"answer": 42})

    def test_what_is_recorded_is_in_view_journal_and_tables(self, tmp_path: Path) -> None:
        """Append, then fold: the live view is the fold of the journal, and so are tables after a checkpoint."""
        with self.open_store(self.place(tmp_path / "contract.db")) as store:
            with store.start_session(id="contract") as session:
                self.record(session)
                check_session(store, "contract")
                session.checkpoint()
                check_store(store)
            check_store(store)

    def test_a_store_opened_again_says_the_same(self, tmp_path: Path) -> None:
        """Closing and opening changes nothing, and a session goes on where it was."""
        path = self.place(tmp_path / "contract.db")
        with self.open_store(path) as store, store.start_session(id="contract") as session:
            self.record(session)
        with self.open_store(path) as store:
            before = list(store.events())
            documents = [store.view("contract").document(), store.usage("contract"), store.tree("contract")]
            session = store.open_session("contract")
            now = [session.view.document(), session.usage(), session.tree()]
            expect(now == documents, "a session opened again says something else")
            expect(list(store.events()) == before, "opening a session that was closed wrote events")
            session.add_event("contract.went_on")
            check_store(store)

    def test_what_is_refused_leaves_nothing(self, tmp_path: Path) -> None:
        """A refused event changes neither the journal, nor the view, nor the next id."""
        with (
            self.open_store(self.place(tmp_path / "contract.db")) as store,
            store.start_session(id="contract") as session,
        ):
            self.record(session)
            before, document = list(store.events()), session.view.document()
            for attempt in (
                lambda: session.add_event("contract.refused", value=object()),
                lambda: session.add_call("leaf", turn_id="no-such-turn"),
                lambda: session.emit("contract.refused", expected_id=1),
            ):
                expect(_refused(attempt), "what cannot be recorded was accepted")
            after = (list(store.events()), session.view.document())
            expect(after == (before, document), "a refused event changed the journal or the view")
            expect(session.add_event("contract.went_on") == len(list(store.events("contract"))), "an id is left out")

    def test_a_batch_is_all_or_none(self, tmp_path: Path) -> None:
        """A batch that raises leaves nothing; one that ends is there as a whole, in a row."""
        with (
            self.open_store(self.place(tmp_path / "contract.db")) as store,
            store.start_session(id="contract") as session,
        ):
            before = list(store.events())
            with contextlib.suppress(foldlog.UnknownRowError), session.batch():
                session.add_event("contract.batched")
                session.add_call("leaf", turn_id="no-such-turn")
            expect(list(store.events()) == before, "a batch that raised left something")
            with session.batch():
                ids = [session.add_event("contract.batched") for _ in range(3)]
            expect(ids == list(range(ids[0], ids[0] + 3)), "the events of a batch are not in a row")
            check_store(store)

    def test_a_key_is_used_once(self, tmp_path: Path) -> None:
        """The same idempotency key gives the first event back, before and after reopening."""
        path = self.place(tmp_path / "contract.db")
        with self.open_store(path) as store, store.start_session(id="contract") as session:
            first = session.emit("contract.keyed", idempotency_key="k")
            expect(session.emit("contract.keyed", idempotency_key="k") == first, "one key made two events")
        with self.open_store(path) as store, store.open_session("contract") as session:
            expect(session.emit("contract.keyed", idempotency_key="k") == first, "one key made two events")
            check_store(store)

    def test_threads_share_a_session(self, tmp_path: Path) -> None:
        """Events of many threads have ids without gaps, and an update reads and writes in one step."""
        with (
            self.open_store(self.place(tmp_path / "contract.db")) as store,
            store.start_session(id="contract") as session,
        ):
            call_id = session.add_call("leaf", tries=0)["id"]

            def work() -> None:
                for _ in range(10):
                    session.update_call(call_id, lambda row: {"tries": row["tries"] + 1})
                    session.add_event("contract.ran")

            threads = [threading.Thread(target=work) for _ in range(_THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            expect(session.view.calls[call_id]["tries"] == 10 * _THREADS, "an update was lost")
            check_store(store)

    def test_a_session_has_one_writer(self, tmp_path: Path) -> None:
        """A second writer is refused, with the name of the first; readers are not."""
        path = self.place(tmp_path / "contract.db")
        with self.open_store(path) as store, store.start_session(id="contract") as session:
            self.record(session)
            with self.open_store(path) as other:
                error = _refused(lambda: other.open_session("contract"))
                expect(isinstance(error, foldlog.SessionInUseError), "two writers hold one session")
                expect(getattr(error, "holder", None), "the refusal does not name who holds the session")
            with foldlog.open(path, read_only=True) as reader:
                expect(reader.view("contract") == session.view, "a reader sees something else than the writer")

    def test_an_export_and_a_backup_hold_what_the_store_holds(self, tmp_path: Path) -> None:
        """The files have every event, and a backup, which a server makes by itself, is a store with the same."""
        with self.open_store(self.place(tmp_path / "contract.db")) as store:
            with store.start_session(id="contract") as session:
                self.record(session)
            store.export(tmp_path / "files")
            lines = (tmp_path / "files" / "contract" / "events.jsonl").read_bytes().splitlines()
            expect(len(lines) == len(list(store.events("contract"))), "the exported events are not all there are")
            if store.path is None:
                return
            store.backup(tmp_path / "backup.db")
            with foldlog.open(tmp_path / "backup.db", read_only=True) as copy:
                expect(list(copy.events()) == list(store.events()), "the backup has other events")
                check_store(copy)

    def test_what_was_acknowledged_survives_a_kill(self, tmp_path: Path) -> None:
        """Killed around the first commits and checkpoints, and some of the later ones: nothing acknowledged is lost."""
        for point in ("before_commit", "in_commit", "after_commit", "in_checkpoint", "after_checkpoint"):
            for nth in _NTHS:
                path = self.place(tmp_path / f"{point}-{nth}.db")

                def work(say: Say, path: Path | str = path) -> None:
                    with self.open_store(path) as store:
                        session = store.start_session(id="contract")
                        say(1)
                        say(session.add_event("contract.began"))
                        self.record(session)
                        say(session.add_event("contract.recorded"))

                crash = run_until_crash(work, point, nth=nth)
                self._check_left_behind(path, max(crash.said, default=0))
                if not crash.happened:
                    break

    def _check_left_behind(self, path: Path | str, acknowledged: int) -> None:
        """That a store whose process may have been killed has what was acknowledged, and goes on."""
        with self.open_store(path) as store:
            check_store(store)
            found = [row["id"] for row in store.sessions() if row["id"] == "contract"]
            if not found:
                expect(acknowledged == 0, "a session was acknowledged and is gone")
                return
            expect(len(list(store.events("contract"))) >= acknowledged, "acknowledged events are gone")
            session = store.open_session("contract")
            session.add_event("contract.went_on")
            check_store(store)


def _refused(attempt: Callable[[], object]) -> foldlog.FoldlogError | None:
    """The error that refuses an attempt, which must have a hint; None if it is not refused."""
    try:
        attempt()
    except foldlog.FoldlogError as error:
        expect(error.hint, f"an error without a hint: {error}")
        return error
    return None
