"""EraseAccount: erase a person, and keep books that add up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

from operate.change_plan import StripeManagedError
from playground.domain.account import Account, Change, Plan
from playground.domain.calendar import iso
from playground.domain.errors import NotFoundError, PlaygroundError
from playground.domain.subscriptions import Subscription, end_plus
from playground.ports import Ledger
from playground.usecases.expire_holds import ExpireHolds

MAX_TRIES = 10  # with an account that moves while it is looked at
TOLD_LATE = timedelta(hours=1)  # events of a provider's page may come after the page has expired


class NoAccountError(NotFoundError):
    """There is nothing to erase."""

    code: ClassVar[str] = "account_not_found"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"There is no account {user_id}.")


class InDebtError(PlaygroundError):
    """Credits were spent and their payment was taken back. An erasure would cancel that debt."""

    code: ClassVar[str] = "in_debt"

    def __init__(self, debt: int) -> None:
        owed = "1 credit is" if debt == 1 else f"{debt:,} credits are"
        super().__init__(f"{owed} owed. Erasing would forgive that, so it is paid first.", debt=debt)


class CheckoutOpenError(PlaygroundError):
    """A page on which a subscription can be begun waits for the user, or was just left."""

    code: ClassVar[str] = "checkout_open"

    def __init__(self, expires_at: datetime) -> None:
        super().__init__(
            "A page of the payment provider on which a subscription can be begun is open. "
            f"Try again an hour after {iso(expires_at)}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much this call moved or deleted. All zero if the user was erased before and has left nothing since."""

    entries: int = 0
    runs: int = 0
    payments: int = 0
    sessions: int = 0
    events: int = 0


class Eraser(Protocol):
    """The steps of an erasure. Each may be repeated, and goes on where it stopped.

    Each raises OvertakenError if another erasure has finished this one: it must not touch who came back since.
    """

    def exists(self, user_id: str) -> bool: ...

    def pseudonym(self, user_id: str) -> str | None:
        """Under which the books are being kept, if an erasure has begun and is not finished."""
        ...

    def is_erased(self, user_id: str) -> bool:
        """Whether nothing names the user but an account without credits, its first entry, and used references."""
        ...

    def subscription(self, user_id: str) -> Subscription:
        """What is known of the user's subscription."""
        ...

    def begin(self, account: Account, subscription: Subscription, pseudonym: str) -> bool:
        """Mark the account, if both are as they were seen: from now on nothing is written to it. False if one moved."""
        ...

    def copy_books(self, user_id: str, pseudonym: str) -> tuple[int, int]:
        """Copy entries, receipts and keys; how many entries and receipts there were."""
        ...

    def copy_account(self, user_id: str, pseudonym: str) -> None:
        """Open the account of the pseudonym with the balance of the other one, once."""
        ...

    def move_payments(self, user_id: str, pseudonym: str) -> int:
        """Move purchases and customers with what leads to them, so that a late refund finds the right books."""
        ...

    def delete_sessions(self, user_id: str, pseudonym: str) -> int:
        """Delete conversations with what was shared of them, and texts of runs that died; how many conversations there
        were."""
        ...

    def delete_traces(self, user_id: str, pseudonym: str) -> int:
        """Delete what was left at conversations of others, and conversations that came about since; how many."""
        ...

    def forget_events(self, user_id: str, pseudonym: str) -> int:
        """Put the pseudonym into the payment provider's events."""
        ...

    def forget_spend(self, user_id: str, pseudonym: str, now: datetime) -> None:
        """Delete the counters of the user's runs. What is counted late is not counted for the user any more."""
        ...

    def delete_books(self, user_id: str, pseudonym: str) -> None:
        """Delete what was copied. Keys stay, so that what was done once is not done again."""
        ...

    def finish(self, user_id: str, pseudonym: str, now: datetime) -> None:
        """Leave an account with nothing in it."""
        ...


class NewPseudonym(Protocol):
    def __call__(self) -> str: ...


class EraseAccount:
    def __init__(self, *, ledger: Ledger, eraser: Eraser, new_pseudonym: NewPseudonym) -> None:
        self._ledger = ledger
        self._eraser = eraser
        self._new_pseudonym = new_pseudonym
        self._expire = ExpireHolds(ledger)

    def __call__(self, user_id: str, *, now: datetime) -> Erased:
        """Erase an account. If the process ends before it is done, call it again: it continues. Afterwards a repeat
        changes nothing, unless the user has left something since.

        Open runs are ended without a charge, a plan that an operator set is ended. Raises NoAccountError,
        StripeManagedError while a subscription is on, and CheckoutOpenError while one may begin any moment: it would go
        on charging a person whom no record names any more; InDebtError while credits are owed; OvertakenError if
        another process has finished the same erasure.
        """
        eraser = self._eraser
        if not eraser.exists(user_id):
            raise NoAccountError(user_id)
        pseudonym = eraser.pseudonym(user_id)
        if pseudonym is None:
            if eraser.is_erased(user_id):
                return Erased()
            pseudonym = self._begin(user_id, now)
        entries, runs = eraser.copy_books(user_id, pseudonym)
        eraser.copy_account(user_id, pseudonym)
        payments = eraser.move_payments(user_id, pseudonym)
        sessions = eraser.delete_sessions(user_id, pseudonym)
        events = eraser.forget_events(user_id, pseudonym)
        eraser.forget_spend(user_id, pseudonym, now)
        eraser.delete_books(user_id, pseudonym)
        sessions += eraser.delete_traces(user_id, pseudonym)
        eraser.finish(user_id, pseudonym, now)
        return Erased(entries=entries, runs=runs, payments=payments, sessions=sessions, events=events)

    def _begin(self, user_id: str, now: datetime) -> str:
        pseudonym = self._new_pseudonym()

        def end(account: Account) -> Change | None:
            return end_plus(account, ended_at=now, now=now) if account.plan is Plan.PLUS else None

        for _ in range(MAX_TRIES):
            account, subscription = self._ledger.account(user_id, now), self._eraser.subscription(user_id)
            _check(account, subscription, now)
            if account.plan is Plan.PLUS:
                if account.subscription_id is not None:
                    raise StripeManagedError
                account = self._ledger.change(user_id, end, business_key=f"plan:{iso(now)}", now=now)
            for hold in account.holds.values():
                self._expire.one(user_id, hold, now=now)
            account = self._ledger.account(user_id, now)
            ready = not account.holds and account.plan is Plan.FREE and not account.debt
            if ready and self._eraser.begin(account, subscription, pseudonym):
                return pseudonym
        raise PlaygroundError("The account is in use; try again in a moment.")


def _check(account: Account, subscription: Subscription, now: datetime) -> None:
    """Whether there is something that must be ended, or paid, first."""
    if account.debt:
        raise InDebtError(account.debt)
    described = subscription.described
    if described is not None and described.ended_at is None:
        raise StripeManagedError  # the account may not know of it yet: the first invoice says so
    expires_at = subscription.checkout_expires_at
    if expires_at is not None and subscription.open_checkout(now - TOLD_LATE) is not None:
        raise CheckoutOpenError(expires_at)
