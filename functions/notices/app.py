"""Publishes what the ledger records as notices on the bus. Started by the stream of the ledger's table."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_notices import record_of
from playground.adapters.eventbridge import EventBridgeBus
from playground.observability import Metric, count, flush_metrics, logger, report_failure
from playground.settings import NoticesSettings
from playground.usecases.publish_notices import PublishNotices

settings = NoticesSettings.load()
publish_notices = PublishNotices(EventBridgeBus(wiring.client("events"), settings.notices_bus))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish the notices of the records, in their order. Those from the first failure on are retried."""
    published = publish_notices([record_of(record) for record in event["Records"]])
    count(Metric.NOTICES_PUBLISHED, published.notices)
    if published.error is not None:
        report_failure(None, published.error)
    logger.info(
        "notices published",
        records=len(event["Records"]),
        notices=published.notices,
        trace_ids=published.trace_ids,
        failed=published.failed,
    )
    flush_metrics()
    return {"batchItemFailures": [{"itemIdentifier": published.failed}] if published.failed is not None else []}
