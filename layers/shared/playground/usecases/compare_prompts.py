"""ComparePrompts: one input, several variants, asked at the same time.

    look up → count → hold all, or none → of each: ask → settle, or release

Each variant is a run of its own, with its receipt, and ends by itself: one that fails does not take the others'. Only
the look-up, the quote and the holds are common.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from playground.domain.calendar import instant
from playground.domain.comparisons import comparison_id_of, variants_of
from playground.domain.errors import (
    IdempotencyConflictError,
    PlaygroundError,
    RunInProgressError,
    StoreUnavailableError,
)
from playground.domain.runs import Run, RunRequest, run_id_of
from playground.domain.sessions import Comparison
from playground.ports import Clock, Ledger, NewId, TimeLimit
from playground.usecases.live_runs import LiveAnswer
from playground.usecases.run_attempt import Attempt, HeldRun
from playground.usecases.run_prompt import ANSWER_RESERVE_SECONDS, PaidAnswer, RunPrompt, ShowStanding

MAX_LOOKS = 5  # at a comparison that has begun: between two of them a run has ended

_T = TypeVar("_T")
Outcome = PaidAnswer | Exception
"""What became of a variant: its answer, or the error that a single run would have raised."""
OnVariantStart = Callable[[int, LiveAnswer], None]
"""Called once for each variant after all are held, with its index, before its model is asked; from any thread."""
OnVariantEnd = Callable[[int, Outcome], None]
"""Called once for each variant that was started, when it has ended; from any thread."""


class Each(Protocol):
    """Does all tasks: their results, in order. Raises when all are over, or when the first has raised."""

    def __call__(self, tasks: Sequence[Callable[[], _T]], /) -> Sequence[_T]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The outcomes in the order of the variants. `credits_spent` is what their receipts say, also of answers that were
    deleted since."""

    comparison_id: str
    outcomes: Sequence[Outcome]
    credits_spent: int


def at_once(tasks: Sequence[Callable[[], _T]]) -> Sequence[_T]:
    """The results of all tasks, each in a thread of its own, with the time limit of this one. When all are over, the
    error of the first that raised is raised. Without more threads a task is done in this one."""
    results: dict[int, _T] = {}
    raised: dict[int, BaseException] = {}

    def do(place: int, task: Callable[[], _T]) -> None:
        try:
            results[place] = task()
        except BaseException as error:
            raised[place] = error

    threads = []
    for place, task in enumerate(tasks):
        run = partial(contextvars.copy_context().run, do, place, task)
        thread = threading.Thread(target=run, name="variant", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            run()
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()
    if raised:
        raise raised[min(raised)]
    return [results[place] for place in range(len(tasks))]


def one_by_one(tasks: Sequence[Callable[[], _T]]) -> Sequence[_T]:
    """The results of all tasks, one after the other: for tests that decide what happens when."""
    return [task() for task in tasks]


class ComparePrompts:
    """`each` does things for all variants: at once, or one by one."""

    def __init__(
        self,
        *,
        run_prompt: RunPrompt,
        ledger: Ledger,
        clock: Clock,
        new_id: NewId,
        time_limit: TimeLimit = lambda seconds: nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
        each: Each = at_once,
    ) -> None:
        self._run_prompt = run_prompt
        self._place_hold = run_prompt.place_hold
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._time_limit = time_limit
        self._monotonic = monotonic
        self._each = each

    def __call__(
        self,
        user_id: str,
        requests: Sequence[RunRequest],
        *,
        idempotency_key: str | None,
        seconds_left: float,
        on_start: OnVariantStart = lambda index, live: None,
        on_end: OnVariantEnd = lambda index, outcome: None,
        show_standing: ShowStanding = lambda standing: None,
        is_verified_author: bool = False,
    ) -> Compared:
        """Run all `requests` for `user_id`, within `seconds_left`, and charge those that are answered. Each variant
        counts as a run for the rate limit; `show_standing` and `is_verified_author` as in RunPrompt.

        The key names the whole comparison: a repeat gives the same outcomes, for ever. Raises what RunPrompt raises
        before it asks the model; then nothing is held for any variant, and nothing charged. RunInProgressError while a
        variant is being made by another attempt, IdempotencyConflictError if the key names another request.
        """
        deadline = self._monotonic() + seconds_left
        variants = variants_of(requests)
        keyed = idempotency_key is not None
        comparison_id = comparison_id_of(user_id, idempotency_key) if idempotency_key else self._new_id("cmp")
        run_ids = [
            run_id_of(user_id, idempotency_key, index) if idempotency_key is not None else self._new_id("run")
            for index in range(len(variants))
        ]
        started = instant(self._clock())
        ends = started + timedelta(seconds=seconds_left)

        def look_up(index: int) -> Attempt | Run:
            with naming_variant(index):
                return self._run_prompt.look_up(
                    user_id,
                    variants[index],
                    run_id=run_ids[index],
                    keyed=keyed,
                    started=started,
                    ends=ends,
                    deadline=deadline,
                    show_standing=show_standing if index == 0 else lambda standing: None,
                    comparison=Comparison(comparison_id, index),
                    is_verified_author=is_verified_author,
                )

        def count(index: int, attempt: Attempt) -> HeldRun:
            with naming_variant(index):
                return self._run_prompt.count(attempt, attempt.account)

        with self._time_limit(seconds_left - ANSWER_RESERVE_SECONDS):
            found = self._each([partial(look_up, index) for index in range(len(variants))])
            attempts = [attempt for attempt in found if isinstance(attempt, Attempt)]
            if len(attempts) < len(found):
                return self._replayed(user_id, variants, run_ids, comparison_id)
            self._run_prompt.refuse_early(*attempts)
            held = self._place_hold.together(self._each([partial(count, *each) for each in enumerate(attempts)]))
            if isinstance(held, Run):
                return self._replayed(user_id, variants, run_ids, comparison_id)
            self._run_prompt.show(held[0].account, show_standing)
            finishing = [partial(self._finish, index, run, on_start, on_end) for index, run in enumerate(held)]
            outcomes = self._each(finishing)
            spent = sum(outcome.run.charged for outcome in outcomes if isinstance(outcome, PaidAnswer))
            return Compared(comparison_id=comparison_id, outcomes=outcomes, credits_spent=spent)

    def _finish(self, index: int, held: HeldRun, on_start: OnVariantStart, on_end: OnVariantEnd) -> Outcome:
        outcome: Outcome
        try:
            outcome = self._run_prompt.finish(held, partial(on_start, index))
        except Exception as error:  # whatever it is: it is this variant's, and the others go on
            outcome = error
        on_end(index, outcome)
        return outcome

    def _replayed(
        self, user_id: str, variants: Sequence[RunRequest], run_ids: Sequence[str], comparison_id: str
    ) -> Compared:
        """The outcomes of a comparison that another attempt has made. All were held in one write, so each has a hold or
        a receipt; holds of a dead attempt are ended."""
        runs: dict[str, Run] = {}
        for look in range(MAX_LOOKS):
            for variant, run_id in zip(variants, run_ids, strict=True):
                run = runs.get(run_id) or self._ledger.run(user_id, run_id, ended=look > 0)
                if run is not None:
                    if run.request_hash != variant.hash:
                        raise IdempotencyConflictError
                    runs[run_id] = run
            if len(runs) == len(run_ids):
                outcomes = [
                    self._replay(runs[run_id], variant) for variant, run_id in zip(variants, run_ids, strict=True)
                ]
                spent = sum(run.charged for run in runs.values())
                return Compared(comparison_id=comparison_id, outcomes=outcomes, credits_spent=spent)
            now = instant(self._clock())
            account = self._ledger.account(user_id, now)
            for variant, run_id in zip(variants, run_ids, strict=True):
                if run_id not in runs and run_id in account.holds:
                    self._place_hold.ended(account, account.holds[run_id], request_hash=variant.hash, now=now)
        raise StoreUnavailableError

    def _replay(self, run: Run, variant: RunRequest) -> Outcome:
        """The outcome on record. Raises StoreUnavailableError if it cannot be read now."""
        try:
            return self._run_prompt.replay(run, variant)
        except PlaygroundError as error:
            if isinstance(error, StoreUnavailableError) and "run_id" not in error.facts:  # not how the run ended
                raise
            return error


@contextmanager
def naming_variant(index: int) -> Iterator[None]:
    """What is refused says which variant it is about, unless it is about the attempt."""
    try:
        yield
    except (RunInProgressError, IdempotencyConflictError):
        raise
    except PlaygroundError as error:
        raise error.of_variant(index) from error.__cause__
