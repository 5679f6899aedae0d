"""The names that are promised, and that importing them is light."""

import inspect
import subprocess
import sys

import pytest

import foldlog

PROMISED = {
    "Store": [
        "start_session", "open_session", "resume_session", "fork_session", "view", "sessions", "events", "follow",
        "usage", "tree", "final", "query", "sqlite_utils", "export", "report", "verify", "backup", "checkpoint",
        "close",
    ],
    "Session": [
        "id", "view", "store", "emit", "batch", "add_event", "add_message", "add_turn", "update_turn", "add_turn_id",
        "add_turn_ids", "add_call", "update_call", "add_eval", "add_snapshot", "snapshot", "restore", "start_child",
        "attach_child", "turn", "call", "update_status", "mark_final", "mark_error", "value_ref", "read_ref",
        "reload", "usage", "tree", "final", "checkpoint", "fingerprint", "close",
    ],
    "View": [
        "session", "messages", "turns", "evals", "calls", "snapshots", "final_ref", "error", "counters",
    ],
}  # fmt: skip


def test_all_is_what_there_is() -> None:
    assert len(set(foldlog.__all__)) == len(foldlog.__all__)
    for name in foldlog.__all__:
        assert hasattr(foldlog, name), name


@pytest.mark.parametrize("kind", PROMISED)
def test_promised_names_are_there_and_documented(kind: str) -> None:
    found = getattr(foldlog, kind)
    for name in PROMISED[kind]:
        assert inspect.getdoc(getattr(found, name)), f"{kind}.{name}"


def test_public_functions_say_what_they_are() -> None:
    for name in foldlog.__all__:
        if name != "__version__":
            assert inspect.getdoc(getattr(foldlog, name)), name


def test_errors_form_the_documented_tree() -> None:
    tree = {
        foldlog.FoldlogError: [foldlog.StoreError, foldlog.EventError, foldlog.UnknownSessionError,
                               foldlog.UnknownRowError, foldlog.MissingBlobError, foldlog.QueryError],
        foldlog.StoreError: [foldlog.StoreClosedError, foldlog.StoreBusyError, foldlog.SessionInUseError,
                             foldlog.StaleWriterError, foldlog.SchemaTooNewError, foldlog.UpgradeError,
                             foldlog.NotAStoreError, foldlog.CorruptJournalError, foldlog.CommitUncertainError,
                             foldlog.AlreadyExistsError, foldlog.InvalidIdError],
        foldlog.EventError: [foldlog.InvalidEventError, foldlog.NotSerializableError, foldlog.ExpectedIdError,
                             foldlog.LimitError],
        LookupError: [foldlog.UnknownSessionError, foldlog.UnknownRowError, foldlog.MissingBlobError],
    }  # fmt: skip
    for base, kinds in tree.items():
        for kind in kinds:
            assert issubclass(kind, base), (kind, base)


@pytest.mark.parametrize("module", ["alembic", "sqlite_utils", "click", "mako"])
def test_importing_and_opening_a_current_store_imports_nothing_heavy(module: str, path: object) -> None:
    code = (
        "import sys, foldlog\n"
        f"foldlog.open({str(path)!r}).close(); foldlog.open({str(path)!r}).close()\n"
        f"sys.exit({module!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
