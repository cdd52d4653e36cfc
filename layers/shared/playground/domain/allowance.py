"""The allowance: how many failed runs, and how much unpaid provider cost, an account may have.

A run without an answer costs its user nothing, but the provider may bill us. Each account may have so many failed runs
an hour and so much unpaid provider cost a day. Both are kept as a time in the account, as a leaky bucket keeps its
level: a failure moves `failures_at` forward by an hour ÷ the runs allowed, and `unpaid_at` by a day × its cost ÷ the
cost allowed, from now or from where it is, whichever is later. How far such a time lies ahead is how much is used;
waiting gives it back.

A hold is placed only if what is used and what the open runs may still use stay within the allowance. So runs that fail
at the same moment cannot exceed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from playground.domain.account import Account

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)
COST_STEPS = 20  # DynamoDB's conditions cannot add, so that unpaid cost is compared in steps of 1/20 of a day's


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceUse:
    """What a run without an answer uses up: time that is added to `failures_at` and to `unpaid_at`."""

    failures: timedelta = timedelta()
    unpaid: timedelta = timedelta()


NOTHING_USED = AllowanceUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`nano_per_credit`: the most that the provider can bill for each credit of a hold, in nano-dollars."""

    failed_runs_per_hour: int
    unpaid_nano_per_day: int
    nano_per_credit: int

    @property
    def interval(self) -> timedelta:
        """What one failed run uses up, in whole milliseconds."""
        return HOUR // MILLISECOND // self.failed_runs_per_hour * MILLISECOND

    def use(self, cost_nano: int, *, failed: bool = True) -> AllowanceUse:
        """What unpaid provider cost uses up, rounded up to a millisecond."""
        unpaid = -(-cost_nano * (DAY // MILLISECOND) // self.unpaid_nano_per_day) * MILLISECOND
        return AllowanceUse(failures=self.interval if failed else timedelta(), unpaid=unpaid)

    def by_open_runs(self, limit: int, now: datetime, *, added: int = 1) -> Sequence[tuple[int, datetime]]:
        """One of these must hold before `added` runs are: at most so many open runs, and `failures_at` not after.

        More runs at once than may fail in an hour are admitted if nothing is used and none is open.
        """
        most = min(limit, self.failed_runs_per_hour) - added
        allowed = self.failed_runs_per_hour - added
        return [(runs, now + (allowed - runs) * self.interval) for runs in range(most + 1)] or [(0, now)]

    def by_held_credits(self, ceiling: int, now: datetime) -> Sequence[tuple[int, datetime]]:
        """One of these must hold before `ceiling` is held: at most so many credits held, and `unpaid_at` not after.

        A run that alone may cost more than a day's allowance is admitted if nothing is used and nothing is held.
        """
        rooms = [
            (self.unpaid_nano_per_day * (COST_STEPS - step) // COST_STEPS // self.nano_per_credit - ceiling, step)
            for step in range(COST_STEPS)
        ]
        terms = [(room, now + step * DAY / COST_STEPS) for room, step in rooms if room >= 0]
        return terms or [(0, now)]

    def admits(self, account: Account, ceiling: int, *, limit: int, now: datetime, added: int = 1) -> bool:
        """Whether `added` more holds of `ceiling` credits together keep within the allowance."""
        failures_at, unpaid_at = account.failures_at or now, account.unpaid_at or now
        return any(
            len(account.holds) <= runs and failures_at <= latest
            for runs, latest in self.by_open_runs(limit, now, added=added)
        ) and any(account.held <= held and unpaid_at <= latest for held, latest in self.by_held_credits(ceiling, now))

    def wait(self, account: Account, ceiling: int, now: datetime, *, added: int = 1) -> timedelta:
        """How long until `added` holds of `ceiling` credits together are admitted if no run is open and none fails;
        zero if they are now."""
        latest_failures = now + max(self.failed_runs_per_hour - added, 0) * self.interval
        latest_unpaid = max(latest for _, latest in self.by_held_credits(ceiling, now))
        waits = (
            (account.failures_at or now) - latest_failures,
            (account.unpaid_at or now) - latest_unpaid,
        )
        return max(timedelta(), *waits)


def best_level(levels: Sequence[tuple[int, datetime]], used: datetime | None) -> tuple[int, datetime]:
    """Of `levels`, the one that admits the most while so much is used; the one with the latest time if none admits
    anything."""
    holding = [level for level in levels if used is None or used <= level[1]]
    return max(holding) if holding else max(levels, key=lambda level: level[1])


def use_allowance(account: Account, use: AllowanceUse, at: datetime) -> Account:
    """The account after a run without an answer that ended at `at`."""
    if use.failures:
        account = replace(account, failures_at=max(account.failures_at or at, at) + use.failures)
    if use.unpaid:
        account = replace(account, unpaid_at=max(account.unpaid_at or at, at) + use.unpaid)
    return account
