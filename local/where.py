"""Where an operator's command finds the ledger: in the running stack or, by its tables' names, in a deployed one."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from local.engine import CREDENTIALS
from local.resources import client as local_client
from local.settings import state_dir
from local.state_file import read_state
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.texts import TurnTexts

WHERE = """\
where:
  By default the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With --ledger-table and --sessions-table a deployed one. Their names are the outputs LedgerTableName and
  SessionsTableName of the stack; credentials and region are found as by the AWS CLI (AWS_PROFILE, AWS_REGION, ...).
"""


class NowhereError(Exception):
    """There is no ledger to work on."""


@dataclass(frozen=True, slots=True)
class Tables:
    store: DynamoStore
    ledger_table: str
    sessions_table: str
    texts: TurnTexts | None = None

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.store, ledger_table=self.ledger_table, sessions_table=self.sessions_table)


def add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ledger-table", help="name of the ledger's table in a deployed stack")
    parser.add_argument("--sessions-table", help="name of the sessions' table in a deployed stack")


def add_bucket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bucket", help="name of the bucket of large texts in a deployed stack (ContentBucketName)")


@contextmanager
def tables(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Iterator[Tables]:
    """The tables that the options name, or those of the running stack. Raises NowhereError."""
    ledger_table, sessions_table = options.ledger_table, options.sessions_table
    if (ledger_table is None) != (sessions_table is None):
        parser.error("--ledger-table and --sessions-table belong together")
    bucket: str | None = getattr(options, "bucket", None)
    if hasattr(options, "bucket") and (ledger_table is None) != (bucket is None):
        parser.error("--bucket belongs to --ledger-table and --sessions-table")
    s3: Any = None
    if ledger_table is not None:
        connection = connect()
        s3 = boto3.client("s3") if bucket is not None else None
    else:
        folder = state_dir()
        state = read_state(folder)
        if state is None:
            raise NowhereError(
                f"no stack is running with its state in {folder}: start one with `make run`, or name the tables of a "
                "deployed one with --ledger-table and --sessions-table"
            )
        ledger_table, sessions_table = state["tables"]["LedgerTable"], state["tables"]["SessionsTable"]
        bucket = state.get("buckets", {}).get("ContentBucket")
        connection = connect(CREDENTIALS["AWS_REGION"], state["engine_url"])
        s3 = local_client("s3", state["engine_url"])
        # Of the store on this machine, never the developer's own.
        connection.session.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    store = DynamoStore(connection, [ledger_table, sessions_table])
    try:
        client = connection.client  # made here: PynamoDB makes one for the thread that asks first
    except BotoCoreError as error:
        raise NowhereError(str(error)) from None
    try:
        texts = TurnTexts(lambda: s3, bucket) if bucket is not None else None
        yield Tables(store, ledger_table, sessions_table, texts)
    finally:
        client.close()
        if s3 is not None:
            s3.close()


def cause(error: BaseException) -> str:
    """What the store said, for an operator who can do something about it."""
    return f" ({error.__cause__})" if error.__cause__ else ""
