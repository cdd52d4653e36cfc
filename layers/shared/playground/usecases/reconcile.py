"""Reconcile: compare the payment provider's objects with our records.

    list at the provider → apply missing events (ApplyPayment) → report the remaining differences by cause

A lost event is applied as if it had come. A difference that has no event is only reported: a person decides. A repeat
changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from playground.domain.calendar import instant
from playground.domain.paid_months import PaidMonth
from playground.domain.payment_events import (
    InvoicePaid,
    ObjectKind,
    PaymentMoved,
    ProviderObject,
    Statement,
    SubscriptionMoved,
)
from playground.domain.purchases import PaidFor, PaymentEvent, Purchase, PurchaseState
from playground.ports import Clock, PaymentProvider, PurchaseRecords
from playground.usecases.apply_payment import ApplyPayment, Outcome

WINDOW = timedelta(days=35)  # a month, and a few days without a reconciliation
MAX_PAGES = 10_000  # in one call
MAX_FINDINGS = 500  # listed; all are counted
HEALABLE = frozenset({"amount", "currency", "product", "lines", "interval", "second_subscription"})
RECORDS = "records"  # the last part: our records, which the provider may lack


class Cause(StrEnum):
    """The cause of a difference. docs/operations.md says what to do about each."""

    UNKNOWN_PAYMENT = "unknown_payment"  # paid there by a customer of ours, and no purchase here
    NOT_PAID = "not_paid"  # granted here, and not paid there
    NOT_THERE = "not_there"  # granted here, and the provider does not know the payment
    NOT_GRANTED = "not_granted"  # paid there, and not granted here although it was applied
    REFUNDS_DIFFER = "refunds_differ"
    DISPUTES_DIFFER = "disputes_differ"
    NO_USER = "no_user"  # a subscription with our pointer, of an unknown customer
    MISMATCH = "mismatch"  # it does not fit our row: amount, currency, customer, ...
    QUARANTINED = "quarantined"  # a quarantined event that is still open


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    cause: Cause
    subject: str
    user_id: str | None = None
    purchase_id: str | None = None
    detail: str | None = None
    cents: int = 0
    """The money that it is about, as far as it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The result. `repaired`: lost events, now applied. `after` is where to go on if time was up; None at the end.

    The `_cents` are the sums of the money in what was counted, in whichever direction it went.
    """

    looked_at: int
    repaired: tuple[str, ...]
    differences: tuple[Difference, ...]
    found: int
    foreign: int
    after: str | None
    looked_at_cents: int = 0
    repaired_cents: int = 0
    found_cents: int = 0


@dataclass(slots=True)
class _Tally:
    looked_at: int = 0
    looked_at_cents: int = 0
    repaired_cents: int = 0
    found_cents: int = 0
    repaired: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    causes: Counter[Cause] = field(default_factory=Counter)
    foreign: int = 0
    compared: set[str] = field(default_factory=set)
    subscriptions: set[str] = field(default_factory=set)

    def note(self, difference: Difference) -> None:
        if difference in self.differences:
            return
        self.causes[difference.cause] += 1
        self.found_cents += difference.cents
        if len(self.differences) < MAX_FINDINGS:
            self.differences.append(difference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    payments: PaymentProvider
    records: PurchaseRecords
    apply_payment: ApplyPayment
    clock: Clock
    live: bool

    def __call__(
        self,
        *,
        at: datetime | None = None,
        window: timedelta | None = WINDOW,
        everything: bool = False,
        after: str | None = None,
        time_is_up: Callable[[], bool] = lambda: False,
    ) -> Reconciled:
        """Compare the provider's objects created in `window` before `at` (default: now; None: all), and with
        `everything` all our purchases and quarantined events. `after` is the cursor of an earlier call."""
        now = instant(self.clock())
        since = (at or now) - window if window is not None else None
        parts = [*ObjectKind, *([RECORDS] if everything else [])]
        part, _, position = (after or parts[0]).partition(":")
        if part not in parts:
            raise ValueError(f"not a cursor of an earlier call: {after!r}")
        tally = _Tally()
        cursor: str | None = position or None
        for _ in range(MAX_PAGES):
            if time_is_up():
                return self._outcome(tally, f"{part}:{cursor or ''}")
            cursor = self._page(tally, part, since, cursor, now)
            if cursor is None:
                following = parts.index(part) + 1
                if following == len(parts):
                    return self._outcome(tally, None)
                part = parts[following]
        return self._outcome(tally, f"{part}:{cursor or ''}")

    def close(self, subject: str) -> bool:
        """Close a quarantined event, or an object of the provider: it is not reported again. False if there is no such
        event."""
        now = instant(self.clock())
        event = self.records.event(subject)
        if subject.startswith("evt_") and (event is None or event.quarantined is None):
            return False
        if not subject.startswith("evt_"):
            event = PaymentEvent(
                event_id=_event_id(subject),
                type="closed",
                user_id=None,
                subject=subject,
                occurred_at=now,
                received_at=now,
                quarantined="closed",
            )
        assert event is not None
        return self.records.save(replace(event, resolved_at=now))

    def _is_closed(self, object_id: str) -> bool:
        event = self.records.event(_event_id(object_id))
        return event is not None and event.resolved_at is not None

    def _outcome(self, tally: _Tally, after: str | None) -> Reconciled:
        return Reconciled(
            looked_at=tally.looked_at,
            repaired=tuple(tally.repaired),
            differences=tuple(tally.differences),
            found=tally.causes.total(),
            foreign=tally.foreign,
            after=after,
            looked_at_cents=tally.looked_at_cents,
            repaired_cents=tally.repaired_cents,
            found_cents=tally.found_cents,
        )

    def _page(self, tally: _Tally, part: str, since: datetime | None, cursor: str | None, now: datetime) -> str | None:
        """One page of a part; the cursor of the next one."""
        if part == RECORDS:
            found, following = self.records.all(after=cursor)
            for record in found:
                tally.looked_at += 1
                tally.looked_at_cents += 0 if isinstance(record, PaymentEvent) else record.amount
                if isinstance(record, Purchase):
                    self._compare(tally, record)
                elif isinstance(record, PaidMonth):
                    self._compare_record(tally, record)
                elif self._healed(tally, record, now):
                    tally.repaired.append(record.event_id)
                elif record.resolved_at is None and not record.event_id.startswith("reconcile:"):
                    tally.note(
                        Difference(
                            cause=Cause.QUARANTINED,
                            subject=record.event_id,
                            user_id=record.user_id,
                            purchase_id=record.subject,
                            detail=record.quarantined,
                        )
                    )
            return following
        listed, following = self.payments.listed(ObjectKind(part), since=since, after=cursor)
        for stated in listed:
            tally.looked_at += 1
            tally.looked_at_cents += stated.cents
            if part == ObjectKind.INVOICES:
                self._subscription(tally, stated, now)
            self._state(tally, stated)
        return following

    def _state(self, tally: _Tally, stated: ProviderObject) -> None:
        """Apply the state of an object, and compare its purchase or month."""
        if stated.event.change is not None:
            self._apply(tally, stated)
        owner = self.records.purchase_of(stated.payment_id) if stated.payment_id is not None else None
        if owner is not None:
            purchase = self.records.purchase(*owner)
            if purchase is not None:
                self._compare(tally, purchase)
        elif isinstance(stated.event.change, InvoicePaid):
            user_id = self.records.user_of(stated.event.change.customer_id)
            if user_id is not None:
                self._compare_month(tally, user_id, stated.event.change.invoice_id)

    def _healed(self, tally: _Tally, event: PaymentEvent, now: datetime) -> bool:
        """Close a quarantined event of a subscription if all its paid invoices are granted. Whether that was so."""
        fits = event.type.startswith(("invoice.", "refund.", "charge.", "credit_note."))
        if event.resolved_at is not None or not fits or event.subject is None or event.quarantined not in HEALABLE:
            return False
        if event.user_id is None or event.event_id.startswith("reconcile:"):
            return False
        paid = 0
        for stated in self.payments.invoices_of(event.subject):
            if not isinstance(stated.event.change, InvoicePaid):
                continue
            self._state(tally, stated)
            month = self.records.month(event.user_id, stated.object_id)
            if month is None or not month.granted:
                return False
            paid += 1
        return paid > 0 and self.records.save(replace(event, resolved_at=now))

    def _compare_record(self, tally: _Tally, month: PaidMonth) -> None:
        """Compare a recorded paid month, which may be older than the window."""
        if month.invoice_id in tally.compared or self._is_closed(month.invoice_id):
            return
        if self.payments.invoice_paid(month.invoice_id) is None:
            tally.compared.add(month.invoice_id)
            tally.note(
                Difference(cause=Cause.NOT_THERE, subject=month.invoice_id, user_id=month.user_id, cents=month.amount)
            )
            return
        self._compare_month(tally, month.user_id, month.invoice_id)

    def _compare_month(self, tally: _Tally, user_id: str, invoice_id: str) -> None:
        """Compare a paid month with its money at the provider."""
        if invoice_id in tally.compared or self._is_closed(invoice_id):
            return
        tally.compared.add(invoice_id)
        statement = self.payments.invoice_statement(invoice_id)
        for stated in statement.claims:
            if stated.event.change is not None:
                self._apply(tally, stated)
        month = self.records.month(user_id, invoice_id)
        if month is None:
            return  # quarantined, which is reported elsewhere
        for cause, detail, cents in _differing_cents(month, statement.refunded + month.credited, statement.disputed):
            tally.note(Difference(cause=cause, subject=invoice_id, user_id=user_id, detail=detail, cents=cents))

    def _apply(self, tally: _Tally, stated: ProviderObject) -> None:
        if self._is_closed(stated.object_id):
            return
        applied = self.apply_payment(replace(stated.event, live=self.live))  # our key lists objects of our mode only
        match applied.outcome:
            case Outcome.APPLIED:
                tally.repaired.append(stated.object_id)
                tally.repaired_cents += stated.cents
            case Outcome.QUARANTINED:
                tally.note(
                    Difference(
                        cause=Cause.MISMATCH,
                        subject=stated.object_id,
                        user_id=applied.user_id,
                        purchase_id=applied.subject,
                        detail=applied.reason,
                        cents=stated.cents,
                    )
                )
            case Outcome.IGNORED:
                self._ignored(tally, stated)

    def _ignored(self, tally: _Tally, stated: ProviderObject) -> None:
        """Report an object that is ours but has no record; count those of other people's customers as foreign. The
        payment of an invoice is dealt with as that invoice."""
        change = stated.event.change
        user_id = self.records.user_of(stated.customer_id) if stated.customer_id is not None else None
        if stated.subscription_id is not None:
            if stated.ours:
                tally.note(Difference(cause=Cause.NO_USER, subject=stated.subscription_id, detail=stated.customer_id))
            else:
                tally.foreign += 1
        elif user_id is None:
            tally.foreign += 1
        elif (
            stated.invoice_id is None
            and isinstance(change, PaymentMoved)
            and change.state is PurchaseState.PAID
            and not self.payments.is_of_invoice(stated.object_id)
        ):
            tally.note(
                Difference(cause=Cause.UNKNOWN_PAYMENT, subject=stated.object_id, user_id=user_id, cents=stated.cents)
            )

    def _subscription(self, tally: _Tally, invoice: ProviderObject, now: datetime) -> None:
        """Apply the current state of an invoice's subscription, once."""
        if invoice.subscription_id is None or invoice.subscription_id in tally.subscriptions:
            return
        tally.subscriptions.add(invoice.subscription_id)
        stated = self.payments.stated_subscription(invoice.subscription_id)
        if stated is None or not isinstance(stated.event.change, SubscriptionMoved):
            return
        change = stated.event.change
        described = replace(change.described, occurred_at=now, event_id="")
        user_id = self.records.user_of(change.customer_id)
        known = self.records.subscription(user_id).described if user_id is not None else None
        if known is not None and known.subscription_id == described.subscription_id:
            same = replace(described, occurred_at=known.occurred_at, event_id=known.event_id) == known
            described = known if same else described.ordered_after(known)
        event = replace(stated.event, change=replace(change, described=described))
        self._apply(tally, replace(stated, event=event))

    def _compare(self, tally: _Tally, purchase: Purchase) -> None:
        """Compare a purchase with its payment at the provider."""
        if purchase.purchase_id in tally.compared:
            return
        tally.compared.add(purchase.purchase_id)
        if purchase.payment_id is None:
            return  # no payment was begun, or none was paid
        if self._is_closed(purchase.payment_id):
            return
        statement = self.payments.statement(purchase.payment_id)
        if statement is None:
            if purchase.granted:
                tally.note(_difference(Cause.NOT_THERE, purchase))
            return
        self._catch_up(tally, purchase, statement)

    def _catch_up(self, tally: _Tally, seen: Purchase, statement: Statement) -> None:
        """Apply the current state of a purchase's payment, which may be older than the window, and compare."""
        for stated in (statement.payment, *statement.claims):
            if stated.event.change is not None:
                self._apply(tally, stated)
        purchase = self.records.purchase(seen.user_id, seen.purchase_id) or seen
        paid = statement.received >= purchase.amount
        if purchase.granted and not paid:
            tally.note(_difference(Cause.NOT_PAID, purchase, f"{statement.received} of {purchase.amount} cents"))
        if paid and not purchase.granted:
            tally.note(_difference(Cause.NOT_GRANTED, purchase))
        if not purchase.granted:
            return
        for cause, detail, cents in _differing_cents(purchase, statement.refunded, statement.disputed):
            tally.note(_difference(cause, purchase, detail, cents))


def _differing_cents(paid: PaidFor, refunded: int, disputed: int) -> Iterator[tuple[Cause, str, int]]:
    """How refunds and disputes differ from the provider's totals, which may overlap and exceed the amount: the cause,
    both numbers in words, and the difference in cents."""
    refunded = min(refunded, paid.amount)
    disputed = min(disputed, paid.amount - refunded)
    for cause, here, there in (
        (Cause.REFUNDS_DIFFER, paid.amount_refunded, refunded),
        (Cause.DISPUTES_DIFFER, paid.amount_disputed, disputed),
    ):
        if here != there:
            yield cause, f"{here} cents here, {there} there", abs(here - there)


def _event_id(object_id: str) -> str:
    """The id of the event with an object's current state (`ProviderObject.event`)."""
    return f"reconcile:{object_id}"


def _difference(cause: Cause, purchase: Purchase, detail: str | None = None, cents: int | None = None) -> Difference:
    return Difference(
        cause=cause,
        subject=purchase.payment_id or purchase.purchase_id,
        user_id=purchase.user_id,
        purchase_id=purchase.purchase_id,
        detail=detail,
        cents=purchase.amount if cents is None else cents,
    )
