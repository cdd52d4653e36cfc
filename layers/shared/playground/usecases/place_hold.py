"""PlaceHold: set aside what a run can cost, for as long an answer as its caller can afford."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from playground.domain.account import LEASE_MARGIN, Account
from playground.domain.calendar import instant
from playground.domain.errors import (
    AccountPausedError,
    IdempotencyConflictError,
    InsufficientCreditsError,
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
        unless the store stayed unavailable: then the lease ends the hold. Raises
        RunInProgressError, IdempotencyConflictError, AccountPausedError, InsufficientCreditsError, TooManyRunsError,
        TooManyFailuresError, RateLimitedError, StoreUnavailableError.
        """
        user_id, now = wanted.attempt.user_id, wanted.attempt.started
        allowance, expired = self._prices.allowance(wanted.attempt.account), False
        rate, seen = self._prices.run_limit(wanted.attempt.account), wanted.attempt.account
        for _ in range(MAX_TRIES):
            hold = wanted.hold
            try:
                outcome = self._ledger.place_hold(
                    user_id, hold, limit=self._max_open_runs, now=now, allowance=allowance, rate=rate, seen=seen
                )
            except StoreUnavailableError:
                self._take_back(wanted, rate)
                raise
            seen = outcome.account
            match outcome:
                case Held(account, ended_before):
                    ended = self._outcome(wanted, rate) if ended_before else None
                    if ended is None:
                        return replace(wanted, account=account)
                    self._take_back(wanted, rate)
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
                        retry_after=max(math.ceil(left), RETRY_AFTER_SECONDS)
                        if should_be_over
                        else RETRY_AFTER_SECONDS,
                        lease_at=there.lease_at,
                    )
                case Paused():
                    raise AccountPausedError
                case TooManyHolds(account) | CannotAfford(account) | AllowanceUsedUp(account) if (
                    account.dead_holds(now) and not expired
                ):
                    expired = True
                    self._expire(account, now=now)
                case AllowanceUsedUp(account) if self._prices.allowance(account) != allowance:
                    allowance = self._prices.allowance(account)  # the user paid for the first time meanwhile
                case AllowanceUsedUp(account):
                    wait = allowance.wait(account, hold.ceiling, now)
                    if wait:
                        raise TooManyFailuresError(retry_after=math.ceil(wait.total_seconds()))
                    raise TooManyRunsError(limit=len(account.holds), retry_after=RETRY_AFTER_SECONDS)
                case TooFast(account) if self._prices.run_limit(account) != rate:
                    rate = self._prices.run_limit(account)
                case TooFast(account, ended_before):
                    ended = self._ledger.run(user_id, hold.run_id) if ended_before else None
                    if ended is not None:
                        return ended
                    raise rate_limited(rate, account, instant(self._clock()))
                case TooManyHolds():
                    raise TooManyRunsError(limit=self._max_open_runs, retry_after=RETRY_AFTER_SECONDS)
                case CannotAfford(account):
                    wanted = wanted.shrunk(self._affordable(account, wanted), self._prices)
        raise StoreUnavailableError

    def _affordable(self, account: Account, wanted: HeldRun) -> int:
        """The `max_tokens` that this account can pay for now. Raises InsufficientCreditsError if they are too few."""
        model, tokens = wanted.attempt.model, wanted.fitted.tokens
        least = min(wanted.wanted_max_tokens, self._prices.least_max_tokens)
        affordable = self._prices.affordable_max_tokens(
            model, tokens, account.available, wanted=wanted.wanted_max_tokens
        )
        if affordable < least:
            raise InsufficientCreditsError(
                required_credits=self._prices.ceiling(model, tokens, least),
                available_credits=account.available,
                reset_at=account.resets_at,
                guessed=wanted.fitted.guessed,
            )
        return affordable

    def _outcome(self, wanted: HeldRun, rate: RateLimit) -> Run | None:
        """The outcome of the run, if it had ended before this hold."""
        try:
            return self._ledger.run(wanted.attempt.user_id, wanted.hold.run_id)
        except StoreUnavailableError:
            self._take_back(wanted, rate)
            raise

    def _take_back(self, wanted: HeldRun, rate: RateLimit) -> None:
        """Cancel a hold that is not needed, or that may have been placed although the reply was lost."""
        try:
            self._ledger.cancel_hold(wanted.attempt.user_id, wanted.hold, now=instant(self._clock()), rate=rate)
        except StoreUnavailableError:
            return  # its lease ends it


def rate_limited(rate: RateLimit, account: Account, now: datetime) -> RateLimitedError:
    """The refusal of a run, with the time after which one is admitted."""
    wait = math.ceil(rate.wait(account.runs_at, now).total_seconds())
    return RateLimitedError(what=rate.name, limit=rate.per_minute, retry_after=max(wait, 1))
