"""Which test is run by which worker, and when: what takes long begins first, so that no worker ends long after others.

A file is the work of one worker, which makes what its tests share once. Files with a few long tests that share little
are dealt out test by test.
"""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

# By the time that a file takes at all: the longest first, then folder by folder.
FIRST = (
    "tests/faults/test_crash_matrix.py",
    "tests/faults/test_exhaustive_faults.py",
    "tests/local/test_stack.py",
    "tests/concurrency/test_histories.py",
    "tests/e2e/",
    "tests/property/test_ledger_machine.py",
    "tests/faults/",
    "tests/concurrency/",
    "tests/local/",
    "tests/integration/",
    "tests/property/",
    "tests/infrastructure/",
    "tests/contract/",
)
SPLIT = ("tests/faults/test_crash_matrix.py", "tests/faults/test_exhaustive_faults.py")


class Schedule(LoadScopeScheduling):
    """Of pytest-xdist, which calls it when there is more than one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in SPLIT else file


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests; those of one file stay together and in order."""

    def place(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    return sorted(items, key=place)
