"""Events of the payment provider as types of ours. The adapter makes them from its payloads. Their content is checked
against our own records: `purchase_id` and `user_id` are only pointers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from playground.domain.purchases import Claim, PurchaseState
from playground.domain.subscriptions import AgreedPrice, SubscriptionSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as an event shows it. None: the event does not say."""

    payment_id: str
    amount: int | None
    currency: str
    customer_id: str | None
    purchase_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMoved:
    """The payment has reached a state. `received`: cents."""

    payment: Payment
    state: PurchaseState
    received: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSum:
    """The total of its refunds, in cents."""

    payment: Payment
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMoved:
    payment: Payment
    refund_id: str
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeMoved:
    """`claim` None: an inquiry, which takes no money."""

    payment: Payment
    dispute_id: str
    claim: Claim | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionMoved:
    customer_id: str
    described: SubscriptionSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """The line of an invoice for a whole period of a subscription: `amount` in cents, before discounts."""

    price_id: str | None
    amount: int
    currency: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePaid:
    """An invoice of a subscription is paid. `total` in cents is after discounts and with taxes; `credited` of it was
    waived by credit notes before. `line` is the last whole period that it is for; None if there is none, `prorated` if
    that is because a change within a period was charged. `user_id` is our pointer. `started_at` is known if it is the
    subscription's first."""

    customer_id: str
    subscription_id: str
    invoice_id: str
    total: int
    credited: int
    currency: str
    line: InvoiceLine | None
    prorated: bool
    user_id: str | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteMoved:
    """A credit note for a paid invoice. `claim`: the amount that it gives back in addition to its refunds."""

    customer_id: str
    invoice_id: str
    note_id: str
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDeleted:
    customer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A signed event of a type that we handle, in an unexpected shape. `subject`: the object that it is about, if
    known."""

    subject: str | None


ProviderChange = (
    PaymentMoved
    | RefundSum
    | RefundMoved
    | DisputeMoved
    | SubscriptionMoved
    | InvoicePaid
    | CreditNoteMoved
    | CustomerDeleted
    | Unreadable
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One event. `change` is None for types without an effect here."""

    event_id: str
    type: str
    live: bool
    occurred_at: datetime
    change: ProviderChange | None


# --- objects at the provider ------------------------------------------------------------------------------------------


class ObjectKind(StrEnum):
    """Objects that can be listed at the provider, in the order of reconciliation: payments before their refunds."""

    PAYMENTS = "payments"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    INVOICES = "invoices"
    CREDIT_NOTES = "credit_notes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderObject:
    """The state of an object at the provider. `event` has the same content as the provider's events about it; its
    `change` is None if it has no effect here. `ours`: it carries a pointer of ours. `payment_id`: the payment
    that it is or refers to; `invoice_id`: the invoice."""

    object_id: str
    event: ProviderEvent
    ours: bool
    payment_id: str | None = None
    customer_id: str | None = None
    subscription_id: str | None = None
    invoice_id: str | None = None

    @property
    def cents(self) -> int:
        """The money that it is about; 0 if none has moved."""
        match self.event.change:
            case PaymentMoved(received=received):
                return received or 0
            case InvoicePaid(total=total):
                return total
            case RefundMoved(claim=claim) | CreditNoteMoved(claim=claim):
                return claim.amount
            case DisputeMoved(claim=Claim(amount=amount)):
                return amount
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomersSubscription:
    """A subscription of a customer. `price`: of its only item. `user_id`: our pointer."""

    described: SubscriptionSnapshot
    price: AgreedPrice | None
    user_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceStatement:
    """The provider's state of one invoice: refunds and disputes of its payments, credit notes."""

    claims: Sequence[ProviderObject]

    @property
    def refunded(self) -> int:
        """Cents refunded or credited."""
        moved = [each.event.change for each in self.claims]
        claims = [change.claim for change in moved if isinstance(change, RefundMoved | CreditNoteMoved)]
        return sum(claim.amount for claim in claims if claim.counts)

    @property
    def disputed(self) -> int:
        return _disputed(self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The provider's state of one payment, with its refunds and disputes. `received`: cents that came in, 0 if it is
    not paid. `refunded` and `disputed`: cents, independent of each other."""

    received: int
    payment: ProviderObject
    claims: Sequence[ProviderObject]

    @property
    def refunded(self) -> int:
        moved = [each.event.change for each in self.claims]
        return sum(change.claim.amount for change in moved if isinstance(change, RefundMoved) and change.claim.counts)

    @property
    def disputed(self) -> int:
        return _disputed(self.claims)


def _disputed(claims: Sequence[ProviderObject]) -> int:
    moved = [change for each in claims if isinstance(change := each.event.change, DisputeMoved)]
    return sum(change.claim.amount for change in moved if change.claim is not None and change.claim.counts)
