"""Scheduled work: compares Stripe's records with ours."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.clock import utc_now
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.stripe_payments import StripePayments
from playground.domain.calendar import scheduled_time
from playground.domain.errors import PaymentsRejectedError
from playground.observability import flush_metrics, report_rejected, report_unreadable
from playground.payment_reports import report_reconciled
from playground.settings import ReconcileSettings
from playground.usecases.apply_payment import ApplyPayment
from playground.usecases.reconcile import WINDOW, Reconcile

RESERVE_MS = 60_000  # kept for the page that is being compared: a hundred payments, three calls each

settings = ReconcileSettings.load()
secret = read_secret(wiring.secrets_client(), settings.stripe_secret_arn, "api_key")
live = wiring.is_live(secret["api_key"])
store = wiring.store()
records = DynamoPurchaseRecords(store, settings.ledger_table, report=report_unreadable)
payments = StripePayments(api_key=secret["api_key"], base_url=settings.stripe_base_url)
reconcile = Reconcile(
    payments=payments,
    records=records,
    apply_payment=ApplyPayment(
        ledger=wiring.ledger(settings, store),
        records=records,
        payments=payments,
        prices=load_prices(),
        live=live,
        clock=utc_now,
    ),
    clock=utc_now,
    live=live,
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"task": "reconcile", "at": time}`: compare what Stripe made in the 35 days before then; `"days": null` for all
    of it, `"everything": true` for all purchases and quarantined events of ours, too. If
    `after` of the answer is not null, time was up: the next event takes it.
    """
    if event.get("task") != "reconcile":
        raise ValueError(f"task must be reconcile, not {event.get('task')!r}")
    try:
        reconciled = reconcile(
            at=scheduled_time(event.get("at")),
            window=_window(event),
            everything=event.get("everything") is True,
            after=event.get("after"),
            time_is_up=_time_is_up(context),
        )
        report_reconciled(reconciled)
        return asdict(reconciled)
    except PaymentsRejectedError as error:
        report_rejected(error)
        raise
    finally:
        flush_metrics()


def _time_is_up(context: LambdaContext) -> Callable[[], bool]:
    return lambda: context.get_remaining_time_in_millis() < RESERVE_MS


def _window(event: dict[str, Any]) -> timedelta | None:
    days = event.get("days", WINDOW.days)
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise ValueError("days must be a whole number, 1 at least, or null")
    return timedelta(days=days)
