"""ExpireHolds: give back what dead attempts have left behind."""

from datetime import datetime

from playground.domain.account import Account, Hold
from playground.domain.calendar import instant
from playground.domain.runs import Failure, Run, RunStatus
from playground.ports import Ended, Ledger

INTERRUPTED = Failure(code="model_timed_out", reason="interrupted")


class ExpireHolds:
    """Ends every run whose lease has run out. Repeating it, or racing it with the run itself, ends the run once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, account: Account, *, now: datetime) -> int:
        """How many holds of `account` were given back by this call."""
        return sum(self.one(account.user_id, hold, now=now).by_us for hold in account.dead_holds(now))

    def one(self, user_id: str, hold: Hold, *, now: datetime) -> Ended:
        """End the run of `hold` as expired; or, if it has ended already, say how."""
        run = Run(
            run_id=hold.run_id,
            user_id=user_id,
            status=RunStatus.EXPIRED,
            nonce=hold.nonce,
            request_hash=hold.request_hash,
            session_id=hold.session_id,
            model=hold.model,
            ceiling=hold.ceiling,
            started_at=hold.placed_at,
            ended_at=instant(now),
            failure=INTERRUPTED,
        )
        return self._ledger.release(user_id, run)
