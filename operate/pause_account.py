"""PauseAccount: have an account refuse new runs, or accept them again."""

from dataclasses import dataclass, replace
from datetime import datetime

from operate.operator_request import OperatorRequest, Outcome, change_once
from playground.domain.account import Account, Change, write_entry
from playground.domain.calendar import instant
from playground.domain.credits import Deltas
from playground.domain.entries import EntryType
from playground.ports import Ledger


@dataclass(frozen=True, slots=True)
class PauseAccount:
    ledger: Ledger

    def __call__(self, user_id: str, order: OperatorRequest, *, paused: bool, now: datetime) -> Outcome:
        """Have the account refuse new runs, or accept them again; open runs end normally. An entry of type `admin`, of
        no credits. Repeating it with its reference changes nothing, even if it was undone since."""
        key = f"{'pause' if paused else 'resume'}:{order.reference}"
        text = f"{'Paused' if paused else 'Resumed'}: {order.text}"

        def amend(account: Account) -> Change:
            account, entry = write_entry(
                account, EntryType.ADMIN, Deltas(), business_key=key, reason=text, now=now, operator=order.operator
            )
            return replace(account, paused_at=instant(now) if paused else None), (entry,)

        return change_once(self.ledger, user_id, amend, business_key=key, type_=EntryType.ADMIN, now=now)
