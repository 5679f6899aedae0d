"""Run the benchmarks: `python -m benchmarks.run [--quick] [--only CASE,…] [--json FILE]`.

Prints the tables to stdout, progress to stderr, and writes everything as JSON. Ends with 1 where a case failed;
what is not available here (a peer that is not installed, a Linux feature) is listed with the reason.
"""

import argparse
import datetime as dt
import json
import shlex
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import copies, coroutines, machine, parts, reading, servers, sizes, slow_sync, speed, startup
from benchmarks.bench import FULL, QUICK, TINY, Bench, Case, Scale, say
from benchmarks.processes import ROOT
from benchmarks.report import render
from benchmarks.results import Measurement, missing, reason_of

# By the first part of the keys of what they measure.
CASES: Final[dict[str, Case]] = {
    "emit": speed.emit,
    "parts": parts.parts,
    "peers": speed.others,
    "threads": speed.threads,
    "update": speed.update,
    "coroutines": coroutines.coroutines,
    "tmpfs": slow_sync.delayed,
    "reopen": reading.reopen,
    "replay": reading.replay,
    "checkpoint": reading.checkpoint,
    "steps": sizes.steps,
    "wal": sizes.wal,
    "startup": startup.startup,
    "server": servers.servers,
    "copy": copies.copies,
}
SCALES: Final = {scale.name: scale for scale in (FULL, QUICK, TINY)}


def run(folder: Path, scale: Scale, *, seed: int = 3, peers: bool = True, only: list[str] | None = None) -> Any:
    """Run cases in a folder; the results as JSON takes them. A case that fails does not stop the others."""
    started = dt.datetime.now(dt.UTC)
    start, found = time.monotonic(), list[Measurement]()
    described = machine.describe(folder)
    with TemporaryDirectory(dir=folder, prefix="run-") as inner:
        bench = Bench(Path(inner), scale, seed, peers)
        for name in only or CASES:
            try:
                found.extend(CASES[name](bench))
            except Exception as error:  # noqa: BLE001  (told in the results)
                say(f"{name} failed: {reason_of(error)}")
                found.append(missing(name, name, name, reason_of(error), failed=True))
    return {
        "started_at": started.strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
        "scale": scale.name,
        "sizes": dict(scale.sizes),
        "seed": seed,
        "took_s": time.monotonic() - start,
        "machine": described,
        "measurements": [measurement.dump() for measurement in found],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure foldlog beside others.")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", dest="scale", action="store_const", const="quick", help="small, under two minutes")
    scale.add_argument("--scale", dest="scale", choices=SCALES)
    parser.set_defaults(scale="full")
    parser.add_argument("--only", metavar="CASE,...", help=f"some cases of: {', '.join(CASES)}")
    parser.add_argument("--no-peers", action="store_true", help="leave other libraries' writers out")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".bench", help="where to write: the disk that is measured"
    )
    parser.add_argument("--json", type=Path, help="where to keep the results (default: results.json in the folder)")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",") if arguments.only else None
    for name in arguments.only or ():
        if name not in CASES:
            parser.error(f"there is no case {name!r}; there are {', '.join(CASES)}")
    return arguments


def _main() -> int:
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = run(
        arguments.folder,
        SCALES[arguments.scale],
        seed=arguments.seed,
        peers=not arguments.no_peers,
        only=arguments.only,
    )
    path = arguments.json or arguments.folder / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(render(results), end="")
    say(f"written: {path}")
    return 1 if any(found["failed"] for found in results["measurements"]) else 0


if __name__ == "__main__":
    sys.exit(_main())
