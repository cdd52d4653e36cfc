"""Logs and metrics of payments. Separate from `observability`, so that only payment functions load it."""

from playground.domain.entries import EntryType
from playground.domain.payment_events import ProviderEvent
from playground.observability import Metric, count, logger
from playground.usecases.apply_payment import Applied, Outcome
from playground.usecases.reconcile import Reconciled

_NUMBERS = {
    Metric.PURCHASES: EntryType.PURCHASE,
    Metric.REFUNDS: EntryType.REFUND,
    Metric.DISPUTES: EntryType.DISPUTE,
}


def report_payment(event: ProviderEvent, applied: Applied) -> None:
    """One line and the counts for an event of the payment provider."""
    if applied.outcome is Outcome.APPLIED:
        count(Metric.PAYMENT_APPLIED)
    if applied.outcome is Outcome.QUARANTINED:
        count(Metric.PAYMENT_QUARANTINED)
    bought = sum(entry.amount for entry in applied.entries if entry.type is EntryType.PURCHASE)
    taken = -sum(entry.amount for entry in applied.entries if entry.type in (EntryType.REFUND, EntryType.DISPUTE))
    if bought:
        count(Metric.CREDITS_BOUGHT, bought)
    if taken > 0:
        count(Metric.CREDITS_TAKEN_BACK, taken)
    for metric, kind in _NUMBERS.items():
        if number := sum(entry.type is kind for entry in applied.entries):
            count(metric, number)
    log = logger.error if applied.outcome is Outcome.QUARANTINED else logger.info
    log(
        "payment event",
        event_id=event.event_id,
        type=event.type,
        outcome=applied.outcome.value,
        user_id=applied.user_id,
        subject=applied.subject,
        reason=applied.reason,
        amounts=[entry.amount for entry in applied.entries],
    )


def report_reconciled(reconciled: Reconciled) -> None:
    """A line for each difference, and one for the result. A stop before the end counts as a difference."""
    count(Metric.RECONCILE_REPAIRED, len(reconciled.repaired))
    count(Metric.RECONCILE_DIFFERENCES, reconciled.found + (reconciled.after is not None))
    for difference in reconciled.differences:
        logger.error(
            "payments differ",
            cause=difference.cause.value,
            subject=difference.subject,
            user_id=difference.user_id,
            purchase_id=difference.purchase_id,
            detail=difference.detail,
        )
    log = logger.error if reconciled.after is not None else logger.info
    log(
        "payments reconciled",
        looked_at=reconciled.looked_at,
        repaired=list(reconciled.repaired),
        differences=reconciled.found,
        foreign=reconciled.foreign,
        after=reconciled.after,
    )
