"""Counts what runs cost us, and guards the daily ceiling. Started by the stream of the ledger's table."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.clock import utc_now
from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_spend import DynamoSpend, receipt_of
from playground.domain.guard import NANO_PER_DOLLAR, GuardSettings
from playground.observability import (
    Metric,
    count,
    flush_metrics,
    logger,
    report_failure,
    report_flow,
    report_unreadable,
)
from playground.settings import GuardFunctionSettings
from playground.usecases.count_spend import CountSpend

settings = GuardFunctionSettings.load()
store = wiring.store()
count_spend = CountSpend(
    spend=DynamoSpend(store, settings.spend_table),
    guard=DynamoGuard(store, settings.ledger_table),
    settings=GuardSettings(
        ceiling_nano=settings.daily_ceiling_dollars * NANO_PER_DOLLAR, pauses=settings.pause_free_runs
    ),
    clock=utc_now,
    report=report_unreadable,
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Count the receipts of the records, each once. Those from the first failure on are retried."""
    counted = count_spend([receipt_of(record) for record in event["Records"]])
    count(Metric.PROVIDER_COST, counted.cost_nano)
    count(Metric.PAID_COST, counted.cost_nano - counted.unpaid_nano)
    report_flow(counted.flow)
    if counted.percent is not None:
        count(Metric.SPEND_PERCENT, counted.percent)
    if counted.error is not None:
        report_failure(None, counted.error)
    logger.info(
        "spend counted",
        records=len(event["Records"]),
        runs=counted.runs,
        trace_ids=counted.trace_ids,
        cost_nano=counted.cost_nano,
        percent=counted.percent,
        paused=counted.paused,
        failed=counted.failed,
    )
    flush_metrics()
    return {"batchItemFailures": [{"itemIdentifier": counted.failed}] if counted.failed is not None else []}
