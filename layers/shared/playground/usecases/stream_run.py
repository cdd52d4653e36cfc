"""StreamRun: the answer of a run as a stream of events, from the process that makes it or from any other.

    started, then deltas, each with where it ends; then done or failed

The text of a run is the same whoever reads it and from wherever: offsets are in characters (Unicode code points) of the
whole answer. What fails before the model is asked raises, and there is no stream.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from queue import SimpleQueue

from playground.domain.account import Hold
from playground.domain.errors import (
    InvalidRequestError,
    RunInProgressError,
    RunNotFoundError,
    SessionNotFoundError,
    UnreadableError,
)
from playground.domain.runs import Run, RunRequest, RunStatus, error_of
from playground.ports import Checkpoint, Checkpoints, Clock, Ledger, Sessions, TimeLimit
from playground.usecases.expire_holds import INTERRUPTED, ExpireHolds
from playground.usecases.live_events import LiveEvents
from playground.usecases.live_runs import LiveAnswer
from playground.usecases.run_prompt import PaidAnswer, RunPrompt, ShowStanding

KEEP_ALIVE_SECONDS = 10.0
LOOK_SECONDS = 1.0  # between two looks at a run that another process makes
ANSWER_RESERVE_SECONDS = 5.0  # of an invocation, for the end of a stream that only follows a run
OFFSET = "last-event-id"  # the header that says it


@dataclass(frozen=True, slots=True)
class Started:
    """The credits are held, or were. `max_tokens` is 0 for a hold of an earlier version."""

    run_id: str
    session_id: str
    ceiling: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Text, and the character that it ends before."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing has happened for a while."""


@dataclass(frozen=True, slots=True)
class Done:
    answer: PaidAnswer


@dataclass(frozen=True, slots=True)
class Failed:
    """The run has ended without an answer, or cannot be followed any further."""

    error: Exception


Event = Started | Delta | KeepAlive | Done | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRun:
    """Makes a run and streams it. The run goes on to its end in a thread of its own, whether its events are read or
    not. `ended` is called in that thread when all is over."""

    run_prompt: RunPrompt
    follow: "FollowRun"
    ended: Callable[[], None] = lambda: None
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS

    def __call__(
        self,
        user_id: str,
        request: RunRequest,
        *,
        idempotency_key: str | None,
        seconds_left: float,
        offset: int = 0,
        show_standing: ShowStanding = lambda standing: None,
        is_verified_author: bool = False,
    ) -> "RunStream":
        """Returns when the credits are held, or with the stream of the run that this key has made before, or that
        another process is making: from the character `offset` on. A run that begins now begins at 0. `show_standing` is
        called as by RunPrompt, before this returns or raises, in another thread.

        Raises what RunPrompt raises before the model is asked, and for a key whose run has failed.
        """
        ends = self.follow.monotonic() + seconds_left
        first: SimpleQueue[LiveAnswer | None] = SimpleQueue()
        outcome: Future[PaidAnswer] = Future()

        def run() -> None:
            try:
                answer = self.run_prompt(
                    user_id,
                    request,
                    idempotency_key=idempotency_key,
                    seconds_left=seconds_left,
                    on_start=first.put,
                    show_standing=show_standing,
                    is_verified_author=is_verified_author,
                )
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(answer)
            finally:
                first.put(None)
                self.ended()

        thread = threading.Thread(target=run, name="run", daemon=True)
        thread.start()
        live = first.get()
        if live is not None:
            return RunStream(self._live(live, outcome), thread)
        try:
            answer = outcome.result()
        except RunInProgressError as error:
            return self.follow(user_id, error.run_id, offset=offset, seconds_left=ends - self.follow.monotonic())
        return RunStream(replayed(answer, offset))

    def _live(self, live: LiveAnswer, outcome: "Future[PaidAnswer]") -> LiveEvents[Event]:
        events = LiveEvents[Event](_live_steps(live, outcome), quiet=KeepAlive(), quiet_seconds=self.keep_alive_seconds)
        live.watch(events.changed)
        outcome.add_done_callback(events.changed)
        return events


def _live_steps(live: LiveAnswer, outcome: "Future[PaidAnswer]") -> Iterator[Event | None]:
    """The events of a run that is made in this process; None: not yet."""
    yield started(live.hold)
    end = 0
    closed = False
    while not closed:
        text, closed = live.read(end, seconds=0)
        end += len(text)
        if text:
            yield Delta(text, end)
        elif not closed:
            yield None
    while not outcome.done():
        yield None
    error = outcome.exception()
    if error is not None:
        yield Failed(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))
        return
    answer = outcome.result()
    if answer.turn.answer[end:]:  # of another attempt, which has ended the run
        yield Delta(answer.turn.answer[end:], len(answer.turn.answer))
    yield Done(answer)


@dataclass(frozen=True, slots=True)
class RunStream:
    """Events of a run; and the thread that makes it, if it is of this process."""

    events: Iterator[Event]
    thread: threading.Thread | None = None

    def wait(self) -> None:
        """Until the run is over, read or not."""
        if self.thread is not None:
            self.thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowRun:
    """The stream of a run that is being made elsewhere or has ended. While it is being made its text comes from its
    checkpoints, a few seconds late; the ledger says how it ends."""

    ledger: Ledger
    sessions: Sessions
    checkpoints: Checkpoints
    clock: Clock
    sleep: Callable[[float], None]
    report: Callable[[Run], None] = lambda run: None
    look_seconds: float = LOOK_SECONDS
    time_limit: TimeLimit = lambda seconds: nullcontext()
    monotonic: Callable[[], float] = time.monotonic

    def __call__(self, user_id: str, run_id: str, *, offset: int, seconds_left: float) -> RunStream:
        """From the character `offset` on, within `seconds_left`; a reader whose time is over comes again.

        Raises RunNotFoundError, the error of a run that has failed, and InvalidRequestError for an `offset` beyond the
        end.
        """
        ends = self.monotonic() + seconds_left - ANSWER_RESERVE_SECONDS
        run = self.ledger.run(user_id, run_id)
        if run is not None:
            return RunStream(replayed(self._answer(run), offset))
        hold = self._hold(user_id, run_id)
        if hold is None:
            run = self.ledger.run(user_id, run_id, ended=True)
            if run is None:
                raise RunNotFoundError
            return RunStream(replayed(self._answer(run), offset))
        return RunStream(self._following(user_id, hold, offset, ends))

    def _following(self, user_id: str, hold: Hold, offset: int, ends: float) -> Iterator[Event]:
        yield started(hold)
        looks, quiet, held = math.ceil((ends - self.monotonic()) / self.look_seconds), 0.0, True
        try:
            for _ in range(looks):
                left = ends - self.monotonic()
                if left <= 0:
                    break
                with self.time_limit(left):  # no event leaves in here: it may go on in another thread
                    text, answer, held = self._look(user_id, hold, offset, ended=not held)
                offset += len(text)
                if text:
                    quiet = 0.0
                    yield Delta(text, offset)
                if answer is not None:
                    yield Done(answer)
                    return
                if text or not held:
                    continue
                self.sleep(self.look_seconds)
                quiet += self.look_seconds
                if quiet >= KEEP_ALIVE_SECONDS:
                    quiet = 0.0
                    yield KeepAlive()
            raise RunInProgressError(run_id=hold.run_id, retry_after=1, lease_at=hold.lease_at)
        except Exception as error:
            yield Failed(error)

    def _look(self, user_id: str, hold: Hold, offset: int, *, ended: bool) -> tuple[str, PaidAnswer | None, bool]:
        """The text after the character `offset`, the answer if the run has ended, and whether it is held. `ended`: the
        look before has seen that it is not."""
        run = self.ledger.run(user_id, hold.run_id, ended=ended)
        if run is not None:
            answer = self._answer(run)
            _check(offset, answer.turn.answer)
            return answer.turn.answer[offset:], answer, False
        text = text_after(self.checkpoints.after(hold.run_id, hold.nonce, offset), offset)
        if not text and not hold.dead(self.clock()):
            return "", None, True
        # It is not paid for yet: it is shown only as long as it is held for.
        there = self._hold(user_id, hold.run_id)
        held = there is not None and there.nonce == hold.nonce
        return text if held else "", None, held

    def _hold(self, user_id: str, run_id: str) -> Hold | None:
        """The hold of a run that is being made; a dead one is given back."""
        now = self.clock()
        hold = self.ledger.account(user_id, now).holds.get(run_id)
        if hold is not None and hold.dead(now):
            ExpireHolds(self.ledger, self.report).one(user_id, hold, now=now)
            return None
        return hold

    def _answer(self, run: Run) -> PaidAnswer:
        """The stored answer. Raises the failure, if it was one."""
        if run.status is not RunStatus.SETTLED or run.turn is None:
            raise error_of(run.failure or INTERRUPTED).ending(run.run_id, keyed=True)
        turn = self.sessions.turn(run.session_id, run.turn)
        if turn is None or turn.run_id != run.run_id:
            raise SessionNotFoundError
        if turn.unreadable:
            raise UnreadableError(f"turn {turn.number} of {run.session_id}")
        return PaidAnswer(run=run, turn=turn, replayed=True)


def started(held: Hold) -> Started:
    return Started(held.run_id, held.session_id, held.ceiling, held.max_tokens)


def replayed(answer: PaidAnswer, offset: int) -> Iterator[Event]:
    """The events of a run that has ended. Raises InvalidRequestError if `offset` is beyond its end."""
    run, text = answer.run, answer.turn.answer
    _check(offset, text)
    events: list[Event] = [Started(run.run_id, run.session_id, run.ceiling, run.max_tokens or 0)]
    if text[offset:]:
        events.append(Delta(text[offset:], len(text)))
    return iter([*events, Done(answer)])


def text_after(pieces: Sequence[Checkpoint], offset: int) -> str:
    """What the pieces have of the text after the character `offset`, without a gap. They may overlap."""
    text = ""
    for piece in pieces:
        end = offset + len(text)
        if piece.offset > end:
            break
        text += piece.text[end - piece.offset :]
    return text


def _check(offset: int, text: str) -> None:
    if offset > len(text):
        raise InvalidRequestError(OFFSET, f"must be at most {len(text)}, where the answer ends", got=offset)
