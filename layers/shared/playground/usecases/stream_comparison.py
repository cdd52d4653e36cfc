"""StreamComparison: the answers of a comparison as one stream of events, each with the index of its variant.

of each variant: started, then deltas, then done or failed; when all are over, the whole
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from playground.domain.runs import RunRequest
from playground.usecases.compare_prompts import Compared, ComparePrompts, Outcome
from playground.usecases.live_runs import LiveAnswer
from playground.usecases.run_prompt import PaidAnswer, ShowStanding
from playground.usecases.stream_run import (
    KEEP_ALIVE_SECONDS,
    Delta,
    Done,
    Event,
    Failed,
    KeepAlive,
    replayed,
    started,
)


@dataclass(frozen=True, slots=True)
class OfVariant:
    index: int
    event: Event


ComparisonEvent = OfVariant | KeepAlive | Compared | Failed
"""`Compared` is the last. `Failed` without a variant: the comparison cannot be followed to its end."""


@dataclass(frozen=True, slots=True)
class ComparisonStream:
    """Events of a comparison; and the thread that makes it, if it is of this process."""

    events: Iterator[ComparisonEvent]
    thread: threading.Thread | None = None

    def wait(self) -> None:
        """Until the comparison is over, read or not."""
        if self.thread is not None:
            self.thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamComparison:
    """Makes a comparison and streams it. It goes on to its end in a thread of its own, whether its events are read or
    not. `ended` is called in that thread when all is over."""

    compare_prompts: ComparePrompts
    ended: Callable[[], None] = lambda: None
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS

    def __call__(
        self,
        user_id: str,
        requests: Sequence[RunRequest],
        *,
        idempotency_key: str | None,
        seconds_left: float,
        show_standing: ShowStanding = lambda standing: None,
        is_verified_author: bool = False,
    ) -> ComparisonStream:
        """Returns when all is held, or with the stream of the comparison that this key has made before. Raises what
        ComparePrompts raises: while another process makes it, RunInProgressError."""
        events: SimpleQueue[OfVariant | None] = SimpleQueue()
        written: dict[int, int] = {}  # characters that were sent of each variant
        outcome: Future[Compared] = Future()

        def on_text(index: int, text: str, end: int) -> None:
            written[index] = end
            events.put(OfVariant(index, Delta(text, end)))

        def on_start(index: int, live: LiveAnswer) -> None:
            events.put(OfVariant(index, started(live.hold)))
            live.listen(partial(on_text, index))

        def on_end(index: int, result: Outcome) -> None:
            for event in _last_events(result, written.get(index, 0)):
                events.put(OfVariant(index, event))

        def run() -> None:
            try:
                compared = self.compare_prompts(
                    user_id,
                    requests,
                    idempotency_key=idempotency_key,
                    seconds_left=seconds_left,
                    on_start=on_start,
                    on_end=on_end,
                    show_standing=show_standing,
                    is_verified_author=is_verified_author,
                )
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(compared)
            finally:
                events.put(None)
                self.ended()

        thread = threading.Thread(target=run, name="comparison", daemon=True)
        thread.start()
        first = events.get()
        if first is None:
            return ComparisonStream(_replayed(outcome.result()))
        return ComparisonStream(self._live(first, events, outcome), thread)

    def _live(
        self, first: OfVariant, events: "SimpleQueue[OfVariant | None]", outcome: "Future[Compared]"
    ) -> Iterator[ComparisonEvent]:
        event: OfVariant | None = first
        while event is not None:
            yield event
            while True:
                try:
                    event = events.get(timeout=self.keep_alive_seconds)
                except Empty:
                    yield KeepAlive()
                else:
                    break
        error = outcome.exception()
        if error is None:
            yield outcome.result()
        else:
            yield Failed(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))


def _last_events(outcome: Outcome, written: int) -> Iterator[Event]:
    if not isinstance(outcome, PaidAnswer):
        yield Failed(outcome)
        return
    text = outcome.turn.answer
    if text[written:]:  # of another attempt, which has ended the run
        yield Delta(text[written:], len(text))
    yield Done(outcome)


def _replayed(compared: Compared) -> Iterator[ComparisonEvent]:
    for index, outcome in enumerate(compared.outcomes):
        events = replayed(outcome, 0) if isinstance(outcome, PaidAnswer) else iter([Failed(outcome)])
        yield from (OfVariant(index, event) for event in events)
    yield compared
