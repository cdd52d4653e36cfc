"""GrantBonus: give credits to an account."""

from dataclasses import dataclass
from datetime import datetime

from operate.operator_request import OperatorRequest, Outcome, ReferenceUsedError, change_once, check_amount
from playground.domain.account import Account, Change, grant
from playground.domain.entries import EntryType
from playground.ports import Ledger


@dataclass(frozen=True, slots=True)
class GrantBonus:
    ledger: Ledger

    def __call__(self, user_id: str, credits_: int, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Add credits to *purchased*, where they never expire. Repeating it with its reference changes nothing.

        Raises InvalidRequestError for an amount out of bounds, ReferenceUsedError if the reference was used for another
        amount.
        """
        check_amount(credits_)
        key = f"bonus:{order.reference}"

        def amend(account: Account) -> Change:
            after, entry = grant(
                account,
                credits_,
                type_=EntryType.BONUS,
                business_key=key,
                reason=order.text,
                now=now,
                operator=order.operator,
            )
            return after, (entry,)

        outcome = change_once(self.ledger, user_id, amend, business_key=key, type_=EntryType.BONUS, now=now)
        if outcome.entry.amount != credits_:
            raise ReferenceUsedError(outcome.entry)
        return outcome
