"""TakeCredits, UndoGrant, PauseAccount: corrections of an account by an operator, each once per reference."""

from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from operate.change_account import MAX_CREDITS, OperatorRequest, Outcome, ReferenceUsedError, find_entry, written_entry
from playground.domain.account import Account, Change, take_back, write_entry
from playground.domain.calendar import instant
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import InvalidRequestError, PlaygroundError
from playground.ports import Ledger


class NoGrantError(PlaygroundError):
    """Nothing was granted to this account under this reference."""

    code: ClassVar[str] = "no_grant"

    def __init__(self, reference: str) -> None:
        super().__init__(f"Nothing was granted to this account under the reference {reference}. Nothing was done.")


class TakeCredits:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, user_id: str, credits_: int, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Take credits from *purchased*, never what is held; what is missing becomes debt, as after a refund. An entry
        of type `admin`. Repeating it with its reference changes nothing.

        Raises InvalidRequestError for an amount out of bounds, ReferenceUsedError if the reference was used for another
        amount.
        """
        if not 1 <= credits_ <= MAX_CREDITS:
            raise InvalidRequestError("credits", f"1 to {MAX_CREDITS}")
        done = _take(self._ledger, user_id, credits_, f"take:{order.reference}", order, now)
        if done.entry.amount != -credits_:
            raise ReferenceUsedError(done.entry)
        return done


class UndoGrant:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, user_id: str, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Take back exactly what was granted under the reference of `order`, once; what is missing becomes debt.
        Raises NoGrantError."""
        granted = find_entry(self._ledger, user_id, f"bonus:{order.reference}", EntryType.BONUS)
        if granted is None:
            raise NoGrantError(order.reference)
        return _take(self._ledger, user_id, granted.amount, f"undo:{order.reference}", order, now)


class PauseAccount:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, user_id: str, order: OperatorRequest, *, paused: bool, now: datetime) -> Outcome:
        """Have the account refuse new runs, or accept them again; open runs end as ever. An entry of type `admin`, of
        no credits. Repeating it with its reference changes nothing, also if it was undone since."""
        key = f"{'pause' if paused else 'resume'}:{order.reference}"
        written: list[Entry] = []

        def amend(account: Account) -> Change:
            account, entry = write_entry(
                account,
                EntryType.ADMIN,
                Deltas(),
                business_key=key,
                reason=f"{'Paused' if paused else 'Resumed'}: {order.reason.strip()}",
                now=now,
                operator=order.operator,
            )
            written[:] = [entry]
            return replace(account, paused_at=instant(now) if paused else None), (entry,)

        account = self._ledger.change(user_id, amend, business_key=key, now=now)
        return _outcome(self._ledger, account, key, written)


def _take(ledger: Ledger, user_id: str, credits_: int, key: str, order: OperatorRequest, now: datetime) -> Outcome:
    written: list[Entry] = []

    def amend(account: Account) -> Change:
        after, entries = take_back(
            account,
            credits_,
            type_=EntryType.ADMIN,
            business_key=key,
            reason=order.reason.strip(),
            now=now,
            operator=order.operator,
        )
        written[:] = [entries[-1]]
        return after, entries

    account = ledger.change(user_id, amend, business_key=key, now=now)
    return _outcome(ledger, account, key, written)


def _outcome(ledger: Ledger, account: Account, key: str, written: list[Entry]) -> Outcome:
    entry = written_entry(ledger, account.user_id, key, EntryType.ADMIN)
    return Outcome(account=account, entry=entry, anew=entry in written)
