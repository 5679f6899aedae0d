"""Commits whose sync fails: what `reload()` says is final, and who has no handle is told what to do."""

import sqlite3
from pathlib import Path

import pytest

import foldlog
from foldlog.storage import journal


def failed_sync(*_: object) -> None:
    cause = sqlite3.OperationalError("disk I/O error")
    cause.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise foldlog.CommitUncertainError("the disk failed during the commit", hint="call reload()") from cause


@pytest.mark.sqlite("its write-ahead log")
def test_reloading_after_a_failed_sync_takes_the_place_of_what_it_wrote(
    store: foldlog.Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")
    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", failed_sync)
        with pytest.raises(foldlog.CommitUncertainError):
            session.add_event("lost")
    before = Path(f"{path}-wal").stat().st_size
    session.reload()
    assert Path(f"{path}-wal").stat().st_size > before
    assert session.add_event("kept") == 2


def test_who_has_no_handle_is_told_to_try_again(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", failed_sync)
        with pytest.raises(foldlog.CommitUncertainError) as caught:
            store.start_session(id="demo")
    assert "start_session" in caught.value.hint
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert store.start_session(id="demo").add_event("first") == 2
