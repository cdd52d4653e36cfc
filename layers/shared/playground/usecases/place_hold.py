"""PlaceHold: set aside what a run can cost, or several together, for as long answers as their caller can afford."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from playground.domain.account import LEASE_MARGIN, Account, Hold
from playground.domain.calendar import instant
from playground.domain.errors import (
    AccountPausedError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    NotEntitledError,
    RateLimitedError,
    RunInProgressError,
    StoreUnavailableError,
    TooManyFailuresError,
    TooManyRunsError,
)
from playground.domain.pricing import PriceTable
from playground.domain.rates import RateLimit
from playground.domain.runs import Run
from playground.ports import (
    AllowanceUsedUp,
    AlreadyHeld,
    CannotAfford,
    Clock,
    Held,
    Ledger,
    NoSuchPlan,
    Paused,
    TooFast,
    TooManyHolds,
)
from playground.usecases.expire_holds import ExpireHolds
from playground.usecases.run_attempt import HeldRun
from playground.usecases.watch_holds import HoldWatch

MAX_TRIES = 20  # of placing a hold, each with what can be afforded by then
RETRY_AFTER_SECONDS = 2  # while a run is in progress


class PlaceHold:
    """The condition is in the store's write: enough available, not too many open runs or runs a minute, no run of this
    id."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        prices: PriceTable,
        clock: Clock,
        max_open_runs: int,
        report: Callable[[Run], None] = lambda run: None,
        watch: HoldWatch | None = None,
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._max_open_runs = max_open_runs
        self._watch = watch or HoldWatch()
        self._expire = ExpireHolds(ledger, report)

    def __call__(self, wanted: HeldRun) -> HeldRun | Run:
        """The run with its hold, perhaps for fewer `max_tokens`; or the run that another attempt has ended.

        Dead holds of the account are given back if they prevent this one. When this raises, this attempt has no hold,
        unless the store stayed unavailable: then the lease ends the hold. Raises RunInProgressError,
        IdempotencyConflictError, AccountPausedError, NotEntitledError, InsufficientCreditsError, TooManyRunsError,
        TooManyFailuresError, RateLimitedError, StoreUnavailableError.
        """
        placed = self.together([wanted])
        return placed if isinstance(placed, Run) else placed[0]

    def together(self, wanted: Sequence[HeldRun]) -> Sequence[HeldRun] | Run:
        """The runs of one attempt with their holds: all of them, or none. Or one of the runs, if another attempt has
        ended that. What cannot be afforded is made shorter by one limit for all. Raises what a single hold raises."""
        attempt = wanted[0].attempt
        user_id, now = attempt.user_id, attempt.started
        allowance, expired = self._prices.allowance(attempt.account), False
        needed = [run.attempt.plans for run in wanted if run.attempt.plans is not None]
        plans = frozenset.intersection(*needed) if needed else None
        rate, seen = self._prices.run_limit(attempt.account), attempt.account
        for _ in range(MAX_TRIES):
            ceiling = sum(run.hold.ceiling for run in wanted)
            try:
                outcome = self._ledger.place_hold(
                    user_id,
                    *(run.hold for run in wanted),
                    limit=self._max_open_runs,
                    now=now,
                    allowance=allowance,
                    rate=rate,
                    plans=plans,
                    seen=seen,
                )
            except StoreUnavailableError:
                self._take_back(wanted, rate)
                raise
            seen = outcome.account
            match outcome:
                case Held(account, ended_before):
                    try:
                        ended = self._outcome(wanted) if ended_before else None
                    except StoreUnavailableError:
                        self._take_back(wanted, rate)
                        raise
                    if ended is None:
                        return [replace(run, account=account) for run in wanted]
                    self._take_back(wanted, rate)
                    return ended
                case AlreadyHeld(account, there):
                    request_hash = next(run.hold for run in wanted if run.hold.run_id == there.run_id).request_hash
                    return self.ended(account, there, request_hash=request_hash, now=now)
                case Paused():
                    raise AccountPausedError
                case NoSuchPlan():
                    raise NotEntitledError
                case TooManyHolds(account) | CannotAfford(account) | AllowanceUsedUp(account) if (
                    account.dead_holds(now) and not expired
                ):
                    expired = True
                    self._expire(account, now=now)
                case AllowanceUsedUp(account) if self._prices.allowance(account) != allowance:
                    allowance = self._prices.allowance(account)  # the user paid for the first time meanwhile
                case AllowanceUsedUp(account):
                    wait = allowance.wait(account, ceiling, now, added=len(wanted))
                    if wait:
                        raise TooManyFailuresError(retry_after=math.ceil(wait.total_seconds()))
                    raise TooManyRunsError(limit=len(account.holds), retry_after=RETRY_AFTER_SECONDS)
                case TooFast(account) if self._prices.run_limit(account) != rate:
                    rate = self._prices.run_limit(account)
                case TooFast(account, ended_before):
                    ended = self._outcome(wanted) if ended_before else None
                    if ended is not None:
                        return ended
                    raise rate_limited(rate, account, instant(self._clock()), added=len(wanted))
                case TooManyHolds():
                    raise TooManyRunsError(limit=self._max_open_runs, retry_after=RETRY_AFTER_SECONDS)
                case CannotAfford(account):
                    wanted = self._affordable(account, wanted)
        raise StoreUnavailableError

    def ended(self, account: Account, there: Hold, *, request_hash: str, now: datetime) -> Run:
        """The run of a hold that another attempt has placed, if that attempt is dead: it is ended as expired. Raises
        RunInProgressError, or IdempotencyConflictError if it is the run of another request."""
        user_id = account.user_id
        if there.dead(now):
            return self._expire.one(user_id, there, now=now, seen=account).run
        if there.request_hash != request_hash:
            raise IdempotencyConflictError
        left = self._watch.seconds_left(user_id, there)
        if left <= 0:
            self._watch.forget(user_id, there)
            return self._expire.one(user_id, there, now=now, seen=account).run
        should_be_over = there.lease_at - LEASE_MARGIN <= now
        raise RunInProgressError(
            run_id=there.run_id,
            retry_after=max(math.ceil(left), RETRY_AFTER_SECONDS) if should_be_over else RETRY_AFTER_SECONDS,
            lease_at=there.lease_at,
        )

    def _affordable(self, account: Account, wanted: Sequence[HeldRun]) -> Sequence[HeldRun]:
        """The same with the longest answers that this account can pay for now: one limit for all of them. Raises
        InsufficientCreditsError if that is too low."""

        def limited(max_tokens: int) -> Sequence[HeldRun]:
            return [run.shrunk(min(run.wanted_max_tokens, max_tokens), self._prices) for run in wanted]

        def required(max_tokens: int) -> int:
            return sum(run.hold.ceiling for run in limited(max_tokens))

        low, high = self._prices.least_max_tokens, max(run.wanted_max_tokens for run in wanted)
        least = required(low)
        if least > account.available:
            raise InsufficientCreditsError(
                required_credits=least,
                available_credits=account.available,
                debt=account.debt,
                reset_at=account.resets_at,
                guessed=any(run.fitted.guessed for run in wanted),
                runs=len(wanted),
            )
        while low < high:  # no ceiling falls with max_tokens, so the highest limit can be searched for by halves
            middle = (low + high + 1) // 2
            if required(middle) <= account.available:
                low = middle
            else:
                high = middle - 1
        return limited(low)

    def _outcome(self, wanted: Sequence[HeldRun]) -> Run | None:
        """The outcome of one of the runs, if one had ended before these holds."""
        ended = [self._ledger.run(run.attempt.user_id, run.hold.run_id, ended=True) for run in wanted]
        return next((run for run in ended if run is not None), None)

    def _take_back(self, wanted: Sequence[HeldRun], rate: RateLimit) -> None:
        """Cancel holds that are not needed, or that may have been placed although the reply was lost."""
        user_id, holds = wanted[0].attempt.user_id, [run.hold for run in wanted]
        try:
            self._ledger.cancel_hold(user_id, *holds, now=instant(self._clock()), rate=rate)
        except StoreUnavailableError:
            return  # their lease ends them


def rate_limited(rate: RateLimit, account: Account, now: datetime, *, added: int = 1) -> RateLimitedError:
    """The refusal of `added` runs, with the time after which they are admitted."""
    wait = math.ceil(rate.wait(account.runs_at, now, added=added).total_seconds())
    return RateLimitedError(what=rate.name, limit=rate.per_minute, retry_after=max(wait, 1))
