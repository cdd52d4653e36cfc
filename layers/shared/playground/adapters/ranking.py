"""The ranking of packages by their runs, kept in the process for a minute.

It is made of one counter for each package, which are spread over 16 partitions: every instance reads all of them once a
minute, if somebody asks, and nobody writes anything for it.
"""

import threading
import time
from collections.abc import Callable, Sequence

from playground.domain.errors import StoreUnavailableError
from playground.domain.spend import Rank, ranking_of
from playground.ports import UsageCounters

LIFE_SECONDS = 60.0
RETRY_SECONDS = 5.0  # after an answer that did not come; the old ranking is better than none


class SnapshotRanking:
    """Safe to share between threads: one reads it, the others wait."""

    def __init__(self, usage: UsageCounters, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage
        self._monotonic = monotonic
        self._ranking: Sequence[Rank] | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> Sequence[Rank]:
        """Every package that was ever run, by rank, as it was at most a minute ago; older if the store does not answer.
        Raises StoreUnavailableError if it never did."""
        with self._lock:
            now = self._monotonic()
            if self._ranking is not None and now < self._read_at + LIFE_SECONDS:
                return self._ranking
            try:
                self._ranking, self._read_at = ranking_of(self._usage.packages()), now
            except StoreUnavailableError:
                if self._ranking is None:
                    raise
                self._read_at = now - LIFE_SECONDS + RETRY_SECONDS
            return self._ranking
