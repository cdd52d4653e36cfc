"""Scheduled work. Each task uses the time in its event, so that a late, early or repeated one does the same."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_leases import DynamoLeases
from playground.domain.calendar import scheduled_time
from playground.observability import Metric, count, flush_metrics, logger, report_failure
from playground.settings import ResetSettings
from playground.usecases.sweep_holds import SweepHolds

RESERVE_MS = 10_000  # kept for the account that is being dealt with

settings = ResetSettings.load()
store = wiring.store(settings)
sweep_holds = SweepHolds(
    ledger=wiring.ledger(settings, store),
    leases=DynamoLeases(store, settings.ledger_table),
    report_failure=report_failure,
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"task": "expire_holds", "at": time}`: expire the holds whose leases have ended by then."""
    task = event.get("task")
    if task != "expire_holds":
        raise ValueError(f"task must be expire_holds, not {task!r}")
    try:
        swept = sweep_holds(
            now=scheduled_time(event.get("at")),
            limit=settings.most_accounts,
            time_is_up=lambda: context.get_remaining_time_in_millis() < RESERVE_MS,
        )
        count(Metric.HOLDS_EXPIRED, swept.expired)
        count(Metric.SWEEP_FAILED, swept.failed)
        outcome = asdict(swept)
        logger.info("holds swept", outcome=outcome)
        return outcome
    finally:
        flush_metrics()
