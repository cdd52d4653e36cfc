"""LiveRuns: an answer while it is written. Its text for whoever watches in this process, checkpoints of it for readers
elsewhere, and the wish of its owner to end it.

Nothing here changes what a run costs or whether it is paid for: only the ledger does. What is saved is text that is
not paid for yet, so it is read only while its hold is in place, and deleted when the run has ended.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from playground.domain.account import Hold
from playground.domain.errors import PlaygroundError
from playground.ports import Checkpoint, Checkpoints, Clock, Ledger, TimeLimit

TICK_SECONDS = 1.0  # between two looks whether to stop
TICKS_PER_CHECKPOINT = 2
MAX_CHECKPOINT_CHARACTERS = 50_000  # an item of the store has 400 KB, a character 4 bytes at most
STORE_SECONDS = 3.5  # for one request to the store: an attempt of its client on a connection that is open
END_SECONDS = 1.0  # that a run waits for its thread to end


class LiveAnswer:
    """`ports.Progress` that can be read while it is written, from any number of threads. Text is never lost or
    repeated: readers ask for what follows a character."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self._changed = threading.Condition()
        self._pieces: list[str] = []
        self._length = 0
        self._closed = threading.Event()
        self._stopped = threading.Event()
        self._listeners: list[OnText] = []
        self._watchers: list[Callable[[], None]] = []

    def listen(self, listener: "OnText") -> None:
        """Call `listener` with each further piece of the text until it is closed; it must not wait or raise."""
        with self._changed:
            self._listeners.append(listener)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` when text was added and when the answer was closed; it must not wait or raise."""
        with self._changed:
            self._watchers.append(watcher)

    def write(self, text: str) -> None:
        with self._changed:
            self._pieces.append(text)
            self._length += len(text)
            for listener in self._listeners if text and not self._closed.is_set() else ():
                listener(text, self._length)
            self._changed.notify_all()
        self._notify()

    def close(self) -> None:
        """There is no more text."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._notify()

    def _notify(self) -> None:
        """Without the lock: a watcher may read."""
        for watcher in self._watchers:
            watcher()

    def closed(self, seconds: float) -> bool:
        """Whether there is no more text; waits so many seconds for that."""
        return self._closed.wait(seconds)

    def stop(self) -> None:
        """End the answer with what is written."""
        self._stopped.set()

    def stopping(self, seconds: float = 0) -> bool:
        return self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set()

    def read(self, offset: int, *, seconds: float) -> tuple[str, bool]:
        """The text after the character `offset`, and whether that is the end. Waits until there is some, or `seconds`
        have passed."""
        with self._changed:
            if seconds > 0:
                self._changed.wait_for(lambda: self._length > offset or self._closed.is_set(), seconds)
            return self._after(offset), self._closed.is_set()

    def _after(self, offset: int) -> str:
        if offset >= self._length:
            return ""
        start, place = self._length, len(self._pieces)
        while start > offset:
            place -= 1
            start -= len(self._pieces[place])
        return "".join(self._pieces[place:])[offset - start :]


OnText = Callable[[str, int], None]
"""Gets a piece of text, and the character that it ends before."""
OnStart = Callable[[LiveAnswer], None]
"""Called once the credits are held and before the model is asked."""


def unwatched(live: LiveAnswer) -> None:
    """`OnStart` for those who wait for the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRuns:
    """Follows the runs of this process, each in a thread of its own."""

    ledger: Ledger
    checkpoints: Checkpoints
    clock: Clock
    time_limit: TimeLimit
    tick_seconds: float = TICK_SECONDS
    end_seconds: float = END_SECONDS

    @contextmanager
    def __call__(self, user_id: str, hold: Hold) -> Iterator[LiveAnswer]:
        """The live answer of a run that has just been held. When the block ends, its checkpoints are deleted, at
        the latest some moments later if the store is slow; what cannot be deleted disappears by itself."""
        live = LiveAnswer(hold)
        follower = Follower(self, user_id, live)
        thread = threading.Thread(target=follower.run, name="live", daemon=True)
        with suppress(RuntimeError):  # no more threads: then nobody follows, and the run goes on
            thread.start()
        try:
            yield live
        finally:
            live.close()
            if thread.ident is not None:
                thread.join(self.end_seconds)


@contextmanager
def not_followed(user_id: str, hold: Hold) -> Iterator[LiveAnswer]:
    """A live answer for readers in this process only."""
    yield LiveAnswer(hold)


class Follower:
    """What is done for one run while it is made."""

    def __init__(self, runs: LiveRuns, user_id: str, live: LiveAnswer) -> None:
        self._runs = runs
        self._user_id = user_id
        self._live = live
        self._saved = 0  # characters
        self._ends: list[int] = []  # of the checkpoints
        self._ticks = 0

    def run(self) -> None:
        """A tick a second, until the answer is closed; then its checkpoints are deleted."""
        try:
            while not self._live.closed(self._runs.tick_seconds):
                self.tick()
        finally:
            self.forget()

    def tick(self) -> None:
        """Look whether to stop; every second time, save what is new. What the store does not do, the next one does."""
        self._ticks += 1
        with suppress(PlaygroundError), self._runs.time_limit(STORE_SECONDS):
            self._look()
        if self._ticks % TICKS_PER_CHECKPOINT == 0:
            with suppress(PlaygroundError), self._runs.time_limit(STORE_SECONDS):
                self._save()

    def _look(self) -> None:
        if not self._live.stopping() and self._runs.ledger.should_stop(self._user_id, self._live.hold):
            self._live.stop()

    def _save(self) -> None:
        hold = self._live.hold
        while text := self._live.read(self._saved, seconds=0)[0][:MAX_CHECKPOINT_CHARACTERS]:
            checkpoint = Checkpoint(self._saved, text)
            self._ends.append(checkpoint.end)  # first: nobody knows whether a request without a reply was written
            self._runs.checkpoints.save(hold.run_id, hold.nonce, checkpoint, now=self._runs.clock())
            self._saved = checkpoint.end

    def forget(self) -> None:
        """Delete the checkpoints."""
        hold = self._live.hold
        with suppress(PlaygroundError), self._runs.time_limit(STORE_SECONDS):
            if self._ends:
                self._runs.checkpoints.delete(hold.run_id, hold.nonce, self._ends)
