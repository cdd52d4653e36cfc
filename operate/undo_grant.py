"""UndoGrant: take back what was granted under a reference."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from operate.operator_request import OperatorRequest, Outcome, find_entry
from operate.take_credits import take_once
from playground.domain.entries import EntryType
from playground.domain.errors import NotFoundError
from playground.ports import Ledger


class NoGrantError(NotFoundError):
    """Nothing was granted to this account under this reference."""

    code: ClassVar[str] = "no_grant"

    def __init__(self, reference: str) -> None:
        super().__init__(f"Nothing was granted to this account under the reference {reference}. Nothing was done.")


@dataclass(frozen=True, slots=True)
class UndoGrant:
    ledger: Ledger

    def __call__(self, user_id: str, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Take back exactly what was granted under the reference of `order`, once; what is missing becomes debt.
        Raises NoGrantError."""
        granted = find_entry(self.ledger, user_id, f"bonus:{order.reference}", EntryType.BONUS)
        if granted is None:
            raise NoGrantError(order.reference)
        return take_once(self.ledger, user_id, granted.amount, f"undo:{order.reference}", order, now)
