"""RunAnonymously: one package, tried without a login, at our expense.

    look up → reserve → ask → settle, or give back

The model is asked only under a reservation of the most that the run can cost. Nothing is stored but that the visitor
has had a run, and what the day's runs have used of their budget.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

from playground.domain.anonymous import (
    CLEANUP_AFTER,
    AnonymousOutcome,
    Reservation,
    VisitorKeys,
    day_end,
    day_of,
    seconds_to_day_end,
)
from playground.domain.calendar import instant
from playground.domain.errors import (
    AnonymousBudgetUsedError,
    AnonymousRunsOffError,
    AnonymousRunUsedError,
    ContextTooLongError,
    ModelError,
    PackageNotFoundError,
    StoreUnavailableError,
)
from playground.domain.pricing import ModelPrice
from playground.domain.runs import RunRequest
from playground.ports import Admission, AnonymousBudget, Catalog, Clock, Model, NewId, Prompt, TimeLimit
from playground.usecases.prompts import build_prompt

MAX_ANSWER_TOKENS = 512
MAX_PROMPT_TOKENS = 64_000  # as they are counted for the reservation: at least one for each byte
STORE_RESERVE_SECONDS = 6.0  # of an invocation, for the store after the model
ANSWER_RESERVE_SECONDS = 0.5  # … of those, for the answer after the last call of the store
MIN_MODEL_SECONDS = 1.0  # with less left for the model, nothing is reserved
EFFORT = "low"  # the answer is short: thinking would use it up


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousAnswer:
    text: str
    tokens_used: int
    duration_ms: int
    model_id: str


class RunAnonymously:
    """`most_prompt_tokens`: more tokens than the provider can make of a prompt."""

    def __init__(
        self,
        *,
        budget: AnonymousBudget,
        catalog: Catalog,
        model: Model,
        price: ModelPrice,
        keys: VisitorKeys,
        most_prompt_tokens: Callable[[Prompt], int],
        clock: Clock,
        new_id: NewId,
        is_on: bool,
        budget_nano: int,
        model_timeout_seconds: float,
        report: Callable[[AnonymousOutcome], None] = lambda outcome: None,
        time_limit: TimeLimit = lambda seconds: nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._catalog = catalog
        self._model = model
        self._price = price
        self._keys = keys
        self._most_prompt_tokens = most_prompt_tokens
        self._clock = clock
        self._new_id = new_id
        self._is_on = is_on
        self._budget_nano = budget_nano
        self._model_timeout_seconds = model_timeout_seconds
        self._report = report
        self._time_limit = time_limit
        self._monotonic = monotonic

    def __call__(
        self, package_id: str, text: str, *, address: str, seconds_left: float, package_as_sent: str | None = None
    ) -> AnonymousAnswer:
        """Run the newest version of a package for the visitor at `address`, within `seconds_left`.

        Raises AnonymousRunsOffError, PackageNotFoundError, ContextTooLongError, AnonymousRunUsedError,
        AnonymousBudgetUsedError or StoreUnavailableError before the model is called; then nothing is counted. Raises
        ModelError if there is no answer: the visitor's run is counted, unless the provider certainly bills nothing.
        """
        if not self._is_on:
            raise AnonymousRunsOffError
        deadline = self._monotonic() + seconds_left
        with self._time_limit(seconds_left - ANSWER_RESERVE_SECONDS):
            package = self._catalog.version(package_id, None)
            if package is None:
                raise PackageNotFoundError(package_as_sent or package_id)
            request = RunRequest(
                package_id=package_id,
                input=text,
                model=self._price.name,
                max_tokens=MAX_ANSWER_TOKENS,
                effort=EFFORT if EFFORT in self._price.efforts else None,
            )
            prompt = build_prompt(request, self._price, package, (), MAX_ANSWER_TOKENS)
            reservation = self._reserve(prompt, address, deadline)
            return self._run(prompt, reservation, package.name, deadline)

    def _reserve(self, prompt: Prompt, address: str, deadline: float) -> Reservation:
        """The visitor's run, counted."""
        tokens = self._most_prompt_tokens(prompt)
        if tokens > MAX_PROMPT_TOKENS:
            raise ContextTooLongError(tokens=tokens, limit=MAX_PROMPT_TOKENS)
        if self._time_for_model(deadline) < MIN_MODEL_SECONDS:
            raise StoreUnavailableError  # the answer would come too late for the caller
        now = instant(self._clock())
        day = day_of(now)
        reservation = Reservation(
            day=day,
            visitor=self._keys.visitor(address, day),
            nonce=self._new_id("try"),
            nano=self._price.cost_nano(self._price.most_expensive(tokens, prompt.max_tokens)),
            cleanup_at=day_end(now) + CLEANUP_AFTER,
        )
        try:
            admission = self._budget.reserve(reservation, budget_nano=self._budget_nano)
        except StoreUnavailableError:
            self._undo(reservation)  # it may have been written, and the model is not asked
            raise
        match admission:
            case Admission.VISITOR_USED:
                raise AnonymousRunUsedError(retry_after=seconds_to_day_end(now))
            case Admission.BUDGET_USED:
                raise AnonymousBudgetUsedError(retry_after=seconds_to_day_end(now))
        return reservation

    def _run(self, prompt: Prompt, reservation: Reservation, package: str, deadline: float) -> AnonymousAnswer:
        started = self._clock()
        try:
            completion = self._model.complete(prompt, timeout=self._time_for_model(deadline))
        except ModelError as error:
            counted = self._count_failure(error, reservation)
            self._report(AnonymousOutcome(package=package, counted_nano=counted, failure=error.reason))
            raise
        duration_ms = round((self._clock() - started) / timedelta(milliseconds=1))
        counted = self._settle(reservation, self._price.cost_nano(completion.usage))
        self._report(AnonymousOutcome(package=package, counted_nano=counted))
        return AnonymousAnswer(
            text=completion.text,
            tokens_used=completion.usage.billed_tokens,
            duration_ms=duration_ms,
            model_id=completion.model_id,
        )

    def _count_failure(self, error: ModelError, reservation: Reservation) -> int:
        """What a run without an answer uses of the budget, in nano-dollars. What is only estimated stays reserved in
        full: the estimate is not an upper bound."""
        if error.spent is None:
            return 0 if self._undo(reservation) else reservation.nano
        if error.spent.estimated:
            return reservation.nano
        return self._settle(reservation, self._price.cost_nano(error.spent.usage))

    def _settle(self, reservation: Reservation, cost_nano: int) -> int:
        """What the run uses of the budget, in nano-dollars: its cost, or all that was reserved if the store does not
        answer."""
        try:
            self._budget.settle(reservation, cost_nano)
        except StoreUnavailableError:
            return reservation.nano
        return cost_nano

    def _undo(self, reservation: Reservation) -> bool:
        """Whether the reservation is given back. If the store does not answer, it stays counted."""
        try:
            self._budget.give_back(reservation)
        except StoreUnavailableError:
            return False
        return True

    def _time_for_model(self, deadline: float) -> float:
        left = deadline - self._monotonic() - STORE_RESERVE_SECONDS
        return max(min(self._model_timeout_seconds, left), 0.0)
