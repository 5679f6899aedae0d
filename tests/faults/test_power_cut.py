"""Power cuts: whatever of the unsynced writes is kept, lost or torn, what was promised is there.

Runs over the public API are recorded with every write and sync (`recorded_run.py`, in front of it
`faulty_disk.c`), some of them killed and gone on with; then the disk is rebuilt as a power cut may leave it at
some moment, and opened (`cut_images.py`). At durability "full" every acknowledged event, every completed export
and every backup must be there; at "normal" the journal may end earlier, and is whole as far as it goes. What
may happen to what was not synced, and what is not covered (a disk that lies, damage of what was at rest, other
file systems' habits), is told in `disk_images.py`: a model, not a disk.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import DIED, build, quick_folder, start

_IMAGES_A_RUN = 125
_PATIENCE_S = 900


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as found:
        yield found


def record(library: Path, folder: Path, durability: str, seed: int) -> None:
    """A run with its log, killed up to two times."""
    chance = random.Random(seed)
    (folder / "disk").mkdir(parents=True)
    for dies_at in [chance.randrange(1, 2500) for _ in range(seed % 3)] + [0]:
        process = start(
            library, folder / "disk", "recorded_run.py", folder / "disk", folder / "log", seed, durability, dies_at
        )
        _, errors = process.communicate(timeout=_PATIENCE_S)
        assert process.returncode in ((0, DIED) if dies_at else (0,)), errors[-3000:]


def look(folder: Path, durability: str, seed: int, count: int) -> list[dict[str, Any]]:
    """What the images of a recorded run say: those that are wrong, and in the end how many there were."""
    process = start(
        None,
        folder / "disk",
        "cut_images.py",
        folder / "log",
        folder / "disk",
        durability,
        seed,
        count,
        folder / "image",
    )
    lines, errors = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, errors[-3000:]
    return [json.loads(line) for line in lines.splitlines()]


def cut(library: Path, folder: Path, durability: str, seeds: list[int], count: int) -> list[dict[str, Any]]:
    """Record some runs and look at images of each; two at once where there are two processors."""

    def one(seed: int) -> list[dict[str, Any]]:
        place = folder / str(seed)
        record(library, place, durability, seed)
        found = look(place, durability, seed, count)
        shutil.rmtree(place)
        return [{"seed": seed, **line} for line in found]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for lines in pool.map(one, seeds) for line in lines]


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_power_cut_takes_nothing_that_was_promised(
    durability: str, library: Path, folder: Path, seed: int, size: Any, tell: Callable[[str], None]
) -> None:
    runs = size.rounds(quick=2, full=40 if durability == "full" else 10)
    count = size.rounds(quick=15, full=_IMAGES_A_RUN)
    chance = random.Random(seed)
    found = cut(library, folder, durability, [chance.randrange(2**20) for _ in range(runs)], count)
    wrong = [line for line in found if "problems" in line]
    images = sum(line["images"] for line in found if "images" in line)
    assert images == runs * count
    assert not wrong, f"{len(wrong)} of {images} images: {json.dumps(wrong[:3], indent=1)}"
    told = sum(line["told"] for line in found if "told" in line)
    if size.is_full and durability == "normal":
        assert told, "no image has lost events and kept their mark"
    tell(f"{images:,} images of {runs} runs: 0 wrong; losses told by a mark: {told:,}")


def test_the_images_do_lose_what_was_not_synced(library: Path, folder: Path) -> None:
    # Or the test above would prove nothing: at "normal" commits are not synced, and some must be missing.
    record(library, folder, "normal", 9)
    found = look(folder, "full", 9, 30)
    assert any("events acknowledged" in problem for line in found for problem in line.get("problems", ()))
