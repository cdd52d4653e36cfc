"""What several workers do first: the files that take long, so that no worker ends long after the others.

A file is the work of one worker (`--dist loadfile`), which makes once what its tests share. A worker has an engine,
stand-ins and ports of its own.
"""

import zlib
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadFileScheduling

# By the processor time of the longest files in continuous integration, with what they start; those of a folder one
# after the other. What is not here, the unit tests, is short: at the end no worker waits long for the others.
FIRST = (
    "tests/browser/",
    "tests/e2e/",
    "tests/faults/test_crash_matrix.py",
    "tests/faults/test_exhaustive_faults.py",
    "tests/integration/test_erasure.py",
    "tests/infrastructure/test_commands.py",
    "tests/infrastructure/test_built.py",
    "tests/property/test_ledger_machine.py",
    "tests/integration/test_a_long_life.py",
    "tests/integration/test_time_passes.py",
    "tests/property/test_payment_disorder.py",
    "tests/concurrency/test_histories.py",
    "tests/local/test_engine.py",
    "tests/local/test_stack.py",
    "tests/infrastructure/test_deployment.py",
    "tests/faults/",
    "tests/concurrency/",
    "tests/integration/",
    "tests/local/",
    "tests/property/",
    "tests/infrastructure/",
    "tests/contract/",
)

# Their stack is started, and the page built, once: a start takes fifteen seconds of processor time.
TOGETHER = ("tests/browser/", "tests/e2e/")

# So long, in continuous integration, that one worker would end after the others. Their tests share nothing that takes
# time to make.
IN_PARTS = {"tests/faults/test_crash_matrix.py": 3, "tests/faults/test_exhaustive_faults.py": 2}


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """`--dist loadfile`, but all files of TOGETHER are the work of one worker, and those of IN_PARTS of several."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        if file in IN_PARTS:
            return f"{file} {zlib.crc32(nodeid.encode()) % IN_PARTS[file]}"
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests; those of one file stay together and in order."""

    def place(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    return sorted(items, key=place)
