"""Random damage of a database file's bytes: reported, or without effect on anything that can be read.

FOLDLOG_DAMAGE_ROUNDS sets how many rounds; the seed of a round is its number, and failures print it.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import foldlog
from damaged_stores import damage, make, values

pytestmark = pytest.mark.sqlite("pages of a file")

ROUNDS = int(os.environ.get("FOLDLOG_DAMAGE_ROUNDS", "16"))
Values = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values]:
    path = tmp_path_factory.mktemp("whole") / "history.db"
    make(path)
    return path, {name: read() for name, read in values(path).items()}


def is_told(path: Path) -> bool:
    try:
        with foldlog.open(path, read_only=True) as store:
            return not store.verify().ok
    except foldlog.FoldlogError:
        return True


def changed_values(path: Path, before: Values) -> list[str]:
    """What reads otherwise than before; what cannot be read any more raises an error of ours."""
    found = []
    for name, read in values(path).items():
        try:
            if read() != before[name]:
                found.append(name)
        except foldlog.FoldlogError:
            found.append(name)
    return found


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_damage_is_silent_and_none_crashes(whole: tuple[Path, Values], path: Path, seed: int) -> None:
    original, before = whole
    shutil.copy(original, path)
    kind = damage(path, random.Random(seed))
    told = is_told(path)
    changed = changed_values(path, before)
    assert told or not changed, f"seed {seed}, {kind}: silently different: {changed}"


@pytest.mark.parametrize("seed", range(1000, 1000 + ROUNDS // 2))
def test_what_is_saved_is_what_was_written(whole: tuple[Path, Values], path: Path, seed: int) -> None:
    original, before = whole
    shutil.copy(original, path)
    kind = damage(path, random.Random(seed))
    saved = path.with_name("saved.db")
    written = {(position, session_id): event for position, session_id, event in before["events"]}
    try:
        foldlog.salvage(path, saved)
    except foldlog.FoldlogError:
        assert not saved.exists(), f"seed {seed}, {kind}"
        return
    with foldlog.open(saved, read_only=True) as store:
        found = {(event.position, event.session_id): dict(event) for event in store.events()}
        wrong = [
            problem.what for problem in store.verify().problems if not problem.what.startswith(("blob", "part", "list"))
        ]
    assert found.items() <= written.items(), f"seed {seed}, {kind}"
    assert wrong == [], f"seed {seed}, {kind}"


@pytest.mark.parametrize("seed", range(2000, 2000 + ROUNDS // 2))
def test_a_repair_in_place_ends_well_or_changes_nothing(whole: tuple[Path, Values], path: Path, seed: int) -> None:
    original, before = whole
    shutil.copy(original, path)
    kind = damage(path, random.Random(seed))
    written = {(position, session_id): event for position, session_id, event in before["events"]}
    try:
        with foldlog.open(path) as store:
            repairs = store.repair()
            found = {(event.position, event.session_id): dict(event) for event in store.events()}
    except foldlog.FoldlogError:
        return
    wrong = [
        problem.what for problem in repairs.report.problems if not problem.what.startswith(("blob", "part", "list"))
    ]
    assert wrong == [], f"seed {seed}, {kind}"
    assert found.items() <= written.items(), f"seed {seed}, {kind}"
