"""What the payment provider tells, in our words. The adapter makes these from its payloads; nothing in them is believed
before it was compared with our own rows: `purchase_id` and `user_id` are pointers, and no more."""

from dataclasses import dataclass
from datetime import datetime

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


Told = PaymentMoved | RefundSum | RefundMoved | DisputeMoved | SubscriptionMoved | InvoicePaid


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One event. `told` None: a type that moves nothing here."""

    event_id: str
    type: str
    live: bool
    occurred_at: datetime
    told: Told | None
