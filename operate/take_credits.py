"""TakeCredits: take credits from an account."""

from dataclasses import dataclass
from datetime import datetime

from operate.operator_request import OperatorRequest, Outcome, ReferenceUsedError, change_once, check_amount
from playground.domain.account import Account, Change, take_back
from playground.domain.entries import EntryType
from playground.ports import Ledger


@dataclass(frozen=True, slots=True)
class TakeCredits:
    ledger: Ledger

    def __call__(self, user_id: str, credits_: int, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Take credits from *purchased*, never what is held; what is missing becomes debt, as after a refund. An entry
        of type `admin`. Repeating it with its reference changes nothing.

        Raises InvalidRequestError for an amount out of bounds, ReferenceUsedError if the reference was used for another
        amount.
        """
        check_amount(credits_)
        outcome = take_once(self.ledger, user_id, credits_, f"take:{order.reference}", order, now)
        if outcome.entry.amount != -credits_:
            raise ReferenceUsedError(outcome.entry)
        return outcome


def take_once(ledger: Ledger, user_id: str, credits_: int, key: str, order: OperatorRequest, now: datetime) -> Outcome:
    """Take credits back under this business key; a repeat changes nothing."""

    def amend(account: Account) -> Change:
        return take_back(
            account,
            credits_,
            type_=EntryType.ADMIN,
            business_key=key,
            reason=order.text,
            now=now,
            operator=order.operator,
        )

    return change_once(ledger, user_id, amend, business_key=key, type_=EntryType.ADMIN, now=now)
