"""Results as tables: for the terminal, and between the markers of docs/performance.md.

python -m benchmarks.report .bench/results.json
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import ROOT
from benchmarks.results import Measurement
from benchmarks.targets import TARGETS, Outcome, judge

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- results: written by benchmarks/report.py, not by hand -->"
END: Final = "<!-- end of results -->"


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A Markdown table, aligned so that it can be read as it is."""
    cells = [header, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
    return lines


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _target_rows(measurements: list[Measurement]) -> Iterable[list[str]]:
    for target in TARGETS:
        for place, check in enumerate(target.checks):
            outcome = judge(check, measurements)
            yield [target.work if place == 0 else "", check.words, check.wanted, _measured(outcome), outcome.verdict]


def _measured(outcome: Outcome) -> str:
    return outcome.reason if outcome.measured is None else f"{number(outcome.measured)} {outcome.unit}".strip()


def _group(title: str, found: list[Measurement]) -> list[str]:
    details = list(dict.fromkeys(name for measurement in found for name in measurement.details))
    spread = any(measurement.low is not None for measurement in found)
    header = ["what", "median" if spread else "measured", *(["quartiles"] if spread else []), *details]
    rows = []
    for measurement in found:
        if measurement.value is None:
            shown = [f"{'failed' if measurement.failed else 'not measured'}: {measurement.reason}"]
            shown += [""] * spread
        else:
            shown = [f"{number(measurement.value)} {measurement.unit}".strip()]
            shown += [_quartiles(measurement)] * spread
        rows.append([measurement.label, *shown, *(_detail(measurement.details.get(name)) for name in details)])
    return [f"### {title}", "", *table(header, rows), ""]


def _quartiles(measurement: Measurement) -> str:
    if measurement.low is None or measurement.high is None:
        return ""
    return f"{number(measurement.low)} to {number(measurement.high)}"


def _detail(value: str | float | None) -> str:
    return number(value) if isinstance(value, int | float) else value or ""


def render(results: dict[str, Any]) -> str:
    """All of a run's results as Markdown."""
    measurements = [Measurement.load(found) for found in results["measurements"]]
    groups: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(measurement.group, []).append(measurement)
    how = f"scale {results['scale']}, seed {results['seed']}, {results['took_s']:.0f} s"
    lines = [f"Run of {results['started_at']}, `{results['command']}`: {how}.", ""]
    if results["scale"] != "full":
        largest = max(results["sizes"].values())
        lines += [f"This was no full run: slices are short, and the longest session has {largest:,} events.", ""]
    lines += table(["machine", ""], [[name, str(value)] for name, value in results["machine"].items()])
    lines += ["", "### Targets", ""]
    lines += table(["work", "what", "target", "measured", ""], _target_rows(measurements))
    lines += [""]
    for title, found in groups.items():
        lines += _group(title, found)
    return "\n".join(lines).rstrip() + "\n"


def write_page(results: dict[str, Any]) -> None:
    """Put the results between the markers of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{PAGE} lacks the lines {BEGIN!r} and {END!r}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.report RESULTS.json")
    write_page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
