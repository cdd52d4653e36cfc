"""RunPrompt: one prompt, paid for.

    look up → count → hold → ask → settle, or release

The model is asked only under a hold. An answer is stored and paid for in one transaction, and leaves only then. After
any failure in between, the whole hold is given back.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from playground.domain.account import LEASE_MARGIN, Account, Hold, as_of, settle, without_dead_holds
from playground.domain.allowance import NOTHING_USED, AllowanceUse
from playground.domain.calendar import instant
from playground.domain.custom_prompts import CustomPrompts
from playground.domain.entries import Entry
from playground.domain.errors import (
    FreeRunsPausedError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    ModelError,
    RunsPausedError,
    SessionConflictError,
    SessionNotFoundError,
    StoreUnavailableError,
    UnreadableError,
)
from playground.domain.guard import has_signup_credits_only, retry_after_seconds
from playground.domain.pricing import ModelPrice, PriceTable, Spent, Usage
from playground.domain.rates import RateStanding
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
from playground.domain.sessions import Comparison, Session, Turn
from playground.ports import (
    Catalog,
    Clock,
    Completion,
    Conclude,
    Conversation,
    Ended,
    Ledger,
    Lookup,
    Model,
    NewId,
    Sessions,
    TextRef,
    TimeLimit,
)
from playground.usecases.expire_holds import INTERRUPTED
from playground.usecases.live_runs import LiveAnswer, OnStart, not_followed, unwatched
from playground.usecases.place_hold import PlaceHold, rate_limited
from playground.usecases.prompts import FitConversation, plans_for, refuse_unsupported, source_for, variables_for
from playground.usecases.run_attempt import Attempt, HeldRun
from playground.usecases.watch_holds import HoldWatch

COUNT_TIMEOUT_SECONDS = 3.0  # for counting tokens; then they are guessed
# Of the seconds of an invocation. The first is what the model does not get, and includes the other two.
LEDGER_RESERVE_SECONDS = 7.0  # for ending the run: at least 4 s to settle
RELEASE_RESERVE_SECONDS = 2.5  # … for the release, if the store did not answer the settlement
ANSWER_RESERVE_SECONDS = 0.5  # … for the answer, after the last call of the store
MIN_MODEL_SECONDS = 1.0  # with less left for the model, nothing is held
INTERNAL = Failure(code="model_failed", reason="internal")


ShowStanding = Callable[[RateStanding], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidAnswer:
    """A settled run with its turn. `replayed`: this is the outcome of an earlier request with the same key."""

    run: Run
    turn: Turn
    replayed: bool


@dataclass(frozen=True, slots=True)
class RunTimes:
    """How long a settled run took, from the check of its request on: without the model's own time, and until the first
    piece of text was there; None if it came in one piece."""

    added_ms: int
    first_text_ms: int | None


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
        custom_prompts: CustomPrompts = CustomPrompts.PLANS,
        report: Callable[[Run], None] = lambda run: None,
        report_times: Callable[[RunTimes], None] = lambda times: None,
        time_limit: TimeLimit = lambda seconds: nullcontext(),
        monotonic: Callable[[], float] = time.monotonic,
        watch: HoldWatch | None = None,
        live: Callable[[str, Hold], AbstractContextManager[LiveAnswer]] = not_followed,
        trace_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._lookup = lookup
        self._sessions = sessions
        self._catalog = catalog
        self._model = model
        self._prices = prices
        self._clock = clock
        self._new_id = new_id
        self._model_timeout_seconds = model_timeout_seconds
        self._custom_prompts = custom_prompts
        self._report = report
        self._report_times = report_times
        self._time_limit = time_limit
        self._monotonic = monotonic
        self._live = live
        self._trace_id = trace_id
        self._fit = FitConversation(sessions, model, prices)
        self.place_hold = PlaceHold(
            ledger=ledger, prices=prices, clock=clock, max_open_runs=max_open_runs, report=report, watch=watch
        )

    def __call__(
        self,
        user_id: str,
        request: RunRequest,
        *,
        idempotency_key: str | None,
        seconds_left: float,
        on_start: OnStart = unwatched,
        show_standing: ShowStanding = lambda standing: None,
        is_verified_author: bool = False,
    ) -> PaidAnswer:
        """Run `request` for `user_id` and charge it, within `seconds_left`. `is_verified_author`: entitled to custom
        prompts, whatever the plan. `on_start` gets the answer while it is written, once it is held; never that of a run
        that was made before. `show_standing` is called before that, whenever the account's use of its rate limit
        becomes known; the last call counts.

        A repeat of the same request with the same key gives the first outcome, for ever: the same answer, or the same
        failure. Raises what `domain.errors` has; when it raises, this call has charged nothing. An error that has ended
        the run names it. Settlement and release share one deadline, so that a store that does not answer is given up in
        time.
        """
        deadline = self._monotonic() + seconds_left
        with self._time_limit(seconds_left - ANSWER_RESERVE_SECONDS):
            keyed = idempotency_key is not None
            run_id = run_id_of(user_id, idempotency_key) if idempotency_key is not None else self._new_id("run")
            started = instant(self._clock())
            ends = started + timedelta(seconds=seconds_left)
            attempt = self.look_up(
                user_id,
                request,
                run_id=run_id,
                keyed=keyed,
                started=started,
                ends=ends,
                deadline=deadline,
                show_standing=show_standing,
                is_verified_author=is_verified_author,
            )
            if isinstance(attempt, Run):
                return self.replay(attempt, request)
            self.refuse_early(attempt)
            held = self._hold(attempt)
            if isinstance(held, Run):
                return self.replay(held, request)
            self.show(held.account, show_standing)
            return self.finish(held, on_start)

    # --- look up ------------------------------------------------------------------------------------------------------

    def look_up(
        self,
        user_id: str,
        request: RunRequest,
        *,
        run_id: str,
        keyed: bool,
        started: datetime,
        ends: datetime,
        deadline: float,
        show_standing: ShowStanding = lambda standing: None,
        comparison: Comparison | None = None,
        is_verified_author: bool = False,
    ) -> Attempt | Run:
        """Everything that a run needs, in one read; or the receipt, if the run has ended. `ends` is when the invocation
        that began at `started` is over, `deadline` the same in monotonic seconds."""
        found = self._lookup(
            user_id=user_id,
            run_id=run_id if keyed else None,
            package_id=request.package_id,
            version=request.package_version,
            session_id=request.session_id,
        )
        account = without_dead_holds(as_of(found.account, user_id, started), started)
        self.show(account, show_standing)
        if found.run is not None:
            return found.run
        there = found.account.holds.get(run_id) if found.account is not None else None
        if there is not None:  # before anything that has changed since can refuse a run which is being made
            return self.place_hold.ended(account, there, request_hash=request.hash, now=started)
        model = self._prices.model(request.model, custom_prompt=request.is_custom)
        refuse_unsupported(request, model)
        if found.runs_paused:
            raise RunsPausedError
        paused_until = found.free_runs_paused_until
        if paused_until is not None and started < paused_until and has_signup_credits_only(account):
            raise FreeRunsPausedError(retry_after=retry_after_seconds(paused_until, started))
        if request.session_id is not None and found.session is None:
            raise SessionNotFoundError
        package = source_for(request, found, self._catalog)
        plans = plans_for(request, account, self._prices, self._custom_prompts, is_verified_author=is_verified_author)
        return Attempt(
            user_id=user_id,
            request=request,
            keyed=keyed,
            run_id=run_id,
            package=package,
            plans=plans,
            variables=variables_for(request, found.session),
            session=found.session,
            session_id=found.session.session_id if found.session is not None else self._new_id("ses"),
            nonce=self._new_id("try"),
            model=model,
            account=account,
            started=started,
            lease_at=instant(ends + LEASE_MARGIN),
            deadline=deadline,
            comparison=comparison,
            trace_id=self._trace_id(),
        )

    def show(self, account: Account, show_standing: ShowStanding) -> None:
        limit = self._prices.run_limit(account)
        show_standing(limit.standing(account.runs_at, instant(self._clock())))

    def refuse_early(self, *attempts: Attempt) -> None:
        """Refuse runs that the write of their holds would refuse, before their prompts are counted: a client that
        ignores Retry-After costs one read. The write decides about all others. Raises RateLimitedError."""
        account, started = attempts[0].account, attempts[0].started
        limit = self._prices.run_limit(account)
        # A pause is refused with another error.
        if account.paused_at is None and not limit.admits(account.runs_at, started, added=len(attempts)):
            raise rate_limited(limit, account, instant(self._clock()), added=len(attempts))

    # --- count, hold --------------------------------------------------------------------------------------------------

    def _hold(self, attempt: Attempt) -> HeldRun | Run:
        """The run with its hold; once more with less history, if others spend what the history would have cost. Or the
        run as another attempt has ended it."""
        wanted = self.count(attempt, attempt.account)
        try:
            return self.place_hold(wanted)
        except InsufficientCreditsError:
            if attempt.session is None or wanted.fitted.omitted == attempt.session.turns:
                raise
        return self.place_hold(self.count(attempt, self._ledger.account(attempt.user_id, attempt.started)))

    def count(self, attempt: Attempt, account: Account) -> HeldRun:
        """The prompt, with as much history as fits, its tokens and its price."""
        fitted = self._fit(attempt.request, attempt.package, attempt.session, account, timeout=COUNT_TIMEOUT_SECONDS)
        if self._time_for_model(attempt.deadline) < MIN_MODEL_SECONDS:
            raise StoreUnavailableError  # the answer would come too late for the caller
        return HeldRun.of(attempt, fitted, account, self._prices)

    def _time_for_model(self, deadline: float) -> float:
        left = deadline - self._monotonic() - LEDGER_RESERVE_SECONDS
        return max(min(self._model_timeout_seconds, left), 0.0)

    # --- ask ----------------------------------------------------------------------------------------------------------

    def finish(self, held: HeldRun, on_start: OnStart = unwatched) -> PaidAnswer:
        """Ask the model and settle, or release: nothing is held any more when this returns or raises, unless the store
        stayed unavailable. `on_start` gets the answer while it is written."""
        with self._live(held.attempt.user_id, held.hold) as live:
            on_start(live)
            watched = _Stopwatch(held.attempt, self._clock)
            live.listen(watched.hear)
            answer = self._ask(held, live)
            watched.model_has_ended()
            live.close()
            if isinstance(answer, Run):
                return self.replay(answer, held.attempt.request)
            paid = self._settle(held, answer)
            if not paid.replayed:
                self._report_times(watched.times())
            return paid

    def _ask(self, held: HeldRun, live: LiveAnswer) -> Completion | Run:
        """The model's answer. Without one the hold is released, and its error raised; or, if another attempt has ended
        the run meanwhile, that run is returned."""
        try:
            timeout = self._time_for_model(held.attempt.deadline)
            return self._model.complete(held.prompt, timeout=timeout, progress=live)
        except ModelError as error:
            unpaid = _unpaid(held.attempt.model, error.spent, *error.lost)
            use = self._prices.allowance(held.account).use(unpaid.cost_nano) if unpaid is not None else NOTHING_USED
            ended = self._release(held, failure_of(error), unpaid, use)
            if ended.by_us:
                raise error.ending(held.hold.run_id, keyed=held.attempt.keyed) from error.__cause__
            return ended.run
        except Exception:
            most = UnpaidCost(cost_nano=held.hold.cost_nano, estimated=True)
            self._release(held, INTERNAL, most, AllowanceUse(failures=held.hold.interval))
            raise

    # --- settle, or release -------------------------------------------------------------------------------------------

    def _settle(self, held: HeldRun, completion: Completion) -> PaidAnswer:
        attempt, hold = held.attempt, held.hold
        stored: TextRef | None = None
        unpaid = _unpaid(attempt.model, Spent(usage=completion.usage, estimated=False), *completion.lost)
        try:
            turn, session, conclude = self._conclude(held, completion)
            left = attempt.deadline - self._monotonic() - RELEASE_RESERVE_SECONDS - ANSWER_RESERVE_SECONDS
            with self._time_limit(left):
                stored = self._sessions.store_texts(hold.session_id, turn, nonce=hold.nonce)
                ended = self._ledger.settle(
                    held.account, hold, conclude, Conversation(session, turn, stored, attempt.new_prompt)
                )
        except (SessionConflictError, StoreUnavailableError) as error:
            # Perhaps it was settled and only the reply was lost: then the receipt says so, and the answer is paid for.
            use = NOTHING_USED  # a store that does not answer is not the user's failure
            if isinstance(error, SessionConflictError) and unpaid is not None:
                use = self._prices.allowance(held.account).use(unpaid.cost_nano)
            ended = self._release(held, failure_of(error), unpaid, use)
            if ended.by_us:
                self._discard(stored)
                raise error.ending(hold.run_id, keyed=attempt.keyed) from error.__cause__
        except Exception:
            if self._release(held, INTERNAL, unpaid, AllowanceUse(failures=hold.interval)).by_us:
                self._discard(stored)
            raise
        if ended.run.nonce != hold.nonce or ended.run.status is not RunStatus.SETTLED:
            self._discard(stored)
            return self.replay(ended.run, attempt.request)
        self._report(ended.run)
        return PaidAnswer(run=ended.run, turn=turn, replayed=False)

    def _conclude(self, held: HeldRun, completion: Completion) -> tuple[Turn, Session, Conclude]:
        """What is stored of the answer, and how an account pays for it."""
        attempt, hold, usage = held.attempt, held.hold, completion.usage
        now = instant(self._clock())
        price = self._prices.price(attempt.model, usage)
        charged = min(price.credits, hold.ceiling)
        duration_ms = round((now - attempt.started) / timedelta(milliseconds=1))
        session = held.session_after(charged=charged, tokens=usage.billed_tokens, duration_ms=duration_ms, now=now)
        turn = Turn(
            number=session.turns,
            run_id=hold.run_id,
            input=attempt.request.input,
            answer=completion.text,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            asked_at=attempt.started,
            answered_at=now,
            refused=completion.stop_reason == "refusal",
            credits=charged,
            stop_reason=completion.stop_reason,
        )
        measured = Measured(usage=usage, price=price, stop_reason=completion.stop_reason, duration_ms=duration_ms)

        def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
            after, entries = settle(account, hold.run_id, charged, reason=f"Run of {attempt.package.name}", now=now)
            entry = entries[-1]
            run = held.receipt(
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
                unpaid=_unpaid(attempt.model, *completion.lost),
            )
            return after, run, entries

        return turn, session, conclude

    def _release(self, held: HeldRun, failure: Failure, unpaid: UnpaidCost | None, use: AllowanceUse) -> Ended:
        user_id = held.attempt.user_id
        run = held.receipt(
            RunStatus.RELEASED,
            instant(self._clock()),
            price_version=self._prices.version,
            model_id=held.attempt.model.model_id,
            failure=failure,
            unpaid=unpaid,
        )
        try:
            ended = self._ledger.release(user_id, run, use, seen=held.account)
        except StoreUnavailableError:
            # Once more, if there is time: what got no answer may have been a refusal.
            ended = self._ledger.release(user_id, run, use, seen=held.account)
        if ended.by_us:
            self._report(ended.run)
        return ended

    def _discard(self, stored: TextRef | None) -> None:
        """Delete texts that no turn refers to."""
        if stored is None:
            return
        try:
            self._sessions.discard(stored)
        except StoreUnavailableError:
            return  # an orphan; docs/operations.md says how they are removed

    # --- replay -------------------------------------------------------------------------------------------------------

    def replay(self, run: Run, request: RunRequest) -> PaidAnswer:
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


class _Stopwatch:
    """Times of one run, by the clock that receipts are written by."""

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._started = attempt.started
        self._clock = clock
        self._asked = self._answered = clock()
        self._first_text: datetime | None = None

    def hear(self, text: str, end: int) -> None:
        """`OnText` of the live answer."""
        if self._first_text is None:
            self._first_text = self._clock()

    def model_has_ended(self) -> None:
        self._answered = self._clock()

    def times(self) -> RunTimes:
        """As of now."""
        added = self._clock() - self._started - (self._answered - self._asked)
        first = None if self._first_text is None else max(0, _milliseconds(self._first_text - self._started))
        return RunTimes(max(0, _milliseconds(added)), first)


def _milliseconds(time_: timedelta) -> int:
    return round(time_ / timedelta(milliseconds=1))


def _unpaid(model: ModelPrice, *attempts: Spent | None) -> UnpaidCost | None:
    """What attempts without an answer cost us; None if they are surely not billed."""
    billed = [spent for spent in attempts if spent is not None]
    if not billed:
        return None
    return UnpaidCost(
        cost_nano=sum(model.cost_nano(spent.usage) for spent in billed),  # each has its own tier of length
        estimated=any(spent.estimated for spent in billed),
        usage=sum((spent.usage for spent in billed), Usage()),
    )
