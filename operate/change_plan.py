"""ChangePlan: begin, prolong or end a plan that no subscription pays for."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import ClassVar

from operate.operator_request import OperatorRequest, Outcome, ReferenceUsedError, change_once
from playground.domain.account import Account, Change, Plan, ending_at, start_plus, write_entry
from playground.domain.calendar import instant, iso
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import InvalidRequestError, PlaygroundError
from playground.domain.subscriptions import end_plus
from playground.ports import Ledger


class StripeManagedError(PlaygroundError):
    """The plan belongs to a subscription: Stripe decides when it begins and ends."""

    code: ClassVar[str] = "stripe_managed"

    def __init__(self) -> None:
        super().__init__("This plan belongs to a subscription at Stripe; change it there.")


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """`allowance`: the credits of a month of PRPM+, from the price table."""

    ledger: Ledger
    _: KW_ONLY
    allowance: int

    def __call__(
        self, user_id: str, plan: Plan, order: OperatorRequest, *, until: datetime | None, now: datetime
    ) -> Outcome:
        """Begin, prolong or end a plan. Repeating it with its reference changes nothing.

        *plus* begins now, with its credits, renews itself every month, and ends at `until` (None: not by itself). If
        the account has it already, only `until` changes; the credits of a month stay those it began with. What is
        unused at `until` is removed, unless a month ends at that time. *free* ends it now: unused credits of the month
        are removed, rollover stays until its own expiry. An entry of type `admin` says who and why. Raises
        InvalidRequestError, ReferenceUsedError, StripeManagedError.
        """
        if until is not None and (plan is Plan.FREE or until <= now):
            raise InvalidRequestError("until", "must be in the future, and of the plan plus")
        until = instant(until) if until is not None else None
        key = f"plan:{order.reference}"
        what = plan.value + (f" until {iso(until)}" if until is not None else "")
        text = f"Plan {what}: {order.text}"

        def amend(account: Account) -> Change:
            if account.plan is Plan.PLUS and account.subscription_id is not None:
                raise StripeManagedError
            account, entry = write_entry(
                account, EntryType.ADMIN, Deltas(), business_key=key, reason=text, now=now, operator=order.operator
            )
            account, more = _changed(account, plan, self.allowance, until, now)
            return account, (entry, *more)

        outcome = change_once(self.ledger, user_id, amend, business_key=key, type_=EntryType.ADMIN, now=now)
        if not outcome.entry.reason.startswith(f"Plan {what}: "):
            raise ReferenceUsedError(outcome.entry)
        return outcome


def _changed(
    account: Account, plan: Plan, allowance: int, until: datetime | None, now: datetime
) -> tuple[Account, Sequence[Entry]]:
    match plan, account.plan:
        case Plan.PLUS, Plan.PLUS:
            return ending_at(account, until), ()
        case Plan.PLUS, _:
            return start_plus(account, allowance=allowance, entitled_until=until, now=now)
        case _, Plan.PLUS:
            return end_plus(account, ended_at=now, now=now)
    return account, ()
