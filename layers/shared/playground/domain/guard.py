"""The spend guard: a daily ceiling for what the provider costs, and whom it stops when the ceiling is reached.

    GuardSettings   what is deployed: the ceiling, and whether free runs are paused at it
    Guard           what is stored: an operator's own ceiling, the pause, the day for which an operator has lifted it

The guard follows the counters by seconds, so it bounds the cost of a day roughly and never decides about credits.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from playground.domain.account import SIGNUP_CREDITS, Account, Plan
from playground.domain.calendar import instant

NANO_PER_CENT = 10_000_000
NANO_PER_DOLLAR = 100 * NANO_PER_CENT
MAX_CEILING_DOLLARS = 1_000_000
MAX_RETRY_AFTER_SECONDS = 3600  # an operator may lift the pause before midnight


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    ceiling_nano: int
    pauses: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """`ceiling_nano`: an operator's ceiling in place of the deployed one. `paused_until`: free runs are paused before
    that time. `lifted_on`: the day on which an operator lets them run whatever they cost; `lift_reason` and `lifted_by`
    belong to it, None if an earlier version stored it. `deployed`: the settings that were last in effect; None until a
    run was counted. `reason` and `operator`: of the last order. `revision` counts its changes; 0: it is not stored yet.
    """

    ceiling_nano: int | None = None
    paused_until: datetime | None = None
    lifted_on: date | None = None
    lift_reason: str | None = None
    lifted_by: str | None = None
    deployed: GuardSettings | None = None
    reason: str | None = None
    operator: str | None = None
    revision: int = 0

    def pauses_at(self, now: datetime) -> bool:
        return self.paused_until is not None and now < self.paused_until

    def ceiling(self, settings: GuardSettings) -> int:
        """In nano-dollars."""
        return self.ceiling_nano if self.ceiling_nano is not None else settings.ceiling_nano

    def at(self, cost_nano: int, settings: GuardSettings, now: datetime) -> "Guard":
        """The guard when today has cost so much: paused until midnight if the ceiling is reached, not paused if not."""
        reached = cost_nano >= self.ceiling(settings)
        paused = settings.pauses and reached and self.lifted_on != now.date()
        return replace(self, paused_until=next_midnight(now) if paused else None, deployed=settings)

    def lifted(self, now: datetime, reason: str, operator: str) -> "Guard":
        """Free runs go on for the rest of the day."""
        return replace(self, paused_until=None, lifted_on=now.date(), lift_reason=reason, lifted_by=operator)

    def with_ceiling(self, ceiling_nano: int | None, cost_nano: int, now: datetime) -> "Guard":
        """Another ceiling; None: the deployed one. The pause ends or begins at once."""
        changed = replace(self, ceiling_nano=ceiling_nano)
        return changed if self.deployed is None else changed.at(cost_nano, self.deployed, now)


def percent_of(cost_nano: int, ceiling_nano: int) -> int:
    """How much of the ceiling is used, rounded down: 100 means reached."""
    return cost_nano * 100 // ceiling_nano


def next_midnight(now: datetime) -> datetime:
    return datetime.combine(instant(now).date() + timedelta(days=1), time(), UTC)


def retry_after_seconds(paused_until: datetime, now: datetime) -> int:
    """When to ask again: at the end of the pause, or in an hour."""
    return max(1, min(-((now - paused_until) // timedelta(seconds=1)), MAX_RETRY_AFTER_SECONDS))


def has_signup_credits_only(account: Account) -> bool:
    """Whether an account has signup credits and no others: no purchase, no plan, and no more credits than a new account
    gets. A purchase from before `has_paid` existed, or a bonus, shows while more than that is left."""
    return (
        not account.has_paid
        and account.plan is Plan.FREE
        and account.subscription_id is None
        and not account.buckets.monthly
        and not account.buckets.rollover
        and account.buckets.purchased <= SIGNUP_CREDITS
    )
