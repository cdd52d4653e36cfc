"""Threads in virtual time: one runs at a time, and a pause takes no time but that of the clock.

So what is measured depends on the pauses alone, and not on this machine or its load.
"""

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")

HANG_SECONDS = 60.0  # s of real time that a thread waits for its turn


class VirtualTime:
    """A clock that goes on when all threads pause: to the earliest end of a pause."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._pausing: list[tuple[float, int, threading.Event]] = []

    def sleep(self, seconds: float) -> None:
        """Pause the thread, which must be one of `run`."""
        turn = self._queue(seconds)
        self._next()
        self._wait(turn)

    def run(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of all tasks, each in a thread of its own, begun at the same moment."""
        turns = [self._queue(0.0) for _ in tasks]

        def one(number: int) -> _T:
            self._wait(turns[number])
            try:
                return tasks[number]()
            finally:
                self._next()

        with ThreadPoolExecutor(len(tasks)) as pool:
            results = [pool.submit(one, number) for number in range(len(tasks))]
            self._next()
            return [result.result() for result in results]

    def _queue(self, seconds: float) -> threading.Event:
        turn = threading.Event()
        heapq.heappush(self._pausing, (self.now + max(seconds, 0.0), next(self._order), turn))
        return turn

    def _next(self) -> None:
        """Only the thread whose turn it is calls this, so nothing else is touched meanwhile."""
        if self._pausing:
            self.now, _, turn = heapq.heappop(self._pausing)
            turn.set()

    def _wait(self, turn: threading.Event) -> None:
        if not turn.wait(HANG_SECONDS):
            raise TimeoutError("a thread kept the others waiting")
