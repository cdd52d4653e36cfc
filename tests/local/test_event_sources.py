"""Queues, streams and schedules of the laptop stack: events, retries and failures."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local import lineage
from local.backend import Backend
from local.engine import Engine
from local.event_sources import EventSources, failures_in, passes, stream_record
from local.resources import client, create_resources
from local.runtime import Outcome
from local.template import Description, read_template

TEMPLATE = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Things:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      StreamSpecification: { StreamViewType: NEW_AND_OLD_IMAGES }
      AttributeDefinitions: [{ AttributeName: pk, AttributeType: S }]
      KeySchema: [{ AttributeName: pk, KeyType: HASH }]
  Work:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: { deadLetterTargetArn: !GetAtt Failures.Arn, maxReceiveCount: 3 }
  Failures: { Type: AWS::SQS::Queue }
  WorkFunction:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      Handler: app.handler
      CodeUri: work
      Environment: { Variables: { QUEUE: !Ref Work } }
      Events:
        Messages:
          Type: SQS
          Properties:
            Queue: !GetAtt Work.Arn
            BatchSize: 20
            FunctionResponseTypes: [ReportBatchItemFailures]
        Changes:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Things.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            MaximumRetryAttempts: 2
            BisectBatchOnFunctionError: true
            FunctionResponseTypes: [ReportBatchItemFailures]
            FilterCriteria: { Filters: [{ Pattern: '{"eventName": ["INSERT"]}' }] }
            DestinationConfig: { OnFailure: { Type: SQS, Destination: !GetAtt Failures.Arn } }
        Daily:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(0 0 * * ? *)
            Input: '{"at": "<aws.scheduler.scheduled-time>"}'
            RetryPolicy: { MaximumRetryAttempts: 1 }
            DeadLetterConfig: { Arn: !GetAtt Failures.Arn }
"""


class Called:
    """Stands in for the functions: records its calls and returns the given answers."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], object] = lambda event: {"batchItemFailures": []}
        self._lock = threading.Lock()

    def __call__(self, function: str, payload: bytes, trace: str | None = None, /) -> Outcome:
        assert function == "WorkFunction"
        event = json.loads(payload)
        with self._lock:
            self.events.append(event)
        answer = self.answer(event)
        if isinstance(answer, Exception):
            return Outcome("1", b"{}", "Unhandled")
        return Outcome("1", answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def records(self, source: str) -> list[dict[str, Any]]:
        with self._lock:
            return [
                record
                for event in self.events
                for record in event.get("Records", [])
                if record["eventSource"] == f"aws:{source}"
            ]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Description:
    folder = tmp_path_factory.mktemp("template")
    (folder / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    return read_template(Path(folder / "template.yaml"))


@pytest.fixture
def engine(described: Description) -> Iterator[Engine]:
    with Engine() as engine:
        create_resources(described, engine.endpoint_url)
        yield engine


@contextmanager
def sources(described: Description, engine: Engine, called: Called) -> Iterator[EventSources]:
    running = EventSources(described, engine.endpoint_url, called, schedules=False, retry_seconds=0)
    running.start()
    yield running
    running.stop()


def send(engine: Engine, described: Description, bodies: Sequence[str]) -> None:
    sqs = client("sqs", engine.endpoint_url)
    for body in bodies:
        sqs.send_message(QueueUrl=described.queues["Work"].url, MessageBody=body)
    sqs.close()


def bodies(engine: Engine, described: Description, queue: str) -> list[str]:
    sqs = client("sqs", engine.endpoint_url)
    found = sqs.receive_message(QueueUrl=described.queues[queue].url, MaxNumberOfMessages=10, VisibilityTimeout=0).get(
        "Messages", []
    )
    sqs.close()
    return sorted(message["Body"] for message in found)


def put(engine: Engine, described: Description, *keys: str) -> None:
    dynamodb = client("dynamodb", engine.endpoint_url)
    for key in keys:
        item = {"pk": {"S": key}, "bytes": {"B": b"\0\1"}}
        dynamodb.put_item(TableName=described.tables["Things"].name, Item=item)
    dynamodb.close()


def test_event_sources_are_read_from_the_template(described: Description) -> None:
    [queue], [stream], [schedule] = described.queue_sources, described.stream_sources, described.schedules
    assert (queue.function, queue.queue, queue.batch_size, queue.partial) == ("WorkFunction", "Work", 20, True)
    assert (stream.function, stream.table, stream.attempts, stream.failures) == (
        "WorkFunction",
        "Things",
        3,
        "Failures",
    )
    assert (schedule.function, schedule.attempts, schedule.failures) == ("WorkFunction", 2, "Failures")
    assert described.queues["Work"].redrive == ("Failures", 3)
    assert described.functions["WorkFunction"].environment["QUEUE"].endswith("/000000000000/playground-Work")


def test_messages_have_lambdas_shape_and_are_deleted(
    described: Description, engine: Engine, eventually: Callable[..., None]
) -> None:
    called = Called()
    send(engine, described, [f"message {number}" for number in range(35)])
    with sources(described, engine, called):
        eventually(lambda: len(called.records("sqs")) >= 35)
        record = called.records("sqs")[0]
        eventually(lambda: bodies(engine, described, "Work") == [])
    assert sorted(record["body"] for record in called.records("sqs")) == sorted(f"message {n}" for n in range(35))
    assert max(len(event["Records"]) for event in called.events) <= 20
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:playground-Work"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"messageId", "receiptHandle", "md5OfBody", "messageAttributes", "awsRegion"} <= set(record)


@pytest.mark.parametrize("how", ["named", "all"])
def test_failed_messages_are_retried_and_end_in_the_dead_letter_queue(
    described: Description, engine: Engine, eventually: Callable[..., None], how: str
) -> None:
    called = Called()

    def answer(event: dict[str, Any]) -> object:
        bad = [{"itemIdentifier": item["messageId"]} for item in event["Records"] if item["body"] == "bad"]
        return {"batchItemFailures": bad} if how == "named" or not bad else RuntimeError()

    called.answer = answer
    send(engine, described, ["good", "bad", "fine"] if how == "named" else ["bad"])
    with sources(described, engine, called):
        eventually(lambda: bodies(engine, described, "Failures") == ["bad"])
    seen = [record["body"] for record in called.records("sqs")]
    assert seen.count("bad") == 3
    assert seen.count("good") == seen.count("fine") == (1 if how == "named" else 0)


def checkpoints(folder: Path) -> list[int]:
    saved = folder / "checkpoints"
    return sorted(int(path.name) for path in saved.iterdir() if path.name.isdigit()) if saved.exists() else []


def test_messages_survive_a_killed_stack(
    described: Description, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    called = Called()
    with Engine(state_dir=tmp_path) as engine:
        create_resources(described, engine.endpoint_url)
        send(engine, described, ["survivor"])
        for reason in ("for a checkpoint that may have begun before", "for one that has everything"):
            before = checkpoints(tmp_path)
            put(engine, described, reason)
            eventually(lambda before=before: checkpoints(tmp_path) > before)
        engine.kill()
    with Engine(state_dir=tmp_path) as engine:
        create_resources(described, engine.endpoint_url)
        with sources(described, engine, called):
            eventually(lambda: [record["body"] for record in called.records("sqs")] == ["survivor"])


def test_stream_records_are_filtered_and_in_order(
    described: Description, engine: Engine, eventually: Callable[..., None]
) -> None:
    called = Called()
    put(engine, described, *(f"key {number}" for number in range(25)))
    with sources(described, engine, called):
        eventually(lambda: len(called.records("dynamodb")) >= 25)
        dynamodb = client("dynamodb", engine.endpoint_url)
        dynamodb.delete_item(TableName=described.tables["Things"].name, Key={"pk": {"S": "key 1"}})
        dynamodb.close()
        put(engine, described, "last")
        eventually(lambda: len(called.records("dynamodb")) >= 26)
    records = called.records("dynamodb")
    keys = [record["dynamodb"]["Keys"]["pk"]["S"] for record in records]
    assert keys == [*(f"key {number}" for number in range(25)), "last"]
    assert records[0]["dynamodb"]["NewImage"]["bytes"] == {"B": "AAE="}
    assert isinstance(records[0]["dynamodb"]["ApproximateCreationDateTime"], int | float)
    assert max(len(event["Records"]) for event in called.events) <= 10


@pytest.mark.parametrize("partial", [True, False])
def test_a_record_that_always_fails_is_given_up_alone(
    described: Description, engine: Engine, eventually: Callable[..., None], partial: bool
) -> None:
    called = Called()
    done: list[str] = []

    def answer(event: dict[str, Any]) -> object:
        for record in event["Records"]:
            key = record["dynamodb"]["Keys"]["pk"]["S"]
            if key == "key 3":
                failure = {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
                return failure if partial else RuntimeError()
            done.append(key)
        return {"batchItemFailures": []}

    called.answer = answer
    put(engine, described, *(f"key {number}" for number in range(8)))
    with sources(described, engine, called):
        eventually(lambda: "key 7" in done)
        eventually(lambda: bodies(engine, described, "Failures"))
    [failure] = bodies(engine, described, "Failures")
    assert json.loads(failure)["DDBStreamBatchInfo"]["batchSize"] == 1
    assert set(done) == {f"key {number}" for number in range(8)} - {"key 3"}
    if partial:
        assert len(done) == 7  # processed records before it are not repeated


def test_a_schedule_calls_with_its_time_and_again_if_that_fails(described: Description, engine: Engine) -> None:
    called = Called()
    running = EventSources(described, engine.endpoint_url, called)
    due = datetime(2027, 1, 31, tzinfo=UTC)
    [schedule] = described.schedules

    assert running.fire(schedule, due) is True
    assert called.events == [{"at": "2027-01-31T00:00:00Z"}]

    called.answer = lambda event: RuntimeError()
    assert running.fire(schedule, due) is False
    assert called.events == [{"at": "2027-01-31T00:00:00Z"}] * 3
    assert bodies(engine, described, "Failures") == ['{"at": "2027-01-31T00:00:00Z"}']


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b"", set()),
        (b"null", set()),
        (b"{}", set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "1"}]}', {"1"}),
        (b'{"batchItemFailures": [{}]}', None),
        (b'"text"', None),
        (b"not json", None),
    ],
)
def test_batch_item_failures_are_read(payload: bytes, named: set[str] | None) -> None:
    assert failures_in(payload) == named


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"eventName": ["INSERT"]}, True),
        ({"eventName": ["MODIFY", "REMOVE"]}, False),
        ({"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "RUN#"}]}}}}, True),
        ({"dynamodb": {"Keys": {"sk": {"S": ["RUN#"]}}}}, False),
        ({"dynamodb": {"Keys": {"other": {"S": ["RUN#1"]}}}}, False),
    ],
)
def test_filters(pattern: Any, expected: bool) -> None:
    record = stream_record("arn", {"eventName": "INSERT", "dynamodb": {"Keys": {"sk": {"S": "RUN#1"}}}})
    assert passes(record, [pattern]) is expected
    assert passes(record, []) is True
    assert passes(record, [{"eventName": ["NEVER"]}, pattern]) is expected


# --- recursive loops --------------------------------------------------------------------------------------------------


ECHO = """\
import boto3, json, os

sqs = boto3.client("sqs")


def handler(event, context):
    for record in event["Records"]:
        number = int(record["body"])
        print("got", number, flush=True)
        if os.environ.get("ONE"):
            sqs.send_message(QueueUrl=os.environ["QUEUE"], MessageBody=str(number + 1))
        else:
            sqs.send_message_batch(
                QueueUrl=os.environ["QUEUE"], Entries=[{"Id": "next", "MessageBody": str(number + 1)}]
            )
    return {"batchItemFailures": []}
"""


@pytest.mark.parametrize("one", ["", "1"], ids=["in a batch", "alone"])
def test_a_function_that_sends_to_its_own_queue_is_stopped_as_on_lambda(
    tmp_path: Path, one: str, eventually: Callable[..., None]
) -> None:
    """After 16 invocations in one chain; the next message ends in the dead-letter queue."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "app.py").write_text(ECHO, encoding="utf-8")
    (tmp_path / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    description = read_template(tmp_path / "template.yaml")
    lines: list[str] = []
    with Engine() as engine:
        create_resources(description, engine.endpoint_url)
        extra = {"AWS_ENDPOINT_URL": engine.endpoint_url, "ONE": one}
        with Backend(description, extra_environment=extra, show=lambda _, line: lines.append(line)) as backend:
            running = EventSources(description, engine.endpoint_url, backend.invoke, schedules=False, retry_seconds=0)
            running.start()
            send(engine, description, ["1"])
            try:
                eventually(lambda: bodies(engine, description, "Failures") == ["17"])
            finally:
                running.stop()
    assert [line for line in lines if line.startswith("got")] == [f"got {number}" for number in range(1, 17)]


def test_the_loop_count_of_a_batch_is_its_highest() -> None:
    trace = None
    for number in range(lineage.MAX_INVOCATIONS):
        assert not lineage.is_stopped(trace, "one"), number
        trace = lineage.entered(trace, "one")
    assert lineage.is_stopped(trace, "one")
    assert not lineage.is_stopped(trace, "two")
    young = lineage.entered(lineage.entered(None, "two"), "one")
    both = lineage.merged([young, None, trace, "Root=1;Lineage=not:this"])
    assert lineage.is_stopped(both, "one")
    assert lineage.counts([both]) == {**lineage.counts([young]), **lineage.counts([trace])}
