"""Finds texts in the content bucket that no turn names: `make sweep-texts`, or `python -m local.sweep_texts --help`."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import boto3
from botocore.exceptions import BotoCoreError

from local.engine import CREDENTIALS
from local.resources import client
from local.settings import state_dir
from local.state_file import read_state
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.texts import PREFIX, TurnTexts
from playground.domain.errors import PlaygroundError
from playground.ports import Kept

PAGE = 100  # objects, whose turns are read in one request
OLD = timedelta(days=1)  # no run or copy takes as long: whoever wrote it has named it by then, or died
_NAME = re.compile(rf"{PREFIX}([^/]+)/(\d{{6}})-[^/]+")

DESCRIPTION = """\
The texts of a turn that are too large for its item are put into the content bucket before the turn is written. When the
process dies in between, they stay, and nobody can read them: no turn names them. This finds those that are older than a
day, and with --delete removes them. It reads the names of all objects under sessions/, in pages of a hundred, and one
item for each of them; few turns have any.
"""
EPILOG = """\
where:
  By default the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With --sessions-table and --bucket a deployed one. Their names are the outputs SessionsTableName and
  ContentBucketName of the stack; credentials and region are found as by the AWS CLI. Needed are dynamodb:BatchGetItem,
  s3:ListBucket and, to delete, s3:DeleteObject.

exit status:
  0  done
  2  it could not be done, or not for all
"""


class CannotSweepError(Exception):
    """There is nothing to work on."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.sweep_texts",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--delete", action="store_true", help="remove what is found")
    parser.add_argument("--sessions-table", help="name of the sessions' table in a deployed stack")
    parser.add_argument("--bucket", help="name of the content bucket in a deployed stack")
    options = parser.parse_args(arguments)
    if (options.sessions_table is None) != (options.bucket is None):
        parser.error("--sessions-table and --bucket belong together")
    try:
        with places(options.sessions_table, options.bucket) as (store, table, texts):
            found = 0
            for name in orphans(store, table, texts, before=datetime.now(UTC) - OLD):
                found += 1
                print(name)
                if options.delete:
                    texts.delete(Kept(name=name, version=None, digest=""))
            print(f"{found} {'removed' if options.delete else 'found'}", file=sys.stderr)
    except CannotSweepError as error:
        print(error, file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{f' ({error.__cause__})' if error.__cause__ else ''}", file=sys.stderr)
        return 2
    return 0


def orphans(store: DynamoStore, table: str, texts: TurnTexts, *, before: datetime) -> Iterator[str]:
    """Names of objects that were written before a time and that no turn names."""
    after: str | None = None
    while True:
        page, after = texts.page(after, limit=PAGE)
        old = {name: match for name, at in page if at < before and (match := _NAME.fullmatch(name))}
        keys = {name: items.turn_key(table, match[1], int(match[2])) for name, match in old.items()}
        found = store.get_all(sorted(set(keys.values()), key=str), consistent=frozenset({table})) if keys else {}
        for name, key in keys.items():
            kept = items.kept_of(found[key]) if key in found else None
            if kept is None or kept.name != name:
                yield name
        if after is None:
            return


@contextmanager
def places(table: str | None, bucket: str | None) -> Iterator[tuple[DynamoStore, str, TurnTexts]]:
    """Where things are, on this machine or in a deployed stack. Raises CannotSweepError."""
    if table is not None and bucket is not None:
        connection, s3 = connect(), boto3.client("s3")
    else:
        folder = state_dir()
        state = read_state(folder)
        if state is None:
            raise CannotSweepError(
                f"no stack is running with its state in {folder}: start one with `make run`, or name the places of a "
                "deployed one with --sessions-table and --bucket"
            )
        table, bucket = str(state["tables"]["SessionsTable"]), str(state["buckets"]["ContentBucket"])
        connection = connect(CREDENTIALS["AWS_REGION"], state["engine_url"])
        connection.session.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        s3 = client("s3", state["engine_url"])
    store = DynamoStore(connection, [table])
    try:
        dynamodb = connection.client  # made here: PynamoDB makes one for the thread that asks first
    except BotoCoreError as error:
        raise CannotSweepError(str(error)) from None
    try:
        yield store, table, TurnTexts(lambda: s3, bucket)
    finally:
        dynamodb.close()
        s3.close()


if __name__ == "__main__":
    sys.exit(main())
