"""What the payment provider says of a month, beside what the books say: per object, so that what differs has a name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from operate.books import Count, Period, Sales
from playground.domain.payment_events import (
    CreditNoteMoved,
    DisputeMoved,
    InvoicePaid,
    ObjectKind,
    PaymentMoved,
    ProviderObject,
    RefundMoved,
)
from playground.domain.purchases import Claim, PurchaseState
from playground.ports import PaymentProvider

BEGUN_BEFORE = timedelta(days=35)  # a payment may be begun so long before it is paid; older ones are asked for by id
MAX_PAGES = 10_000


@dataclass(slots=True)
class Compared:
    """Sums of the month here and there, by kind of object, and what differs, in words."""

    here: dict[str, Count] = field(default_factory=dict)
    there: dict[str, Count] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def take(self, kind: str, object_id: str, here: int | None, there: int | None) -> None:
        """Cents on both sides; None: nothing is known of the object there."""
        if here is not None:
            self.here.setdefault(kind, Count()).add(here)
        if there is not None:
            self.there.setdefault(kind, Count()).add(there)
        if here != there:
            said = [f"{cents} cents" if cents is not None else "nothing" for cents in (here, there)]
            self.differences.append(f"{object_id} ({kind}): {said[0]} here, {said[1]} at Stripe")


def compare(payments: PaymentProvider, sales: Sales, period: Period) -> Compared:
    """What is of the month here, or was made in it there and is about something of ours."""
    compared = Compared()
    _paid(compared, payments, sales, period)
    _invoices(compared, payments, sales, period)
    for kinds, kind, ours in (
        ((ObjectKind.REFUNDS, ObjectKind.CREDIT_NOTES), "refunds", sales.refunds),
        ((ObjectKind.DISPUTES,), "disputes", sales.disputes),
    ):
        _claims(compared, payments, sales, period, kinds, kind, ours)
    return compared


def _paid(compared: Compared, payments: PaymentProvider, sales: Sales, period: Period) -> None:
    left = dict(sales.payments)
    for stated in _listed(payments, ObjectKind.PAYMENTS, period, before=BEGUN_BEFORE):
        change = stated.event.change
        paid = isinstance(change, PaymentMoved) and change.state is PurchaseState.PAID
        received = change.received if isinstance(change, PaymentMoved) and paid else None
        if stated.object_id in left:
            compared.take("payments", stated.object_id, left.pop(stated.object_id), received)
        elif paid and stated.ours and stated.object_id not in sales.known and stated.event.occurred_at in period:
            compared.take("payments", stated.object_id, None, received)
    for payment_id, cents in left.items():
        statement = payments.statement(payment_id)
        received = statement.received if statement is not None and statement.received else None
        compared.take("payments", payment_id, cents, received)


def _invoices(compared: Compared, payments: PaymentProvider, sales: Sales, period: Period) -> None:
    left = dict(sales.invoices)
    for stated in _listed(payments, ObjectKind.INVOICES, period, before=BEGUN_BEFORE):
        change = stated.event.change
        paid = change.total - change.credited if isinstance(change, InvoicePaid) else None
        if stated.object_id in left:
            compared.take("invoices", stated.object_id, left.pop(stated.object_id), paid)
        elif paid and stated.ours and stated.object_id not in sales.known and stated.event.occurred_at in period:
            compared.take("invoices", stated.object_id, None, paid)
    for invoice_id, cents in left.items():
        found = payments.invoice_paid(invoice_id)
        compared.take("invoices", invoice_id, cents, found.total - found.credited if found is not None else None)


def _claims(
    compared: Compared,
    payments: PaymentProvider,
    sales: Sales,
    period: Period,
    kinds: tuple[ObjectKind, ...],
    kind: str,
    ours: dict[str, Claim],
) -> None:
    seen: set[str] = set()
    for stated in (each for of_kind in kinds for each in _listed(payments, of_kind, period)):
        there = _claim(stated)
        if there is None or stated.event.occurred_at not in period:
            continue
        here = ours.get(stated.object_id)
        if here is None and not (there.counts and _is_ours(payments, sales, stated)):
            continue
        seen.add(stated.object_id)
        # A failed refund and a won dispute come to nothing, on either side.
        cents = [claim.amount if claim is not None and claim.counts else None for claim in (here, there)]
        if cents != [None, None]:
            compared.take(kind, stated.object_id, *cents)
    for object_id, claim in ours.items():
        dated = claim.made_at is not None and claim.made_at in period
        if dated and claim.counts and object_id not in seen:
            compared.take(kind, object_id, claim.amount, None)


def _claim(stated: ProviderObject) -> Claim | None:
    change = stated.event.change
    return change.claim if isinstance(change, RefundMoved | DisputeMoved | CreditNoteMoved) else None


def _is_ours(payments: PaymentProvider, sales: Sales, stated: ProviderObject) -> bool:
    """Whether a refund or dispute that is not known here is about a payment or an invoice that is."""
    if stated.invoice_id is not None:
        return stated.invoice_id in sales.known
    if stated.payment_id is None or stated.payment_id in sales.known:
        return stated.payment_id is not None
    invoice = payments.invoice_of(stated.payment_id)
    return invoice is not None and invoice.invoice_id in sales.known


def _listed(
    payments: PaymentProvider, kind: ObjectKind, period: Period, before: timedelta = timedelta()
) -> Iterator[ProviderObject]:
    """What was made from `before` the month on, newest first."""
    after: str | None = None
    for _ in range(MAX_PAGES):
        page, after = payments.listed(kind, since=period.start - before, after=after)
        yield from page
        if after is None:
            return
