"""What starts functions besides requests: queues, streams and schedules, as template.yaml describes them.

    queue     receive, call, delete successful messages; failed ones become visible again soon, and the store moves them
              to the dead-letter queue after the receives of the queue's redrive policy. A message that has returned to
              its function too often is stopped as a recursive loop, as Lambda does (local/lineage.py)
    stream    read in order, apply the filters, call; a failing batch is bisected down to the failing record, which is
              given up after the template's number of attempts
    schedule  call at the time, with the time in the input

Delivery is at least once, as on Lambda: a killed stack leaves its messages in the queue. A stream is read from its
oldest stored record; the store keeps tables, but no streams, over a restart.
"""

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local import lineage
from local.cron import next_time
from local.process import ShowLine, quiet
from local.resources import client
from local.runtime import Outcome
from local.template import ACCOUNT, REGION, Description, QueueSource, Schedule, StreamSource


class Invoke(Protocol):
    """Calls a function by its logical id. `trace`: of the messages in the event."""

    def __call__(self, function: str, payload: bytes, trace: str | None = None, /) -> Outcome: ...


RETRY_SECONDS = 2  # until a message that failed is visible again; on Lambda it waits for the queue's timeout
IDLE_SECONDS = 1  # a receive waits that long for a message
STREAM_SECONDS = 0.2  # between two reads of an empty stream
MAX_WORKERS = 2  # batches of one queue at the same time, whatever the template allows
STOP_SECONDS = 5.0
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


class EventSources:
    """Threads that run until `stop`."""

    def __init__(
        self,
        description: Description,
        endpoint_url: str,
        invoke: Invoke,
        *,
        show: ShowLine = quiet,
        schedules: bool = True,
        retry_seconds: int = RETRY_SECONDS,
    ) -> None:
        self._description = description
        self._endpoint_url = endpoint_url
        self._invoke = invoke
        self._show = show
        self._retry_seconds = retry_seconds
        self._stopping = threading.Event()
        work: list[tuple[str, Callable[[], None]]] = []
        for source in description.queue_sources:
            work += [(source.queue, partial(self._queue, source))] * min(source.concurrency, MAX_WORKERS)
        work += [(stream.table, partial(self._stream, stream)) for stream in description.stream_sources]
        if schedules:
            work += [(schedule.name, partial(self._schedule, schedule)) for schedule in description.schedules]
        # Daemons: a hanging function must not block the shutdown.
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start nothing more, and wait briefly for open calls."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS / max(1, len(self._threads)))

    # --- queues -------------------------------------------------------------------------------------------------------

    def _queue(self, source: QueueSource) -> None:
        queue = self._description.queues[source.queue]
        sqs = client("sqs", self._endpoint_url)
        while not self._stopping.is_set():
            try:
                messages = self._receive(sqs, queue.url, source.batch_size)
                if not messages:
                    continue
                stopped = self._stopped(source, messages)
                rest = [message for message in messages if message["MessageId"] not in stopped]
                failed = self._call(source, queue.name, rest) if rest else set()
                self._settle(sqs, queue.url, messages, failed | stopped)
            except (ClientError, BotoCoreError) as error:
                self._trouble(source.queue, error)
        sqs.close()

    def _receive(self, sqs: Any, url: str, most: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while len(messages) < most and not self._stopping.is_set():
            found = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(10, most - len(messages)),
                WaitTimeSeconds=0 if messages else IDLE_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            messages += found
            if not found:
                break
        return messages

    def _stopped(self, source: QueueSource, messages: Sequence[Mapping[str, Any]]) -> set[str]:
        """The ids of the messages that are part of a recursive loop and do not start the function any more."""
        function = self._description.functions[source.function].name
        stopped = {message["MessageId"] for message in messages if lineage.is_stopped(_trace_of(message), function)}
        if stopped:
            self._show(source.queue, f"a recursive loop was stopped: {len(stopped)} messages do not start {function}")
        return stopped

    def _call(self, source: QueueSource, name: str, messages: Sequence[Mapping[str, Any]]) -> set[str]:
        """Call the function; the ids of the messages that failed."""
        everything = {message["MessageId"] for message in messages}
        event = {"Records": [sqs_record(name, message) for message in messages]}
        trace = lineage.merged(map(_trace_of, messages))
        outcome = self._invoke(source.function, json.dumps(event).encode(), trace)
        if outcome.error is not None:
            return everything
        if not source.partial:
            return set()
        named = failures_in(outcome.payload)
        # As on Lambda: an answer that cannot be read or has unknown ids means that all failed.
        return named if named is not None and named <= everything else everything

    def _settle(self, sqs: Any, url: str, messages: Sequence[Mapping[str, Any]], failed: set[str]) -> None:
        for message in messages:
            where = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                sqs.change_message_visibility(**where, VisibilityTimeout=self._retry_seconds)
            else:
                sqs.delete_message(**where)

    # --- streams ------------------------------------------------------------------------------------------------------

    def _stream(self, source: StreamSource) -> None:
        dynamodb = client("dynamodb", self._endpoint_url)
        streams = client("dynamodbstreams", self._endpoint_url)
        iterator: str | None = None
        arn = ""
        while not self._stopping.is_set():
            try:
                if iterator is None:
                    table = self._description.tables[source.table].name
                    arn = dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
                    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
                    iterator = streams.get_shard_iterator(
                        StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
                    )["ShardIterator"]
                answer = streams.get_records(ShardIterator=iterator, Limit=source.batch_size)
                records = [stream_record(arn, record) for record in answer["Records"]]
                self._deliver(source, [record for record in records if passes(record, source.patterns)])
                iterator = answer.get("NextShardIterator")
            except (ClientError, BotoCoreError, LookupError) as error:
                self._trouble(source.table, error)
            else:
                if not records:
                    self._stopping.wait(STREAM_SECONDS)
        dynamodb.close()
        streams.close()

    def _deliver(self, source: StreamSource, records: list[dict[str, Any]]) -> None:
        """Call with all of `records`, in order, until each is processed or given up."""
        size, attempts = len(records), 0
        while records and not self._stopping.is_set():
            batch = records[:size]
            done = self._done(source, batch)
            records = records[done:]
            if done == len(batch):
                size, attempts = len(records), 0
                continue
            attempts = 1 if done else attempts + 1
            size = min(size, len(records))
            if source.bisect and size > 1:
                size, attempts = size // 2, 0
            elif attempts >= source.attempts:
                self._give_up(source, records[:size])
                records = records[size:]
                size, attempts = len(records), 0
            self._stopping.wait(min(0.05 * 2**attempts, RETRY_SECONDS))

    def _done(self, source: StreamSource, batch: Sequence[Mapping[str, Any]]) -> int:
        """How many of `batch`, from its beginning, were processed."""
        outcome = self._invoke(source.function, json.dumps({"Records": batch}).encode())
        if outcome.error is not None:
            return 0
        if not source.partial:
            return len(batch)
        failed = failures_in(outcome.payload)
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        if failed is None or not failed <= set(numbers):
            return 0
        return min((numbers.index(number) for number in failed), default=len(batch))

    def _give_up(self, source: StreamSource, batch: Sequence[Mapping[str, Any]]) -> None:
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        self._show(source.table, f"{len(batch)} records were given up, from {numbers[0]}")
        if source.failures is None:
            return
        body = {
            "requestContext": {"condition": "RetryAttemptsExhausted"},
            "DDBStreamBatchInfo": {
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
                "batchSize": len(numbers),
                "streamArn": batch[0]["eventSourceARN"],
            },
        }
        self._put(source.failures, json.dumps(body))

    # --- schedules ----------------------------------------------------------------------------------------------------

    def _schedule(self, schedule: Schedule) -> None:
        due = next_time(schedule.expression, datetime.now(UTC))
        while not self._stopping.wait(max(0.0, (due - datetime.now(UTC)).total_seconds())):
            self.fire(schedule, due)
            due = next_time(schedule.expression, max(due, datetime.now(UTC)))  # missed times are skipped

    def fire(self, schedule: Schedule, due: datetime) -> bool:
        """Call the function of a schedule as of `due`. False if it failed every time: then its input is in the queue
        that the template names."""
        text = schedule.input.replace(SCHEDULED_TIME, due.strftime("%Y-%m-%dT%H:%M:%SZ"))
        for attempt in range(schedule.attempts):
            if self._stopping.wait(min(attempt, RETRY_SECONDS)):
                return False
            if self._invoke(schedule.function, text.encode()).error is None:
                return True
        self._show(schedule.name, "failed")
        if schedule.failures is not None:
            self._put(schedule.failures, text)
        return False

    # --- both ---------------------------------------------------------------------------------------------------------

    def _put(self, queue: str, body: str) -> None:
        sqs = client("sqs", self._endpoint_url)
        try:
            sqs.send_message(QueueUrl=self._description.queues[queue].url, MessageBody=body)
        finally:
            sqs.close()

    def _trouble(self, where: str, error: Exception) -> None:
        if not self._stopping.wait(IDLE_SECONDS):
            self._show(where, f"the store does not answer: {type(error).__name__}")


def failures_in(payload: bytes) -> set[str] | None:
    """The ids in a function's batchItemFailures; None if they cannot be read. An empty answer means no failures."""
    try:
        answer = json.loads(payload or b"null")
        failures = answer.get("batchItemFailures") if answer is not None else None
        return {str(item["itemIdentifier"]) for item in failures or ()}
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


def _trace_of(message: Mapping[str, Any]) -> str | None:
    trace: str | None = message.get("Attributes", {}).get("AWSTraceHeader")
    return trace


def sqs_record(queue: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in the form of Lambda's event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }


def stream_record(arn: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in the form of Lambda's event: times are seconds, bytes are base64."""
    plain: dict[str, Any] = json.loads(json.dumps(record, default=_plain))
    return {**plain, "eventSourceARN": arn}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} in a record")


def passes(record: Mapping[str, Any], patterns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the filters of an event source matches, or there are none."""
    return not patterns or any(_matches(record, pattern) for pattern in patterns)


def _matches(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, Mapping):
        return isinstance(value, Mapping) and all(
            name in value and _matches(value[name], rule) for name, rule in pattern.items()
        )
    return any(
        isinstance(value, str) and value.startswith(rule["prefix"]) if isinstance(rule, Mapping) else value == rule
        for rule in pattern
    )
