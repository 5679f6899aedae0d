"""High-water marks: what was committed and is gone is told; nothing else ever is."""

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foldlog.storage import journal, marks, migrate
from foldlog.storage.journal import Stream
from foldlog.storage.marks import Lost
from foldlog.storage.sqlite import SqliteDatabase as Database
from foldlog.storage.sqlite import create

pytestmark = pytest.mark.sqlite("marks beside its file")


@pytest.fixture
def file(path: Path) -> Path:
    return path.with_name(f"{path.name}-marks")


def noted(database: Database, session_id: str = "demo") -> int:
    return marks.noted(database, journal.find_stream(database, session_id))


def cut(path: Path, *statements: str) -> None:
    """Take events from a store behind everybody's back, as a lost log does."""
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER IF EXISTS events_refuse_delete")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_each_commit_is_noted_for_each_of_its_sessions(database: Database, line: Any, new_line: Any) -> None:
    other = new_line("other")
    journal.append(database, [line.next()])
    assert noted(database) == 1
    journal.append(database, [line.next(), other.next(), line.next(), other.next()])
    assert [noted(database), noted(database, "other")] == [3, 2]
    journal.append(database, [other.next()])
    assert [noted(database), noted(database, "other")] == [3, 3]
    assert marks.lost(database) == []


def test_an_append_with_blobs_or_more_statements_is_noted(database: Database, line: Any, blob: Any) -> None:
    journal.append(database, [line.next(refs=(blob("x" * 9000),))])
    assert noted(database) == 1
    journal.append(database, [line.next()], lambda connection: None)
    assert noted(database) == 2


def test_a_refused_append_is_not(database: Database, line: Any, new_line: Any) -> None:
    journal.append(database, [line.next()])
    again = new_line(stream=line.stream)
    with pytest.raises(Exception, match="another writer"):
        journal.append(database, [again.next()])
    assert noted(database) == 1


def test_another_handle_goes_on_with_the_marks(new_database: Callable[..., Database], line: Any) -> None:
    first, second = new_database(), new_database()
    journal.append(first, [line.next(), line.next()])
    line.stream = Stream("demo", line.stream.key)  # as it is found by a handle of another process
    journal.append(second, [line.next()])
    assert noted(first) == 3
    first.close()
    assert noted(second) == 3


def test_events_that_are_gone_are_told(new_database: Callable[..., Database], path: Path, new_line: Any) -> None:
    database = new_database()
    lines = [new_line(name) for name in ("whole", "cut", "gone")]
    for line in lines:
        journal.append(database, [line.next() for _ in range(5)])
    cut(
        path,
        "DELETE FROM events WHERE session_key = 2 AND event_id > 3",
        "DELETE FROM events WHERE session_key = 3",
        "DELETE FROM streams WHERE session_key = 3",
    )
    assert marks.lost(database) == [Lost(2, "cut", 3, 5), Lost(3, None, 0, 5)]
    assert [noted(database, "whole"), noted(database, "cut")] == [5, 5]
    assert marks.lost(new_database(read_only=True)) == marks.lost(database)


def test_the_next_commit_brings_a_mark_back_to_what_is_there(database: Database, path: Path, line: Any) -> None:
    journal.append(database, [line.next() for _ in range(5)])
    cut(path, "DELETE FROM events WHERE event_id > 2")
    assert noted(database) == 5
    line.event_id = 2
    journal.append(database, [line.next()])
    assert noted(database) == 3
    assert marks.lost(database) == []


def test_a_session_that_was_deleted_is_not_lost(database: Database, path: Path, new_line: Any) -> None:
    for name in ("kept", "named", "numbered"):
        journal.append(database, [(line := new_line(name)).next(), line.next()])
    cut(
        path,
        "DELETE FROM events WHERE session_key > 1",
        "UPDATE streams SET id = '.deleted/2' WHERE session_key = 2",
        "UPDATE streams SET id = '.deleted/3', session_key = -3 WHERE session_key = 3",
    )
    assert marks.lost(database) == []


def test_events_that_were_set_apart_are_not_lost(database: Database, path: Path, line: Any) -> None:
    journal.append(database, [line.next() for _ in range(3)])
    cut(
        path,
        "DELETE FROM events WHERE event_id = 3",
        "INSERT INTO quarantine (session_key, event_id, what, at) VALUES (1, 3, 'gone', '')",
    )
    assert marks.lost(database) == []


# A file that tells nothing.


def test_the_marks_of_another_store_tell_nothing(
    new_database: Callable[..., Database], path: Path, tmp_path: Path, new_line: Any
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    create(elsewhere, migrate.make_schema)
    other = Database(elsewhere, durability="normal")
    for name in ("demo", "second", "third"):
        line = new_line(name)
        journal.append(other, [line.next("theirs") for _ in range(9)])
    other.close()
    database = new_database()
    journal.append(database, [new_line("demo").next("ours")])
    marks.path_of(path).write_bytes(marks.path_of(elsewhere).read_bytes())
    assert noted(database) == 0
    assert marks.lost(database) == []


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 4096, b"hello " * 100, None])
def test_a_file_that_is_not_ours_is_no_information_and_no_error(
    new_database: Callable[..., Database], file: Path, line: Any, content: bytes | None
) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    database = new_database()
    journal.append(database, [line.next()])
    is_theirs = content is None or content.startswith(b"hello")
    assert noted(database) == (0 if is_theirs else 1)
    assert marks.lost(database) == []
    if content is not None and is_theirs:
        assert file.read_bytes() == content


def test_a_pipe_is_not_waited_for(new_database: Callable[..., Database], file: Path, line: Any) -> None:
    os.mkfifo(file)
    database = new_database()
    journal.append(database, [line.next()])
    assert noted(database) == 0


def test_a_symlink_is_not_followed(
    new_database: Callable[..., Database], file: Path, tmp_path: Path, line: Any
) -> None:
    target = tmp_path / "target"
    target.touch()
    file.symlink_to(target)
    database = new_database()
    journal.append(database, [line.next()])
    assert noted(database) == 0
    assert target.read_bytes() == b""


def test_damaged_slots_tell_nothing_or_the_truth(database: Database, file: Path, new_line: Any) -> None:
    lines = [new_line(f"s{number}") for number in range(20)]
    for line in lines:
        journal.append(database, [line.next() for _ in range(3)])
    whole = file.read_bytes()
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged)) :]
        file.write_bytes(damaged)
        assert marks.lost(database) == [], f"seed {seed}"
        assert noted(database, f"s{chance.randrange(20)}") in (0, 3), f"seed {seed}"


def test_a_mark_that_cannot_be_written_is_no_error(
    database: Database, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(database, [line.next()])

    def full(*_: object) -> int:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr("foldlog.storage.marks.os.pwrite", full)
        journal.append(database, [line.next()])
    assert noted(database) == 1
    assert marks.lost(database) == []


@pytest.mark.parametrize("key", [marks._KEY_MAX + 1, 2**40, 2**62])
def test_a_key_from_elsewhere_makes_no_huge_file(database: Database, file: Path, new_line: Any, key: int) -> None:
    journal.append(database, [new_line("demo").next()])
    with database.write() as connection:
        connection.execute("INSERT INTO streams (session_key, id) VALUES (?, 'far')", (key,))
    line = new_line("far")
    line.stream.key = key
    journal.append(database, [line.next()])
    assert noted(database, "far") == 0
    assert marks.lost(database) == []
    assert file.stat().st_size == 64


# The file.


def test_it_is_its_owners_alone_and_comes_with_the_first_event(database: Database, file: Path, line: Any) -> None:
    assert not file.exists()
    mask = os.umask(0)
    try:
        journal.append(database, [line.next()])
    finally:
        os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size == 64


def test_a_new_store_has_no_marks_of_an_older_one(path: Path, file: Path, new_line: Any) -> None:
    for count in (5, 1):
        create(path, migrate.make_schema)
        database = Database(path, durability="normal")
        line = new_line()
        journal.append(database, [line.next() for _ in range(count)])
        assert noted(database) == count
        database.close()
        path.unlink()
