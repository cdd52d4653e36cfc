"""ApplyPayment: events of the payment provider become credits.

    event → its user → does it fit our row? → account, entries, row and event in one transaction

Repeated events, other events with the same content, and events in any order have the same result. An event that does
not fit our records is quarantined for an operator, and grants nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from playground.domain.account import Account, Plan
from playground.domain.calendar import instant
from playground.domain.entries import Entry
from playground.domain.erasure import is_pseudonym
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.paid_months import PaidMonth, book_month
from playground.domain.payment_events import (
    CreditNoteMoved,
    CustomerDeleted,
    CustomersSubscription,
    DisputeMoved,
    InvoiceLine,
    InvoicePaid,
    Payment,
    PaymentMoved,
    ProviderChange,
    ProviderEvent,
    RefundMoved,
    RefundSum,
    SubscriptionMoved,
    Unreadable,
)
from playground.domain.pricing import PriceTable
from playground.domain.purchases import PaymentEvent, Purchase, PurchaseState, book_purchase
from playground.domain.subscriptions import AgreedPrice, Subscription, end_plus
from playground.ports import Booking, Clock, Ledger, PaymentProvider, PurchaseRecords

MAX_PROVIDER_LOOKUPS = 3  # questions to the provider for one event
MAX_PAGES = 1_000  # of entries that are searched for those of a month
PAGE_ENTRIES = 100
ENTRY_MARGIN = timedelta(days=2)  # by which an entry may be older than its month: clocks, early invoices
MAX_MONTH = timedelta(days=32)
NEVER_PAID = frozenset({"incomplete", "incomplete_expired"})


class Outcome(StrEnum):
    APPLIED = "applied"
    NOTHING_NEW = "nothing_new"
    IGNORED = "ignored"  # about objects that are not ours
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The result of an event. `entries` were written by it; `reason` is that of a quarantine."""

    outcome: Outcome
    user_id: str | None = None
    subject: str | None = None
    entries: tuple[Entry, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPayment:
    ledger: Ledger
    records: PurchaseRecords
    payments: PaymentProvider
    prices: PriceTable
    live: bool
    clock: Clock

    def __call__(self, event: ProviderEvent) -> Applied:
        """Apply `event`, once. After StoreUnavailableError or PaymentsUnavailableError either all of it or nothing has
        happened; send it again."""
        if event.change is None:
            return Applied(outcome=Outcome.IGNORED)
        if isinstance(event.change, Unreadable):
            return self._quarantine(event, None, event.change.subject, "unreadable")
        if event.live is not self.live:
            return self._quarantine(event, None, None, "live_mode")
        match event.change:
            case SubscriptionMoved() as change:
                return self._subscription(event, change)
            case InvoicePaid() as change:
                return self._month(event, change, change)
            case CreditNoteMoved() as change:
                return self._credit_note(event, change)
            case CustomerDeleted() as change:
                return self._customer_deleted(event, change)
            case _ as change:
                return self._purchase(event, change)

    # --- purchases ----------------------------------------------------------------------------------------------------

    def _purchase(self, event: ProviderEvent, change: PaymentMoved | RefundSum | RefundMoved | DisputeMoved) -> Applied:
        payment = change.payment
        owner = self.records.purchase_of(payment.payment_id)
        if owner is None and (payment.purchase_id is None or payment.user_id is None):
            if not isinstance(change, PaymentMoved):  # only the payment itself is certain to carry our pointers
                payment = self.payments.payment(payment.payment_id) or payment
            if payment.purchase_id is None or payment.user_id is None:
                if isinstance(change, PaymentMoved):
                    return Applied(outcome=Outcome.IGNORED)
                return self._claim_of_invoice(event, change)
        if owner is None:
            assert payment.purchase_id is not None
            assert payment.user_id is not None
            owner = (payment.user_id, payment.purchase_id)
        user_id, purchase_id = owner
        purchase = self.records.purchase(user_id, purchase_id)
        if purchase is None:
            return self._quarantine(event, None, purchase_id, "unknown_purchase")
        return self._book_purchase(event, purchase, change)

    def _mismatch(
        self, purchase: Purchase, change: PaymentMoved | RefundSum | RefundMoved | DisputeMoved
    ) -> str | None:
        """How the event differs from our row; None if it fits."""
        payment = change.payment
        if purchase.live is not self.live:
            return "live_mode"
        if payment.purchase_id not in (None, purchase.purchase_id):
            return "pointer"
        # The provider still names a user who was erased since; our own pointer led to the right purchase.
        if payment.user_id not in (None, purchase.user_id) and not is_pseudonym(purchase.user_id):
            return "pointer"
        if purchase.payment_id not in (None, payment.payment_id):
            return "payment"
        if payment.currency.lower() != purchase.currency.lower():
            return "currency"
        if payment.amount is not None and payment.amount != purchase.amount:
            return "amount"
        if isinstance(change, PaymentMoved) or payment.customer_id is not None:
            customer = self.records.customer(purchase.user_id, live=purchase.live)
            if customer is None or not customer.is_known_as(payment.customer_id):
                return "customer"
        if isinstance(change, PaymentMoved) and change.state is PurchaseState.PAID:
            return "amount" if change.received != purchase.amount else None
        return None

    def _book_purchase(
        self, event: ProviderEvent, seen: Purchase, change: PaymentMoved | RefundSum | RefundMoved | DisputeMoved
    ) -> Applied:
        differs: str | None = None

        def book(account: Account, now: datetime) -> Booking | None:
            nonlocal differs
            before = self.records.purchase(seen.user_id, seen.purchase_id)
            assert before is not None, "purchases are never deleted"
            differs = self._mismatch(before, change)  # another payment of this purchase may have been faster
            if differs is not None:
                return None
            after, (changed, entries) = book_purchase(account, _with(before, change, event.occurred_at), now=now)
            if after == before:
                return None
            return Booking(changed, entries, [after, self._record(event, seen.user_id, seen.purchase_id)])

        applied = self._book(seen.user_id, seen.purchase_id, book)
        return applied if differs is None else self._quarantine(event, seen.user_id, seen.purchase_id, differs)

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def _subscription(self, event: ProviderEvent, change: SubscriptionMoved) -> Applied:
        described = change.described
        user_id = self.records.user_of(change.customer_id)
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=described.subscription_id)
        known = self.records.subscription(user_id).described
        if described.is_same_second(known):
            truth = self.payments.subscription(described.subscription_id)
            if truth is not None and truth.ended_at is None:  # an end has its own event
                described = replace(truth, event_id=event.event_id).ordered_after(known)

        def book(account: Account, now: datetime) -> Booking | None:
            before = self.records.subscription(user_id)
            after = replace(before.updated_by(described), live=event.live)
            changed: Account = account
            entries: tuple[Entry, ...] = ()
            ended_at = after.ended.get(described.subscription_id)
            if ended_at is not None and account.subscription_id == described.subscription_id:
                changed, entries = end_plus(account, ended_at=ended_at, now=now)
            if after == before and changed == account:
                return None
            return Booking(changed, entries, [after, self._record(event, user_id, described.subscription_id)])

        return self._book(user_id, described.subscription_id, book)

    # --- paid months --------------------------------------------------------------------------------------------------

    def _claim_of_invoice(self, event: ProviderEvent, change: RefundSum | RefundMoved | DisputeMoved) -> Applied:
        """A refund or dispute of a payment that is not a purchase's; it may be that of a month."""
        invoice = self.payments.invoice_of(change.payment.payment_id)
        return self._month(event, invoice, change) if invoice is not None else Applied(outcome=Outcome.IGNORED)

    def _credit_note(self, event: ProviderEvent, change: CreditNoteMoved) -> Applied:
        if self.records.user_of(change.customer_id) is None:
            return Applied(outcome=Outcome.IGNORED, subject=change.invoice_id)
        invoice = self.payments.invoice_paid(change.invoice_id)
        if invoice is None:  # not paid: the payment's event will include what the note waives
            return Applied(outcome=Outcome.IGNORED, subject=change.invoice_id)
        return self._month(event, invoice, change)

    def _month(self, event: ProviderEvent, invoice: InvoicePaid, change: ProviderChange) -> Applied:
        """Book a paid invoice, with the state of its money."""
        user_id, line = self.records.user_of(invoice.customer_id), invoice.line
        subject = invoice.subscription_id
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=subject)
        if line is None and invoice.prorated:  # a change within a month grants no month
            return Applied(outcome=Outcome.NOTHING_NEW, user_id=user_id, subject=subject)
        if line is None:
            return self._quarantine(event, user_id, subject, "lines")
        known: _ProviderFacts | None = None
        for _ in range(MAX_PROVIDER_LOOKUPS):
            result = self._book_month(event, user_id, invoice, line, change, known)
            if isinstance(result, Applied):
                return result
            if result is not None:
                return self._quarantine(event, user_id, subject, result)
            known = self._known(user_id, invoice)
        raise StoreUnavailableError

    def _book_month(
        self,
        event: ProviderEvent,
        user_id: str,
        invoice: InvoicePaid,
        line: InvoiceLine,
        change: ProviderChange,
        known: "_ProviderFacts | None",
    ) -> Applied | str | None:
        """The result; the reason for a quarantine; or None if the provider must be asked first."""
        subject = invoice.subscription_id
        started_at = known.began(invoice) if known is not None else invoice.started_at
        differs: str | None = None
        unknown = False

        def book(account: Account, now: datetime) -> Booking | None:
            nonlocal differs, unknown
            before = self.records.month(user_id, invoice.invoice_id)
            subscription = self.records.subscription(user_id)
            month = before
            differs, unknown = None, False
            if month is None or not month.granted:
                settled = account.subscription_id == subject and subject in subscription.prices
                unknown = known is None and not settled
                differs = self._differs(account, subscription, invoice, line, known) if not unknown else None
                if unknown or differs is not None:
                    return None
                agreed = AgreedPrice(amount=line.amount, currency=line.currency, price_id=line.price_id)
                subscription = subscription.with_price(subject, agreed)
            if month is None:
                month = PaidMonth(
                    invoice_id=invoice.invoice_id,
                    user_id=user_id,
                    subscription_id=subject,
                    started_at=started_at or line.start,
                    period_start=line.start,
                    amount=invoice.total,
                    currency=invoice.currency,
                    live=event.live,
                    credited=invoice.credited,
                )
            after, (changed, entries) = book_month(
                account,
                _month_with(month, change),
                allowance=self.prices.plan.credits,
                ended_at=subscription.ended.get(subject),
                former_ended_at=known.ended_at(account.subscription_id) if known is not None else None,
                entries=self._entries_since,
                now=now,
            )
            if after == before and changed == account:
                return None
            return Booking(changed, entries, [subscription, after, self._record(event, user_id, subject)])

        applied = self._book(user_id, subject, book)
        if unknown:
            return None
        return differs if differs is not None else applied

    def _entries_since(self, month: PaidMonth) -> Sequence[Entry]:
        """The entries of the month's account since before it began, oldest first."""
        found: list[Entry] = []
        before: int | None = None
        for _ in range(MAX_PAGES):
            page, before, unreadable = self.ledger.entries(month.user_id, before=before, limit=PAGE_ENTRIES, type_=None)
            if unreadable:  # the month's spent credits cannot be computed
                raise CorruptLedgerError(f"entries {', '.join(map(str, unreadable))} of {month.user_id} are unreadable")
            found += page
            granted = any(entry.business_key == month.grant_key for entry in page)
            if before is None or granted or (page and page[-1].created_at < month.period_start - ENTRY_MARGIN):
                return found[::-1]
        raise StoreUnavailableError

    def _known(self, user_id: str, invoice: InvoicePaid) -> "_ProviderFacts":
        """What the provider knows beyond the invoice; needed for the first invoice of a subscription."""
        first: InvoiceLine | None = None
        if self.ledger.account(user_id, instant(self.clock())).subscription_id == invoice.subscription_id:
            # An earlier version granted its first invoice without recording the price.
            for stated in self.payments.invoices_of(invoice.subscription_id):
                change = stated.event.change
                if isinstance(change, InvoicePaid) and change.line is not None:
                    first = change.line
                    break
        there = tuple(self.payments.subscriptions_of(invoice.customer_id))
        return _ProviderFacts(first=first, subscriptions=there)

    def _differs(
        self,
        account: Account,
        subscription: Subscription,
        invoice: InvoicePaid,
        line: InvoiceLine,
        known: "_ProviderFacts | None",
    ) -> str | None:
        """Why this invoice does not match an agreed price of PRPM+; None if it does."""
        subject = invoice.subscription_id
        table = AgreedPrice(amount=self.prices.plan.price_cents, currency=self.prices.currency.lower())
        agreed = [table, *subscription.offers]
        if subject in subscription.prices:
            agreed.append(subscription.prices[subject])
        elif known is not None and known.first is not None:
            agreed.append(AgreedPrice(amount=known.first.amount, currency=known.first.currency))
        ours = (
            invoice.user_id == subscription.user_id
            or is_pseudonym(subscription.user_id)
            or subject in (account.subscription_id, *subscription.prices)
            or line.price_id in {price.price_id for price in subscription.prices.values()}
        )
        if not any(price.currency == line.currency for price in agreed):
            return "currency"
        if not any(price.currency == line.currency and price.amount == line.amount for price in agreed):
            return "amount"
        if not ours:
            return "product"
        if line.end - line.start > MAX_MONTH:
            return "interval"
        return "second_subscription" if self._is_second(account, subscription, invoice, line, known) else None

    def _is_second(
        self,
        account: Account,
        subscription: Subscription,
        invoice: InvoicePaid,
        line: InvoiceLine,
        known: "_ProviderFacts | None",
    ) -> bool:
        """Whether the user had an earlier subscription when the period of this invoice began. A second one grants no
        month, and does not end the credits of the first one."""
        if known is None:
            return False
        there = {each.described.subscription_id: each for each in known.subscriptions}
        this = there.get(invoice.subscription_id)
        began = (this.described.started_at if this is not None else line.start), invoice.subscription_id
        for other_id, other in there.items():
            change = other.described
            if (
                other_id == invoice.subscription_id
                or change.status in NEVER_PAID
                or not self._is_plan(other, subscription)
            ):
                continue
            ended_at = subscription.ended.get(other_id, change.ended_at)
            if (change.started_at, other_id) < began and (ended_at is None or ended_at > line.start):
                return True
        present = account.subscription_id
        displaced = present not in (None, invoice.subscription_id) and account.plan is Plan.PLUS
        over = invoice.subscription_id in subscription.ended or this is None or this.described.ended_at is not None
        return displaced and not over and account.anchor is not None and began[0] <= account.anchor

    def _is_plan(self, other: CustomersSubscription, subscription: Subscription) -> bool:
        """Whether a subscription of the customer is for PRPM+."""
        known = {price.price_id for price in subscription.prices.values()}
        return (
            other.user_id is not None
            or other.described.subscription_id in subscription.prices
            or (other.price is not None and other.price.price_id in known)
        )

    def _book(self, user_id: str, subject: str, book: Callable[[Account, datetime], Booking | None]) -> Applied:
        now = instant(self.clock())
        booked: Booking | None = None

        def at_now(account: Account) -> Booking | None:
            nonlocal booked
            booked = book(account, now)
            return booked

        self.ledger.book(user_id, at_now, now=now)
        return Applied(
            outcome=Outcome.APPLIED if booked is not None else Outcome.NOTHING_NEW,
            user_id=user_id,
            subject=subject,
            entries=tuple(booked.entries) if booked is not None else (),
        )

    # --- customers ----------------------------------------------------------------------------------------------------

    def _customer_deleted(self, event: ProviderEvent, change: CustomerDeleted) -> Applied:
        """Record that the customer is gone, so that the next payment gets a new one. Earlier payments stay."""
        user_id = self.records.user_of(change.customer_id)
        if user_id is None:
            return Applied(outcome=Outcome.IGNORED, subject=change.customer_id)
        customer = self.records.customer(user_id, live=event.live)
        if customer is None or customer.customer_id != change.customer_id or customer.gone:
            return Applied(outcome=Outcome.NOTHING_NEW, user_id=user_id, subject=change.customer_id)
        if not self.records.save(replace(customer, gone=True), self._record(event, user_id, change.customer_id)):
            raise StoreUnavailableError
        return Applied(outcome=Outcome.APPLIED, user_id=user_id, subject=change.customer_id)

    # --- events -------------------------------------------------------------------------------------------------------

    def _record(
        self, event: ProviderEvent, user_id: str | None, subject: str | None, quarantined: str | None = None
    ) -> PaymentEvent:
        return PaymentEvent(
            event_id=event.event_id,
            type=event.type,
            user_id=user_id,
            subject=subject,
            occurred_at=event.occurred_at,
            received_at=instant(self.clock()),
            quarantined=quarantined,
        )

    def _quarantine(self, event: ProviderEvent, user_id: str | None, subject: str | None, reason: str) -> Applied:
        """Quarantine the event for an operator; it has no effect."""
        if not self.records.save(self._record(event, user_id, subject, reason)):
            raise StoreUnavailableError
        return Applied(outcome=Outcome.QUARANTINED, user_id=user_id, subject=subject, reason=reason)


def _with(purchase: Purchase, change: ProviderChange, at: datetime) -> Purchase:
    """The purchase, updated by an event about its payment."""
    match change:
        case PaymentMoved(payment=payment, state=state):
            return _named(purchase, payment).reached(state, at)
        case RefundSum(payment=payment, refunded=refunded):
            return _named(purchase, payment).with_refunded(refunded)
        case RefundMoved(payment=payment, refund_id=refund_id, claim=claim):
            return _named(purchase, payment).with_refund(refund_id, claim)
        case DisputeMoved(payment=payment, dispute_id=dispute_id, claim=dispute) if dispute is not None:
            return _named(purchase, payment).with_dispute(dispute_id, dispute)
    return purchase


def _month_with(month: PaidMonth, change: ProviderChange) -> PaidMonth:
    """The month, updated by an event about its money."""
    match change:
        case RefundSum(payment=payment, refunded=refunded):
            return month.with_refunded(payment.payment_id, refunded)
        case RefundMoved(refund_id=refund_id, claim=claim):
            return month.with_refund(refund_id, claim)
        case CreditNoteMoved(note_id=note_id, claim=claim):
            return month.with_refund(note_id, claim) if claim.amount or note_id in month.refunds else month
        case DisputeMoved(dispute_id=dispute_id, claim=dispute) if dispute is not None:
            return month.with_dispute(dispute_id, dispute)
    return month


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProviderFacts:
    """Answers of the provider: the first invoice line of a subscription whose price was not recorded, and all
    subscriptions of the customer."""

    first: InvoiceLine | None
    subscriptions: Sequence[CustomersSubscription]

    def began(self, invoice: InvoicePaid) -> datetime | None:
        """When the subscription of an invoice began: its anchor."""
        for each in self.subscriptions:
            if each.described.subscription_id == invoice.subscription_id:
                return each.described.started_at
        return invoice.started_at

    def ended_at(self, subscription_id: str | None) -> datetime | None:
        """When a subscription of the customer ended; None if it has not, or is not one."""
        ends = (each.described for each in self.subscriptions if each.described.subscription_id == subscription_id)
        return next((described.ended_at for described in ends), None)


def _named(purchase: Purchase, payment: Payment) -> Purchase:
    return replace(purchase, payment_id=payment.payment_id)
