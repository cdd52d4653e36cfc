"""ExpireHolds: end the holds of dead attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from playground.domain.account import Account, Hold
from playground.domain.allowance import AllowanceUse
from playground.domain.calendar import instant
from playground.domain.runs import Failure, Run, RunStatus, UnpaidCost
from playground.ports import Ended, Ledger

INTERRUPTED = Failure(code="model_timed_out", reason="interrupted")


@dataclass(frozen=True, slots=True)
class ExpireHolds:
    """Ends every run whose lease has run out. Repeating it, or racing it with the run itself, ends the run once.

    What the provider billed is unknown: the upper bound is recorded and reported. It counts as a failed run of the
    account; its cost does not count, because our worker died.
    """

    ledger: Ledger
    report: Callable[[Run], None] = lambda run: None

    def __call__(self, account: Account, *, now: datetime) -> int:
        """How many holds of `account` were given back by this call."""
        return sum(self.one(account.user_id, hold, now=now, seen=account).by_us for hold in account.dead_holds(now))

    def one(self, user_id: str, hold: Hold, *, now: datetime, seen: Account | None = None) -> Ended:
        """End the run of `hold` as expired; if it has ended already, return that outcome."""
        run = Run.of(
            hold,
            user_id=user_id,
            status=RunStatus.EXPIRED,
            ended_at=instant(now),
            failure=INTERRUPTED,
            unpaid=UnpaidCost(cost_nano=hold.cost_nano, estimated=True) if hold.cost_nano else None,
        )
        ended = self.ledger.release(user_id, run, AllowanceUse(failures=hold.interval), seen=seen)
        if ended.by_us:
            self.report(ended.run)
        return ended
