"""Purchases: payments, refunds and disputes, and the credits that follow from them.

A purchase is our own row, written before the payment provider is asked. The provider's events, in any order and any
number of times, only ever add to it: states rise, refunds and disputes are recorded by their ids, and the refunded
total is the highest that was seen. So the same events in any order give the same purchase, and credits are derived from
the purchase, not from the latest event.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Self

from playground.domain.account import Account, Change, note_payment, repay_debt, take_back, write_entry
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType


class PurchaseState(StrEnum):
    OPEN = "open"
    FAILED = "failed"  # an attempt to pay failed; another one may succeed
    CANCELED = "canceled"
    PAID = "paid"


_STATES = tuple(PurchaseState)


class Stage(IntEnum):
    """The state of a refund or a dispute. The highest that was seen counts, because events come in any order."""

    OPEN = 1  # a refund pending or made; an open dispute
    KEPT = 2  # a dispute that was lost
    GIVEN_BACK = 3  # a refund that failed; a dispute that was won


@dataclass(frozen=True, slots=True)
class Claim:
    """A refund or a dispute of `amount` cents, which the provider made at `made_at`; None: an earlier version did not
    record it."""

    amount: int
    stage: Stage
    made_at: datetime | None = field(default=None, compare=False)

    @property
    def counts(self) -> bool:
        """Whether it takes money back: not a failed refund, not a won dispute."""
        return self.stage is not Stage.GIVEN_BACK

    def merged(self, other: "Claim | None") -> "Claim":
        """The later state and the higher amount of both."""
        if other is None:
            return self
        made_at = self.made_at if self.made_at is not None else other.made_at
        return Claim(max(self.amount, other.amount), max(self.stage, other.stage), made_at)


class PaidFor:
    """Something that was paid for, and the credits that go back when its money does: a pack, or a month of PRPM+.

    `refunds` and `disputes` of the `amount` cents only ever grow; their keys are the provider's ids.
    """

    __slots__ = ()

    credits: int
    amount: int
    refunds: Mapping[str, Claim]
    disputes: Mapping[str, Claim]

    def with_refund(self, refund_id: str, claim: Claim) -> Self:
        return self._with(refunds={**self.refunds, refund_id: claim.merged(self.refunds.get(refund_id))})

    def with_dispute(self, dispute_id: str, claim: Claim) -> Self:
        return self._with(disputes={**self.disputes, dispute_id: claim.merged(self.disputes.get(dispute_id))})

    @property
    def amount_refunded(self) -> int:
        """Refunded cents, at most `amount`."""
        raise NotImplementedError

    @property
    def amount_disputed(self) -> int:
        """Cents disputed or lost in disputes, without refunded ones."""
        disputed = sum(claim.amount for claim in self.disputes.values() if claim.counts)
        return min(disputed, self.amount - self.amount_refunded)

    @property
    def due_for_refunds(self) -> int:
        """Credits that refunds take back: ceil(credits × refunded ÷ amount)."""
        return self._due(self.amount_refunded)

    @property
    def due_for_disputes(self) -> int:
        """Credits that disputes take back in addition."""
        return self._due(self.amount_refunded + self.amount_disputed) - self.due_for_refunds

    def _with(self, **changes: Mapping[str, Claim]) -> Self:
        changed: Self = replace(self, **changes)  # type: ignore[type-var]  # subclasses are dataclasses
        return changed

    def _gone_back(self, named: int) -> int:
        """Refunded cents: the higher of the refunds known by id that have not failed, and of `named`, the provider's
        highest total, less the failed ones."""
        good = sum(claim.amount for claim in self.refunds.values() if claim.counts)
        failed = sum(claim.amount for claim in self.refunds.values() if claim.stage is Stage.GIVEN_BACK)
        return max(good, named - failed)

    def _due(self, cents: int) -> int:
        return -(-self.credits * cents // self.amount) if cents else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase(PaidFor):
    """A purchase of a pack, from the order on.

    `amount` is in cents. `payment_id`: the provider's id of its only payment, once known. `refunded`: the provider's
    highest total of refunds so far. `taken_refund`, `taken_dispute`: credits taken back; `moves` counts their entries.
    `revision` is the store's.
    """

    purchase_id: str
    user_id: str
    pack: str
    credits: int
    amount: int
    currency: str
    live: bool
    price_version: str
    created_at: datetime
    state: PurchaseState = PurchaseState.OPEN
    payment_id: str | None = None
    paid_at: datetime | None = None
    granted: bool = False
    refunded: int = 0
    refunds: Mapping[str, Claim] = field(default_factory=dict)
    disputes: Mapping[str, Claim] = field(default_factory=dict)
    taken_refund: int = 0
    taken_dispute: int = 0
    moves: int = 0
    revision: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.credits < 1 or self.amount < 1:
            raise ValueError(f"credits ({self.credits}) and cents ({self.amount}) must be positive")

    # --- events -------------------------------------------------------------------------------------------------------

    def reached(self, state: PurchaseState, at: datetime) -> "Purchase":
        """At least in `state`. A paid purchase stays paid, whatever comes later."""
        if _STATES.index(state) <= _STATES.index(self.state):
            return self
        return replace(self, state=state, paid_at=at if state is PurchaseState.PAID else self.paid_at)

    def with_refunded(self, amount: int) -> "Purchase":
        """With the provider's total of refunds: `amount` cents."""
        return replace(self, refunded=max(self.refunded, amount))

    # --- derived values -----------------------------------------------------------------------------------------------

    @property
    def amount_refunded(self) -> int:
        return min(self._gone_back(self.refunded), self.amount)


def book_purchase(account: Account, purchase: Purchase, *, now: datetime) -> tuple[Purchase, Change]:
    """Bring the account in line with `purchase`: the purchase and the account afterwards, with the entries.

    A paid purchase is granted once, and repays outstanding debt first. Refunds and disputes take back what is
    due and not taken yet, and give back what was taken too much. A repeat changes nothing.
    """
    if purchase.state is not PurchaseState.PAID:
        return purchase, (account, ())
    entries: list[Entry] = []
    if not purchase.granted:
        account = note_payment(account)
        reason = f"{purchase.credits} credits bought"
        account, entry = write_entry(
            account,
            EntryType.PURCHASE,
            Deltas(purchased=purchase.credits),
            business_key=f"purchase:{purchase.purchase_id}",
            reason=reason,
            now=now,
            purchase_id=purchase.purchase_id,
        )
        account, repaid = repay_debt(account, cause=entry.business_key, now=now, purchase_id=purchase.purchase_id)
        entries += [entry, *repaid]
        purchase = replace(purchase, granted=True)
    refund = purchase.due_for_refunds - purchase.taken_refund
    dispute = purchase.due_for_disputes - purchase.taken_dispute
    # Give back first, so that these credits can be taken.
    for credits_, type_ in sorted([(refund, EntryType.REFUND), (dispute, EntryType.DISPUTE)]):
        if credits_:
            purchase = replace(purchase, moves=purchase.moves + 1)
            account, moved = _take_back(account, purchase, credits_, type_, now)
            entries += moved
    purchase = replace(purchase, taken_refund=purchase.due_for_refunds, taken_dispute=purchase.due_for_disputes)
    return purchase, (account, tuple(entries))


REASONS: Mapping[EntryType, tuple[str, str]] = {
    EntryType.REFUND: ("Taken back for a refund", "Returned: a refund failed"),
    EntryType.DISPUTE: ("Taken back for a dispute", "Returned: a dispute was won"),
}


def _take_back(account: Account, purchase: Purchase, credits_: int, type_: EntryType, now: datetime) -> Change:
    """Take `credits_` from *purchased*, or give them back if negative."""
    key = f"{type_.value}:{purchase.purchase_id}:{purchase.moves}"
    reason = REASONS[type_][credits_ < 0]
    about = purchase.purchase_id
    if credits_ > 0:
        return take_back(account, credits_, type_=type_, business_key=key, reason=reason, now=now, purchase_id=about)
    account, entry = write_entry(
        account, type_, Deltas(purchased=-credits_), business_key=key, reason=reason, now=now, purchase_id=about
    )
    account, repaid = repay_debt(account, cause=key, now=now, purchase_id=about)
    return account, (entry, *repaid)


# --- customers and events ---------------------------------------------------------------------------------------------

MAX_FORMER_CUSTOMERS = 50  # of one user; an erasure moves all of them in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """The user's customer at the payment provider. One per user and mode.

    `gone`: the provider does not know `customer_id` (any more); the next one gets `number` + 1. `former`: ids of the
    ones before, newest last, under which events may still come.
    """

    user_id: str
    customer_id: str
    live: bool
    created_at: datetime
    gone: bool = False
    number: int = 0
    former: tuple[str, ...] = ()
    revision: int = field(default=0, compare=False)

    def is_known_as(self, customer_id: str | None) -> bool:
        """Whether this id is, or was, the user's customer."""
        return customer_id is not None and customer_id in (self.customer_id, *self.former)

    def replaced_by(self, customer_id: str, now: datetime) -> "Customer":
        """The same user with another customer."""
        return replace(
            self,
            customer_id=customer_id,
            created_at=now,
            gone=False,
            number=self.number + 1,
            former=(*self.former, self.customer_id)[-MAX_FORMER_CUSTOMERS:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentEvent:
    """An event of the provider that was applied or quarantined. `quarantined`: the reason; `resolved_at`: when an
    operator closed it."""

    event_id: str
    type: str
    user_id: str | None
    subject: str | None
    occurred_at: datetime
    received_at: datetime
    quarantined: str | None = None
    resolved_at: datetime | None = None
    revision: int = field(default=0, compare=False)
