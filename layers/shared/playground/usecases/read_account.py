"""ReadAccount: a user's account as of now."""

from collections.abc import Callable
from dataclasses import dataclass

from playground.domain.account import Account
from playground.domain.runs import Run
from playground.ports import Clock, Ledger
from playground.usecases.expire_holds import ExpireHolds


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAccount:
    ledger: Ledger
    clock: Clock
    report: Callable[[Run], None] = lambda run: None

    def __call__(self, user_id: str) -> Account:
        """The caller's account, opened if need be, advanced to now and without the holds of dead attempts."""
        now = self.clock()
        account = self.ledger.account(user_id, now)
        return self.ledger.account(user_id, now) if ExpireHolds(self.ledger, self.report)(account, now=now) else account
