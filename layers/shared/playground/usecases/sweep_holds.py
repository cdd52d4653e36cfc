"""SweepHolds: give back the holds of dead attempts on accounts that nothing else touches.

A schedule sweeps by itself what it can. If that is not everything it queues a SweepTask for each shard, and all shards
are swept at the same time, each in an invocation of its own. What they leave is found by the next schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from playground.domain.runs import Run
from playground.domain.work import SweepTask
from playground.ports import Leases, Ledger, Queue
from playground.usecases.expire_holds import ExpireHolds

PAGE_ACCOUNTS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The result of one sweep. `failed` accounts stay in the index and do not block the others."""

    accounts: int = 0
    expired: int = 0
    failed: int = 0
    finished: bool = True

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(
            accounts=self.accounts + other.accounts,
            expired=self.expired + other.expired,
            failed=self.failed + other.failed,
            finished=self.finished and other.finished,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepHolds:
    ledger: Ledger
    leases: Leases
    report_failure: Callable[[str, Exception], None]
    report: Callable[[Run], None] = lambda run: None

    def __call__(self, *, now: datetime, limit: int, time_is_up: Callable[[], bool] = lambda: False) -> Swept:
        """Expire what has ended by `now`, on at most `limit` accounts and until `time_is_up`.

        A processed account leaves the index, so the next sweep begins where this one stopped. `now` may be late, early
        or the same as before: a lease decides, and a run ends once.
        """
        swept = Swept()
        first = int(now.timestamp()) // 60 % self.leases.shards  # so that no shard is always the last one
        for offset in range(self.leases.shards):
            shard = (first + offset) % self.leases.shards
            swept += self.shard(shard, now=now, limit=limit - swept.accounts, time_is_up=time_is_up)
            if not swept.finished:
                break
        return swept

    def shard(
        self, shard: int, *, now: datetime, limit: int | None = None, time_is_up: Callable[[], bool] = lambda: False
    ) -> Swept:
        """The same for one shard of the index. No `limit`: until its end."""
        swept, after = Swept(), None
        while True:
            room = PAGE_ACCOUNTS if limit is None else min(PAGE_ACCOUNTS, limit - swept.accounts)
            if room <= 0 or time_is_up():
                return replace(swept, finished=False)
            users, after = self.leases.due(shard, now=now, after=after, limit=room)
            for user_id in users:
                if time_is_up():
                    return replace(swept, finished=False)
                swept = self._sweep(user_id, now, swept)
            if after is None:
                return swept

    def queue_shards(self, queue: Queue, *, at: datetime) -> None:
        """Queue a sweep of every shard."""
        queue.put([SweepTask(at=at, shard=shard).message() for shard in range(self.leases.shards)])

    def _sweep(self, user_id: str, now: datetime, swept: Swept) -> Swept:
        swept = replace(swept, accounts=swept.accounts + 1)
        try:
            account = self.ledger.account(user_id, now)
            expired = ExpireHolds(self.ledger, self.report)(account, now=now)
            if account.dead_holds(now):
                account = self.ledger.account(user_id, now)
            self.ledger.correct_lease(account)
        except Exception as error:  # a failure of one account must not block the others
            self.report_failure(user_id, error)
            return replace(swept, failed=swept.failed + 1)
        return replace(swept, expired=swept.expired + expired)
