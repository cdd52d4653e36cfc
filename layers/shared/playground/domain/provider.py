"""What the payment provider tells, in our words. The adapter makes these from its payloads; nothing in them is believed
before it was compared with our own rows: `purchase_id` and `user_id` are pointers, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from playground.domain.payments import Claim, PurchaseState
from playground.domain.subscriptions import Described


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as an event shows it. None is what the event does not say."""

    payment_id: str
    amount: int | None
    currency: str
    customer_id: str | None
    purchase_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMoved:
    """It has reached a state. `received`: cents that came in."""

    payment: Payment
    state: PurchaseState
    received: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSum:
    """So many cents of it were refunded altogether."""

    payment: Payment
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMoved:
    payment: Payment
    refund_id: str
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeMoved:
    """`claim` None: an inquiry, which takes nothing."""

    payment: Payment
    dispute_id: str
    claim: Claim | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionMoved:
    customer_id: str
    described: Described


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePaid:
    """A period was paid. `started_at` is known if it is the subscription's first."""

    customer_id: str
    subscription_id: str
    invoice_id: str
    amount: int
    currency: str
    period_start: datetime
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDeleted:
    customer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Signed, of a type that moves something, and not of the shape that its type has. `subject`: the object that it is
    about, if it says so."""

    subject: str | None


Told = (
    PaymentMoved
    | RefundSum
    | RefundMoved
    | DisputeMoved
    | SubscriptionMoved
    | InvoicePaid
    | CustomerDeleted
    | Unreadable
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One event. `told` None: a type that moves nothing here."""

    event_id: str
    type: str
    live: bool
    occurred_at: datetime
    told: Told | None


# --- what the provider has, when it is asked --------------------------------------------------------------------------


class Listed(StrEnum):
    """What can be listed at the provider. In this order, so that a payment comes before its refunds."""

    PAYMENTS = "payments"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    INVOICES = "invoices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """An object of the provider as it is now. `event` says the same as the events about it did; its `told` is None if
    there is nothing to tell. `ours`: it carries a pointer of ours. `payment_id`: the payment that it is or is about."""

    object_id: str
    event: ProviderEvent
    ours: bool
    payment_id: str | None = None
    customer_id: str | None = None
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """All that the provider knows of one payment, with its refunds and disputes. `received`: cents that came in, 0 if
    it is not paid. `refunded` and `disputed`: cents that do not come to us, the ones beside the others."""

    received: int
    payment: Stated
    claims: Sequence[Stated]

    @property
    def refunded(self) -> int:
        moved = [each.event.told for each in self.claims]
        return sum(told.claim.amount for told in moved if isinstance(told, RefundMoved) and told.claim.counts)

    @property
    def disputed(self) -> int:
        moved = [told for each in self.claims if isinstance(told := each.event.told, DisputeMoved)]
        return sum(told.claim.amount for told in moved if told.claim is not None and told.claim.counts)
