"""Walking a table past damage: every row that can be read, once, and what is lost between them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from damaged_stores import blot, pages_of
from foldlog.storage.rows_left import Lost, lenient, walk


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO items VALUES (?, ?)", [(number, "x" * 100) for number in range(1, 3001)])
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def connection(table: Path) -> Iterator[sqlite3.Connection]:
    connection = lenient(sqlite3.connect(table))
    yield connection
    connection.close()


def found(connection: sqlite3.Connection) -> tuple[list[int], list[Lost]]:
    pages = list(walk(connection, "items", "name"))
    rows = [row[0] for page in pages if not isinstance(page, Lost) for row in page]
    return rows, [page for page in pages if isinstance(page, Lost)]


def test_a_whole_table(connection: sqlite3.Connection) -> None:
    assert found(connection) == (list(range(1, 3001)), [])


@pytest.mark.parametrize("place", [1, 20, -1])
def test_a_leaf_that_is_gone(table: Path, connection: sqlite3.Connection, place: int) -> None:
    blot(table, pages_of(table, "items")[place])
    rows, lost = found(connection)
    assert len(lost) == 1
    assert 0 < 3000 - len(rows) < 60
    assert rows == sorted(set(rows))
    gap = sorted(set(range(1, 3001)) - set(rows))
    assert gap == list(range(gap[0], gap[-1] + 1))
    assert lost[0].first == gap[0]
    assert lost[0].last in (gap[-1], None)


def test_the_root_that_is_gone_takes_bounded_time(table: Path, connection: sqlite3.Connection) -> None:
    blot(table, pages_of(table, "items")[0])
    assert found(connection) == ([], [Lost(1, None, "SQLITE_CORRUPT")])


def test_text_that_is_none_comes_as_bytes(table: Path, connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE items SET name = CAST(x'ff' AS TEXT) WHERE id = 7")
    pages = list(walk(connection, "items", "name"))
    assert not isinstance(pages[0], Lost)
    assert pages[0][6] == (7, b"\xff")
