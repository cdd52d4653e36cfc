"""Creates the template's tables, buckets, queues, buses and secrets in the store. Every call is idempotent."""

import json
import secrets
import string
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from local.engine import CREDENTIALS
from local.template import ACCOUNT, REGION, Bucket, Bus, Description, Queue, Secret, Table

# The table properties that CreateTable takes; the others (backups, encryption, tags) have no effect on a laptop.
TABLE_PROPERTIES = (
    "AttributeDefinitions",
    "BillingMode",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
    "StreamSpecification",
)


class TableChangedError(Exception):
    """A stored table has keys or indexes that differ from the template."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the stored table {name} has other keys or indexes than the template; `make clean-state` deletes all data"
        )


@cache
def _session() -> Any:
    return boto3.session.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


_making = threading.Lock()  # a session is not thread-safe; its clients are


def client(service: str, endpoint_url: str) -> Any:
    """A boto3 client for the store that ignores the developer's own configuration.

    All share one session, which reads the service descriptions once: they are the main cost of creating a client.
    """
    with _making:
        return _session().client(
            service,
            endpoint_url=endpoint_url,
            config=Config(
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 2},
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )


def create_resources(description: Description, endpoint_url: str, values: Mapping[str, str] | None = None) -> None:
    """Create what is missing. `values`: contents of secrets by logical id; others are generated once."""
    dynamodb = client("dynamodb", endpoint_url)
    s3 = client("s3", endpoint_url)
    secretsmanager = client("secretsmanager", endpoint_url)
    sqs = client("sqs", endpoint_url)
    events = client("events", endpoint_url)
    try:
        for table in description.tables.values():
            _table(dynamodb, table)
        for bucket in description.buckets.values():
            _bucket(s3, bucket)
        for secret in description.secrets.values():
            _secret(secretsmanager, secret, (values or {}).get(secret.logical_id))
        for queue in sorted(description.queues.values(), key=lambda queue: queue.redrive is not None):
            _queue(sqs, queue, description)  # dead-letter queues first
        for bus in description.buses.values():
            _bus(events, bus)
    finally:
        for each in (dynamodb, s3, secretsmanager, sqs, events):
            each.close()


def _table(dynamodb: Any, table: Table) -> None:
    wanted = {name: table.properties[name] for name in TABLE_PROPERTIES if name in table.properties}
    if "StreamSpecification" in wanted:
        wanted["StreamSpecification"] = {"StreamEnabled": True, **wanted["StreamSpecification"]}
    try:
        dynamodb.create_table(TableName=table.name, **wanted)
    except dynamodb.exceptions.ResourceInUseException:
        _add_indexes(dynamodb, table.name, wanted)
        if _shape(dynamodb.describe_table(TableName=table.name)["Table"]) != _shape(wanted):
            raise TableChangedError(table.name) from None
    expiry = table.properties.get("TimeToLiveSpecification")
    if expiry is not None:
        described = dynamodb.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
        if described.get("TimeToLiveStatus") != "ENABLED":
            enabled = str(expiry["Enabled"]).lower() == "true"
            dynamodb.update_time_to_live(
                TableName=table.name,
                TimeToLiveSpecification={"AttributeName": expiry["AttributeName"], "Enabled": enabled},
            )


def _add_indexes(dynamodb: Any, name: str, wanted: Mapping[str, Any]) -> None:
    """Add the indexes that a stored table of an earlier version lacks, as a deployment does. They are backfilled."""
    present = dynamodb.describe_table(TableName=name)["Table"]
    there = {index["IndexName"] for index in present.get("GlobalSecondaryIndexes", ())}
    for index in wanted.get("GlobalSecondaryIndexes", ()):
        if index["IndexName"] not in there:
            dynamodb.update_table(
                TableName=name,
                AttributeDefinitions=wanted["AttributeDefinitions"],
                GlobalSecondaryIndexUpdates=[{"Create": index}],
            )


def _shape(table: Mapping[str, Any]) -> object:
    """Keys and indexes in a canonical order."""

    def keys(item: Mapping[str, Any]) -> list[tuple[str, str]]:
        return sorted((key["KeyType"], key["AttributeName"]) for key in item["KeySchema"])

    def indexes(name: str) -> list[tuple[str, list[tuple[str, str]]]]:
        return sorted((index["IndexName"], keys(index)) for index in table.get(name) or ())

    return keys(table), indexes("GlobalSecondaryIndexes"), indexes("LocalSecondaryIndexes")


def _bucket(s3: Any, bucket: Bucket) -> None:
    names = {found["Name"] for found in s3.list_buckets()["Buckets"]}
    if bucket.name not in names:
        s3.create_bucket(Bucket=bucket.name)
    if bucket.versioned and s3.get_bucket_versioning(Bucket=bucket.name).get("Status") != "Enabled":
        s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})


def _queue(sqs: Any, queue: Queue, description: Description) -> None:
    attributes = {
        "VisibilityTimeout": str(queue.visibility_timeout),
        "MessageRetentionPeriod": str(queue.retention),
    }
    if queue.redrive is not None:
        failures, times = queue.redrive
        target = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{description.queues[failures].name}"
        attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": times})
    names = {found.rpartition("/")[2] for found in sqs.list_queues().get("QueueUrls", ())}
    if queue.name not in names:
        sqs.create_queue(QueueName=queue.name, Attributes=attributes)
    else:
        sqs.set_queue_attributes(QueueUrl=queue.url, Attributes=attributes)


def _bus(events: Any, bus: Bus) -> None:
    with suppress(events.exceptions.ResourceAlreadyExistsException):
        events.create_event_bus(Name=bus.name)


def _secret(secretsmanager: Any, secret: Secret, value: str | None) -> None:
    try:
        present = secretsmanager.get_secret_value(SecretId=secret.name)["SecretString"]
    except secretsmanager.exceptions.ResourceNotFoundException:
        first = value if value is not None else initial_value(secret)
        secretsmanager.create_secret(Name=secret.name, SecretString=first)
        return
    if value is not None and present != value:
        secretsmanager.put_secret_value(SecretId=secret.name, SecretString=value)


def initial_value(secret: Secret) -> str:
    """The value that CloudFormation would generate for a new secret."""
    if secret.generate is None:
        return secret.value or ""
    rules = secret.generate
    characters = string.ascii_letters + string.digits
    if str(rules.get("ExcludePunctuation", "false")).lower() != "true":
        characters += string.punctuation
    excluded = set(rules.get("ExcludeCharacters", ""))
    alphabet = [character for character in characters if character not in excluded]
    generated = "".join(secrets.choice(alphabet) for _ in range(int(rules.get("PasswordLength", 32))))
    if "GenerateStringKey" not in rules:
        return generated
    return json.dumps({**json.loads(rules["SecretStringTemplate"]), rules["GenerateStringKey"]: generated})
