"""Which stack a command works on, and the names of what is in it: tables, bucket, secrets.

Without `--stack` it is the stack that `make run` has started, whose names are in STATE_DIR/stack.json. With `--stack
NAME` it is a deployed one; its names are the outputs of the CloudFormation stack.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.engine import CREDENTIALS
from local.resources import client as local_client
from local.running import NoStackError, running
from operate.errors import CannotDoError
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.texts import TurnTexts

# An operator can wait longer than a request.
_PATIENT = Config(connect_timeout=5, read_timeout=30)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a stack has a name for: `kind` and `logical_id` in the state of a local stack, `output` of a
    deployed one."""

    kind: str
    logical_id: str
    output: str


LEDGER = Resource("tables", "LedgerTable", "LedgerTableName")
SESSIONS = Resource("tables", "SessionsTable", "SessionsTableName")
SPEND = Resource("tables", "SpendTable", "SpendTableName")
CATALOG = Resource("tables", "CatalogTable", "CatalogTableName")
BUCKET = Resource("buckets", "ContentBucket", "ContentBucketName")
VISITORS = Resource("tables", "VisitorsTable", "VisitorsTableName")
AUTH = Resource("secrets", "AuthSecret", "AuthSecretArn")
SHARE = Resource("secrets", "ShareSecret", "ShareSecretArn")
VISITOR = Resource("secrets", "VisitorSecret", "VisitorSecretArn")
ANTHROPIC = Resource("secrets", "AnthropicSecret", "AnthropicSecretArn")
STRIPE = Resource("secrets", "StripeSecret", "StripeSecretArn")
RESOURCES = (LEDGER, SESSIONS, SPEND, CATALOG, BUCKET, VISITORS, AUTH, SHARE, VISITOR, ANTHROPIC, STRIPE)


@dataclass(slots=True)
class Stack:
    """The names of one stack and connections to it, which are closed when `open_stack` ends."""

    name: str | None  # of the CloudFormation stack; None on this machine
    names: Mapping[str, str]  # of the resources, by their outputs
    state: Mapping[str, Any] | None  # of the local stack
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the CloudFormation stack; empty on this machine
    _closing: ExitStack = field(default_factory=ExitStack)
    _store: DynamoStore | None = None

    def name_of(self, resource: Resource) -> str:
        """Raises CannotDoError if the stack has none."""
        name = self.names.get(resource.output)
        if not name:
            raise CannotDoError(f"{self.described} has no {resource.output}")
        return name

    @property
    def described(self) -> str:
        return "the local stack" if self.name is None else f"the stack {self.name}"

    @property
    def ledger_table(self) -> str:
        return self.name_of(LEDGER)

    @property
    def sessions_table(self) -> str:
        return self.name_of(SESSIONS)

    @property
    def spend_table(self) -> str:
        return self.name_of(SPEND)

    def client(self, service: str) -> Any:
        """Of AWS, or of the store on this machine, with nothing of the developer's own."""
        made = (
            boto3.client(service, region_name=region(), config=_PATIENT)
            if self.state is None
            else local_client(service, self.state["engine_url"])
        )
        self._closing.callback(made.close)
        return made

    @property
    def store(self) -> DynamoStore:
        """All of the tables, over one client."""
        if self._store is None:
            if self.state is None:
                client = connect(region())
            else:
                client = connect(
                    CREDENTIALS["AWS_REGION"],
                    self.state["engine_url"],
                    aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],  # never the developer's own
                    aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                )
            self._store = DynamoStore(client)
            self._closing.callback(client.close)
        return self._store

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.store, ledger_table=self.ledger_table, sessions_table=self.sessions_table)

    @property
    def texts(self) -> TurnTexts:
        s3 = self.client("s3")
        return TurnTexts(lambda: s3, self.name_of(BUCKET))


@contextmanager
def open_stack(name: str | None) -> Iterator[Stack]:
    """The deployed stack of that name, or the local one. Raises CannotDoError."""
    stack = local_stack() if name is None else deployed_stack(name)
    with stack._closing:
        yield stack


def region() -> str | None:
    """What AWS_REGION says, which the AWS CLI knows and boto3 does not. None: boto3 finds it, as the CLI would."""
    return os.environ.get("AWS_REGION") or None


def local_stack() -> Stack:
    try:
        state = running()
    except NoStackError as error:
        raise CannotDoError(f"{error}, or name a deployed one with --stack") from None
    names = {
        resource.output: found
        for resource in RESOURCES
        if (found := state.get(resource.kind, {}).get(resource.logical_id))
    }
    return Stack(name=None, names=names, state=state)


def deployed_stack(name: str) -> Stack:
    """Needs cloudformation:DescribeStacks. Region and credentials are found as by the AWS CLI."""
    try:
        client = boto3.client("cloudformation", region_name=region(), config=_PATIENT)
        try:
            answer = client.describe_stacks(StackName=name)
        finally:
            client.close()
    except ClientError as error:
        if "does not exist" in str(error):
            raise CannotDoError(f"there is no stack {name!r} in this account and region") from None
        raise CannotDoError(f"the outputs of the stack {name!r} could not be read: {error}") from None
    except BotoCoreError as error:
        raise CannotDoError(f"the outputs of the stack {name!r} could not be read: {error}") from None
    found = answer["Stacks"][0]
    return Stack(
        name=name,
        names={output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])},
        state=None,
        parameters={each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])},
    )
