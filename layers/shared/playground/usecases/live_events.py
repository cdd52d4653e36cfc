"""LiveEvents: what a reader gets of something that goes on in another thread, with waiting or without."""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

E = TypeVar("E")
F = TypeVar("F")


class LiveEvents(Iterator[E], Generic[E]):
    """Events of one reader, to be read once: either iterated, which waits for each, or taken by `ready` after a call
    of what was given to `listen`.

    `steps` never waits. It gives None if there is no event yet, and ends after the last one; whoever makes another
    event possible calls `changed` afterwards, from any thread. Iteration gives `quiet` for every `quiet_seconds`
    without an event, never if that is None; one who takes by `ready` looks to that himself.
    """

    def __init__(self, steps: Iterator[E | None], *, quiet: E, quiet_seconds: float | None) -> None:
        self.quiet = quiet
        self.quiet_seconds = quiet_seconds
        self.over = False
        self._steps = steps
        self._is_changed = threading.Event()
        self._listener = self._is_changed.set

    def changed(self, *_: object) -> None:
        """There may be another event."""
        self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` now and whenever there may be another event; it must not wait or raise."""
        self._listener = listener
        listener()

    def ready(self) -> Iterator[E]:
        """The events that there are, without waiting. `over` says whether the last one is among them. Raises what
        making the next event raises."""
        while not self.over:
            event = next(self._steps, self)
            if event is None:
                return
            if event is self:
                self.over = True
            else:
                yield event  # type: ignore[misc]  # `self` is the end

    def map(self, function: Callable[[E], F]) -> "LiveEvents[F]":
        """The same events, made into something else when they are read. These are not read any more by themselves."""
        steps = (None if event is None else function(event) for event in self._steps)
        mapped = LiveEvents(steps, quiet=function(self.quiet), quiet_seconds=self.quiet_seconds)
        self.listen(mapped.changed)
        return mapped

    def __next__(self) -> E:
        while True:
            for event in self.ready():
                return event
            if self.over:
                raise StopIteration
            if not self._is_changed.wait(self.quiet_seconds):
                return self.quiet
            self._is_changed.clear()
