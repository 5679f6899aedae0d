"""SIGKILL of eight writing threads and a checkpointer, at any moment: nothing acknowledged is lost, nothing torn."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from killed_writer import assert_kept, assert_whole, run_and_kill
from sizes import Size

import foldlog

# A store is killed in so many times, then the next one is begun: their histories grow, and so do the checks.
KILLS_A_STORE = 10


def test_nothing_acknowledged_is_lost_and_nothing_is_torn(
    tmp_path: Path, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    chance = random.Random(seed)
    kills, acknowledged = size.rounds(quick=10, full=1000), 0
    for number in range(kills):
        folder = tmp_path / str(number // KILLS_A_STORE)
        folder.mkdir(exist_ok=True)
        path = folder / "history.db"
        said = run_and_kill(path, chance)
        acknowledged += len(said)
        with foldlog.open(path) as store:
            assert_kept(store, said)
            assert_whole(store)
            for row in list(store.sessions()):
                if "/" not in row["id"]:
                    store.open_session(row["id"])
            assert_whole(store)
            assert store.verify().problems == []
        if number % KILLS_A_STORE == KILLS_A_STORE - 1:
            shutil.rmtree(folder)
    tell(f"{kills} kills, {acknowledged} acknowledgements, 0 lost, 0 torn")
