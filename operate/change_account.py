"""GrantBonus, ChangePlan: what an operator does to an account. Each is done once per reference and says who and why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from playground.domain.account import Account, Change, Plan, ending_at, grant, start_plus, write_entry
from playground.domain.calendar import instant, iso
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import InvalidRequestError, PlaygroundError
from playground.domain.subscriptions import end_plus
from playground.domain.text import is_blank
from playground.ports import Ledger

MAX_CREDITS = 100_000  # of one bonus: more is a slip of the finger
MAX_TEXT_CHARACTERS = 200  # characters
MAX_PAGES = 1_000  # of the history, in the search for an entry
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:#/-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRequest:
    """Who wants it and why, and the reference under which it is done once, for ever."""

    reference: str
    reason: str
    operator: str

    def __post_init__(self) -> None:
        if not REFERENCE.fullmatch(self.reference):
            raise InvalidRequestError("reference", "1 to 100 letters, digits and . _ : # / -, such as ticket-123")
        for name in ("reason", "operator"):
            text = getattr(self, name)
            if is_blank(text) or len(text) > MAX_TEXT_CHARACTERS or not text.isprintable():
                raise InvalidRequestError(name, f"1 to {MAX_TEXT_CHARACTERS} characters on one line")

    @property
    def text(self) -> str:
        """The reason as it is in the entry, which the user can read. The operator is not shown to the user."""
        return self.reason.strip()


class ReferenceUsedError(PlaygroundError):
    """This reference was used for something else."""

    code: ClassVar[str] = "reference_used"

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            f"This reference was used for entry {entry.seq} ({entry.type}, {entry.amount:+d}: {entry.reason}). "
            "Nothing was done; use a new reference.",
            seq=entry.seq,
        )


class ReferenceForgottenError(PlaygroundError):
    """This reference was used, and its entry is gone: the account was erased since."""

    code: ClassVar[str] = "reference_used"

    def __init__(self) -> None:
        super().__init__(
            "This reference was used before the account was erased. Nothing was done; use a new reference."
        )


class StripeManagedError(PlaygroundError):
    """The plan belongs to a subscription: Stripe decides when it begins and ends."""

    code: ClassVar[str] = "stripe_managed"

    def __init__(self) -> None:
        super().__init__("This plan belongs to a subscription at Stripe; change it there.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The entry that says who and why, and the account afterwards. Not `anew`: it was done before."""

    account: Account
    entry: Entry
    anew: bool


class GrantBonus:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, user_id: str, credits_: int, order: OperatorRequest, *, now: datetime) -> Outcome:
        """Add credits to *purchased*, where they never expire. Repeating it with its reference changes nothing.

        Raises InvalidRequestError for an amount that cannot be meant, ReferenceUsedError if the reference was used for
        another amount.
        """
        if not 1 <= credits_ <= MAX_CREDITS:
            raise InvalidRequestError("credits", f"1 to {MAX_CREDITS}")
        key = f"bonus:{order.reference}"
        written: list[Entry] = []

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
            written[:] = [entry]
            return after, (entry,)

        account = self._ledger.change(user_id, amend, business_key=key, now=now)
        entry = written_entry(self._ledger, user_id, key, EntryType.BONUS)
        if entry.amount != credits_:
            raise ReferenceUsedError(entry)
        return Outcome(account=account, entry=entry, anew=entry in written)


class ChangePlan:
    """`allowance`: what a month of PRPM+ gives, by the price table."""

    def __init__(self, ledger: Ledger, *, allowance: int) -> None:
        self._ledger = ledger
        self._allowance = allowance

    def __call__(
        self, user_id: str, plan: Plan, order: OperatorRequest, *, until: datetime | None, now: datetime
    ) -> Outcome:
        """Begin, prolong or end a plan. Repeating it with its reference changes nothing.

        *plus* begins now, with its credits, renews itself every month, and ends at `until` (None: not by itself); if
        it is on already, only `until` changes: it gives what it gave when it began. What is unused at `until` is
        removed, unless a month ends just then. *free* ends it now: unused credits of the month are removed, rollover
        lives to its own expiry. An entry of type `admin` says who and why. Raises InvalidRequestError,
        ReferenceUsedError, StripeManagedError.
        """
        if until is not None and (plan is Plan.FREE or until <= now):
            raise InvalidRequestError("until", "must be in the future, and of the plan plus")
        until = instant(until) if until is not None else None
        key = f"plan:{order.reference}"
        what = plan.value + (f" until {iso(until)}" if until is not None else "")
        text = f"Plan {what}: {order.text}"
        written: list[Entry] = []

        def amend(account: Account) -> Change:
            if account.plan is Plan.PLUS and account.subscription_id is not None:
                raise StripeManagedError
            account, entry = write_entry(
                account, EntryType.ADMIN, Deltas(), business_key=key, reason=text, now=now, operator=order.operator
            )
            written[:] = [entry]
            account, more = _changed(account, plan, self._allowance, until, now)
            return account, (entry, *more)

        account = self._ledger.change(user_id, amend, business_key=key, now=now)
        entry = written_entry(self._ledger, user_id, key, EntryType.ADMIN)
        if not entry.reason.startswith(f"Plan {what}: "):
            raise ReferenceUsedError(entry)
        return Outcome(account=account, entry=entry, anew=entry in written)


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


def find_entry(ledger: Ledger, user_id: str, key: str, type_: EntryType) -> Entry | None:
    """The entry with this business key; None if there is none."""
    before: int | None = None
    for _ in range(MAX_PAGES):
        page, before, _ = ledger.entries(user_id, before=before, limit=100, type_=type_)
        for entry in page:
            if entry.business_key == key:
                return entry
        if before is None:
            break
    return None


def written_entry(ledger: Ledger, user_id: str, key: str, type_: EntryType) -> Entry:
    """The entry of a change that was made. Raises ReferenceForgottenError if it is gone."""
    entry = find_entry(ledger, user_id, key, type_)
    if entry is None:
        raise ReferenceForgottenError
    return entry
