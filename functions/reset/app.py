"""Scheduled work. Each task uses the time in its event, so that a late, early or repeated one does the same."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import Enum, auto
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_index import DynamoBoundaries, DynamoLeases, DynamoWalkCursors
from playground.adapters.dynamo_notices import DynamoNoticeOutbox
from playground.adapters.sqs import SqsQueue
from playground.domain.calendar import scheduled_time
from playground.domain.errors import PlaygroundError
from playground.domain.work import AccountTask, ShardTask, SweepTask, Task, work_of
from playground.observability import Metric, count, flush_metrics, logger, report_failure, report_run
from playground.settings import ResetSettings
from playground.usecases.sweep_holds import SweepHolds, Swept
from playground.usecases.visit_accounts import FanOut, VisitAccount

RESERVE_MS = 10_000  # kept for the account at hand

settings = ResetSettings.load()
store = wiring.store()
ledger = wiring.ledger(settings, store)
sweep_holds = SweepHolds(
    ledger=ledger,
    leases=DynamoLeases(store, settings.ledger_table),
    report_failure=report_failure,
    report=report_run,
)
shard_work = SqsQueue(wiring.client("sqs"), settings.shard_work_url)
fan_out = FanOut(
    boundaries=DynamoBoundaries(store, settings.ledger_table),
    walks=shard_work,
    visits=SqsQueue(wiring.client("sqs"), settings.account_work_url),
    cursors=DynamoWalkCursors(store, settings.ledger_table),
)
visit_account = VisitAccount(ledger=ledger, outbox=DynamoNoticeOutbox(store, settings.ledger_table))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Messages from the queues of work, or one task:

    `{"task": "expire_holds", "at": time}`: expire the holds whose leases have ended by then. If these are more than one
    invocation takes, a sweep of each shard is queued.
    `{"task": "advance", "at": time}`: advance every account across the boundaries that have passed by then.
    `{"task": "warn", "at": time}`: record a notice for every account whose rollover expires within seven days.
    """

    def time_is_up() -> bool:
        return context.get_remaining_time_in_millis() < RESERVE_MS

    try:
        if "Records" in event:
            return _work(event["Records"], time_is_up)
        match event.get("task"):
            case "expire_holds":
                return _expire_holds(event, time_is_up)
            case "advance" | "warn" as task:
                shards = fan_out.begin(Task(task), at=scheduled_time(event.get("at")))
                logger.info("fan-out begun", task=task, at=event.get("at"), shards=shards)
                return {"shards": shards}
            case task:
                raise ValueError(f"task must be expire_holds, advance or warn, not {task!r}")
    finally:
        flush_metrics()


class Result(Enum):
    """The outcome of a message. All but `DONE` are retried."""

    DONE = auto()
    FAILED = auto()
    UNFINISHED = auto()  # not enough time


def _work(records: list[dict[str, Any]], time_is_up: Callable[[], bool]) -> dict[str, Any]:
    """Process each message by itself. Those that are not done are named, and retried."""
    results = {
        record["messageId"]: Result.UNFINISHED if time_is_up() else _done(record, time_is_up) for record in records
    }
    count(Metric.WORK_DONE, list(results.values()).count(Result.DONE))
    count(Metric.WORK_FAILED, list(results.values()).count(Result.FAILED))
    again = [message_id for message_id, result in results.items() if result is not Result.DONE]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def _done(record: Mapping[str, Any], time_is_up: Callable[[], bool]) -> Result:
    work: ShardTask | AccountTask | SweepTask | None = None
    try:
        work = work_of(json.loads(record["body"]))
        if isinstance(work, ShardTask):
            walked = fan_out.walk(work, piece=settings.max_accounts, time_is_up=time_is_up)
            logger.info("index walked", task=work.task.value, shard=work.shard, outcome=asdict(walked))
            return Result.DONE if walked.finished else Result.UNFINISHED
        if isinstance(work, SweepTask):
            # Also if it is not finished: the next schedule comes before this message would come again.
            _count_swept(sweep_holds.shard(work.shard, now=work.at, time_is_up=time_is_up), shard=work.shard)
            return Result.DONE
        visit_account(work)
    except PlaygroundError as error:
        report_failure(work.user_id if isinstance(work, AccountTask) else None, error)
    except Exception as error:
        # One bad message or account must not fail the rest of the batch.
        user_id = work.user_id if isinstance(work, AccountTask) else None
        logger.exception("work failed", user_id=user_id, message_id=record.get("messageId"), kind=type(error).__name__)
    else:
        return Result.DONE
    return Result.FAILED


def _expire_holds(event: dict[str, Any], time_is_up: Callable[[], bool]) -> dict[str, Any]:
    at = scheduled_time(event.get("at"))
    swept = sweep_holds(now=at, limit=settings.max_accounts, time_is_up=time_is_up)
    outcome = _count_swept(swept)
    if not swept.finished:
        sweep_holds.queue_shards(shard_work, at=at)
    return outcome


def _count_swept(swept: Swept, *, shard: int | None = None) -> dict[str, Any]:
    count(Metric.HOLDS_EXPIRED, swept.expired)
    count(Metric.SWEEP_FAILED, swept.failed)
    outcome = asdict(swept)
    logger.info("holds swept", outcome=outcome, shard=shard)
    return outcome
