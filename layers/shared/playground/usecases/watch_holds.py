"""HoldWatch: detects that the worker which placed a hold is dead, long before its lease ends."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from playground.domain.account import Hold

MARGIN = timedelta(seconds=5)  # beyond the longest invocation, for requests that are still on their way
MAX_WATCHED = 1000  # holds; the oldest is dropped first


class HoldWatch:
    """Remembers when this process saw a hold first, by its own monotonic clock.

    The invocation that placed a hold lasts at most `hold.max_duration`. A process that first saw the hold that long ago
    knows that the invocation is over, without comparing two clocks. A new process starts watching from zero. Variants
    of a comparison ask in threads of their own.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def seconds_left(self, user_id: str, hold: Hold) -> float:
        """Seconds until this process can be sure that the worker is dead; 0 or less if it is."""
        now = self._monotonic()
        with self._lock:
            if len(self._seen) >= MAX_WATCHED:
                del self._seen[next(iter(self._seen))]
            seen = self._seen.setdefault((user_id, hold.nonce), now)
        return seen - now + (hold.max_duration + MARGIN).total_seconds()

    def forget(self, user_id: str, hold: Hold) -> None:
        """The hold is over."""
        with self._lock:
            self._seen.pop((user_id, hold.nonce), None)
