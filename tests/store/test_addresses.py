"""Which session a few characters mean."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import foldlog

ONE, OTHER = "session-11111111-0000-4000-8000-000000000000", "session-12222222-0000-4000-8000-000000000000"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[foldlog.Store]:
    with foldlog.open(tmp_path / "s.db", config=foldlog.Config(durability="normal")) as store:
        for name in ("demo", "demo2", "other", ONE, OTHER, "de_mo", "x%y".replace("%", "-")):
            with store.start_session(id=name) as session:
                if name in ("demo", ONE):
                    for _ in range(3):
                        session.start_child().close()
                    with store.start_session(id=f"{name}/child-0001/deep", parent={"session_id": f"{name}/child-0001"}):
                        pass
        yield store


FOUND = {
    "demo": "demo", "demo2": "demo2", "o": "other", "ot": "other", "de_": "de_mo", "11": ONE, "12": OTHER,
    ONE: ONE, ONE[:10]: ONE, "demo/child-0002": "demo/child-0002", "demo/child-0001/d": "demo/child-0001/deep",
    "11/child-0003": f"{ONE}/child-0003", "x": "x-y",
}  # fmt: skip


@pytest.mark.parametrize("text", FOUND)
def test_enough_of_an_id_is_found(store: foldlog.Store, text: str) -> None:
    assert store.find_session(text) == FOUND[text]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dem", ("demo", "demo2")),
        ("1", (ONE, OTHER)),
        ("session-", (ONE, OTHER)),
        ("demo/", ()),
        ("demo/c", ("demo/child-0001", "demo/child-0002", "demo/child-0003")),
        ("demo3", ("demo",)),
        ("child-0001", ()),
        ("demo/child-0001/x", ()),
        ("", ()),
        ("/", ()),
        (".store", ()),
        ("d%", ()),
        ("demo\x00", ()),
        ("\udcff", ()),
        ("x" * 5000, ()),
    ],
)
def test_what_means_none_or_many_is_refused(store: foldlog.Store, text: str, named: tuple[str, ...]) -> None:
    with pytest.raises(foldlog.UnknownSessionError) as refused:
        store.find_session(text)
    assert all(name in str(refused.value) for name in named)
    assert refused.value.hint


def test_many_candidates_are_not_all_named(tmp_path: Path) -> None:
    with foldlog.open(tmp_path / "s.db", config=foldlog.Config(durability="normal")) as store:
        for number in range(12):
            store.start_session(id=f"run-{number:02}").close()
        with pytest.raises(foldlog.UnknownSessionError, match="run-00, run-01, run-02, run-03, run-04 and more"):
            store.find_session("run")


def test_no_text_is_no_session(store: foldlog.Store) -> None:
    with pytest.raises(foldlog.UnknownSessionError):
        store.find_session(7)  # type: ignore[arg-type]


def test_a_reference_is_read_by_the_store(tmp_path: Path) -> None:
    value = {"text": "word " * 2000}
    with foldlog.new_state(tmp_path / "s.db", id="demo") as session:
        call = session.add_call("root", request_ref=session.value_ref(value), input_ref=session.value_ref(1))
    with foldlog.open(tmp_path / "s.db", read_only=True) as store:
        row = store.view("demo").calls[call["id"]]
        assert store.read_ref(row["request_ref"]) == value
        assert store.read_ref(row["input_ref"]) == 1
        with pytest.raises(foldlog.InvalidEventError):
            store.read_ref({"kind": "sheep"})
        with pytest.raises(foldlog.MissingBlobError):
            store.read_ref({"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 9})
