"""ReadAccount: a user's account as of now."""

from collections.abc import Callable

from playground.domain.account import Account
from playground.domain.runs import Run
from playground.ports import Clock, Ledger
from playground.usecases.expire_holds import ExpireHolds


class ReadAccount:
    def __init__(self, *, ledger: Ledger, clock: Clock, report: Callable[[Run], None] = lambda run: None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._expire = ExpireHolds(ledger, report)

    def __call__(self, user_id: str) -> Account:
        """The caller's account, opened if need be, advanced to now and without the holds of dead attempts."""
        now = self._clock()
        account = self._ledger.account(user_id, now)
        return self._ledger.account(user_id, now) if self._expire(account, now=now) else account
