"""Metrics of the laptop stack, where CloudWatch would have those of a deployed one: a file in STATE_DIR, one metric
document of a function in a line, and the file before it. Both together have MAX_BYTES twice at most.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.process import ShowLine

FILE_NAME = "metrics.jsonl"
OLDER_NAME = "metrics.older.jsonl"
MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one metric that a function has written at `at` (seconds since 1970), with its dimensions."""

    at: float
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    values: tuple[float, ...]


class MetricFile:
    """Keeps the metric documents among the lines of functions. From any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._older = folder / OLDER_NAME
        self._lock = threading.Lock()

    def keeping(self, show: ShowLine) -> ShowLine:
        """`show`, after a look at each line. A file that cannot be written costs the metrics only."""

        def look(name: str, line: str) -> None:
            if line.startswith("{") and '"_aws"' in line and samples_of(line):
                self._append(line)
            show(name, line)

        return look

    def _append(self, line: str) -> None:
        with self._lock:
            try:
                if self._path.exists() and self._path.stat().st_size + len(line) > MAX_BYTES:
                    self._path.replace(self._older)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
            except OSError:
                return


def read_samples(folder: Path) -> Iterator[Sample]:
    """All that is kept, the oldest first. Lines that are not complete are left out."""
    for name in (OLDER_NAME, FILE_NAME):
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            yield from samples_of(line)


def samples_of(line: str) -> list[Sample]:
    """What a metric document says; nothing if it is none."""
    try:
        document: dict[str, Any] = json.loads(line)
        about = document["_aws"]
        return [
            Sample(
                at=about["Timestamp"] / 1000,
                metric=metric["Name"],
                dimensions=tuple((name, str(document[name])) for name in directive["Dimensions"][0]),
                values=_values(document[metric["Name"]]),
            )
            for directive in about["CloudWatchMetrics"]
            for metric in directive["Metrics"]
        ]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return []


def _values(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in (value if isinstance(value, list) else [value]))
