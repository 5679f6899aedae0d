"""What a run finds: measurements, and the plain dicts they are kept as in JSON.

What is wanted of them is in `benchmarks.targets`, how they are shown in `benchmarks.report`.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Detail = str | float | int


@dataclass(slots=True)
class Measurement:
    """One figure, or the reason why there is none.

    `low` and `high` are the quartiles where there were several. `failed` tells what broke from what is
    merely not available here. The names of `details` are the columns of the table of its group.
    """

    key: str
    group: str
    label: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    reason: str = ""
    failed: bool = False
    details: Mapping[str, Detail] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def load(found: dict[str, Any]) -> "Measurement":
        """The reverse of `dump`."""
        return Measurement(**found)


def missing(key: str, group: str, label: str, reason: str, *, failed: bool = False) -> Measurement:
    """A measurement that could not be made."""
    return Measurement(key, group, label, reason=reason, failed=failed)


def reason_of(error: BaseException) -> str:
    """An error as one line."""
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else ''}".rstrip(": ")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of a sorted sequence do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
