"""Files: private whatever the umask, and never made or replaced through a link."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import foldlog


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_all_that_is_made_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    config = foldlog.Config(durability="normal", export_dir=tmp_path / "out")
    seen: dict[str, int] = {}

    def look() -> None:
        for one in tmp_path.rglob("*"):
            seen[str(one.relative_to(tmp_path))] = stat.S_IMODE(one.lstat().st_mode)

    with foldlog.open(path, config=config) as store:
        with store.start_session(id="demo") as session:
            session.snapshot({"large": "x" * 9000})
            with session.start_child() as child:
                child.add_message("user", "hello")
                look()
        store.backup(tmp_path / "backup.db")
        look()
    look()
    assert {"history.db-wal", "history.db-shm", "history.db-leases", "out", "backup.db"} <= seen.keys()
    assert any("/blobs/" in name for name in seen)
    assert any(name.endswith(".lock") for name in seen)
    for name, mode in seen.items():
        is_folder = name in ("out", "history.db-leases") or (tmp_path / name).is_dir()
        assert mode == (0o700 if is_folder else 0o600), f"{name}: {mode:o}"


def test_an_exported_file_that_others_could_read_is_made_private_again(store: foldlog.Store, tmp_path: Path) -> None:
    with store.start_session(id="demo"):
        pass
    store.export(tmp_path / "out")
    (tmp_path / "out" / "demo" / "events.jsonl").chmod(0o644)
    assert store.export(tmp_path / "out") == [tmp_path / "out" / "demo" / "events.jsonl"]
    assert stat.S_IMODE((tmp_path / "out" / "demo" / "events.jsonl").stat().st_mode) == 0o600


@pytest.mark.sqlite("leases beside its file")
def test_a_folder_of_leases_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.with_name(f"{path.name}-leases").symlink_to(elsewhere)
    with pytest.raises(foldlog.StoreError, match="in the way"):
        foldlog.open(path)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.sqlite("leases beside its file")
@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to", "fifo", "folder"])
def test_a_lease_that_is_no_file_of_its_own_is_refused(
    path: Path, store: foldlog.Store, tmp_path: Path, make: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with store.start_session(id="demo") as session:
        lease = next(path.with_name(f"{path.name}-leases").glob("*.lock"))
        session.close()
    if make == "fifo":
        os.mkfifo(lease)
    elif make == "folder":
        lease.mkdir()
    else:
        getattr(lease, make)(precious)
    with pytest.raises(foldlog.StoreError):
        store.open_session("demo")
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", ["out", "out/demo", "out/demo/events.jsonl", "out/demo/blobs", "out/demo/children"])
def test_an_export_follows_no_link(store: foldlog.Store, tmp_path: Path, name: str) -> None:
    with store.start_session(id="demo") as session:
        session.mark_final("x" * 9000)
        session.start_child().close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises(foldlog.StoreError, match="in the way"):
        store.export(tmp_path / "out")
    assert list(elsewhere.iterdir()) == []


def test_a_backup_goes_through_no_link(store: foldlog.Store, tmp_path: Path) -> None:
    (tmp_path / "backup.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(foldlog.AlreadyExistsError):
        store.backup(tmp_path / "backup.db")
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_link_to_a_store_is_that_store_and_keeps_its_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "history.db"
    foldlog.open(path).close()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with foldlog.open(link) as store, store.start_session(id="demo"):
        assert store.path == path.resolve()
        assert sorted(one.name for one in tmp_path.iterdir()) == ["link.db", "real"]


def test_many_threads_may_make_the_folder_of_leases_at_once(store: foldlog.Store) -> None:
    errors: list[BaseException] = []

    def start(number: int) -> None:
        try:
            store.start_session(id=f"s{number}").close()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
