"""Files at each checkpoint: what cannot have changed is neither made nor read again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import foldlog
from foldlog.outlets import export
from foldlog.storage.blobs import Reader


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def exporting(path: Path, files: Path) -> Iterator[foldlog.Store]:
    with foldlog.open(path, config=foldlog.Config(durability="normal", export_dir=files)) as store:
        yield store


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were made, whether or not they turned out to be the same."""
    names: list[str] = []
    write_file = export.write_file

    def watched(path: Path, chunks: object, mode: int) -> bool:
        names.append(path.name)
        return write_file(path, chunks, mode)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "write_file", watched)
    return names


DOCUMENTS = ["usage.json", "final.json", "tree.json"]


def test_only_kinds_with_changed_rows_are_made_again(exporting: foldlog.Store, made: list[str]) -> None:
    session = exporting.start_session(id="demo")
    assert set(made) > {"session.json", "calls.jsonl", "events.jsonl"}
    made.clear()
    session.add_call("leaf")
    session.checkpoint()
    assert made == ["calls.jsonl", "events.jsonl", *DOCUMENTS]
    made.clear()
    session.checkpoint()
    assert made == DOCUMENTS


def test_a_row_that_joins_a_turn_changes_both_files(exporting: foldlog.Store, files: Path, made: list[str]) -> None:
    session = exporting.start_session(id="demo")
    turn = session.add_turn()
    session.checkpoint()
    made.clear()
    session.add_eval(turn_id=turn["id"])
    session.update_status("stopped")
    assert made == ["session.json", "turns.jsonl", "evals.jsonl", "events.jsonl", *DOCUMENTS]
    assert '"eval_ids":[1]' in (files / "demo" / "turns.jsonl").read_text()


def test_blobs_that_are_there_are_not_read_again(
    exporting: foldlog.Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = exporting.start_session(id="demo")
    session.snapshot({"a": "x" * 9000, "b": "y" * 9000})
    session.checkpoint()
    read, names = Reader.read, list[str]()
    monkeypatch.setattr(Reader, "read", lambda reader, name: names.append(name) or read(reader, name))
    session.add_event("note")
    session.checkpoint()
    assert names == []
    gone = next((files / "demo" / "blobs").iterdir())
    gone.unlink()
    session.add_event("note")
    session.checkpoint()
    assert names == [gone.name]
    assert gone.exists()


def test_a_file_that_was_taken_away_comes_back(exporting: foldlog.Store, files: Path) -> None:
    session = exporting.start_session(id="demo")
    (files / "demo" / "calls.jsonl").unlink()
    session.checkpoint()
    assert (files / "demo" / "calls.jsonl").exists()


def test_a_handle_that_opens_a_session_again_makes_all_once(exporting: foldlog.Store, made: list[str]) -> None:
    exporting.start_session(id="demo").close()
    made.clear()
    session = exporting.open_session("demo")
    assert "snapshots.jsonl" in made
    made.clear()
    session.checkpoint()
    assert made == DOCUMENTS


def test_a_file_that_could_not_be_written_is_made_next_time(
    exporting: foldlog.Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = exporting.start_session(id="demo")
    session.add_call("leaf")

    def fail(*_: object) -> bool:
        raise foldlog.StoreError("no room", hint="make some")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_file", fail)
        with pytest.raises(foldlog.StoreError, match="no room"):
            session.checkpoint()
    session.checkpoint()
    assert '"type":"leaf"' in (files / "demo" / "calls.jsonl").read_text()


def test_what_a_dead_one_left_is_made_durable(
    exporting: foldlog.Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exporting.start_session(id="demo") as session:
        session.start_child(request_ref=session.value_ref("x" * 9000)).close()
    exporting.export(files)
    synced: set[str] = set()
    real = export.make_names_durable

    def watched(folder: Path) -> None:
        synced.add(str(folder.relative_to(files.parent)))
        real(folder)

    monkeypatch.setattr(export, "make_names_durable", watched)
    assert exporting.export(files) == []
    found = {str(folder.relative_to(files.parent)) for folder in files.rglob("*") if folder.is_dir()}
    assert synced == {".", "files", *found}


def test_what_checkpoints_leave_is_what_an_export_makes(exporting: foldlog.Store, files: Path) -> None:
    session = exporting.start_session(id="demo")
    with session.turn() as turn:
        turn.message("assistant", "hello")
        session.checkpoint()
        with turn.call("leaf", request_ref=session.value_ref("x" * 9000)) as call:
            call.ok(usage={"input_tokens": 1})
    session.checkpoint()
    with session.start_child() as child:
        child.mark_final(2)
    session.checkpoint()
    assert exporting.export(files) == []


def test_a_session_whose_files_could_not_be_written_is_in_the_store(
    exporting: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise foldlog.StoreError("no room", hint="make some")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_file", fail)
        with pytest.raises(foldlog.StoreError, match="'demo' is stored, but not its files: no room") as caught:
            exporting.start_session(id="demo")
    assert "open_session" in caught.value.hint
    assert exporting.open_session("demo").add_event("goes.on") == 2
