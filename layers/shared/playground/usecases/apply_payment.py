"""ApplyPayment: what the payment provider tells becomes credits.

    event → whose is it → does it fit our row → account, entries, row and event in one transaction

The same event again, another event that says the same, and events in any order come to the same. What does not fit is
put into quarantine: an operator looks at it, and nothing is granted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from playground.domain.account import Account
from playground.domain.calendar import instant
from playground.domain.entries import Entry
from playground.domain.erasure import is_pseudonym
from playground.domain.errors import StoreUnavailableError
from playground.domain.payments import PaymentEvent, Purchase, PurchaseState, book_purchase
from playground.domain.pricing import PriceTable
from playground.domain.provider import (
    CustomerDeleted,
    DisputeMoved,
    InvoicePaid,
    Payment,
    PaymentMoved,
    ProviderEvent,
    RefundMoved,
    RefundSum,
    SubscriptionMoved,
    Told,
    Unreadable,
)
from playground.domain.subscriptions import PaidPeriod, end_plus, pay_period
from playground.ports import Booking, Clock, Ledger, PaymentRecords, Payments


class Outcome(StrEnum):
    APPLIED = "applied"
    NOTHING_NEW = "nothing_new"
    IGNORED = "ignored"  # not about anything of ours
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of an event. `entries` were written by it; `reason` is that of a quarantine."""

    outcome: Outcome
    user_id: str | None = None
    subject: str | None = None
    entries: tuple[Entry, ...] = ()
    reason: str | None = None


class ApplyPayment:
    def __init__(
        self,
        *,
        ledger: Ledger,
        records: PaymentRecords,
        payments: Payments,
        prices: PriceTable,
        live: bool,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._payments = payments
        self._prices = prices
        self._live = live
        self._clock = clock

    def __call__(self, event: ProviderEvent) -> Applied:
        """Apply `event`, once. Raises StoreUnavailableError or PaymentsUnavailableError, after which it is to be sent
        again; nothing of it has happened then, or all of it."""
        if event.told is None:
            return Applied(outcome=Outcome.IGNORED)
        if isinstance(event.told, Unreadable):
            return self._quarantine(event, None, event.told.subject, "unreadable")
        if event.live is not self._live:
            return self._quarantine(event, None, None, "live_mode")
        match event.told:
            case SubscriptionMoved() as told:
                return self._subscription(event, told)
            case InvoicePaid() as told:
                return self._invoice(event, told)
            case CustomerDeleted() as told:
                return self._customer_deleted(event, told)
            case _ as told:
                return self._purchase(event, told)

    # --- purchases ----------------------------------------------------------------------------------------------------

    def _purchase(self, event: ProviderEvent, told: PaymentMoved | RefundSum | RefundMoved | DisputeMoved) -> Applied:
        payment = told.payment
        owner = self._records.purchase_of(payment.payment_id)
        if owner is None and (payment.purchase_id is None or payment.user_id is None):
            if not isinstance(told, PaymentMoved):  # only the payment itself carries our pointers for certain
                payment = self._payments.payment(payment.payment_id) or payment
            if payment.purchase_id is None or payment.user_id is None:
                return Applied(outcome=Outcome.IGNORED)
        if owner is None:
            assert payment.purchase_id is not None
            assert payment.user_id is not None
            owner = (payment.user_id, payment.purchase_id)
        user_id, purchase_id = owner
        purchase = self._records.purchase(user_id, purchase_id)
        if purchase is None:
            return self._quarantine(event, None, purchase_id, "unknown_purchase")
        return self._book_purchase(event, purchase, told)

    def _mismatch(self, purchase: Purchase, told: PaymentMoved | RefundSum | RefundMoved | DisputeMoved) -> str | None:
        """In what the event differs from our row; None if it fits."""
        payment = told.payment
        if purchase.live is not self._live:
            return "live_mode"
        if payment.purchase_id not in (None, purchase.purchase_id):
            return "pointer"
        # The provider still names somebody who was erased since; our own pointer led to the right purchase.
        if payment.user_id not in (None, purchase.user_id) and not is_pseudonym(purchase.user_id):
            return "pointer"
        if purchase.payment_id not in (None, payment.payment_id):
            return "payment"
        if payment.currency.lower() != purchase.currency.lower():
            return "currency"
        if payment.amount is not None and payment.amount != purchase.amount:
            return "amount"
        if isinstance(told, PaymentMoved):
            customer = self._records.customer(purchase.user_id, live=purchase.live)
            if customer is None or not customer.is_known_as(payment.customer_id):
                return "customer"
            if told.state is PurchaseState.PAID and told.received != purchase.amount:
                return "amount"
        elif payment.customer_id is not None:
            customer = self._records.customer(purchase.user_id, live=purchase.live)
            if customer is None or not customer.is_known_as(payment.customer_id):
                return "customer"
        return None

    def _book_purchase(
        self, event: ProviderEvent, seen: Purchase, told: PaymentMoved | RefundSum | RefundMoved | DisputeMoved
    ) -> Applied:
        written: tuple[Entry, ...] = ()
        applied = False
        differs: str | None = None
        now = instant(self._clock())

        def book(account: Account) -> Booking | None:
            nonlocal written, applied, differs
            before = self._records.purchase(seen.user_id, seen.purchase_id)
            assert before is not None, "purchases are never deleted"
            differs = self._mismatch(before, told)  # another payment of this purchase may have been faster
            if differs is not None:
                return None
            after = _with(before, told, event.occurred_at)
            after, (changed, written) = book_purchase(account, after, now=now)
            applied = after != before
            if not applied:
                return None
            return Booking(changed, written, [after, self._record(event, seen.user_id, seen.purchase_id)])

        self._ledger.book(seen.user_id, book, now=now)
        if differs is not None:
            return self._quarantine(event, seen.user_id, seen.purchase_id, differs)
        return Applied(
            outcome=Outcome.APPLIED if applied else Outcome.NOTHING_NEW,
            user_id=seen.user_id,
            subject=seen.purchase_id,
            entries=written if applied else (),
        )

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def _subscription(self, event: ProviderEvent, told: SubscriptionMoved) -> Applied:
        described = told.described
        user_id = self._records.user_of(told.customer_id)
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=described.subscription_id)
        known = self._records.subscription(user_id).described
        if described.ties_with(known):
            truth = self._payments.subscription(described.subscription_id)
            if truth is not None and truth.ended_at is None:  # of its end there is an event of its own
                described = replace(truth, event_id=event.event_id).just_after(known)

        def book(account: Account, now: datetime) -> Booking | None:
            before = self._records.subscription(user_id)
            after = replace(before.told(described), live=event.live)
            changed: Account = account
            entries: tuple[Entry, ...] = ()
            ended_at = after.ended.get(described.subscription_id)
            if ended_at is not None and account.subscription_id == described.subscription_id:
                changed, entries = end_plus(account, ended_at=ended_at, now=now)
            if after == before and changed == account:
                return None
            return Booking(changed, entries, [after, self._record(event, user_id, described.subscription_id)])

        return self._book(user_id, described.subscription_id, book)

    def _invoice(self, event: ProviderEvent, told: InvoicePaid) -> Applied:
        user_id = self._records.user_of(told.customer_id)
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=told.subscription_id)
        if told.currency.lower() != self._prices.currency.lower():
            return self._quarantine(event, user_id, told.subscription_id, "currency")
        if told.amount != self._prices.plan.price_cents:
            return self._quarantine(event, user_id, told.subscription_id, "amount")
        started_at = self._began(user_id, told)

        def book(account: Account, now: datetime) -> Booking | None:
            subscription = self._records.subscription(user_id)
            paid = PaidPeriod(
                subscription_id=told.subscription_id, period_start=told.period_start, started_at=started_at
            )
            change = pay_period(account, paid, ended_at=subscription.ended.get(told.subscription_id), now=now)
            if change is None:
                return None
            return Booking(*change, [subscription, self._record(event, user_id, told.subscription_id)])

        return self._book(user_id, told.subscription_id, book)

    def _began(self, user_id: str, told: InvoicePaid) -> datetime:
        """When the subscription of an invoice began: its anchor."""
        if told.started_at is not None:
            return told.started_at
        described = self._records.subscription(user_id).described
        if described is None or described.subscription_id != told.subscription_id:
            described = self._payments.subscription(told.subscription_id)
        return described.started_at if described is not None else told.period_start

    def _book(self, user_id: str, subject: str, book: Callable[[Account, datetime], Booking | None]) -> Applied:
        now = instant(self._clock())
        booked: Booking | None = None

        def at_now(account: Account) -> Booking | None:
            nonlocal booked
            booked = book(account, now)
            return booked

        self._ledger.book(user_id, at_now, now=now)
        return Applied(
            outcome=Outcome.APPLIED if booked is not None else Outcome.NOTHING_NEW,
            user_id=user_id,
            subject=subject,
            entries=tuple(booked.entries) if booked is not None else (),
        )

    # --- customers ----------------------------------------------------------------------------------------------------

    def _customer_deleted(self, event: ProviderEvent, told: CustomerDeleted) -> Applied:
        """Note it, so that the next one who pays gets another one. What was paid before stays as it is."""
        user_id = self._records.user_of(told.customer_id)
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=told.customer_id)
        customer = self._records.customer(user_id, live=event.live)
        if customer is None or customer.customer_id != told.customer_id or customer.gone:
            return Applied(outcome=Outcome.NOTHING_NEW, user_id=user_id, subject=told.customer_id)
        if not self._records.keep(replace(customer, gone=True), self._record(event, user_id, told.customer_id)):
            raise StoreUnavailableError
        return Applied(outcome=Outcome.APPLIED, user_id=user_id, subject=told.customer_id)

    # --- what was told ------------------------------------------------------------------------------------------------

    def _record(
        self, event: ProviderEvent, user_id: str | None, subject: str | None, quarantined: str | None = None
    ) -> PaymentEvent:
        return PaymentEvent(
            event_id=event.event_id,
            type=event.type,
            user_id=user_id,
            subject=subject,
            occurred_at=event.occurred_at,
            received_at=instant(self._clock()),
            quarantined=quarantined,
        )

    def _quarantine(self, event: ProviderEvent, user_id: str | None, subject: str | None, reason: str) -> Applied:
        """Keep the event for an operator; it has no effect."""
        if not self._records.keep(self._record(event, user_id, subject, reason)):
            raise StoreUnavailableError
        return Applied(outcome=Outcome.QUARANTINED, user_id=user_id, subject=subject, reason=reason)


def _with(purchase: Purchase, told: Told, at: datetime) -> Purchase:
    """The purchase with what an event tells about its payment."""
    match told:
        case PaymentMoved(payment=payment, state=state):
            return _named(purchase, payment).reached(state, at)
        case RefundSum(payment=payment, refunded=refunded):
            return _named(purchase, payment).with_refunded(refunded)
        case RefundMoved(payment=payment, refund_id=refund_id, claim=claim):
            return _named(purchase, payment).with_refund(refund_id, claim)
        case DisputeMoved(payment=payment, dispute_id=dispute_id, claim=dispute) if dispute is not None:
            return _named(purchase, payment).with_dispute(dispute_id, dispute)
    return purchase


def _named(purchase: Purchase, payment: Payment) -> Purchase:
    return replace(purchase, payment_id=payment.payment_id)
