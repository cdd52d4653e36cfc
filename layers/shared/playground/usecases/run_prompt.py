"""RunPrompt: one prompt, paid for.

    look up → count → hold → ask → settle, or release

Nothing is asked of the model without a hold, no answer leaves without being paid for in the same transaction that
stores it, and whatever goes wrong in between gives everything back.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from playground.domain.account import LEASE_MARGIN, Account, Hold, as_of, settle, without_dead_holds
from playground.domain.allowance import NOTHING_USED, Allowance, AllowanceUse
from playground.domain.calendar import instant
from playground.domain.entries import Entry
from playground.domain.errors import (
    IdempotencyConflictError,
    InsufficientCreditsError,
    ModelError,
    RunInProgressError,
    SessionConflictError,
    SessionNotFoundError,
    StoreUnavailableError,
    TooManyFailuresError,
    TooManyRunsError,
    UnreadableError,
)
from playground.domain.packages import PackageVersion
from playground.domain.pricing import ModelPrice, PriceTable, Spent
from playground.domain.runs import (
    Failure,
    Measured,
    Run,
    RunRequest,
    RunStatus,
    UnpaidCost,
    error_of,
    failure_of,
    run_id_of,
)
from playground.domain.sessions import Session, Turn
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    CannotAfford,
    Catalog,
    Clock,
    Completion,
    Conclude,
    Conversation,
    Ended,
    Held,
    Ledger,
    Lookup,
    Model,
    NewId,
    Prompt,
    Sessions,
    TextRef,
    TimeLimit,
    TooManyHolds,
)
from playground.usecases.expire_holds import INTERRUPTED, ExpireHolds
from playground.usecases.prompts import FitConversation, package_for, refuse_unsupported
from playground.usecases.watch_holds import HoldWatch

COUNT_TIMEOUT = 3.0  # s for counting tokens; after that they are guessed
# Of the seconds of an invocation. The first is what the model does not get, and has the other two in it.
LEDGER_RESERVE_SECONDS = 7.0  # for ending the run: at least 4 s to settle
RELEASE_RESERVE_SECONDS = 2.5  # … for the release, if the store did not answer the settlement
ANSWER_RESERVE_SECONDS = 0.5  # … for the answer, when the store is asked nothing more
MIN_MODEL_SECONDS = 1.0  # with less than that for the model, nothing is held and nobody is asked
MAX_TRIES = 20  # placing a hold, each time for what can be afforded then
RETRY_AFTER = 2  # s, while a run is at work
MAX_TITLE_CHARACTERS = 80  # characters
INTERNAL = Failure(code="model_failed", reason="internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidAnswer:
    """A settled run with its turn. `replayed`: this is the outcome of an earlier request with the same key."""

    run: Run
    turn: Turn
    replayed: bool


class RunPrompt:
    def __init__(
        self,
        *,
        ledger: Ledger,
        lookup: Lookup,
        sessions: Sessions,
        catalog: Catalog,
        model: Model,
        prices: PriceTable,
        clock: Clock,
        new_id: NewId,
        max_open_runs: int,
        model_timeout_seconds: float,
        report: Callable[[Run], None] = lambda run: None,
        time_limit: TimeLimit = lambda seconds: nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
        watch: HoldWatch | None = None,
    ) -> None:
        self._ledger = ledger
        self._lookup = lookup
        self._sessions = sessions
        self._catalog = catalog
        self._model = model
        self._prices = prices
        self._clock = clock
        self._new_id = new_id
        self._max_open_runs = max_open_runs
        self._model_timeout = model_timeout_seconds
        self._report = report
        self._time_limit = time_limit
        self._monotonic = monotonic
        self._watch = watch or HoldWatch()
        self._expire = ExpireHolds(ledger, report)
        self._fit = FitConversation(sessions, model, prices)

    def __call__(
        self, user_id: str, request: RunRequest, *, idempotency_key: str | None, seconds_left: float
    ) -> PaidAnswer:
        """Run `request` for `user_id` and charge it, within `seconds_left`.

        The same key and request again give the first outcome, for ever: the same answer, or the same failure. Raises
        what `domain.errors` has; whatever is raised, nothing has been charged by this call. An error that has ended the
        run names it. A store that does not answer is given up in time: settlement and release share one deadline.
        """
        deadline = self._monotonic() + seconds_left
        with self._time_limit(seconds_left - ANSWER_RESERVE_SECONDS):
            return self._run(user_id, request, idempotency_key, seconds_left, deadline)

    def _run(
        self, user_id: str, request: RunRequest, idempotency_key: str | None, seconds_left: float, deadline: float
    ) -> PaidAnswer:
        started = instant(self._clock())
        ends = started + timedelta(seconds=seconds_left)
        model = self._prices.models[request.model]
        refuse_unsupported(request, model)
        run_id = run_id_of(user_id, idempotency_key) if idempotency_key is not None else self._new_id("run")
        found = self._lookup(
            user_id=user_id,
            run_id=run_id if idempotency_key is not None else None,
            package_id=request.package_id,
            version=request.package_version,
            session_id=request.session_id,
        )
        if found.run is not None:
            return self._replay(found.run, request)
        if request.session_id is not None and found.session is None:
            raise SessionNotFoundError
        package = package_for(request, found.package, found.session, self._catalog)
        account = as_of(found.account, user_id, started)
        account = without_dead_holds(account, started)  # placing a hold gives them back, if it needs them
        allowance = self._prices.allowance(account)
        session_id = found.session.session_id if found.session is not None else self._new_id("ses")
        nonce = self._new_id("try")
        for last_try in (False, True):
            fitted = self._fit(request, package, found.session, account, timeout=COUNT_TIMEOUT)
            prompt, tokens = fitted.prompt, fitted.tokens
            hold = Hold(
                run_id=run_id,
                nonce=nonce,
                ceiling=self._prices.ceiling(model, tokens, prompt.max_tokens),
                cost_nano=model.cost_nano(model.most_expensive(tokens, prompt.max_tokens)),
                interval=allowance.interval,
                lease_at=instant(ends + LEASE_MARGIN),
                request_hash=request.hash,
                session_id=session_id,
                model=request.model,
                placed_at=started,
            )
            attempt = _Attempt(
                user_id=user_id,
                request=request,
                keyed=idempotency_key is not None,
                package=package,
                session=found.session,
                model=model,
                tokens=tokens,
                wanted_max_tokens=prompt.max_tokens,
                started=started,
                omitted=fitted.omitted,
                deadline=deadline,
                guessed=fitted.guessed,
            )
            if self._time_for_model(deadline) < MIN_MODEL_SECONDS:
                raise StoreUnavailableError  # whoever has asked would not hear of it any more
            try:
                placed = self._place(attempt, hold, prompt, allowance)
                break
            except InsufficientCreditsError:
                if last_try or found.session is None or fitted.omitted == found.session.turns:
                    raise
                account = self._ledger.account(user_id, started)  # others have spent meanwhile: with less history
        if isinstance(placed, Run):
            return self._replay(placed, request)
        account, hold, prompt = placed
        try:
            completion = self._model.complete(prompt, timeout=self._time_for_model(deadline))
        except ModelError as error:
            unpaid = _unpaid(model, error.spent)
            use = self._prices.allowance(account).use(unpaid.cost_nano) if unpaid is not None else NOTHING_USED
            ended = self._release(attempt, hold, prompt, failure_of(error), unpaid, use, account)
            if ended.by_us:
                raise error.ending(hold.run_id, keyed=attempt.keyed) from error.__cause__
            return self._replay(ended.run, request)
        except Exception:
            most = UnpaidCost(cost_nano=hold.cost_nano, estimated=True)
            self._release(attempt, hold, prompt, INTERNAL, most, AllowanceUse(failures=hold.interval), account)
            raise
        return self._settle(attempt, account, hold, prompt, completion)

    def _time_for_model(self, deadline: float) -> float:
        left = deadline - self._monotonic() - LEDGER_RESERVE_SECONDS
        return max(min(self._model_timeout, left), 0.0)

    # --- hold ---------------------------------------------------------------------------------------------------------

    def _place(
        self, attempt: "_Attempt", hold: Hold, prompt: Prompt, allowance: Allowance
    ) -> tuple[Account, Hold, Prompt] | Run:
        """A hold, for as many tokens as can be afforded; or the run that another attempt has ended meanwhile."""
        user_id, now, expired = attempt.user_id, attempt.started, False
        for _ in range(MAX_TRIES):
            try:
                outcome = self._ledger.place_hold(
                    user_id, hold, limit=self._max_open_runs, now=now, allowance=allowance
                )
            except StoreUnavailableError:
                self._take_back(user_id, hold)
                raise
            match outcome:
                case Held(account, ended_before):
                    ended = self._outcome(user_id, hold) if ended_before else None
                    if ended is None:
                        return account, hold, prompt
                    self._take_back(user_id, hold)
                    return ended
                case AlreadyHeld(account, there):
                    if there.dead(now):
                        return self._expire.one(user_id, there, now=now, seen=account).run
                    if there.request_hash != hold.request_hash:
                        raise IdempotencyConflictError
                    left = self._watch.seconds_left(user_id, there)
                    if left <= 0:
                        self._watch.forget(user_id, there)
                        return self._expire.one(user_id, there, now=now, seen=account).run
                    should_be_over = there.lease_at - LEASE_MARGIN <= now
                    raise RunInProgressError(
                        run_id=hold.run_id,
                        retry_after=max(math.ceil(left), RETRY_AFTER) if should_be_over else RETRY_AFTER,
                        lease_at=there.lease_at,
                    )
                case TooManyHolds(account) | CannotAfford(account) | AllowanceUsedUp(account) if (
                    account.dead_holds(now) and not expired
                ):
                    expired = True
                    self._expire(account, now=now)
                case AllowanceUsedUp(account) if self._prices.allowance(account) != allowance:
                    allowance = self._prices.allowance(account)  # it was paid for the first time meanwhile
                case AllowanceUsedUp(account):
                    wait = allowance.wait(account, hold.ceiling, now)
                    if wait:
                        raise TooManyFailuresError(retry_after=math.ceil(wait.total_seconds()))
                    raise TooManyRunsError(limit=len(account.holds), retry_after=RETRY_AFTER)
                case TooManyHolds():
                    raise TooManyRunsError(limit=self._max_open_runs, retry_after=RETRY_AFTER)
                case CannotAfford(account):
                    max_tokens = self._affordable(account, attempt)
                    hold = replace(
                        hold,
                        ceiling=self._prices.ceiling(attempt.model, attempt.tokens, max_tokens),
                        cost_nano=attempt.model.cost_nano(attempt.model.most_expensive(attempt.tokens, max_tokens)),
                    )
                    prompt = replace(prompt, max_tokens=max_tokens)
        raise StoreUnavailableError

    def _affordable(self, account: Account, attempt: "_Attempt") -> int:
        """The `max_tokens` that this account can pay for now. Raises InsufficientCreditsError if it is too few."""
        least = min(attempt.wanted_max_tokens, self._prices.least_max_tokens)
        affordable = self._prices.affordable_max_tokens(
            attempt.model, attempt.tokens, account.available, wanted=attempt.wanted_max_tokens
        )
        if affordable < least:
            raise InsufficientCreditsError(
                required_credits=self._prices.ceiling(attempt.model, attempt.tokens, least),
                available_credits=account.available,
                reset_at=account.resets_at,
                guessed=attempt.guessed,
            )
        return affordable

    def _outcome(self, user_id: str, hold: Hold) -> Run | None:
        """How the run ended that `hold` was placed for once more."""
        try:
            return self._ledger.run(user_id, hold.run_id)
        except StoreUnavailableError:
            self._take_back(user_id, hold)
            raise

    def _take_back(self, user_id: str, hold: Hold) -> None:
        """The hold is not needed, or it is not known whether it was placed; it should not stay until its lease ends."""
        try:
            self._ledger.cancel_hold(user_id, hold, now=instant(self._clock()))
        except StoreUnavailableError:
            return  # then the lease ends it

    # --- end ----------------------------------------------------------------------------------------------------------

    def _settle(
        self, attempt: "_Attempt", account: Account, hold: Hold, prompt: Prompt, completion: Completion
    ) -> PaidAnswer:
        kept: TextRef | None = None
        unpaid = _unpaid(attempt.model, Spent(usage=completion.usage, estimated=False))
        try:
            turn, session, conclude = self._concluding(attempt, hold, prompt, completion)
            left = attempt.deadline - self._monotonic() - RELEASE_RESERVE_SECONDS - ANSWER_RESERVE_SECONDS
            with self._time_limit(left):
                kept = self._sessions.keep(hold.session_id, turn, nonce=hold.nonce)
                ended = self._ledger.settle(account, hold, conclude, Conversation(session, turn, kept))
        except (SessionConflictError, StoreUnavailableError) as error:
            # Perhaps it was settled and only the reply was lost: then the receipt says so, and the answer is paid for.
            use = NOTHING_USED  # a store that does not answer is not the user's failure
            if isinstance(error, SessionConflictError) and unpaid is not None:
                use = self._prices.allowance(account).use(unpaid.cost_nano)
            ended = self._release(attempt, hold, prompt, failure_of(error), unpaid, use, account)
            if ended.by_us:
                self._discard(kept)
                raise error.ending(hold.run_id, keyed=attempt.keyed) from error.__cause__
        except Exception:
            if self._release(
                attempt, hold, prompt, INTERNAL, unpaid, AllowanceUse(failures=hold.interval), account
            ).by_us:
                self._discard(kept)
            raise
        if ended.run.nonce != hold.nonce or ended.run.status is not RunStatus.SETTLED:
            self._discard(kept)
            return self._replay(ended.run, attempt.request)
        self._report(ended.run)
        return PaidAnswer(run=ended.run, turn=turn, replayed=False)

    def _concluding(
        self, attempt: "_Attempt", hold: Hold, prompt: Prompt, completion: Completion
    ) -> tuple[Turn, Session, Conclude]:
        """What is stored of the answer, and how an account pays for it."""
        now = instant(self._clock())
        price = self._prices.price(attempt.model, completion.usage)
        charged = min(price.credits, hold.ceiling)
        duration_ms = round((now - attempt.started) / timedelta(milliseconds=1))
        session = attempt.session_after(hold.session_id, charged, completion.usage.billed_tokens, duration_ms, now)
        turn = Turn(
            number=session.turns,
            run_id=hold.run_id,
            input=attempt.request.input,
            answer=completion.text,
            input_tokens=completion.usage.prompt_tokens,
            output_tokens=completion.usage.output_tokens,
            asked_at=attempt.started,
            answered_at=now,
            refused=completion.stop_reason == "refusal",
        )
        measured = Measured(
            usage=completion.usage, price=price, stop_reason=completion.stop_reason, duration_ms=duration_ms
        )

        def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
            after, entries = settle(account, hold.run_id, charged, reason=f"Run of {attempt.package.name}", now=now)
            entry = entries[-1]
            run = attempt.receipt(
                hold,
                prompt,
                RunStatus.SETTLED,
                now,
                price_version=self._prices.version,
                model_id=completion.model_id,
                charged=charged,
                overrun=price.credits - charged,
                deltas=entry.deltas,
                balance_after=entry.balance_after,
                entry_seq=entry.seq,
                entry_hash=entry.hash,
                turn=turn.number,
                measured=measured,
            )
            return after, run, entries

        return turn, session, conclude

    def _discard(self, kept: TextRef | None) -> None:
        """The turn did not come about, so nobody names its texts."""
        if kept is None:
            return
        try:
            self._sessions.discard(kept)
        except StoreUnavailableError:
            return  # an orphan; docs/operations.md says how they go

    def _release(
        self,
        attempt: "_Attempt",
        hold: Hold,
        prompt: Prompt,
        failure: Failure,
        unpaid: UnpaidCost | None,
        use: AllowanceUse,
        account: Account,
    ) -> Ended:
        run = attempt.receipt(
            hold,
            prompt,
            RunStatus.RELEASED,
            instant(self._clock()),
            price_version=self._prices.version,
            model_id=attempt.model.model_id,
            failure=failure,
            unpaid=unpaid,
        )
        try:
            ended = self._ledger.release(attempt.user_id, run, use, seen=account)
        except StoreUnavailableError:
            # Once more, if there is time: what got no answer may have been a refusal.
            ended = self._ledger.release(attempt.user_id, run, use, seen=account)
        if ended.by_us:
            self._report(ended.run)
        return ended

    def _replay(self, run: Run, request: RunRequest) -> PaidAnswer:
        """The outcome that is on record. Raises the failure, if it was one."""
        if run.request_hash != request.hash:
            raise IdempotencyConflictError
        if run.status is not RunStatus.SETTLED or run.turn is None:
            raise error_of(run.failure or INTERRUPTED).ending(run.run_id, keyed=True)
        turn = self._sessions.turn(run.session_id, run.turn)
        if turn is None or turn.run_id != run.run_id:
            raise SessionNotFoundError  # deleted since: the charge stays on record, the answer is gone
        if turn.unreadable:
            raise UnreadableError(f"turn {turn.number} of {run.session_id}")
        return PaidAnswer(run=run, turn=turn, replayed=True)


def _unpaid(model: ModelPrice, spent: Spent | None) -> UnpaidCost | None:
    """What a call without an answer cost us; None if it is surely not billed."""
    if spent is None:
        return None
    return UnpaidCost(cost_nano=model.cost_nano(spent.usage), estimated=spent.estimated, usage=spent.usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """What one call of RunPrompt knows from the beginning. `keyed`: a repeat will lead to the same run. `deadline`: the
    end of the invocation, in monotonic seconds."""

    user_id: str
    request: RunRequest
    keyed: bool
    package: PackageVersion
    session: Session | None
    model: ModelPrice
    tokens: int
    wanted_max_tokens: int
    started: datetime
    omitted: int
    deadline: float
    guessed: bool

    def receipt(self, hold: Hold, prompt: Prompt, status: RunStatus, ended: datetime, **outcome: Any) -> Run:
        return Run(
            run_id=hold.run_id,
            user_id=self.user_id,
            status=status,
            nonce=hold.nonce,
            request_hash=hold.request_hash,
            session_id=hold.session_id,
            model=hold.model,
            ceiling=hold.ceiling,
            started_at=self.started,
            ended_at=ended,
            package=self.package.name,
            package_version=self.package.version,
            prompt_tokens=self.tokens,
            max_tokens=prompt.max_tokens,
            wanted_max_tokens=self.wanted_max_tokens,
            turns_omitted=self.omitted,
            **outcome,
        )

    def session_after(self, session_id: str, charged: int, tokens: int, duration_ms: int, now: datetime) -> Session:
        """The summary of the session with this turn: a new one, or the one that goes on."""
        session = self.session or Session(
            session_id=session_id,
            user_id=self.user_id,
            package_id=self.package.package_id,
            package=self.package.name,
            package_version=self.package.version,
            use_no_prompt=self.request.use_no_prompt,
            model=self.request.model,
            title=" ".join(self.request.input.split())[:MAX_TITLE_CHARACTERS],
            created_at=now,
            updated_at=now,
        )
        return replace(
            session,
            updated_at=max(session.updated_at, now),  # clocks differ, and a place in the list never goes back
            turns=session.turns + 1,
            credits=session.credits + charged,
            tokens=session.tokens + tokens,
            duration_ms=session.duration_ms + duration_ms,
        )
